"""Middle-out: a model sees sums over groups of series, and each sum's forecast is shared out again.

Sums are far less noisy than their parts, so that a weekly pattern, a holiday or a trend is learned
from them at a fraction of the cost; the parts add up to the forecast of their group (Hyndman &
Athanasopoulos, Forecasting: Principles and Practice, 11.3). Everything is made of what was cut at
the cutoff, so that nothing here can look ahead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.contracts import Prediction
from engine.data.panel import Future, IntArray, Panel

GROUP = "group"


@dataclass(frozen=True)
class Aggregated:
    """Groups of series as a panel of their own, and what is needed to come back from it.

    history, future: one series a group. member: int64 (n_series,), the group of each series. share:
    float64 (n_series,), its part of the group's forecast; the parts of a group add up to 1.
    """

    history: Panel
    future: Future
    member: IntArray
    share: npt.NDArray[np.float64]

    def shared_out(self, prediction: Prediction) -> Prediction:
        """Forecasts of the series from those of the groups: (n_series, gap + horizon).

        Quantiles of a sum say nothing of its parts, so that there are none: the engine calibrates.
        """
        failures = {
            int(series): f"its group {self.history.ids[group]!r} failed: {reason}"
            for group, reason in prediction.failures.items()
            for series in np.flatnonzero(self.member == group)
        }
        y_hat = prediction.y_hat[self.member] * self.share[:, None]
        return Prediction(y_hat, failures=failures)


def aggregated(history: Panel, future: Future, by: Sequence[str], share: int) -> Aggregated:
    """Sums over the series with the same values of `by` (key or static columns; none: all series).

    y is the sum of what is observed, covariates are means over the series (a category is kept where
    they agree), keys and static columns are kept where they agree. share: the last so many periods,
    whose mean is a series' part; without any sales in a group all its series get the same part.
    """
    labels, member = _groups(history.series, by)
    names = pl.Series("unique_id", labels).cast(pl.Enum(labels))
    starts = np.full(len(labels), np.iinfo(np.int64).max)
    np.minimum.at(starts, member, history.starts)
    # A group begins with its first series and all end together: it has a row for every period.
    lengths = history.end - starts + 1
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    place = np.repeat((offsets[:-1] - starts)[member] + history.starts, history.lengths)
    within = np.arange(place.size) - np.repeat(history.offsets[:-1], history.lengths)
    cells = _Cells(place + within, int(offsets[-1]))
    rows = pl.Series(np.repeat(np.arange(len(labels)), lengths))
    periods = pl.Series(np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths))
    frame = pl.DataFrame(
        [
            names.gather(rows),
            history.grid.timestamps(periods),
            cells.total(history.frame["y"]),
            *_means(history.frame, cells, history),
        ]
    )
    summed = replace(
        history,
        frame=frame.select(history.frame.columns),
        series=_agreed(history.series, member, names),
        offsets=offsets,
        starts=starts,
    )
    return Aggregated(
        summed, _coming(history, future, names, member), member, _shares(history, member, share)
    )


def _coming(history: Panel, future: Future, names: pl.Series, member: IntArray) -> Future:
    """What is known ahead of each group: means over its series."""
    steps, count = future.ahead_max, len(names)
    ahead = np.arange(steps)
    cells = _Cells((member[:, None] * steps + ahead).ravel(), count * steps)
    one = future.frame.select("ds", "ahead").head(steps)
    frame = pl.concat([one] * count).hstack(
        [names.gather(np.repeat(np.arange(count), steps)), *_means(future.frame, cells, history)]
    )
    return replace(future, frame=frame.select(future.frame.columns), n_series=count)


@dataclass(frozen=True)
class _Cells:
    """Which cell, a group and a period, each row belongs to: int64 (rows,); cells are `count` many.

    Sums go through the rows in their order, so that they are the same on every run.
    """

    index: IntArray
    count: int

    def total(self, values: pl.Series) -> pl.Series:
        """Sum of what is observed in each cell, null where nothing is."""
        seen, sums = self._sums(values)
        return pl.Series(values.name, np.where(seen > 0, sums, np.nan), nan_to_null=True)

    def mean(self, values: pl.Series) -> pl.Series:
        """Mean of what is observed in each cell, null where nothing is."""
        seen, sums = self._sums(values)
        means = np.where(seen > 0, sums / np.maximum(seen, 1), np.nan)
        return pl.Series(values.name, means, nan_to_null=True)

    def _sums(self, values: pl.Series) -> tuple[IntArray, npt.NDArray[np.float64]]:
        """Observed values of each cell, and their sum."""
        if values.null_count():
            seen = np.bincount(self.index[values.is_not_null().to_numpy()], minlength=self.count)
        else:
            seen = self._size
        if values.dtype == pl.Boolean:
            # Few days are of an event: those that are, are counted.
            up = (values.fill_null(False) if values.null_count() else values).to_numpy()
            return seen, np.bincount(self.index[up], minlength=self.count).astype(np.float64)
        weights = values.cast(pl.Float64).fill_null(0.0).to_numpy()
        sums: npt.NDArray[Any] = np.bincount(self.index, weights=weights, minlength=self.count)
        return seen, sums

    @cached_property
    def _size(self) -> IntArray:
        """Rows of each cell."""
        return np.bincount(self.index, minlength=self.count)


def _groups(series: pl.DataFrame, by: Sequence[str]) -> tuple[list[str], IntArray]:
    """Sorted names of the groups, and the number of each series' group."""
    if not by:
        return ["all"], np.zeros(series.height, dtype=np.int64)
    texts = [pl.col(c).cast(pl.String).fill_null("null") for c in by]
    label = series.select(pl.concat_str(texts, separator="/")).to_series()
    labels = label.unique().sort()
    return labels.to_list(), label.cast(pl.Enum(labels)).to_physical().to_numpy().astype(np.int64)


