"""Runs one task: cut the history, transform, make features, fit, predict, check, write the result.

This is the only code that hands data to a model, and it cuts at the cutoff first.
"""

from __future__ import annotations

import fnmatch
import re
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from engine import drivers
from engine.abilities import capabilities_of, columns_taken, masked, plan_for, without_holes
from engine.aggregate import Aggregated, aggregated
from engine.backtest import Task, eligible
from engine.contracts import ExplainedModel, Prediction, Report, Training
from engine.data.forecast import forecast_frame, ordered_quantiles, quantile_column
from engine.data.panel import Future, Panel
from engine.errors import EngineError, PluginError, first_line
from engine.features import add_cross_sections, panel_with_features, with_covariates
from engine.future import future_of
from engine.growing import sums_at
from engine.horizon import TabularModel, default_buckets
from engine.ingest import declared_roles
from engine.registry import build
from engine.selection import SelectingModel
from engine.spec.model import ModelUse, RunSpec
from engine.transforms import TargetTransform, target_transform
from engine.workspace import Workspace, open_workspace

FUNCTION = "engine.tasks:run_task"


def run_task(folder: Path, plain: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Run one task of a prepared workspace.

    A model's own errors are caught and returned as `status: failed` with the reason; whatever is
    written stays in the workspace. The result is plain data: name, status, seconds, failures
    (`[cutoff, unique_id or null for all, reason]`), path of the forecasts, and the megabytes of a
    task in a fresh process.
    """
    # Sums of a BLAS depend on its threads, and threads without a processor wait for each other.
    with threadpool_limits(1, user_api="blas"):
        return _run(folder, Task.of(dict(plain)), report)


def _run(folder: Path, task: Task, report: Report) -> dict[str, Any]:
    started = time.perf_counter()
    work = open_workspace(folder)
    failures: list[list[Any]] = []
    frames: list[pl.DataFrame] = []
    left = list(task.cutoffs)
    status = "ok"
    reason: EngineError | None = None
    try:
        for cutoff, frame in _fit_and_predict(work, task, failures, report):
            left.remove(cutoff)
            frames.append(frame)
    except EngineError as error:
        status, reason = "failed", error
        failures += [[cutoff, None, error.message] for cutoff in left or task.cutoffs[-1:]]
    except Exception as error:  # noqa: BLE001 - a model may raise anything; it is recorded
        status = "failed"
        # After the last forecast only saving is left, and a model that is not saved is a failure.
        failures += [[cutoff, None, first_line(error)] for cutoff in left or task.cutoffs[-1:]]
        report("task_error", {"task": task.name, "traceback": traceback.format_exc()})
    path = folder / "results" / (task.name.replace("/", "~") + ".arrow")
    if frames:
        work.keep_forecasts(pl.concat(frames), path)
    return {
        "name": task.name,
        "status": "failed" if status == "failed" else ("partial" if failures else "ok"),
        "exit_code": reason.exit_code if reason else 0,
        "hint": reason.hint if reason else "",
        "seconds": time.perf_counter() - started,
        "failures": failures,
        "path": str(path) if frames else None,
        "memory": peak_memory() if task.fresh else None,
    }


def _fit_and_predict(
    work: Workspace, task: Task, failures: list[list[Any]], report: Report
) -> Iterator[tuple[int, pl.DataFrame]]:
    """Forecasts of each cutoff as they are made, so that a later error does not lose them."""
    spec, use = work.spec, work.spec.models[task.model]
    model = _Wrapped(work, task, use)
    quantiles = () if use.aggregate else tuple(spec.quantiles)
    train_panel, train_future = model.inputs(task.fit_cutoff)
    if train_panel.n_series == 0:
        lost = model.left_out(task.fit_cutoff).items()
        failures += [[cutoff, *reason] for cutoff in task.cutoffs for reason in lost]
        return

    def training(cutoff: int) -> Training:
        panel, future = model.inputs(cutoff)
        return Training(
            panel=panel,
            horizon=spec.horizon,
            gap=spec.gap,
            quantiles=quantiles,
            season=panel.grid.freq.season,
            seed=task.seed,
            report=report,
            transform=model.transform(cutoff),
            future=future,
        )

    train, made = training(task.fit_cutoff), model.build()
    if isinstance(made, TabularModel) and made.grows:
        fitted = made.solved(train, sums_at(work, task, made, train, training))
    else:
        fitted = made.fit(train)
    for cutoff in task.cutoffs:
        history, future = (
            (train_panel, train_future) if cutoff == task.fit_cutoff else model.inputs(cutoff)
        )
        failures += [[cutoff, *reason] for reason in model.left_out(cutoff).items()]
        if history.n_series == 0:
            continue
        prediction = fitted.predict(history, future)
        prediction = _checked(prediction, history, future, quantiles, model)
        prediction, ids, ahead = model.inverted(prediction, cutoff)
        failures += [[cutoff, ids[i], why] for i, why in sorted(prediction.failures.items())]
        frame = forecast_frame(ahead, prediction, spec.quantiles, task.model, cutoff)
        yield cutoff, _clipped(ordered_quantiles(frame), spec)
        if task.explain and cutoff == task.cutoffs[-1]:
            _explain(work, task, model, (fitted, history, future), report)
    if task.save:
        _save(work.folder, task, fitted)


class _Wrapped:
    """A model of the spec with the engine's part around it: cut, transform, features, strategy."""

    def __init__(self, work: Workspace, task: Task, use: ModelUse) -> None:
        self._work, self._task, self._use = work, task, use
        self.component = work.model_component(task.model)
        self.able = capabilities_of(self.component, use)
        self._design = self.able.input == "design"
        self._plan = plan_for(self.able, use, work.plan, declared_roles(work.spec))
        self._raw: dict[int, tuple[Panel, Future, dict[str, str]]] = {}
        self._sums: dict[int, Aggregated] = {}

    def build(self) -> Any:
        """The model, ready to fit; models of design rows get a horizon strategy."""
        spec = self._work.spec
        model = build(self.component, self._use.options)
        if not self._design:
            return model
        if self._use.select_features is not None:
            model = SelectingModel(model, self._work.selector(self._use.select_features))
        direct = self._use.strategy == "direct"
        buckets = (self._use.buckets or default_buckets(spec.horizon)) if direct else None
        return TabularModel(
            model, self._plan, buckets, self._use.window, spec.run.shard_rows, self.able
        )

    def inputs(self, cutoff: int) -> tuple[Panel, Future]:
        """History up to a cutoff and its known future, transformed, with features added."""
        history, future = self._seen(cutoff)
        history = self._transform_of(history).apply(history)
        if self._plan.sections_of_y:
            history = self._with_sections(history, cutoff)
        if self._design:
            return history, future
        history, future = panel_with_features(history, future, self._plan)
        history, future = with_covariates(history, future, self._visible(history))
        if self._use.window is not None:
            history = history.tail(self._use.window)
        return history, future

    def transform(self, cutoff: int) -> TargetTransform:
        """What is done to y at a cutoff."""
        return self._transform_of(self._seen(cutoff)[0])

    def _transform_of(self, history: Panel) -> TargetTransform:
        use = self._use
        return target_transform(history, use.target, use.scale, self._task.model)

    def _with_sections(self, history: Panel, cutoff: int) -> Panel:
        """Cross-sections of the transformed `y`, over all series, also where a task has a part."""
        sections, work = self._plan.sections_of_y, self._work
        if self._task.series is None:
            return add_cross_sections(history, sections)
        whole = masked(cut(work.panel, work.spec, cutoff, None)[0], self._use.mask)
        whole = self._transform_of(whole).apply(whole)
        whole = add_cross_sections(whole, sections)
        return whole.select(np.flatnonzero(whole.series["unique_id"].is_in(history.ids)))

    def _visible(self, history: Panel) -> list[str]:
        """Columns a model of whole series sees: what it takes and asked for, and its features.

        Cross-sectional columns only feed features; they are not covariates of their own.
        """
        internal = {section.name for section in self._work.plan.cross_sections}
        roles = history.roles
        columns = [c for c in columns_taken(self.able, roles) if c not in internal]
        asked = ["*"] if self._use.covariates is None else self._use.covariates
        seen = [c for c in columns if any(fnmatch.fnmatchcase(c, p) for p in asked)]
        return [*seen, *self._plan.names]

    def left_out(self, cutoff: int) -> dict[str, str]:
        """Series that the model is not given at a cutoff, and why."""
        return self._cut(cutoff)[2]

    def _cut(self, cutoff: int) -> tuple[Panel, Future, dict[str, str]]:
        if cutoff not in self._raw:
            history, future = cut(self._work.panel, self._work.spec, cutoff, self._task.series)
            whole = masked(history, self._use.mask), future
            bare = self._design or self.able.missing_values
            self._raw = {cutoff: (*whole, {}) if bare else without_holes(*whole, self._use.window)}
        return self._raw[cutoff]

    def _seen(self, cutoff: int) -> tuple[Panel, Future]:
        """What the model works on: the series, or sums of them."""
        history, future, _ = self._cut(cutoff)
        use = self._use.aggregate
        if use is None or not history.n_series:
            return history, future
        if cutoff not in self._sums:
            self._sums = {cutoff: aggregated(history, future, use.by, use.share)}
        return self._sums[cutoff].history, self._sums[cutoff].future

    def in_units(self, fitted: Any, cutoff: int) -> drivers.Predict:
        """Point forecasts in the units of y, also of some of the series of the cutoff."""
        everyone = {name: i for i, name in enumerate(self._cut(cutoff)[0].ids)}

        def predict(history: Panel, future: Future) -> drivers.Floats:
            found = fitted.predict(history, future).y_hat
            rows = [everyone[name] for name in history.ids]
            whole = np.full((len(everyone), found.shape[1]), np.nan)
            whole[rows] = found
            inverted = self.inverted(Prediction(whole), cutoff)[0].y_hat[rows]
            lowest = self._work.spec.minimum
            return inverted if lowest is None else np.maximum(inverted, lowest)

        return predict

    def inverted(self, prediction: Prediction, cutoff: int) -> tuple[Prediction, list[str], Future]:
        """Back to the units of y and to the series, with their names and future rows."""
        history, future = self._seen(cutoff)
        transform = self._transform_of(history)
        quantiles = prediction.quantiles
        prediction = replace(
            prediction,
            y_hat=transform.invert(prediction.y_hat),
            quantiles=None if quantiles is None else transform.invert(quantiles),
        )
        if self._use.aggregate is not None:
            history, future, _ = self._cut(cutoff)
            prediction = self._sums[cutoff].shared_out(prediction)
        return prediction, history.ids, future


def cut(
    panel: Panel, spec: RunSpec, cutoff: int, series: tuple[int, int] | None
) -> tuple[Panel, Future]:
    """The history of the eligible series up to a cutoff, and the future covariates after it."""
    if series is not None:
        panel = panel.select(np.arange(*series))
    panel = panel.select(eligible(panel, cutoff, spec).index)
    return history_of(panel, spec, cutoff), future_of(panel, cutoff, spec.gap, spec.horizon)


def history_of(panel: Panel, spec: RunSpec, cutoff: int) -> Panel:
    """What models are fitted on at a cutoff: all of the past, or the end of a sliding window."""
    history = panel.until(cutoff)
    return history if spec.backtest.size is None else history.tail(spec.backtest.size)


def _explain(
    work: Workspace,
    task: Task,
    model: _Wrapped,
    forecast_by: tuple[Any, Panel, Future],
    report: Report,
) -> None:
    """Keep what drives a model of the last fold; a failure is an event and costs no forecast.

    What the model shows of itself and what the engine finds by shuffling do not need each other:
    each is kept if another one fails.
    """
    spec, cutoff = work.spec, task.cutoffs[-1]
    fitted, history, future = forecast_by

    def importance() -> Mapping[str, pl.DataFrame]:
        actual = drivers.actual_of(work.panel, history, cutoff, spec.gap, spec.horizon)
        fold = drivers.Fold(history, future, work.plan.names, actual)
        predict = model.in_units(fitted, cutoff)
        return {"importance": drivers.importance(fold, predict, task.seed)}

    parts: dict[str, Callable[[], Mapping[str, pl.DataFrame]]] = {"tables": fitted.tables}
    if isinstance(fitted, ExplainedModel):
        parts["explain"] = lambda: fitted.explain(history, future)
    if model.able.scope == "global" and spec.models[task.model].aggregate is None:
        parts["importance"] = importance
    for part, made in parts.items():
        try:
            drivers.keep(work.folder, task, made())
        except Exception as error:  # noqa: BLE001 - a model may raise anything; it is recorded
            report("explain_error", {"task": task.name, "part": part, "error": first_line(error)})


def _checked(
    prediction: Prediction,
    history: Panel,
    future: Future,
    levels: tuple[float, ...],
    model: _Wrapped,
) -> Prediction:
    """Shapes and finiteness; a series with a non-finite forecast counts as failed."""
    name, shape = model.component.name, (history.n_series, future.ahead_max)
    if not isinstance(prediction, Prediction):
        raise PluginError(f"model {name!r} returned {type(prediction).__name__}, not a Prediction")
    if prediction.y_hat.shape != shape:
        raise PluginError(
            f"model {name!r} returned y_hat of shape {prediction.y_hat.shape}, not {shape}"
        )
    quantiles = prediction.quantiles
    if quantiles is not None and quantiles.shape != (*shape, len(levels)):
        raise PluginError(
            f"model {name!r} returned quantiles of shape {quantiles.shape}, "
            f"not {(*shape, len(levels))}"
        )
    if (
        model.able.quantiles
        and levels
        and quantiles is None
        and len(prediction.failures) < history.n_series
    ):
        raise PluginError(f"model {name!r} declares quantiles but returned none")
    wanted = prediction.y_hat[:, future.gap :]
    bad = ~np.isfinite(wanted).all(axis=1)
    if quantiles is not None:
        bad |= ~np.isfinite(quantiles[:, future.gap :]).all(axis=(1, 2))
    failures = dict(prediction.failures)
    for i in np.flatnonzero(bad):
        failures.setdefault(int(i), "the forecast is not finite")
    return replace(prediction, failures=failures)


def _clipped(frame: pl.DataFrame, spec: RunSpec) -> pl.DataFrame:
    if spec.minimum is None:
        return frame
    columns = ["y_hat", *(quantile_column(q) for q in spec.quantiles)]
    return frame.with_columns(pl.col(columns).clip(lower_bound=spec.minimum))


def _save(folder: Path, task: Task, fitted: Any) -> None:
    """Keep a final model and its tables; local models of many shards keep one folder a shard."""
    target = saved_at(folder, task)
    target.mkdir(parents=True, exist_ok=True)
    fitted.save(target)
    for name, table in fitted.tables().items():
        table.write_parquet(target / f"{name}.parquet")


def saved_at(folder: Path, task: Task) -> Path:
    """The folder of a workspace in which a task keeps its fitted model."""
    part = "" if task.series is None else f"shard-{task.series[0]}"
    return folder / "models" / task.model / part


def peak_memory() -> float | None:
    """Megabytes (of 1,048,576 bytes) that this process has held at most; None if not known.

    Not `getrusage`: its peak begins with that of the process that started this one.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else None
