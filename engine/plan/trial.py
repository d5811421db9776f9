"""Tries a run on a few series: each model in a process of its own, then the stages around them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.backtest import Fold, Task, backtest_tasks, eligible, make_folds
from engine.components import Capabilities, Writer
from engine.data.fingerprint import panel_fingerprint
from engine.data.panel import Panel
from engine.design import SharedModel
from engine.errors import EngineError
from engine.execute import executor_of, workers_of
from engine.ingest import open_source, read_panel
from engine.machine import held_memory, peak_memory
from engine.plan import probe
from engine.registry import Registry, build
from engine.runner import capabilities, check_factories, run
from engine.spec.model import RunSpec
from engine.spec.validate import LoadedSpec
from engine.workspace import check_models, prepare

SMALLEST = 4
"""Series of the smallest sample."""

GROWTH = 4
"""How many times larger each next sample is."""

MOST_ROWS = 1_000_000
"""Rows of the largest sample."""

AT_ONCE = 200_000
"""Rows up to which a global model is tried on the largest sample alone: it costs one of the run's
fits, and a model that compiles for the shapes of its data does so once."""

STAGES = 5.0
"""How many times the limit of a model's fits the trial run of the other stages may take."""

MOST_FOLDS = 3
"""Folds of the trial run of the stages around the fits."""

Note = Callable[[str], None]


@dataclass(frozen=True)
class Point:
    """One measured fit: rows of history, seconds, busy processors, bytes held at most so far."""

    rows: int
    seconds: float
    processors: float
    memory: int


@dataclass(frozen=True)
class Trial:
    """What was measured.

    panel, folds, tasks: of the whole run. points: per model in the order of its fits, the first of
    which also paid for imports and compiling. reasons: models whose fit failed in the trial. startup:
    seconds until a worker begins. reading: seconds until the panel was ready. stages: seconds of
    the stages of a run on `rows` rows with `forecasts` forecast rows. memory: bytes of this
    process: at most while reading, after it, and at most in that run. workers: tasks at a time.
    trouble: why the stages after the fits could not be tried. first: seconds of the stages of a run
    on next to no rows, made before: what they cost whatever the size; empty if `rows` are no more.
    streamed: models that hold the features of a few shards of rows at a time, whatever the rows.
    growing: models whose later fits begin with the sums of earlier ones.
    """

    panel: Panel
    folds: list[Fold]
    tasks: list[Task]
    points: Mapping[str, list[Point]]
    reasons: Mapping[str, str]
    startup: float
    begun: float
    reading: float
    stages: Mapping[str, float]
    rows: int
    forecasts: int
    memory: tuple[int, int, int]
    workers: int
    trouble: str = ""
    first: Mapping[str, float] = field(default_factory=dict)
    streamed: Collection[str] = ()
    growing: Collection[str] = ()


def history_rows(panel: Panel, spec: RunSpec, cutoff: int) -> npt.NDArray[np.int64]:
    """Rows of history that a fit at a cutoff reads of each series, shape (n_series,)."""
    rows = np.clip(cutoff - panel.starts + 1, 0, panel.lengths)
    size = spec.backtest.size
    return np.minimum(rows, size) if size is not None else rows


def samples(panel: Panel) -> list[Panel]:
    """Ever larger sets of whole series, evenly spread; each has a series of the earliest start.

    The last one is the whole panel, or has about `MOST_ROWS` rows.
    """
    total, oldest = panel.n_series, int(np.argmin(panel.starts))
    most = max(int(total * MOST_ROWS / max(panel.frame.height, 1)), SMALLEST)
    sizes = [min(SMALLEST, total)]
    while sizes[-1] < min(most, total):
        sizes.append(min(sizes[-1] * GROWTH, most, total))
    chosen = (np.linspace(0, total - 1, size).astype(int) for size in sizes)
    return [panel.select(np.unique(np.append(index, oldest))) for index in chosen]


