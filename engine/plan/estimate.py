"""From what a trial measured to what the whole run will take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from engine.backtest import Task
from engine.footprint import streamed_rows
from engine.machine import available_memory, cores
from engine.plan.trial import Note, Point, Trial, history_rows, try_out
from engine.registry import Registry
from engine.spec.model import RunSpec
from engine.spec.validate import LoadedSpec

TABLE_BYTES = 8 * 12 * 4
"""Bytes of a forecast row while it is scored: a dozen columns, copied a few times."""

GROWN = 0.3
"""What a fit that begins with the sums of an earlier one takes of a whole one: the panel is read and cut
and forecasts are made, but hardly any row is summed."""

PANELS = 2
"""Panels that a fit holds: the one that it was given, and a copy cut at the cutoff."""


@dataclass(frozen=True)
class ModelPlan:
    """What one model will take in the backtest.

    fits: fits of the model, over all folds and, for local models, series. tasks: units of work.
    seconds: of all of them, one after the other; None if its fit failed in the trial. memory:
    bytes of a process that fits it. reason: why the trial failed.
    """

    model: str
    fits: int
    tasks: int
    seconds: float | None
    memory: int
    reason: str = ""


@dataclass(frozen=True)
class Plan:
    """What a run will take: an estimate, within a factor of two where the machine is quiet.

    seconds: wall time of the run. stages: how it is made up. memory: bytes of the largest process;
    memory_all: of all processes at a time; available: what is free now, None if unknown. trouble:
    why scoring and writing could not be tried, and are not counted.
    """

    name: str
    series: int
    rows: int
    folds: int
    calibration: int
    horizon: int
    workers: int
    models: tuple[ModelPlan, ...]
    seconds: float
    stages: Mapping[str, float]
    memory: int
    memory_all: int
    available: int | None
    trouble: str = ""

    @property
    def fits_memory(self) -> bool:
        """Whether what is free now will do, as far as that is known."""
        return self.available is None or self.memory_all <= self.available

    def plain(self) -> dict[str, Any]:
        """JSON types only."""
        return {**asdict(self), "stages": dict(self.stages), "fits_memory": self.fits_memory}


def make_plan(
    loaded: LoadedSpec,
    registry: Registry,
    *,
    base: Path,
    limit: float = 3.0,
    note: Note = lambda text: None,
) -> Plan:
    """Read a spec's data, try its models on samples, and tell what the run will take.

    limit: seconds for each model's fits to ever larger samples. EngineError as in a run.
    """
    spec = loaded.spec
    trial = try_out(loaded, registry, base=base, limit=limit, note=note)
    return plan_from(trial, spec, beyond=spec.forecasts_beyond_data)


def plan_from(trial: Trial, spec: RunSpec, *, beyond: bool) -> Plan:
    """The plan that follows from a trial; `beyond`: a forecast past the data is made as well."""
    panel = trial.panel
    split = {task.model for task in trial.tasks if task.series is not None}
    costs = {model: _Cost(points, model in split) for model, points in trial.points.items()}
    models = tuple(_model_plan(model, costs[model], trial, spec) for model in spec.models)
    backtest = _spread(models, costs, trial)
    stages = {
        "start": trial.begun,
        "data": trial.reading,
        "features": _stage("features", trial, _ratio(panel.frame.height, trial.rows)),
        "backtest": backtest,
        "evaluate": _stage("evaluate", trial, _scored(trial, spec)),
        "forecast": _final(costs, trial, spec) if beyond else 0.0,
        "write": _stage("write", trial, _ratio(panel.frame.height, trial.rows)),
    }
    own = _own_memory(trial, spec)
    worker = max((plan.memory for plan in models), default=0)
    return Plan(
        name=spec.name,
        series=panel.n_series,
        rows=panel.frame.height,
        folds=sum(fold.kind == "backtest" for fold in trial.folds),
        calibration=sum(fold.kind == "calibration" for fold in trial.folds),
        horizon=spec.horizon,
        workers=trial.workers,
        models=models,
        seconds=sum(stages.values()),
        stages=stages,
        memory=max(own, worker),
        memory_all=own + worker * trial.workers if spec.run.executor else max(own, worker),
        available=available_memory(),
        trouble=trial.trouble,
    )


def _stage(name: str, trial: Trial, ratio: float) -> float:
    """Seconds of a stage: what it costs on next to no rows, and the rest times `ratio`."""
    fixed, seen = trial.first.get(name, 0.0), trial.stages.get(name, 0.0)
    return fixed + max(seen - fixed, 0.0) * ratio


class _Cost:
    """Seconds and bytes of one task of a model, as lines over its rows of history.

    split: the model's fits are cut into many tasks of some series each.
    """

    def __init__(self, points: Sequence[Point], split: bool) -> None:
        self.known = bool(points)
        self.processors = points[-1].processors if points else 1.0
        warm = _ends(points[1:] or points)
        if len(warm) == 1 and not split:
            # Of few fits it matters little that each is taken to pay once more for imports.
            warm = _ends(points)
        if warm and warm[0].rows < warm[-1].rows:
            self.fixed, self.per_row = _line([(p.rows, p.seconds) for p in warm])
        else:
            # One size tells nothing of a fixed cost; tasks of fewer series take their part of it.
            self.fixed, self.per_row = 0.0, warm[-1].seconds / warm[-1].rows if warm else 0.0
        # The first fit of a process also pays for imports and compiling.
        self.cold = max(points[0].seconds - self.seconds(points[0].rows), 0.0) if points else 0.0
        # The last two as well: what is held grows ever less where a model works in blocks.
        held = [(p.rows, float(p.memory)) for p in _ends(points)]
        self.base, self.bytes_per_row = _line(held)
        self.least = points[0].memory if points else 0

    def seconds(self, rows: int) -> float:
        """Seconds of one task of so many rows."""
        return self.fixed + self.per_row * rows

    def memory(self, rows: int) -> int:
        """Bytes of a process that runs it, never fewer than one with hardly any rows has."""
        return max(int(self.base + self.bytes_per_row * rows), self.least)


def _ends(points: Sequence[Point]) -> list[Point]:
    """The last point and the latest one of at most half its rows: closer ones differ by noise."""
    far = [p for p in points if 2 * p.rows <= points[-1].rows]
    return [*far[-1:], points[-1]] if points else []


def _line(points: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Intercept and slope, neither below zero, that meet the last of one or two points."""
    if not points:
        return 0.0, 0.0
    (x0, y0), (x1, y1) = points[0], points[-1]
    slope = max((y1 - y0) / (x1 - x0), 0.0) if x1 > x0 else 0.0
    if slope * x1 > y1:
        slope = y1 / x1
    return y1 - slope * x1, slope


