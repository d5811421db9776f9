"""Sufficient statistics of all buckets of steps in one pass, without making their design rows.

The columns of a design row are of three kinds. *Common* ones (the constant, the target, what is
known of the target's date) are the same in every bucket: their products are summed once for all.
*Held* ones (history at the cutoff, statics) are the same for a run of targets that share a cutoff:
they are multiplied with the sums of a run's other columns. *Moving* ones (aligned features, products
across kinds) are the rest, and cost what a row costs. All of it is exact: the same sums as those of
`block_statistics`, in another order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from engine.columns import Rows, Steps
from engine.contracts import Feature
from engine.design import SharedDesign
from engine.shard import Ahead, DesignShard
from engine_ridge.flagged import Flagged
from engine_ridge.interactions import Products
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

Kind = Literal["common", "held", "moving"]
Singles = npt.NDArray[np.float32]

_KINDS: dict[str, Kind] = {
    "known": "common",
    "history": "held",
    "static": "held",
    "aligned": "moving",
}

_ORDER: tuple[Kind, ...] = ("common", "held", "moving")

_CHUNK_ROWS = 16_384
"""Rows at a time: their columns stay in a core's cache between the products of all buckets."""

_CHUNK_VALUES = 400_000
"""Values at a time, if those rows have fewer: small products cost more calls than sums."""

_BASIS_ROWS = 65_536


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
    layout = _Layout.of(shared.features, products, shared.buckets)
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


@dataclass(frozen=True)
class _Layout:
    """Where the columns of a design come from.

    products: names, and the two sides of every product. sources: availability of each feature and
    its number among those. kinds: of all columns, features first and products after them.
    """

    products: Products
    sources: tuple[tuple[str, int], ...]
    kinds: tuple[Kind, ...]

    @classmethod
    def of(
        cls, features: tuple[Feature, ...], products: Products, buckets: tuple[Ahead, ...]
    ) -> _Layout:
        """The layout of a plan's features and the products made of them."""
        seen: dict[str, int] = {}
        sources = []
        for feature in features:
            number = seen.get(feature.availability, 0)
            sources.append((feature.availability, number))
            seen[feature.availability] = number + 1
        kinds = [_KINDS[availability] for availability, _ in sources]
        for left, right in zip(products.left, products.right, strict=True):
            kinds.append(kinds[left] if kinds[left] == kinds[right] else "moving")
        if len(buckets) == 1:
            # A single bucket shares all that is not the same for a run of targets with itself.
            first, last = buckets[0]
            shared = ("moving", "held") if first == last else ("moving",)
            kinds = ["common" if kind in shared else kind for kind in kinds]
        return cls(products, tuple(sources), tuple(kinds))

    def of_kind(self, kind: Kind) -> Integers:
        """Numbers of the columns of a kind."""
        return np.flatnonzero(np.array([k == kind for k in self.kinds], dtype=bool))

    def sides(self, column: int) -> tuple[int, int]:
        """The features that a product is made of."""
        number = column - len(self.sources)
        return self.products.left[number], self.products.right[number]

    def values(
        self, shard: DesignShard, columns: Iterable[int], target: Rows, ahead: Steps
    ) -> Iterator[Singles]:
        """Values of columns for targets so far ahead, one column after the other: float32 (rows,)."""
        origin = target.before(ahead)
        sides: dict[int, Singles] = {}

        def feature(number: int) -> Singles:
            if number not in sides:
                sides[number] = self._feature(shard, number, origin, target, ahead)
            return sides[number]

        for number in columns:
            if number < len(self.sources):
                yield feature(number)
            else:
                left, right = self.sides(number)
                yield feature(left) * feature(right)

    def _feature(
        self, shard: DesignShard, number: int, origin: Rows, target: Rows, ahead: Steps
    ) -> Singles:
        availability, place = self.sources[number]
        if availability == "aligned":
            return shard.aligned(place, target, ahead)
        if availability == "history":
            return origin.read(shard.values.history[place])
        if availability == "static":
            of_series: Singles = shard.values.static[place][target.series]
            return of_series
        column = shard.values.known[place]
        return (
            target.read(column) if column.places is not None else column.values[_place(target.row)]
        )

    def missing(self, shard: DesignShard) -> npt.NDArray[np.bool_]:
        """Columns that may be missing in some row: (columns,)."""
        values = shard.values
        holes = {
            "known": [column.may_miss for column in values.known],
            "history": [column.may_miss for column in values.history],
            "static": [bool(np.isnan(row).any()) for row in values.static],
            # Read before a series' first row they are.
            "aligned": [True] * len(values.aligned),
        }
        found = [holes[availability][number] for availability, number in self.sources]
        pairs = zip(self.products.left, self.products.right, strict=True)
        return np.array([*found, *(found[i] or found[j] for i, j in pairs)], dtype=bool)


