"""Sufficient statistics of all buckets of steps in one pass, without making their design rows.

The columns of a design row are of three kinds. *Common* ones (the constant, the target, what is
known of the target's date) are the same in every bucket: their products are summed once for all.
*Held* ones (history at the cutoff, statics) are the same for a run of targets that share a cutoff:
they are multiplied with the sums of a run's other columns. *Moving* ones (aligned features, products
across kinds) are the rest, and cost what a row costs. All of it is exact: the same sums as those of
`block_statistics`, in another order.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.columns import Rows, Steps
from engine.design import SharedDesign
from engine.shard import Ahead, DesignShard
from engine_ridge.flagged import Flagged
from engine_ridge.interactions import Products
from engine_ridge.layout import Kind, Layout, entries
from engine_ridge.statistics import (
    FEATURES,
    ONE,
    Basis,
    Integers,
    Statistics,
    Y,
    block_statistics,
    merge_all,
)

_ORDER: tuple[Kind, ...] = ("common", "held", "moving")

_CHUNK_ROWS = 16_384
"""Rows at a time: their columns stay in a core's cache between the products of all buckets."""

_CHUNK_VALUES = 400_000
"""Values at a time, if those rows have fewer: small products cost more calls than sums."""

_BASIS_ROWS = 8_192


def shared_statistics(
    shared: SharedDesign, products: Products, half_life: float | None
) -> list[Statistics | None]:
    """Statistics of each bucket over all shards; None for a bucket without rows.

    half_life: periods after which a row weighs half; None for equal weights.
    """
    parts: list[list[Statistics]] = []
    for number, part in enumerate(_of_shards(shared, products, half_life), start=1):
        parts.append(part)
        rows = sum(int(p[0].gram[0, ONE, ONE]) for p in parts if half_life is None)
        shared.designs[0].report("block", {"block": number, "rows": rows})
    return [
        merge_all(part[bucket] for part in parts if part[bucket].gram[0, ONE, ONE] > 0)
        for bucket in range(len(shared.buckets))
    ]


def _of_shards(
    shared: SharedDesign, products: Products, half_life: float | None
) -> Iterator[list[Statistics]]:
    layout = Layout.of(shared.features, products, shared.buckets)
    basis: Basis | None = None
    for shard in shared.shards():
        if not shard.panel.frame.height:
            continue
        basis = basis or _basis(shard, layout)
        sums = _Sums(shard, layout, basis, shared.buckets, half_life)
        made = sums.statistics()
        for bucket, part in zip(shared.buckets, made, strict=True):
            if not np.isfinite(part.gram).all():
                # Raises, and names the columns at fault.
                block_statistics(shard.block(bucket), basis, half_life, by_series=False)
        yield made


def _none_ahead(rows: Rows) -> Steps:
    return np.zeros(rows.row.size, dtype=np.int32)


