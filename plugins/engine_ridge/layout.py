"""Where the columns of a design come from, and their values for any targets of a shard."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from engine.columns import Rows, Steps, Stretch
from engine.contracts import Feature
from engine.shard import Ahead, DesignShard
from engine_ridge.interactions import Products
from engine_ridge.statistics import Integers

Kind = Literal["common", "held", "moving"]
Singles = npt.NDArray[np.float32]
T = TypeVar("T", bound=np.generic)

_KINDS: dict[str, Kind] = {
    "known": "common",
    "history": "held",
    "static": "held",
    "aligned": "moving",
}


@dataclass(frozen=True)
class Layout:
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
    ) -> Layout:
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
        self, shard: DesignShard, columns: Iterable[int], target: Rows, ahead: Steps | int
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
        self, shard: DesignShard, number: int, origin: Rows, target: Rows, ahead: Steps | int
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
        return target.read(column) if column.places is not None else entries(column.values, target)

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


def entries(values: npt.NDArray[T], rows: Rows) -> npt.NDArray[T]:
    """Entries of an array with an entry a row; of rows that follow each other without a copy."""
    if isinstance(rows, Stretch):
        return rows.of(values)
    row = rows.row
    if row.size and row[-1] - row[0] == row.size - 1:
        return values[int(row[0]) : int(row[-1]) + 1]
    return rows.of(values)
