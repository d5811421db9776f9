"""Some whole series with the values of their features, and the design rows that they give.

A design row for cutoff t and target u = t + a is `history[t] + aligned[u] + known[u] + static`. In a
bucket of steps k1..k2 every target is used once: cutoffs lie k2 - k1 + 1 periods apart, counted back
from the panel's end, so that the buckets tile time and the newest targets are always used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.contracts import DesignBlock, Feature
from engine.data.panel import IntArray, Panel
from engine.features import FeaturePlan, Matrix

Ahead = tuple[int, int]
"""First and last period ahead of a bucket of steps, the gap included."""


def bucket_ranges(buckets: Sequence[int], gap: int) -> list[Ahead]:
    """Periods ahead of each bucket, given the last step of each."""
    starts = [1, *(last + 1 for last in buckets[:-1])]
    return [(gap + a, gap + b) for a, b in zip(starts, buckets, strict=True)]


@dataclass(frozen=True)
class FeatureValues:
    """Feature values of a panel's rows, each (features, rows); static (features, n_series)."""

    history: Matrix
    aligned: Matrix
    known: Matrix
    static: Matrix


@dataclass(frozen=True)
class TrainingRows:
    """Which rows of a shard are targets of a bucket, and how far ahead: int64 (rows,), increasing.

    History features of a row are those of the shard's row `target - ahead`.
    """

    target: IntArray
    ahead: IntArray


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

    def ahead(self, bucket: Ahead) -> npt.NDArray[np.int32]:
        """Periods between every row as a target and its cutoff: (rows,)."""
        first, last = bucket
        if first == last:
            return np.full(self.age.size, first, dtype=np.int32)
        ahead: npt.NDArray[np.int32] = first + (-(self.age + first)) % np.int32(last - first + 1)
        return ahead

    def usable(self, ahead: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """Observed targets with a cutoff within their series: (rows,)."""
        return self._wanted & (ahead <= self._since_start)

    @cached_property
    def _since_start(self) -> npt.NDArray[np.int32]:
        """Which row of its series each is, from 0: (rows,)."""
        starts = np.repeat(self.panel.offsets[:-1].astype(np.int32), self.panel.lengths)
        rows: npt.NDArray[np.int32] = np.arange(starts.size, dtype=np.int32) - starts
        return rows

    def rows(self, bucket: Ahead) -> TrainingRows:
        """Every observed target once, with a cutoff within its series before it."""
        ahead = self.ahead(bucket)
        target = np.flatnonzero(self.usable(ahead))
        return TrainingRows(target, ahead[target].astype(np.int64))

    def block(self, bucket: Ahead) -> DesignBlock:
        """The design rows of a bucket."""
        rows = self.rows(bucket)
        target, ahead = rows.target, rows.ahead
        index = self.index[target]
        X = gather(self.panel, self.values, self.plan, index, target - ahead, target, ahead, target)
        return DesignBlock(
            X=X,
            y=self.y[target],
            series=index + np.int32(self.offset),
            step=ahead.astype(np.int16),
            age=self.age[target],
        )

    def aligned(self, number: int, rows: TrainingRows) -> npt.NDArray[np.float32]:
        """The aligned feature of this number, read for rows of a bucket: float32 (rows,)."""
        feature = self.plan.of("aligned")[number]
        index = self.index[rows.target]
        return _read_aligned(
            self.panel, self.values.aligned[number], feature, index, rows.target, rows.ahead
        )


def gather(
    panel: Panel,
    values: FeatureValues,
    plan: FeaturePlan,
    index: npt.NDArray[np.integer[Any]],
    origin: IntArray,
    target: IntArray,
    ahead: IntArray,
    known: IntArray,
) -> npt.NDArray[np.float32]:
    """Design rows in the order of the plan, column-major.

    origin, target: rows of `panel` (a target may lie after its series' last row); known: rows of
    the known values.
    """
    X = np.empty((index.size, len(plan.features)), dtype=np.float32, order="F")
    place = {"history": 0, "aligned": 0, "known": 0, "static": 0}
    for column, feature in enumerate(plan.features):
        row = place[feature.availability]
        place[feature.availability] += 1
        # All rows are there, so that none needs clipping: it only spares the check of every one.
        if feature.availability == "history":
            np.take(values.history[row], origin, out=X[:, column], mode="clip")
        elif feature.availability == "known":
            np.take(values.known[row], known, out=X[:, column], mode="clip")
        elif feature.availability == "static":
            X[:, column] = values.static[row][index]
        else:
            X[:, column] = _read_aligned(panel, values.aligned[row], feature, index, target, ahead)
    return X


def _read_aligned(
    panel: Panel,
    values: npt.NDArray[np.float32],
    feature: Feature,
    index: npt.NDArray[np.integer[Any]],
    target: IntArray,
    ahead: IntArray,
) -> npt.NDArray[np.float32]:
    """Values the smallest known multiple of the season before the target, NaN outside the series."""
    source = target - feature.season * -(-ahead // feature.season)
    first_row, last_row = panel.offsets[:-1][index], panel.offsets[1:][index] - 1
    out: npt.NDArray[np.float32] = values[np.clip(source, first_row, last_row)]
    out[(source < first_row) | (source > last_row)] = np.nan
    return out