def _basis(shard: DesignShard, layout: Layout) -> Basis:
    """Means of some rows, every feature read at the row itself; near the mean is enough."""
    height = shard.panel.frame.height
    target = np.arange(0, height, max(height // _BASIS_ROWS, 1))
    here = Rows(target, shard.index[target])
    y = shard.y[target]
    with np.errstate(invalid="ignore", over="ignore"):
        columns = [*layout.values(shard, range(len(layout.kinds)), here, _none_ahead(here))]
        values = np.stack(columns).astype(np.float64)
    observed = np.isfinite(values)
    total = np.where(observed, values, 0.0).sum(axis=1)
    shift = total / np.maximum(observed.sum(axis=1), 1)
    finite = y[np.isfinite(y)]
    return Basis(layout.products.names, shift, float(finite.mean()) if finite.size else 0.0)


class _Sums:
    """The sums of one shard, chunk by chunk, for every bucket."""

    def __init__(
        self,
        shard: DesignShard,
        layout: Layout,
        basis: Basis,
        buckets: tuple[Ahead, ...],
        half_life: float | None,
    ) -> None:
        self._shard, self._layout, self._basis = shard, layout, basis
        self._half_life = half_life
        self._buckets = buckets
        self._columns = {k: layout.of_kind(k) for k in _ORDER}
        may_miss = layout.missing(shard)
        self._missing = np.flatnonzero(may_miss)
        self._holes = {k: may_miss[c] for k, c in self._columns.items()}
        # Here the columns stand by kind, so that sums are added to slices.
        self._order = np.concatenate([self._places(k) for k in _ORDER])
        ends = np.cumsum([self._places(k).size for k in _ORDER])
        starts = [0, *ends[:-1]]
        self._slices = [slice(a, b) for a, b in zip(starts, ends, strict=True)]
        common, held, moving = (part.stop - part.start for part in self._slices)
        run = min(last - first + 1 for first, last in buckets)
        self._at_once = max(_CHUNK_ROWS, int(_CHUNK_VALUES / (common + moving + held / run)))
        self._gram = np.zeros((len(buckets), self._order.size, self._order.size))
        self._squares = np.zeros(len(buckets))

    @cached_property
    def _ahead(self) -> list[Steps]:
        return [self._shard.ahead(bucket) for bucket in self._buckets]

    def statistics(self) -> list[Statistics]:
        """Of every bucket: one group, all series."""
        stretch = self._shard.stretch(self._buckets[0]) if len(self._buckets) == 1 else None
        # An infinite value is found in the sums, and reported by name.
        with np.errstate(invalid="ignore", over="ignore"):
            if stretch is not None:
                for piece in stretch.pieces(self._at_once):
                    self._add_common(*self._common_columns(piece, self._buckets[0][0]))
            else:
                self._add_rows()
        one, group = np.zeros(1, dtype=np.int64), (1, self._order.size, self._order.size)
        common, held, moving = self._slices
        made = []
        for gram, squares in zip(self._gram, self._squares, strict=True):
            for low, high in ((common, held), (common, moving), (held, moving)):
                gram[low, high] = gram[high, low].T
            ordered = np.empty(group)
            ordered[0][np.ix_(self._order, self._order)] = (gram + gram.T) / 2
            made.append(Statistics(self._basis, self._missing, one, ordered, np.array([squares])))
        return made

    def _places(self, kind: Kind) -> Integers:
        """Where the columns of a kind stand among `[1, y, Z, M]`."""
        columns, features = self._columns[kind], len(self._basis.features)
        missing = np.searchsorted(self._missing, columns[self._holes[kind]])
        fixed = [ONE, Y] if kind == "common" else []
        parts: list[Any] = [fixed, FEATURES + columns, FEATURES + features + missing]
        return np.concatenate(parts).astype(np.int64)

    def _add_rows(self) -> None:
        usable = [self._shard.usable(ahead) for ahead in self._ahead]
        everywhere = np.logical_and.reduce(usable)
        somewhere = np.logical_or.reduce(usable) & ~everywhere
        for rows in _pieces(np.flatnonzero(everywhere), self._at_once):
            self._add_everywhere(rows)
        for rows in _pieces(np.flatnonzero(somewhere), self._at_once):
            self._add_somewhere(rows, usable)

    def _add_everywhere(self, target: Integers) -> None:
        """Rows that all buckets use: what they share is summed once."""
        common, weighted = self._common_columns(*self._common_rows(target))
        self._add_common(common, weighted)
        runs = _Runs(weighted)
        for bucket in range(len(self._gram)):
            self._add_own(bucket, target, runs)

    def _add_common(self, common: Flagged, weighted: Flagged) -> None:
        """Products of the common columns, for every bucket."""
        self._gram[:, self._slices[0], self._slices[0]] += common.products(weighted)
        self._squares += weighted.values[ONE] @ weighted.values[ONE]

    def _add_somewhere(self, target: Integers, usable: list[npt.NDArray[np.bool_]]) -> None:
        """Rows, early in their series, that only buckets of near steps use."""
        common, weighted = self._common_columns(*self._common_rows(target))
        for bucket, used in enumerate(usable):
            mine = np.flatnonzero(used[target])
            if mine.size:
                own = weighted.select(mine)
                products = common.select(mine).products(own)
                self._gram[bucket][self._slices[0], self._slices[0]] += products
                self._squares[bucket] += own.values[ONE] @ own.values[ONE]
                self._add_own(bucket, target[mine], _Runs(own))

    def _add_own(self, bucket: int, target: Integers, runs: _Runs) -> None:
        """Products of held and moving columns, with each other and with the common ones."""
        if self._slices[0].stop == self._order.size:
            return
        shard, ahead = self._shard, self._ahead[bucket][target]
        gram, weighted = self._gram[bucket], runs.columns
        common, held, moving = self._slices
        first = _firsts(target - ahead)
        runs_from = target[first]
        H = self._filled("held", Rows(runs_from, shard.index[runs_from]), ahead[first])
        sums = runs.sums(first)
        # A run of one row weighs 1 without a half-life, and a product with itself costs half.
        alone = first.size == target.size and self._half_life is None
        gram[held, held] += H.products(H if alone else H.times(sums.values[ONE]))
        gram[held, common] += H.products(sums)
        if moving.stop > moving.start:
            V = self._filled("moving", Rows(target, shard.index[target]), ahead)
            W = V if self._half_life is None else V.times(weighted.values[ONE])
            gram[moving, moving] += V.products(W)
            gram[moving, common] += V.products(weighted)
            gram[moving, held] += W.runs(first).products(H)

    def _common_rows(self, target: Integers) -> tuple[Rows, Steps]:
        """Rows, and how far ahead the cutoff of their common columns is."""
        rows = Rows(target, self._shard.index[target])
        return rows, self._ahead[0][target] if len(self._ahead) == 1 else _none_ahead(rows)

    def _common_columns(self, rows: Rows, ahead: Steps | int) -> tuple[Flagged, Flagged]:
        """The common columns of some rows, and the same times the rows' weights."""
        columns = self._filled("common", rows, ahead, above=FEATURES)
        columns.values[ONE] = 1.0
        np.subtract(entries(self._shard.y, rows), self._basis.y_shift, out=columns.values[Y])
        if self._half_life is None:
            return columns, columns
        age = entries(self._shard.age, rows)
        return columns, columns.times(np.exp2(age / -self._half_life))

    def _filled(self, kind: Kind, target: Rows, ahead: Steps | int, above: int = 0) -> Flagged:
        """Columns of a kind minus their shifts, 0 where missing, and the flags of what is missing."""
        columns = self._columns[kind]
        values = self._layout.values(self._shard, columns.tolist(), target, ahead)
        shifts, rows = self._basis.shift[columns], len(target)
        return Flagged.filled(values, shifts, self._holes[kind], rows, above)


class _Runs:
    """Sums of columns over runs of rows; buckets of one width share theirs."""

    def __init__(self, columns: Flagged) -> None:
        self.columns = columns
        self._first: Integers | None = None
        self._sums = columns

    def sums(self, first: Integers) -> Flagged:
        """Sums over runs that begin at `first`."""
        if self._first is None or not np.array_equal(first, self._first):
            self._first, self._sums = first, self.columns.runs(first)
        return self._sums


def _firsts(origin: Integers) -> Integers:
    """Where runs of equal values begin."""
    return np.concatenate([[0], np.flatnonzero(np.diff(origin)) + 1]).astype(np.int64)


def _pieces(rows: Integers, size: int) -> Iterator[Integers]:
    return (rows[start : start + size] for start in range(0, rows.size, size))