def _place(rows: Integers) -> Integers | slice:
    """Rows that follow each other as a slice, which is read without a copy."""
    if rows.size and rows[-1] - rows[0] == rows.size - 1:
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def _none_ahead(rows: Rows) -> Steps:
    return np.zeros(rows.row.size, dtype=np.int32)


def _basis(shard: DesignShard, layout: _Layout) -> Basis:
    """Means of the first rows, every feature read at the row itself; near the mean is enough."""
    target = np.arange(min(_BASIS_ROWS, shard.panel.frame.height))
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
        layout: _Layout,
        basis: Basis,
        buckets: tuple[Ahead, ...],
        half_life: float | None,
    ) -> None:
        self._shard, self._layout, self._basis = shard, layout, basis
        self._half_life = half_life
        self._ahead = [shard.ahead(bucket) for bucket in buckets]
        self._usable = [shard.usable(ahead) for ahead in self._ahead]
        self._everywhere = np.logical_and.reduce(self._usable)
        self._somewhere = np.logical_or.reduce(self._usable) & ~self._everywhere
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

    def statistics(self) -> list[Statistics]:
        """Of every bucket: one group, all series."""
        # An infinite value is found in the sums, and reported by name.
        with np.errstate(invalid="ignore", over="ignore"):
            for rows in _pieces(np.flatnonzero(self._everywhere), self._at_once):
                self._add_everywhere(rows)
            for rows in _pieces(np.flatnonzero(self._somewhere), self._at_once):
                self._add_somewhere(rows)
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

    def _add_everywhere(self, target: Integers) -> None:
        """Rows that all buckets use: what they share is summed once."""
        common, weighted = self._common_columns(target)
        self._gram[:, self._slices[0], self._slices[0]] += common.products(weighted)
        self._squares += weighted.values[ONE] @ weighted.values[ONE]
        runs = _Runs(weighted)
        for bucket in range(len(self._gram)):
            self._add_own(bucket, target, runs)

    def _add_somewhere(self, target: Integers) -> None:
        """Rows, early in their series, that only buckets of near steps use."""
        common, weighted = self._common_columns(target)
        for bucket, usable in enumerate(self._usable):
            mine = np.flatnonzero(usable[target])
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

    def _common_columns(self, target: Integers) -> tuple[Flagged, Flagged]:
        """The common columns of some rows, and the same times the rows' weights."""
        rows = Rows(target, self._shard.index[target])
        ahead = self._ahead[0][target] if len(self._ahead) == 1 else _none_ahead(rows)
        columns = self._filled("common", rows, ahead, above=FEATURES)
        columns.values[ONE] = 1.0
        columns.values[Y] = self._shard.y[_place(target)] - self._basis.y_shift
        if self._half_life is None:
            return columns, columns
        return columns, columns.times(np.exp2(self._shard.age[target] / -self._half_life))

    def _filled(self, kind: Kind, target: Rows, ahead: Steps, above: int = 0) -> Flagged:
        """Columns of a kind minus their shifts, 0 where missing, and the flags of what is missing."""
        columns = self._columns[kind]
        values = self._layout.values(self._shard, columns.tolist(), target, ahead)
        shifts, rows = self._basis.shift[columns], target.row.size
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
