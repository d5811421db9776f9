"""What selectors know of a design: means and centered sums of products, in one pass over it."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.contracts import Design, DesignBlock
from engine.errors import DataError

Floats = npt.NDArray[np.float64]

ROWS = 16_384
"""Rows that are taken to float64 at once: a piece of 100 features is 13 MB."""

RELATIVE_CONSTANT = 1e-7
"""A feature whose standard deviation is below this share of its mean is constant in float32."""


@dataclass(frozen=True)
class Moments:
    """Of p features and the target, which comes last; a missing value counts as its feature's mean.

    rows: of the design. mean: (p + 1,). products: (p + 1, p + 1), sums over rows of
    (value - mean)(value - mean)'.
    """

    rows: int
    mean: Floats
    products: Floats

    @property
    def varies(self) -> npt.NDArray[np.bool_]:
        """Features that are not constant: (p,)."""
        deviation = np.sqrt(np.diag(self.products) / self.rows)
        varies: npt.NDArray[np.bool_] = deviation > RELATIVE_CONSTANT * np.abs(self.mean)
        return varies[:-1]

    def correlations(self) -> Floats:
        """Of features and target, 0 for those that are constant: (p + 1, p + 1)."""
        size = np.sqrt(np.diag(self.products))
        size = np.where([*self.varies, size[-1] > 0], size, np.inf)
        return self.products / size[:, None] / size[None, :]


def moments_of(design: Design) -> Moments:
    """Moments of all rows of a design; DataError without rows, or with infinite values."""
    sums: _Sums | None = None
    for number, block in enumerate(design.blocks(), start=1):
        if block.y.size:
            # Infinite values are found in the sums, where one look is enough.
            with np.errstate(invalid="ignore", over="ignore"):
                sums = sums or _Sums(block)
                sums.add(block)
            design.report("block", {"block": number, "rows": sums.rows})
    if sums is None:
        raise DataError(
            f"the training design of {design.series.height} series has no rows to select from",
            hint="give more history than the longest lag, or use fewer lags",
        )
    infinite = np.flatnonzero(~np.isfinite(np.diag(sums.squares)))
    if infinite.size:
        names = (*design.features, "y")
        raise DataError(
            f"infinite values in {', '.join(names[i] for i in infinite[:5])}",
            hint="see the design with `engine features SPEC`",
        )
    return sums.moments()


class _Sums:
    """Sums around a first guess of the means, from blocks that are added one after the other.

    holes: (p + 1,) missing values. cross: (p + 1, p + 1) sums of hole_i * value_j. both: the same
    of hole_i * hole_j.
    """

    def __init__(self, first: DesignBlock) -> None:
        start = _with_target(first, slice(0, ROWS))
        seen = np.isfinite(start)
        total = np.where(seen, start, 0.0).sum(axis=0)
        self._shift = total / np.maximum(seen.sum(axis=0), 1)
        width = start.shape[1]
        self.rows = 0
        self._total, self._holes = np.zeros(width), np.zeros(width)
        self.squares, self._cross, self._both = (np.zeros((width, width)) for _ in range(3))

    def add(self, block: DesignBlock) -> None:
        """Add the rows of a block."""
        for start in range(0, block.y.size, ROWS):
            values = _with_target(block, slice(start, start + ROWS)) - self._shift
            missing = np.isnan(values)
            where = np.flatnonzero(missing.any(axis=0))
            if where.size:
                values[missing] = 0.0
                holes = missing[:, where].astype(np.float64)
                self._holes[where] += holes.sum(axis=0)
                self._cross[where] += holes.T @ values
                self._both[np.ix_(where, where)] += holes.T @ holes
            self.rows += values.shape[0]
            self._total += values.sum(axis=0)
            self.squares += values.T @ values

    def moments(self) -> Moments:
        """With the mean in place of what is missing: its share in the sums is known exactly."""
        mean = self._total / np.maximum(self.rows - self._holes, 1.0)
        filled = mean[:, None] * self._cross
        products = self.squares + filled + filled.T
        products += mean[:, None] * self._both * mean[None, :]
        products -= self.rows * mean[:, None] * mean[None, :]
        # Rounding may leave a tiny negative square of a constant.
        np.fill_diagonal(products, np.maximum(np.diag(products), 0.0))
        return Moments(self.rows, self._shift + mean, products)


def _with_target(block: DesignBlock, rows: slice) -> Floats:
    """Features and target of some rows as float64: (rows, p + 1)."""
    return np.column_stack([block.X[rows].astype(np.float64), block.y[rows]])


def protected(features: Sequence[str], patterns: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which features match one of the patterns; DataError for a pattern without any."""
    chosen = np.zeros(len(features), dtype=bool)
    for pattern in patterns:
        matching = np.array([fnmatch.fnmatchcase(name, pattern) for name in features], dtype=bool)
        if not matching.any():
            raise DataError(
                f"keep: no feature of the model matches {pattern!r}",
                hint=f"features: {', '.join(features)}",
            )
        chosen |= matching
    return chosen


def table_columns(features: Sequence[str], kept: Any, reasons: Sequence[str]) -> dict[str, Any]:
    """The columns that the tables of all selectors begin with."""
    return {"feature": list(features), "kept": np.asarray(kept, dtype=bool), "reason": reasons}
