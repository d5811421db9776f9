"""Folds of a backtest, the series that are forecast at each cutoff, and the tasks to run."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.components import Capabilities
from engine.data.panel import IntArray, Panel
from engine.errors import DataError
from engine.spec.model import RunSpec

Kind = Literal["backtest", "calibration", "final"]
MAX_SHARDS = 32

VECTORIZED_ROWS = 2_000_000
"""Rows from which also a vectorized model gets its series in parts, for the memory of their copies."""


@dataclass(frozen=True, slots=True)
class Fold:
    """One cutoff (an ordinal of the panel's grid) and what its forecasts are for."""

    cutoff: int
    kind: Kind


@dataclass(frozen=True)
class Task:
    """One fit and the forecasts made from it, as plain data that travels to any process.

    cutoffs: the cutoffs forecast from this fit (more than one without refitting). series: first and
    last (exclusive) number of the series, or None for all. after: earlier cutoffs, oldest first, that
    the model is fitted at and whose sums this fit may begin with, see `engine.growing`. save: keep the
    fitted model. explain: keep what drives it, see `engine.drivers`. limit_seconds, fresh: what the
    executor is asked for, see `engine.executors`.
    """

    name: str
    model: str
    kind: Kind
    fit_cutoff: int
    cutoffs: list[int]
    seed: int
    series: tuple[int, int] | None = None
    after: list[int] = field(default_factory=list)
    save: bool = False
    explain: bool = False
    limit_seconds: float | None = None
    fresh: bool = False

    def plain(self) -> dict[str, Any]:
        """JSON types only."""
        data = asdict(self)
        data["series"] = list(self.series) if self.series else None
        return data

    @classmethod
    def of(cls, data: dict[str, Any]) -> Task:
        """The task of its plain data."""
        series = data.get("series")
        return cls(**{**data, "series": tuple(series) if series else None})


@dataclass(frozen=True)
class Eligible:
    """Which series are forecast at a cutoff.

    index: numbers of the series in the panel. skipped: (unique_id, reason) of those that have begun
    and still cannot be forecast.
    """

    index: npt.NDArray[np.int64]
    skipped: list[tuple[str, str]] = field(default_factory=list)


def make_folds(panel: Panel, spec: RunSpec) -> list[Fold]:
    """Calibration and backtest folds, oldest first; the last one is as late as the data allow.

    DataError if the history is too short for the folds asked for.
    """
    reach = spec.gap + spec.horizon
    step = spec.backtest.step_size or spec.horizon
    last = panel.end - reach
    cutoffs = [last - step * i for i in range(spec.backtest.folds)]
    first = int(panel.starts.min())
    if cutoffs[-1] < first:
        span = panel.end - first + 1
        needed = reach + step * (spec.backtest.folds - 1) + 1
        raise DataError(
            f"the longest history has {span} periods, but {spec.backtest.folds} folds of horizon "
            f"{spec.horizon} with gap {spec.gap} and step_size {step} need at least {needed}",
            hint="use fewer folds, a smaller step_size or a shorter horizon",
        )
    folds = [Fold(c, "backtest") for c in cutoffs]
    for i in range(spec.backtest.calibration):
        cutoff = last - step * (spec.backtest.folds + i)
        if cutoff > first:
            folds.append(Fold(cutoff, "calibration"))
    _someone_to_forecast(panel, cutoffs, spec)
    return sorted(folds, key=lambda fold: fold.cutoff)


def _someone_to_forecast(panel: Panel, cutoffs: Sequence[int], spec: RunSpec) -> None:
    """A backtest without a single series that can be forecast is an error, not an empty result."""
    first: tuple[str, str] | None = None
    for cutoff in cutoffs:
        able = eligible(panel, cutoff, spec)
        if able.index.size:
            return
        first = first or next(iter(able.skipped), None)
    reason = f"; e.g. {first[0]}: {first[1]}" if first else ""
    raise DataError(
        f"none of the {panel.n_series} series can be forecast at any of the {len(cutoffs)} cutoffs"
        f"{reason}",
        hint="lower data.series.min_history, raise stale_after, or use fewer folds",
    )


def eligible(panel: Panel, cutoff: int, spec: RunSpec) -> Eligible:
    """Series with enough observed history at a cutoff; the others with the reason."""
    rules = spec.data.series
    # Rows without a value are few: they are counted, not those with one.
    missing = (~panel.frame["y"].is_finite().fill_null(False)).arg_true().to_numpy()
    missing = missing.astype(np.int64)
    first_row = panel.offsets[:-1]
    after = first_row + np.clip(cutoff + 1 - panel.starts, 0, panel.lengths)
    end = np.searchsorted(missing, after)
    counts = after - first_row - (end - np.searchsorted(missing, first_row))
    last_seen = panel.starts + _last_other(missing, after, end) - first_row
    last_seen = np.where(counts > 0, last_seen, -(1 << 60))
    begun = panel.starts <= cutoff
    short = begun & (counts < max(rules.min_history, 1))
    stale = np.zeros_like(begun)
    if rules.stale_after is not None:
        stale = begun & ~short & (cutoff - last_seen >= rules.stale_after)
    ids = panel.ids
    skipped = [
        (ids[i], f"too short: {counts[i]} observed values, min_history is {rules.min_history}")
        for i in np.flatnonzero(short)
    ]
    skipped += [
        (ids[i], f"ended: no observation in the last {int(cutoff - last_seen[i])} periods")
        for i in np.flatnonzero(stale)
    ]
    return Eligible(np.flatnonzero(begun & ~short & ~stale), skipped)


def _last_other(rows: IntArray, before: IntArray, place: IntArray) -> IntArray:
    """The last row before each of some rows that is not among `rows`; place: where those would stand."""
    if not rows.size:
        return before - 1
    begins = np.append(True, np.diff(rows) != 1)
    # Of a run of rows without a gap, the row before its first one.
    run_before = rows[np.maximum.accumulate(np.where(begins, np.arange(rows.size), 0))] - 1
    last = np.maximum(place - 1, 0)
    among = (place > 0) & (rows[last] == before - 1)
    found: IntArray = np.where(among, run_before[last], before - 1)
    return found


def not_begun(panel: Panel, cutoff: int) -> list[str]:
    """Series that begin after a cutoff but have targets in its fold are new: listed, not forecast."""
    ids = panel.ids
    return [ids[i] for i in np.flatnonzero(panel.starts > cutoff)]


def backtest_tasks(
    panel: Panel, spec: RunSpec, folds: Sequence[Fold], able: dict[str, Capabilities]
) -> list[Task]:
    """Tasks of all models on all folds.

    Calibration folds are for models that are judged by earlier residuals: those without quantiles of
    their own, and those with a bias correction. Those of the last possible cutoff explain their fit
    as well.
    """
    tasks: list[Task] = []
    last = panel.end - spec.gap - spec.horizon
    for model in spec.models:
        used = _folds_of(spec, model, able[model], folds)
        shards = _shards(panel, able[model])
        if spec.backtest.refit:
            chain = _chain(spec, model, able[model], used)
            for fold in used:
                made = _tasks(spec, model, fold.kind, fold.cutoff, [fold.cutoff], shards)
                earlier = [cutoff for cutoff in chain if cutoff < fold.cutoff]
                tasks += [replace(task, after=earlier) for task in made]
        else:
            cutoffs = [fold.cutoff for fold in used]
            tasks += _tasks(spec, model, "backtest", cutoffs[0], cutoffs, shards)
    return _long_first([replace(task, explain=last in task.cutoffs) for task in tasks])


def final_tasks(
    panel: Panel,
    spec: RunSpec,
    models: Iterable[str],
    able: dict[str, Capabilities],
    folds: Sequence[Fold] = (),
) -> list[Task]:
    """Tasks that forecast beyond the data, from the panel's end; folds: of the back-test before."""
    tasks: list[Task] = []
    for model in models:
        shards = _shards(panel, able[model])
        made = _tasks(spec, model, "final", panel.end, [panel.end], shards)
        earlier = _chain(spec, model, able[model], _folds_of(spec, model, able[model], folds))
        tasks += [replace(task, after=earlier) for task in made]
    return _long_first(tasks)


def _folds_of(spec: RunSpec, model: str, able: Capabilities, folds: Sequence[Fold]) -> list[Fold]:
    """The folds that a model is fitted for: not all want those for calibration."""
    earlier = not able.quantiles or model in spec.corrections
    return [fold for fold in folds if fold.kind == "backtest" or earlier]


def _chain(spec: RunSpec, model: str, able: Capabilities, used: Sequence[Fold]) -> list[int]:
    """Cutoffs of the fits of a model whose older rows are the same in every later fit.

    They are not with a scale, which changes with the cutoff, nor where the oldest rows drop out, the
    columns are chosen anew, or a gap is filled by the value after it.
    """
    use = spec.models[model]
    sliding = use.window is not None or spec.backtest.size is not None
    anew = use.scale != "none" or use.select_features is not None
    anew = anew or spec.data.missing.y == "interpolate"
    if not able.mergeable or not spec.backtest.refit or sliding or anew:
        return []
    return sorted(fold.cutoff for fold in used)


def _long_first(tasks: list[Task]) -> list[Task]:
    """Long tasks first, so that no worker waits for one at the end; results do not depend on it.

    A fit that is explained takes longer than the others, but one that may begin with the sums of
    earlier fits is to follow them.
    """
    return sorted(
        tasks, key=lambda task: (task.series is not None, bool(task.after) or not task.explain)
    )


def _shards(panel: Panel, able: Capabilities) -> list[tuple[int, int] | None]:
    """Cut the series of local models into a number of sets that does not depend on the workers."""
    n_series = panel.n_series
    most = MAX_SHARDS
    if able.vectorized:
        most = min(most, math.ceil(panel.frame.height / VECTORIZED_ROWS))
    if able.scope != "local" or most <= 1:
        return [None]
    size = max(32, math.ceil(n_series / most))
    return [(i, min(i + size, n_series)) for i in range(0, n_series, size)]


def _tasks(
    spec: RunSpec,
    model: str,
    kind: Kind | str,
    fit_cutoff: int,
    cutoffs: list[int],
    shards: Sequence[tuple[int, int] | None],
) -> list[Task]:
    made = []
    for number, shard in enumerate(shards):
        part = "" if shard is None else f"/{number}"
        name = f"{model}/{kind}/{fit_cutoff}{part}"
        made.append(
            Task(
                name=name,
                model=model,
                kind=kind,  # type: ignore[arg-type]
                fit_cutoff=fit_cutoff,
                cutoffs=cutoffs,
                seed=task_seed(spec.seed, name),
                series=shard,
                save=kind == "final",
                limit_seconds=spec.run.task_seconds,
                fresh=model in spec.measured,
            )
        )
    return made


def task_seed(seed: int, name: str) -> int:
    """A task's own seed from the run's seed and a stable hash of its name, never from order."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def actuals(panel: Panel, cutoffs: Iterable[int]) -> pl.DataFrame:
    """Observed values `unique_id, ds, y` after the first of the cutoffs."""
    first = panel.grid.timestamp(min(cutoffs))
    return panel.frame.filter(pl.col("ds") > first, pl.col("y").is_not_null()).select(
        "unique_id", "ds", "y"
    )
