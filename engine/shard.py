"""Some whole series with the values of their features, and the design rows that they give.

A design row for cutoff t and target u = t + a is `history[t] + aligned[u] + known[u] + static`. In a
bucket of steps k1..k2 every target is used once: cutoffs lie k2 - k1 + 1 periods apart, counted back
from the panel's end, so that the buckets tile time and the newest targets are always used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
import numpy.typing as npt

from engine.columns import Column, Rows, Steps, Stretch
from engine.contracts import DesignBlock, Feature
from engine.data.panel import IntArray, Panel
from engine.features import FeaturePlan, Matrix, columns_of

Ahead = tuple[int, int]
"""First and last period ahead of a bucket of steps, the gap included."""


def bucket_ranges(buckets: Sequence[int], gap: int) -> list[Ahead]:
    """Periods ahead of each bucket, given the last step of each."""
    starts = [1, *(last + 1 for last in buckets[:-1])]
    return [(gap + a, gap + b) for a, b in zip(starts, buckets, strict=True)]


@dataclass(frozen=True)
class FeatureValues:
    """Feature values of a panel's rows, a column a feature; static ones as (features, n_series)."""

    history: Sequence[Column]
    aligned: Sequence[Column]
    known: Sequence[Column]
    static: Matrix


@dataclass(frozen=True)
class DesignShard:
    """Whole series with the values of their features.

    offset: number of the first series among all. window: only targets of the last so many periods
    count.
    """

    offset: int
    panel: Panel
    values: FeatureValues
    plan: FeaturePlan
    window: int | None

    @cached_property
    def index(self) -> npt.NDArray[np.int32]:
        """Number of the series of each row within the shard: (rows,)."""
        return self.panel.series_index

    @cached_property
    def y(self) -> npt.NDArray[np.float64]:
        """Target of each row, NaN where missing: (rows,)."""
        return self.panel.y()

    @cached_property
    def age(self) -> npt.NDArray[np.int32]:
        """Periods between each row and the newest one: (rows,)."""
        panel = self.panel
        newest = (panel.end - panel.starts + panel.offsets[:-1]).astype(np.int32)
        rows: npt.NDArray[np.int32] = np.repeat(newest, panel.lengths)
        rows -= np.arange(rows.size, dtype=np.int32)
        return rows

    @cached_property
    def _wanted(self) -> npt.NDArray[np.bool_]:
        """Rows that are targets, if their series is old enough: (rows,)."""
        observed = np.isfinite(self.y)
        return observed if self.window is None else observed & (self.age < self.window)

    def ahead(self, bucket: Ahead) -> Steps:
        """Periods between every row as a target and its cutoff: (rows,)."""
        first, last = bucket
        if first == last:
            return np.full(self.age.size, first, dtype=np.int32)
        ahead: Steps = first + (-(self.age + first)) % np.int32(last - first + 1)
        return ahead

    def usable(self, ahead: Steps) -> npt.NDArray[np.bool_]:
        """Observed targets with a cutoff within their series: (rows,)."""
        return self._wanted & (ahead <= self._since_start)

    @cached_property
    def _since_start(self) -> npt.NDArray[np.int32]:
        """Which row of its series each is, from 0: (rows,)."""
        starts = np.repeat(self.panel.offsets[:-1].astype(np.int32), self.panel.lengths)
        rows: npt.NDArray[np.int32] = np.arange(starts.size, dtype=np.int32) - starts
        return rows

    def block(self, bucket: Ahead) -> DesignBlock:
        """The design rows of a bucket: every observed target once, with a cutoff in its series."""
        ahead: Steps | int
        target: Rows | None = self.stretch(bucket)
        if target is not None:
            ahead = bucket[0]
        else:
            of_rows = self.ahead(bucket)
            row = np.flatnonzero(self.usable(of_rows))
            target, ahead = Rows(row, self.index[row]), of_rows[row]
        X = gather(self.panel, self.values, self.plan, ahead, target.before(ahead), target, target)
        return DesignBlock(
            X=X,
            y=target.of(self.y),
            series=target.series + np.int32(self.offset),
            step=np.full(len(target), ahead, dtype=np.int16),
            age=target.of(self.age),
        )

    def aligned(self, number: int, target: Rows, ahead: Steps | int) -> npt.NDArray[np.float32]:
        """The aligned feature of this number for targets so far ahead: float32 (rows,)."""
        feature = self.plan.of("aligned")[number]
        return _read_aligned(self.panel, self.values.aligned[number], feature, target, ahead)

    def stretch(self, bucket: Ahead) -> Stretch | None:
        """The targets of a bucket of one step if they are the same in all series, read more quickly."""
        lengths = self.panel.lengths
        first, last = bucket
        length = int(lengths[0])
        if first == last < length and (lengths == length).all() and self._wanted.all():
            return Stretch(lengths.size, length, first, length - first)
        return None


def gather(
    panel: Panel,
    values: FeatureValues,
    plan: FeaturePlan,
    ahead: Steps | int,
    origin: Rows,
    target: Rows,
    known: Rows,
) -> npt.NDArray[np.float32]:
    """Design rows in the order of the plan, column-major.

    origin, known: where history and known values are read. target: rows of `panel`, which may lie after
    the last one of their series.
    """
    X = np.empty((len(target), len(plan.features)), dtype=np.float32, order="F")
    numbers = {"history": 0, "aligned": 0, "known": 0, "static": 0}
    column = 0
    for availability, alike in groupby(plan.features, key=lambda feature: feature.availability):
        group = [*alike]
        first = numbers[availability]
        last = numbers[availability] = first + len(group)
        out = X.T[column : column + len(group)]
        column += len(group)
        if availability == "history":
            origin.write(values.history[first:last], out)
        elif availability == "known":
            known.write(values.known[first:last], out)
        elif availability == "static":
            np.take(values.static[first:last], target.series, axis=1, out=out, mode="clip")
        else:
            for feature, own, into in zip(group, values.aligned[first:last], out, strict=True):
                into[:] = _read_aligned(panel, own, feature, target, ahead)
    return X


def values_of(
    tail: Panel, plan: FeaturePlan, known: Sequence[Column], static: Matrix
) -> FeatureValues:
    """Features of the rows of a history's end, beside what is known and static."""
    history = columns_of(tail.frame, plan.of("history"))
    return FeatureValues(history, columns_of(tail.frame, plan.of("aligned")), known, static)


def rows_after(
    tail: Panel, values: FeatureValues, plan: FeaturePlan, ahead: Steps, first_known: IntArray
) -> Matrix:
    """Design rows of all series for targets after the end, a step after the other: (rows, features).

    ahead: periods of each row after the end, all series of a step together. first_known: the row of
    each series' first target among the known values.
    """
    index = np.arange(tail.n_series, dtype=np.int32)
    index = np.tile(index, ahead.size // max(index.size, 1))
    last, known = (tail.offsets[1:] - 1)[index], first_known[index] + ahead - 1
    origin, target = Rows(last, index), Rows(last + ahead, index)
    return gather(tail, values, plan, ahead, origin, target, Rows(known, index))


def _read_aligned(
    panel: Panel, column: Column, feature: Feature, target: Rows, ahead: Steps | int
) -> npt.NDArray[np.float32]:
    """Values the smallest known multiple of the season before the target, NaN outside the series."""
    source = target.row - feature.season * -(-ahead // feature.season)
    index = target.series
    first_row, last_row = panel.offsets[:-1][index], panel.offsets[1:][index] - 1
    out = Rows(np.clip(source, first_row, last_row), index).read(column)
    out[(source < first_row) | (source > last_row)] = np.nan
    return out