def try_out(
    loaded: LoadedSpec, registry: Registry, *, base: Path, limit: float, note: Note
) -> Trial:
    """Read the data, then fit every model of a spec to samples; EngineError as in a run.

    limit: seconds after which no larger sample of a model is begun. No writer writes but those
    that make reports, no observer hears of it, and nothing is left behind.
    """
    begun, started = time.process_time(), time.perf_counter()
    spec = loaded.spec
    check_factories(loaded, registry)
    note(f"reading {spec.data.source.use}")
    panel = read_panel(spec, open_source(spec, registry, base))
    panel_fingerprint(panel)
    folds = make_folds(panel, spec)
    check_models(panel, spec, registry)
    reading, reached, held = time.perf_counter() - started, peak_memory(), held_memory()
    able = capabilities(spec, registry)
    tasks = backtest_tasks(panel, spec, folds, able)
    with tempfile.TemporaryDirectory(prefix="engine-plan-") as scratch:
        measured = _Measured(Path(scratch), spec, registry, samples(panel), folds, able, panel)
        measured.fit_all(limit, note)
        note("trying the other stages")
        fastest = measured.fastest()
        sample = measured.affordable(fastest, STAGES * limit)
        smallest = measured.smallest(sample)
        first, _, _ = _stages(loaded, registry, smallest, fastest, Path(scratch), base)
        stages, forecasts, trouble = _stages(loaded, registry, sample, fastest, Path(scratch), base)
    return Trial(
        panel, folds, tasks, measured.points, measured.reasons, measured.startup, begun, reading,
        stages, sample.frame.height if sample else 0, forecasts, (reached, held, peak_memory()),
        workers_of(spec, registry, len(tasks)), trouble, first if smallest else {},
        [model for model, can in able.items() if can.mergeable],
        {task.model for task in tasks if task.after and _cumulative(spec, registry, task.model)},
    )  # fmt: skip


class _Measured:
    """Fits of every model to the samples, measured where the spec's executor runs tasks."""

    def __init__(
        self,
        folder: Path,
        spec: RunSpec,
        registry: Registry,
        panels: Sequence[Panel],
        folds: Sequence[Fold],
        able: Mapping[str, Capabilities],
        whole: Panel,
    ) -> None:
        self._whole = whole
        self._folder, self._spec, self._registry = folder, spec, registry
        self._panels, self._able = panels, able
        self._fold = [fold for fold in folds if fold.kind == "backtest"][-1]
        self.points: dict[str, list[Point]] = {}
        self.reasons: dict[str, str] = {}
        self.startup = 0.0
        self._rows = [int(history_rows(p, spec, self._fold.cutoff).sum()) for p in panels]
        for number, panel in enumerate(panels):
            prepare(folder / str(number), panel, spec, registry)

    def affordable(self, model: str, budget: float) -> Panel | None:
        """The largest sample that this model can stand in on for every model; None if none is."""
        fits = len(self._spec.models) * (MOST_FOLDS + 2)
        points = self.points.get(model) or []
        for panel, rows in reversed(list(zip(self._panels, self._rows, strict=True))):
            seen = [point for point in points if point.rows <= rows]
            # With no smaller fit to go by, a part of the rows takes that part of the time.
            near = seen[-1] if seen else points[0] if points else None
            if near and near.seconds * rows / near.rows * fits <= budget:
                return panel
        return None

    def smallest(self, sample: Panel | None) -> Panel | None:
        """The smallest sample, if `sample` is a larger one."""
        larger = sample is not None and sample.n_series > self._panels[0].n_series
        return self._panels[0] if larger else None

    def fastest(self) -> str:
        """The model whose fits took least, the first one if none could be fitted."""
        known = {m: p[-1].seconds / max(p[-1].rows, 1) for m, p in self.points.items() if p}
        return min(known, key=known.__getitem__) if known else next(iter(self._spec.models))

    def fit_all(self, limit: float, note: Note) -> None:
        """Measure every model, each in a process of its own where the executor has any."""
        for model in self._spec.models:
            note(f"trying {model}")
            started = time.perf_counter()
            result = self._fitted(model, limit)
            spent = time.perf_counter() - started - sum(p["wall"] for p in result["points"])
            self.startup = max(self.startup, spent)
            self.points[model] = [
                Point(
                    self._rows[int(point["workspace"])],
                    point["seconds"],
                    point["processors"],
                    point["memory"],
                )
                for point in result["points"]
            ]
            if result["reason"]:
                self.reasons[model] = result["reason"]

    def _fitted(self, model: str, limit: float) -> Mapping[str, Any]:
        use, last = self._spec.models[model], len(self._panels) - 1
        numbers: Sequence[int] = range(last + 1)
        if self._able[model].scope == "global" and self._rows[last] <= AT_ONCE:
            # Twice: the first fit of a process also pays for imports.
            numbers = (last, last)
        elif use.aggregate is not None:
            # A fit to sums costs by their number, and a sample of few series has few of them.
            sums = [panel.series.select(use.aggregate.by).n_unique() for panel in self._panels]
            most = self._whole.series.select(use.aggregate.by).n_unique()
            full = [n for n in numbers if sums[n] == most]
            numbers = full if len(full) > 1 else (last, last)
        runs = [[str(n), self._task(model, self._panels[n])] for n in numbers]
        plain = {"name": model, "runs": [run for run in runs if run[1]], "limit": limit}
        executor = executor_of(self._spec, self._registry, workers=1)
        if executor is None:
            return probe.measure(self._folder, plain, _unheard)
        (result,) = executor.map(probe.FUNCTION, self._folder, [plain], _unheard)
        return result

    def _task(self, model: str, panel: Panel) -> dict[str, Any] | None:
        """One fit to all series of a sample at the last fold; None if none can be forecast."""
        if not eligible(panel, self._fold.cutoff, self._spec).index.size:
            return None
        made = backtest_tasks(panel, self._spec, [self._fold], dict(self._able))
        task = next(task for task in made if task.model == model)
        return replace(task, series=None).plain()