def _means(frame: pl.DataFrame, cells: _Cells, history: Panel) -> Iterator[pl.Series]:
    """Covariates of the cells: means of numbers, categories where all rows agree."""
    columns = [c for c in history.roles.covariates if c in frame.columns]
    numbers = set(history.numeric(columns))
    for column in columns:
        if column in numbers:
            yield cells.mean(frame[column])
    texts = [c for c in columns if c not in numbers]
    if texts:
        same = [pl.when(pl.col(c).n_unique() == 1).then(pl.col(c).first()).alias(c) for c in texts]
        rows = frame.select(pl.Series(GROUP, cells.index), *texts)
        yield from rows.group_by(GROUP).agg(same).sort(GROUP).drop(GROUP).get_columns()


def _agreed(series: pl.DataFrame, member: IntArray, names: pl.Series) -> pl.DataFrame:
    """One row a group: `unique_id` and those values of the other columns that its series share."""
    others = [c for c in series.columns if c != "unique_id"]
    made = (
        series.with_columns(pl.Series(GROUP, member))
        .group_by(GROUP)
        .agg(pl.when(pl.col(c).n_unique() == 1).then(pl.col(c).first()).alias(c) for c in others)
        .sort(GROUP)
    )
    return made.select(names, *others)


def _shares(history: Panel, member: IntArray, periods: int) -> npt.NDArray[np.float64]:
    """Part of each series in its group: its mean over the last periods, never below 0."""
    tail = history.tail(periods)
    y = np.nan_to_num(tail.y())
    total: npt.NDArray[Any] = np.add.reduceat(y, tail.offsets[:-1])
    # Over the same periods for all: a series that has just begun has not sold before.
    level = np.maximum(total, 0.0)
    whole = np.bincount(member, weights=level)[member]
    size = np.bincount(member)[member]
    return np.where(whole > 0, level / np.where(whole > 0, whole, 1.0), 1.0 / size)