def _model_plan(model: str, cost: _Cost, trial: Trial, spec: RunSpec) -> ModelPlan:
    tasks = [task for task in trial.tasks if task.model == model]
    rows, series = _rows_of(trial, spec, tasks)
    seconds = [cost.seconds(count) for count in rows]
    if model in trial.growing:
        # Workers that begin at the same time find no sums yet.
        seconds = [s * (GROWN if i >= trial.workers else 1.0) for i, s in enumerate(seconds)]
    started = min(trial.workers, len(tasks)) * cost.cold
    return ModelPlan(
        model=model,
        fits=sum(series) if tasks and tasks[0].series is not None else len(tasks),
        tasks=len(tasks),
        seconds=sum(seconds) + started if cost.known else None,
        memory=_memory(cost, max(rows, default=0), trial, spec, streamed=model in trial.streamed),
        reason=trial.reasons.get(model, ""),
    )


def _memory(cost: _Cost, rows: int, trial: Trial, spec: RunSpec, *, streamed: bool) -> int:
    """Bytes of a process that fits to so many rows; beyond a few shards only the panel grows."""
    most = streamed_rows(spec)
    if not streamed or rows <= most:
        return cost.memory(rows)
    frame = trial.panel.frame
    row = PANELS * frame.estimated_size() / max(frame.height, 1)
    return cost.memory(most) + int(row * (rows - most))


def _rows_of(trial: Trial, spec: RunSpec, tasks: Sequence[Task]) -> tuple[list[int], list[int]]:
    """Rows of history and series that have any, of each task."""

    @cache
    def at(cutoff: int) -> Any:
        return history_rows(trial.panel, spec, cutoff)

    parts = [at(task.fit_cutoff)[slice(*task.series or (None,))] for task in tasks]
    return [int(part.sum()) for part in parts], [int((part > 0).sum()) for part in parts]


def _spread(models: Sequence[ModelPlan], costs: Mapping[str, _Cost], trial: Trial) -> float:
    """Wall seconds of the backtest: shared by the workers, but not beyond the processors."""
    known = [(plan, plan.seconds) for plan in models if plan.seconds is not None and plan.tasks]
    shared = sum(seconds for _, seconds in known) / max(trial.workers, 1)
    busy = sum(s * costs[plan.model].processors for plan, s in known) / cores()
    longest = max((seconds / plan.tasks for plan, seconds in known), default=0.0)
    return max(shared, min(busy, sum(s for _, s in known)), longest) + trial.startup


def _final(costs: Mapping[str, _Cost], trial: Trial, spec: RunSpec) -> float:
    """Seconds of the forecast beyond the data; which model will be best is not known yet."""
    rows = int(history_rows(trial.panel, spec, trial.panel.end).sum())
    split = {task.model for task in trial.tasks if task.series is not None}
    fits = {
        model: cost.cold
        + cost.seconds(rows)
        * (GROWN if model in trial.growing else 1.0)
        / (trial.workers if model in split else 1)
        for model, cost in costs.items()
        if cost.known
    }
    if not fits:
        return 0.0
    if spec.select is not None and spec.select.forecast == "all":
        return trial.startup + sum(fits.values())
    parts = [spec.fitted_for([name]) for name in spec.contenders]
    each = [sum(fits[m] for m in made_of) for made_of in parts if fits.keys() >= {*made_of}]
    return trial.startup + sum(each) / len(each)


def _forecast_rows(trial: Trial, spec: RunSpec) -> int:
    folds = sum(fold.kind == "backtest" for fold in trial.folds)
    return trial.panel.n_series * spec.horizon * folds * len(spec.contenders)


def _scored(trial: Trial, spec: RunSpec) -> float:
    return _ratio(_forecast_rows(trial, spec), trial.forecasts)


def _ratio(whole: int, part: int) -> float:
    return whole / part if part else 0.0


def _own_memory(trial: Trial, spec: RunSpec) -> int:
    """Bytes of this process: while reading, or while it scores what the workers forecast."""
    reached, held, tried = trial.memory
    tables = _forecast_rows(trial, spec) * TABLE_BYTES
    if tried > reached:
        tables = max(tables, int((tried - held) * _scored(trial, spec)))
    return max(reached, held + tables)
