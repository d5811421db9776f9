"""Middle-out: a model sees sums over groups of series, and each sum's forecast is shared out again.

Sums are far less noisy than their parts, so that a weekly pattern, a holiday or a trend is learned
from them at a fraction of the cost; the parts add up to the forecast of their group (Hyndman &
Athanasopoulos, Forecasting: Principles and Practice, 11.3). Everything is made of what was cut at
the cutoff, so that nothing here can look ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    frame, offsets, starts = _summed(history, member)
    names = pl.Series("unique_id", labels).cast(pl.Enum(labels))
    rows = np.repeat(np.arange(len(labels)), np.diff(offsets))
    named = frame.with_columns(names.gather(rows))
    summed = replace(
        history,
        frame=named.select(history.frame.columns),
        series=_agreed(history.series, member, names),
        offsets=offsets,
        starts=starts,
    )
    coming = _means(future.frame, np.repeat(member, future.ahead_max), "ahead", history)
    rows = np.repeat(np.arange(len(labels)), future.ahead_max)
    coming = coming.with_columns(names.gather(rows)).select(future.frame.columns)
    ahead = replace(future, frame=coming, n_series=len(labels))
    return Aggregated(summed, ahead, member, _shares(history, member, share))


def _groups(series: pl.DataFrame, by: Sequence[str]) -> tuple[list[str], IntArray]:
    """Sorted names of the groups, and the number of each series' group."""
    if not by:
        return ["all"], np.zeros(series.height, dtype=np.int64)
    texts = [pl.col(c).cast(pl.String).fill_null("null") for c in by]
    label = series.select(pl.concat_str(texts, separator="/")).to_series()
    labels = label.unique().sort()
    return labels.to_list(), label.cast(pl.Enum(labels)).to_physical().to_numpy().astype(np.int64)


def _summed(history: Panel, member: IntArray) -> tuple[pl.DataFrame, IntArray, IntArray]:
    """Rows of the groups, sorted, with their offsets and first ordinals.

    A group begins with its first series and all end together, so that it has a row for every period.
    """
    y = pl.when(pl.col("y").count() > 0).then(pl.col("y").sum())
    frame = _means(history.frame, np.repeat(member, history.lengths), "ds", history, y)
    count = int(member.max()) + 1
    lengths = np.bincount(frame[GROUP].to_numpy(), minlength=count)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    starts = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(starts, member, history.starts)
    return frame, offsets, starts


def _means(
    frame: pl.DataFrame, group: IntArray, time: str, history: Panel, *further: pl.Expr
) -> pl.DataFrame:
    """One row a group and `time`, sorted by both: means of the covariates that `frame` has."""
    columns = [c for c in history.roles.covariates if c in frame.columns]
    numbers = set(history.numeric(columns))
    wanted: list[pl.Expr] = [*further]
    for column in columns:
        value = pl.col(column)
        same = pl.when(value.n_unique() == 1).then(value.first())
        wanted.append(value.cast(pl.Float64).mean() if column in numbers else same.alias(column))
    if time != "ds":
        wanted.append(pl.col("ds").first())
    rows = frame.with_columns(pl.Series(GROUP, group))
    return rows.group_by(GROUP, time).agg(wanted).sort(GROUP, time)


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
