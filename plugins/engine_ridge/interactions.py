"""Products of features named in the spec, such as a price effect of its own for every brand."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.contracts import DesignBlock
from engine.errors import DataError


@dataclass(frozen=True)
class Products:
    """Columns made of two others: names and numbers of the left and right feature of each."""

    features: tuple[str, ...]
    left: tuple[int, ...] = ()
    right: tuple[int, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All columns: the features, then `left x right` of each product."""
        pairs = zip(self.left, self.right, strict=True)
        return (*self.features, *(f"{self.features[i]} x {self.features[j]}" for i, j in pairs))

    def widened(self, block: DesignBlock) -> DesignBlock:
        """The block with the products as further columns; a hole in either is a hole in both."""
        if block.X.ndim != 2 or block.X.shape[1] != len(self.features):
            raise DataError(
                f"ridge: a block of shape {block.X.shape} does not hold "
                f"{len(self.features)} features",
                hint="predict with the features that the model was fitted on",
            )
        if not self.left:
            return block
        count = len(self.features)
        X = np.empty((block.X.shape[0], count + len(self.left)), dtype=np.float32, order="F")
        X[:, :count] = block.X
        for column, (i, j) in enumerate(zip(self.left, self.right, strict=True), start=count):
            np.multiply(X[:, i], X[:, j], out=X[:, column])
        return replace(block, X=X)


def products_of(features: Sequence[str], interactions: Sequence[str]) -> Products:
    """Expand `left x right` patterns over the features, each pair once.

    DataError for a pattern that is not of this form or matches no feature.
    """
    left: list[int] = []
    right: list[int] = []
    seen: set[frozenset[int]] = set()
    for interaction in interactions:
        sides = [side.strip() for side in interaction.split(" x ")]
        if len(sides) != 2 or not all(sides):
            raise DataError(
                f"ridge: interaction {interaction!r} is not `left x right`",
                hint='write two names or patterns: "promo_price_log x static_brand_*"',
            )
        for i in matching(features, sides[0], "interactions"):
            for j in matching(features, sides[1], "interactions"):
                if frozenset((i, j)) not in seen:
                    seen.add(frozenset((i, j)))
                    left.append(i)
                    right.append(j)
    return Products(tuple(features), tuple(left), tuple(right))


def matching(features: Sequence[str], pattern: str, option: str) -> list[int]:
    """Numbers of the features that match a pattern; DataError if none does."""
    found = [i for i, name in enumerate(features) if fnmatch.fnmatchcase(name, pattern)]
    if not found:
        raise DataError(
            f"ridge: no feature matches {pattern!r} of {option}",
            hint=f"features of this model: {', '.join(features)}",
        )
    return found


def one_matching(features: Sequence[str], pattern: str, option: str) -> int:
    """Number of the only feature that matches a pattern; DataError if none or several do."""
    found = matching(features, pattern, option)
    if len(found) > 1:
        names = ", ".join(features[i] for i in found[:5])
        raise DataError(
            f"ridge: {option} {pattern!r} matches {len(found)} features: {names}",
            hint="name one of them",
        )
    return found[0]