def _cumulative(spec: RunSpec, registry: Registry, model: str) -> bool:
    use = spec.models[model]
    made = build(registry.find("model", use.use).component, use.options)
    return isinstance(made, SharedModel) and made.cumulative


def _unheard(event: str, data: Mapping[str, Any]) -> None:
    """Progress of a trial is of no interest."""


class _Clock:
    """Times the stages of a run."""

    def __init__(self) -> None:
        self._stage, self._since = "", 0.0
        self.seconds: dict[str, float] = {}

    def on_event(self, event: str, data: Mapping[str, Any]) -> None:
        """A stage ends where the next begins; tasks do not count, they are measured apart."""
        if event == "task_end":
            self._since += float(data["seconds"])
        if event == "stage":
            self.turn(str(data["stage"]))

    def turn(self, stage: str) -> None:
        """Begin a stage."""
        now = time.perf_counter()
        if self._stage:
            self.seconds[self._stage] = max(now - self._since, 0.0)
        self._stage, self._since = stage, now


def _stages(
    loaded: LoadedSpec,
    registry: Registry,
    sample: Panel | None,
    fastest: str,
    scratch: Path,
    base: Path,
) -> tuple[dict[str, float], int, str]:
    """Seconds of a run's stages on a sample, its forecast rows, and what went wrong, if anything.

    Every model is the fastest one: scoring and writing take the same time whichever forecast.
    """
    if sample is None:
        return {}, 0, "no model is quick enough to try them with"
    spec = loaded.spec
    backtest = spec.backtest
    shorter = {
        "folds": min(backtest.folds, MOST_FOLDS),
        "calibration": min(backtest.calibration, 1),
    }
    reports = [use for use in spec.write if _makes_reports(registry, use.use)]
    trial = spec.model_copy(
        update={
            "models": dict.fromkeys(spec.models, spec.models[fastest]),
            "run": spec.run.model_copy(update={"executor": None, "on_error": "skip"}),
            "backtest": backtest.model_copy(update=shorter),
            "write": reports,
            "expect": [],
        }
    )
    clock = _Clock()
    try:
        outcome = run(
            replace(loaded, spec=trial), registry.unobserved(), output=scratch / "runs", base=base,
            listener=clock, read=lambda spec, source: sample,
        )  # fmt: skip
    except EngineError as error:
        # Fits take most of the time: what is known of them is worth telling all the same.
        return clock.seconds, 0, error.message
    clock.turn("")
    cutoffs = sum(fold["kind"] == "backtest" for fold in outcome.manifest["folds"])
    return clock.seconds, sample.n_series * spec.horizon * cutoffs * len(spec.contenders), ""


def _makes_reports(registry: Registry, name: str) -> bool:
    component = registry.find("writer", name).component
    return isinstance(component, Writer) and bool(component.reports)
