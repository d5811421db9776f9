"""Many steps from models of design rows: the `direct` and `recursive` strategies.

`direct` fits one model for each bucket of steps, `recursive` one for a single step, whose forecasts it
feeds back. `engine.design` makes the rows that models are trained on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.blocks import complete, rows_of, spread_over
from engine.components import Capabilities
from engine.contracts import (
    DesignBlock,
    DesignModel,
    FittedDesignModel,
    Prediction,
    Training,
)
from engine.data.panel import Future, Panel
from engine.design import (
    EVERYTHING,
    SharedDesign,
    SharedModel,
    lookback_of,
    shared_design,
    tail_for,
    tail_of,
)
from engine.errors import DataError
from engine.features import (
    FeaturePlan,
    columns_of,
    evaluate_static,
    known_rows,
)
from engine.mergeable import Statistics
from engine.recursion import rows_ahead
from engine.shard import FeatureValues, bucket_ranges, rows_after, values_of

_PREDICT_ROWS = 65_536
"""Rows that are forecast at a time, but never less than one of every series."""


def no_rows(n_series: int) -> DataError:
    """A model that cannot be fitted because no target has a cutoff in its series."""
    return DataError(
        f"the training design of {n_series} series has no rows",
        hint="give more history than the longest lag, or use fewer lags",
    )


def default_buckets(horizon: int) -> list[int]:
    """Last step of each bucket: one a step up to 7 steps, else four of nearly equal size."""
    if horizon <= 7:
        return list(range(1, horizon + 1))
    return [round(horizon * part / 4) for part in (1, 2, 3, 4)]


@dataclass(frozen=True)
class Sums:
    """What a model that only adds up needs of its training rows.

    end: the newest period that they hold. parts: statistics of each bucket, None for one without rows.
    """

    end: int
    parts: tuple[Statistics | None, ...]


@dataclass(frozen=True)
class TabularModel:
    """A model of design rows made into one of whole series.

    buckets: last step of each bucket (direct), or None for the recursive strategy.
    window: only targets of the last so many periods are trained on. shard_rows: rows whose features
    are held at once; None: `SHARD_ROWS`, or all of them below `CACHE_BYTES`. able: what the model
    takes; rows in which a feature is missing and attributes of series are left out if it does not.
    """

    model: DesignModel
    plan: FeaturePlan
    buckets: Sequence[int] | None
    window: int | None
    shard_rows: int | None = None
    able: Capabilities = EVERYTHING

    def fit(self, train: Training) -> FittedTabular:
        """Fit one model per bucket (direct) or one for a single step (recursive)."""
        if self._adding is not None:
            return self.solved(train, self.sums(train))
        fitted: list[FittedDesignModel] = []
        ranges = self._ranges(train.gap)
        for number, design in enumerate(self._shared(train, self.window).designs):
            train.report("bucket", {"bucket": number + 1, "of": len(ranges)})
            fitted.append(self.model.fit(design))
        return self._fitted(train, fitted)

    @property
    def grows(self) -> bool:
        """Whether sums of an earlier fit may be a part of those of a later one."""
        adding = self._adding
        return adding is not None and adding.cumulative and self.window is None

    def reaches(self, periods: int, gap: int) -> bool:
        """Whether a fit so many periods after another reads the older rows at the same steps ahead."""
        return all(periods % (last - first + 1) == 0 for first, last in self._ranges(gap))

    def sums(self, train: Training, earlier: Sums | None = None) -> Sums:
        """Sums of all rows; with those of an earlier fit only the targets since then are read.

        Only for a model that adds up. The panel of `earlier` had the same series, `grows` holds, and
        the periods since are such that `reaches` holds.
        """
        adding, end = self._adding, train.panel.end
        assert adding is not None
        if earlier is None:
            return Sums(end, tuple(adding.statistics_all(self._shared(train, self.window))))
        new = end - earlier.end
        recent = replace(train, panel=self._recent(train, new))
        added = adding.statistics_all(self._shared(recent, new))
        pairs = zip(earlier.parts, added, strict=True)
        parts = (adding.merge(a, b) if a and b else a or b for a, b in pairs)
        return Sums(end, tuple(parts))

    def solved(self, train: Training, sums: Sums) -> FittedTabular:
        """The fitted model of sums; a DataError if a bucket has no rows."""
        adding = self._adding
        assert adding is not None
        fitted: list[FittedDesignModel] = []
        for design, part in zip(self._shared(train, self.window).designs, sums.parts, strict=True):
            if part is None:
                raise no_rows(train.panel.n_series)
            fitted.append(adding.solve(design, part))
        return self._fitted(train, fitted)

    @property
    def _adding(self) -> SharedModel | None:
        """The model if all it wants of its rows are sums of all of them."""
        adds = isinstance(self.model, SharedModel) and self.able.missing_values
        return self.model if adds else None  # type: ignore[return-value]

    def _ranges(self, gap: int) -> list[tuple[int, int]]:
        return [(1, 1)] if self.buckets is None else bucket_ranges(self.buckets, gap)

    def _shared(self, train: Training, window: int | None) -> SharedDesign:
        ranges = self._ranges(train.gap)
        return shared_design(train, self.plan, ranges, window, self.shard_rows, self.able)

    def _recent(self, train: Training, periods: int) -> Panel:
        """The end of the training panel, enough for the rows of the last targets."""
        ahead = max(last for _, last in self._ranges(train.gap))
        features = self.plan.of("history", "aligned", "known")
        seasons = (-(-ahead // f.season) * f.season for f in features if f.season)
        return tail_of(train.panel, features, periods + max([ahead, *seasons]))

    def _fitted(self, train: Training, fitted: Sequence[FittedDesignModel]) -> FittedTabular:
        ids, ranges = tuple(train.panel.ids), self._ranges(train.gap)
        recursive, asked = self.buckets is None, train.quantiles
        return FittedTabular(
            fitted, ranges, self.plan, recursive, asked, ids, self.able.missing_values
        )


@dataclass(frozen=True)
class FittedTabular:
    """One fitted model per range of periods ahead; implements `FittedPanelModel`."""

    fitted: Sequence[FittedDesignModel]
    ranges: Sequence[tuple[int, int]]
    plan: FeaturePlan
    recursive: bool
    quantiles: tuple[float, ...]
    ids: tuple[str, ...]
    missing_values: bool = True
    _kept: list[tuple[Panel, Panel, FeatureValues]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    def predict(self, history: Panel, future: Future) -> Prediction:
        """All steps of all series, shapes (n_series, gap + horizon[, quantile])."""
        return self._recursive(history, future) if self.recursive else self._direct(history, future)

    def _trained_as(self, panel: Panel) -> npt.NDArray[np.int32]:
        """The number that each series had in training, -1 for those that were not there."""
        if tuple(panel.ids) == self.ids:
            return np.arange(panel.n_series, dtype=np.int32)
        number = {unique_id: i for i, unique_id in enumerate(self.ids)}
        return np.array([number.get(u, -1) for u in panel.ids], dtype=np.int32)

    def _direct(self, history: Panel, future: Future) -> Prediction:
        tail, past = self._past(history)
        rows, first_future = known_rows(history, future, lookback_of(self.plan.of("known"), 1))
        values = replace(past, known=columns_of(rows, self.plan.of("known")))
        n, ahead_max = history.n_series, future.ahead_max
        y_hat = np.full((n, ahead_max), np.nan)
        quantiles: npt.NDArray[np.float64] | None = None
        failures: dict[int, str] = {}
        series = self._trained_as(tail)
        at_once = max(_PREDICT_ROWS // max(n, 1), 1)
        for model, (first, last) in zip(self.fitted, self.ranges, strict=True):
            for begin in range(first, last + 1, at_once):
                steps = np.arange(begin, min(begin + at_once, last + 1), dtype=np.int32)
                ahead = np.repeat(steps, n)
                block = DesignBlock(
                    X=rows_after(tail, values, self.plan, ahead, first_future),
                    y=np.empty(0),
                    series=np.tile(series, steps.size),
                    step=ahead.astype(np.int16),
                    age=np.zeros(ahead.size, dtype=np.int32),
                )
                made = self._asked(model, block, n, failures)
                y_hat[:, steps - 1] = made.y_hat.reshape(steps.size, n).T
                if made.quantiles is not None:
                    if quantiles is None:
                        quantiles = np.full((n, ahead_max, len(self.quantiles)), np.nan)
                    by_step = made.quantiles.reshape(steps.size, n, len(self.quantiles))
                    quantiles[:, steps - 1] = by_step.swapaxes(0, 1)
        return Prediction(y_hat, quantiles, failures)

    def _past(self, history: Panel) -> tuple[Panel, FeatureValues]:
        """The end of a history and its features, without known ones; made once for many futures."""
        if not self._kept or self._kept[0][0] is not history:
            tail = tail_for(history, self.plan)
            static = evaluate_static(tail.series, self.plan.of("static"))
            self._kept[:] = [(history, tail, values_of(tail, self.plan, (), static))]
        return self._kept[0][1:]

    def _asked(
        self,
        model: FittedDesignModel,
        block: DesignBlock,
        n_series: int,
        failures: dict[int, str],
    ) -> Prediction:
        """A model's forecast of rows of all series, a step after the other.

        What it cannot forecast goes to `failures`, by the number of the series among those.
        """
        rows = np.ones(block.series.size, bool) if self.missing_values else complete(block)
        for row in np.flatnonzero(~rows):
            lost = self.plan.names[int(np.flatnonzero(np.isnan(block.X[row]))[0])]
            reason = f"feature {lost!r} is missing, and the model takes no missing values"
            failures.setdefault(int(row) % n_series, reason)
        if not rows.any():
            return Prediction(np.full(rows.size, np.nan))
        made = model.predict(block if rows.all() else rows_of(block, rows))
        for number, reason in made.failures.items():
            for row in np.flatnonzero(rows & (block.series == number)):
                failures.setdefault(int(row) % n_series, reason)
        return made if rows.all() else spread_over(made, rows)

    def _recursive(self, history: Panel, future: Future) -> Prediction:
        """Each forecast becomes the last known value of the next one.

        Quantiles of one step say nothing of a later one: the engine calibrates those of all steps.
        """
        failures: dict[int, str] = {}
        n, rows = history.n_series, rows_ahead(history, future, self.plan)
        series = self._trained_as(history)
        y_hat = np.full((n, future.ahead_max), np.nan)
        for ahead in range(1, future.ahead_max + 1):
            step, age = np.ones(n, dtype=np.int16), np.zeros(n, dtype=np.int32)
            block = DesignBlock(rows.design(ahead), np.empty(0), series, step, age)
            y_hat[:, ahead - 1] = self._asked(self.fitted[0], block, n, failures).y_hat
            rows.put(ahead, y_hat[:, ahead - 1])
        return Prediction(y_hat, failures=failures)

    def save(self, folder: Path) -> None:
        """One folder per range, and the ranges as JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        for number, model in enumerate(self.fitted):
            model.save(folder / f"part-{number}")
        meta = {
            "ranges": [list(r) for r in self.ranges],
            "recursive": self.recursive,
            "features": self.plan.names,
            "quantiles": list(self.quantiles),
            "series": list(self.ids),
            "missing_values": self.missing_values,
        }
        (folder / "horizon.json").write_text(json.dumps(meta, indent=1))

    @classmethod
    def load(cls, folder: Path, factory: Any, plan: FeaturePlan) -> FittedTabular:
        """Load what `save` wrote; `factory` is the model's class, `plan` the run's features."""
        meta = json.loads((folder / "horizon.json").read_text())
        parts = [factory.load(folder / f"part-{i}") for i in range(len(meta["ranges"]))]
        ranges = [(int(a), int(b)) for a, b in meta["ranges"]]
        plan = plan.matching(meta["features"])
        quantiles, ids = tuple(meta["quantiles"]), tuple(meta["series"])
        recursive, holes = bool(meta["recursive"]), bool(meta.get("missing_values", True))
        return cls(parts, ranges, plan, recursive, quantiles, ids, holes)

    def tables(self) -> Mapping[str, pl.DataFrame]:
        """The parts' tables, with the periods ahead that each part is for."""
        collected: dict[str, list[pl.DataFrame]] = {}
        for model, (first, last) in zip(self.fitted, self.ranges, strict=True):
            for name, table in model.tables().items():
                place = [pl.lit(first).alias("ahead_first"), pl.lit(last).alias("ahead_last")]
                collected.setdefault(name, []).append(table.select(*place, pl.all()))
        return {name: pl.concat(parts) for name, parts in collected.items()}
