"""Runs one task: cut the history, transform, make features, fit, predict, check, write the result.

This is the only code that hands data to a model; `wrapped` cuts it at the cutoff first.
"""

from __future__ import annotations

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
from engine.backtest import Task
from engine.contracts import ExplainedModel, Prediction, Report, Training
from engine.data.forecast import forecast_frame, ordered_quantiles, quantile_column
from engine.data.panel import Future, Panel
from engine.errors import EngineError, PluginError, first_line
from engine.growing import sums_at
from engine.horizon import TabularModel
from engine.spec.model import RunSpec
from engine.workspace import Workspace, open_workspace
from engine.wrapped import Wrapped

FUNCTION = "engine.tasks:run_task"


def run_task(folder: Path, plain: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Run one task of a prepared workspace.

    A model's own errors are caught and returned as `status: failed` with the reason; whatever is
    written stays in the workspace. The result is plain data: name, status, seconds, failures
    (`[cutoff, unique_id or null for all, reason]`), path of the forecasts, and the megabytes of a
    task in a fresh process.
    """
    started = time.perf_counter()
    return run_in(open_workspace(folder), plain, report, started)


def run_in(
    work: Workspace, plain: Mapping[str, Any], report: Report, started: float | None = None
) -> dict[str, Any]:
    """The same in a workspace that is in memory. started: when its seconds began, if not now."""
    started = time.perf_counter() if started is None else started
    # Sums of a BLAS depend on its threads, and threads without a processor wait for each other.
    with threadpool_limits(1, user_api="blas"):
        return _run(work, Task.of(dict(plain)), report, started)


def _run(work: Workspace, task: Task, report: Report, started: float) -> dict[str, Any]:
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
    path = work.folder / "results" / (task.name.replace("/", "~") + ".arrow")
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
    model = Wrapped(work, task, use)
    quantiles = () if use.aggregate else tuple(spec.quantiles)
    train_panel, train_future = model.inputs(task.fit_cutoff)
    if train_panel.n_series == 0:
        lost = model.left_out(task.fit_cutoff).items()
        failures += [[cutoff, *reason] for cutoff in task.cutoffs for reason in lost]
        return

    def inputs(cutoff: int) -> tuple[Panel, Future]:
        # Those of the fit are kept: features of whole series may be larger than the panel.
        return (train_panel, train_future) if cutoff == task.fit_cutoff else model.inputs(cutoff)

    def training(cutoff: int) -> Training:
        panel, future = inputs(cutoff)
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
        history, future = inputs(cutoff)
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


def _explain(
    work: Workspace,
    task: Task,
    model: Wrapped,
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
    model: Wrapped,
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
