"""Sufficient statistics of least squares: weighted sums of products that add up over shards.

One pass over the rows gives the Gram matrix of the columns `[1, y, Z, M]`, where Z is the features
minus a fixed shift (0 where missing) and M is 1 where a feature is missing. Everything else (means
of the observed values, imputation by them, standardizing, centering) is a linear map of these
columns, so that it is done later on the small matrix and never on the rows.

Sums are float64 throughout: with float32 products two ways to cut the same rows would differ in the
seventh digit, and converting costs less than making the features.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.contracts import DesignBlock
from engine.errors import DataError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

ONE, Y, FEATURES = 0, 1, 2
"""Columns of the Gram matrix: the constant, the target, and the first feature."""

_CHUNK_ROWS = 4_096
"""Rows converted at a time: with 40 float64 columns they stay in a core's cache, twice as fast."""

_SHIFT_ROWS = 4_096

_LEAST_SPARED = 200
"""Products of two columns that held features spare in a group, from which it pays to copy all sums."""


@dataclass(frozen=True)
class Basis:
    """What is taken off before products are summed, so that large means do not cost digits.

    features: names. shift: float64 (features,). y_shift: taken off the target.
    """

    features: tuple[str, ...]
    shift: Floats
    y_shift: float

    @classmethod
    def of(cls, features: tuple[str, ...], block: DesignBlock) -> Basis:
        """The means of some rows of a first block; any values are correct, near the mean is accurate."""
        X = block.X[:: max(block.X.shape[0] // _SHIFT_ROWS, 1)].astype(np.float64)
        observed = np.isfinite(X)
        total = np.where(observed, X, 0.0).sum(axis=0)
        y = block.y[np.isfinite(block.y)]
        shift = total / np.maximum(observed.sum(axis=0), 1)
        return cls(features, shift, float(y.mean()) if y.size else 0.0)


@dataclass(frozen=True)
class Statistics:
    """Weighted sums of products of `[1, y, Z, M]`, for each group of rows.

    missing: int64 (m,), sorted numbers of the features that are missing in some row; M holds their
        columns only, as those of all others would be zero.
    groups: int64 (g,), sorted: numbers of the series, or the single 0 if all series are one group.
    gram: float64 (g, 2 + features + m, 2 + features + m). squares: float64 (g,), sum of squared
        weights. responses: float64 (g,), weighted sum of what `engine_ridge.demand` needs, or None.
    """

    basis: Basis
    missing: Integers
    groups: Integers
    gram: Floats
    squares: Floats
    responses: Floats | None = None

    @property
    def effective_rows(self) -> Floats:
        """(sum w)^2 / sum w^2 of each group (Kish 1965, Survey Sampling): rows if weights equal."""
        weight = self.gram[:, ONE, ONE]
        return weight**2 / np.maximum(self.squares, np.finfo(np.float64).tiny)

    def pooled(self) -> Statistics:
        """All groups as one."""
        return replace(
            self,
            groups=np.zeros(1, dtype=np.int64),
            gram=self.gram.sum(axis=0, keepdims=True),
            squares=self.squares.sum(keepdims=True),
            responses=None if self.responses is None else self.responses.sum(keepdims=True),
        )

    def plain(self) -> dict[str, npt.NDArray[Any]]:
        """The same as named arrays, to be stored or sent; `of` reads them."""
        basis = self.basis
        more = {} if self.responses is None else {"responses": self.responses}
        return {
            "features": np.array(basis.features, dtype=np.str_),
            "shift": basis.shift,
            "y_shift": np.array(basis.y_shift),
            "missing": self.missing,
            "groups": self.groups,
            "gram": self.gram,
            "squares": self.squares,
            **more,
        }

    @classmethod
    def of(cls, plain: Mapping[str, npt.NDArray[Any]]) -> Statistics:
        """What `plain` made."""
        basis = Basis(tuple(plain["features"].tolist()), plain["shift"], float(plain["y_shift"]))
        sums = {name: plain[name] for name in ("missing", "groups", "gram", "squares")}
        return cls(basis, **sums, responses=plain.get("responses"))


def block_statistics(
    block: DesignBlock,
    basis: Basis,
    half_life: float | None,
    by_series: bool,
    weight_feature: int | None = None,
) -> Statistics:
    """Statistics of the rows of one block; DataError where a feature or target is infinite.

    half_life: periods after which a row weighs half; None for equal weights. weight_feature: number
    of the feature that rows are weighted by as well; missing is 0, negative a DataError.
    """
    if by_series and (np.diff(block.series) < 0).any():
        block = _sorted_by_series(block)
    rows = block.y.size
    firsts = np.flatnonzero(np.diff(block.series)) + 1 if by_series else np.empty(0, np.int64)
    edges = np.concatenate([[0], firsts, [rows]]).astype(np.int64)
    missing = _missing_features(block.X)
    held = _held_features(block.X, edges) if by_series else np.empty(0, np.int64)
    width = FEATURES + len(basis.features) + missing.size
    spared = (1.0 - (1.0 - held.size / width) ** 2) * rows
    if spared < _LEAST_SPARED * (edges.size - 1):
        held = held[:0]
    weight = row_weights(block, basis, half_life, weight_feature)
    weighted = half_life is not None or weight_feature is not None
    # Infinite values are reported below, by name.
    with np.errstate(invalid="ignore"):
        gram = _products(block, basis, missing, held, edges, np.sqrt(weight) if weighted else None)
        if held.size:
            gram = _with_held(gram, block.X[edges[:-1]][:, held] - basis.shift[held], held)
    if not np.isfinite(gram).all():
        raise _not_finite(block, basis)
    groups = block.series[edges[:-1]] if by_series else np.zeros(1)
    squares = np.add.reduceat(weight**2, edges[:-1]) if rows else np.zeros(1)
    return Statistics(basis, missing, groups.astype(np.int64), gram, squares)


def _products(
    block: DesignBlock,
    basis: Basis,
    missing: Integers,
    held: Integers,
    edges: Integers,
    root: Floats | None,
) -> Floats:
    """Sums of products of `[1, y, Z, M]` without the held features: (groups, width, width)."""
    rows = block.y.size
    moving = np.setdiff1d(np.arange(len(basis.features)), held)
    # Transposed back and forth, so that the columns stay contiguous.
    X = block.X if not held.size else block.X.T[moving].T
    width = FEATURES + moving.size + missing.size
    gram = np.zeros((edges.size - 1, width, width))
    columns = np.empty((min(rows, _CHUNK_ROWS), width))
    holes = np.searchsorted(moving, missing)
    for start in range(0, rows, _CHUNK_ROWS):
        stop = min(start + _CHUNK_ROWS, rows)
        chunk = columns[: stop - start]
        chunk[:, ONE] = 1.0
        np.subtract(block.y[start:stop], basis.y_shift, out=chunk[:, Y])
        _fill(chunk, X[start:stop], basis.shift[moving], holes)
        if root is not None:
            chunk *= root[start:stop, None]
        first = int(np.searchsorted(edges, start, side="right")) - 1
        last = int(np.searchsorted(edges, stop, side="left"))
        for group in range(first, last):
            piece = chunk[max(edges[group] - start, 0) : edges[group + 1] - start]
            gram[group] += piece.T @ piece
    return gram


def _held_features(X: npt.NDArray[np.float32], edges: Integers) -> Integers:
    """Features that are constant within every group of rows, such as a series' statics."""
    inner = np.ones(max(X.shape[0] - 1, 0), dtype=bool)
    inner[edges[1:-1] - 1] = False
    return np.array(
        [
            j
            for j in range(X.shape[1])
            if not np.isnan(X[edges[:-1], j]).any() and not ((X[1:, j] != X[:-1, j]) & inner).any()
        ],
        dtype=np.int64,
    )


def _with_held(gram: Floats, values: Floats, held: Integers) -> Floats:
    """The sums with held features in their places; `values` (groups, held) are those of a group."""
    count, width = gram.shape[0], gram.shape[1] + held.size
    place = FEATURES + held
    moving = np.setdiff1d(np.arange(width), place)
    full = np.empty((count, width, width))
    full[:, moving[:, None], moving] = gram
    # A constant times a column sums to the constant times the column's sum.
    crossed = values[:, :, None] * gram[:, None, ONE, :]
    full[:, place[:, None], moving] = crossed
    full[:, moving[:, None], place] = crossed.swapaxes(1, 2)
    squares = values[:, :, None] * values[:, None, :]
    full[:, place[:, None], place] = squares * gram[:, ONE, ONE, None, None]
    return full


def row_weights(
    block: DesignBlock, basis: Basis, half_life: float | None, feature: int | None
) -> Floats:
    """Weight of every row, by its age and a feature: (rows,); DataError for one below 0."""
    weight = np.ones(block.y.size) if half_life is None else np.exp2(block.age / -half_life)
    if feature is None:
        return weight
    own = np.nan_to_num(block.X[:, feature].astype(np.float64), nan=0.0, posinf=np.inf)
    if not ((own >= 0) & np.isfinite(own)).all():
        count = np.count_nonzero(~((own >= 0) & np.isfinite(own)))
        raise DataError(
            f"ridge: weight {basis.features[feature]!r} is negative or infinite in {count} rows",
            hint="weigh by a feature that is never below 0, such as a static size or a flag",
        )
    return weight * own


def merge(left: Statistics, right: Statistics) -> Statistics:
    """Statistics of the rows of both, in the basis of `left`; groups of both are added up."""
    if left.basis.features != right.basis.features:
        raise DataError(
            f"statistics of {len(left.basis.features)} and {len(right.basis.features)} features "
            "cannot be merged: their features differ",
            hint="build every shard's design with the same spec",
        )
    right = _shifted(right, left.basis)
    missing = np.union1d(left.missing, right.missing)
    groups = np.union1d(left.groups, right.groups)
    width = FEATURES + len(left.basis.features) + missing.size
    gram = np.zeros((groups.size, width, width))
    squares = np.zeros(groups.size)
    counted = left.responses is not None and right.responses is not None
    responses = np.zeros(groups.size) if counted else None
    for part in (left, right):
        place = np.searchsorted(groups, part.groups)
        columns = _columns_in(part, missing)
        gram[np.ix_(place, columns, columns)] += part.gram
        squares[place] += part.squares
        if responses is not None and part.responses is not None:
            responses[place] += part.responses
    return Statistics(left.basis, missing, groups, gram, squares, responses)


def merge_all(parts: Iterable[Statistics]) -> Statistics | None:
    """Merge in pairs of like size; None without parts.

    Each sum is then copied and rounded log(parts) times, not once for every part that follows.
    """
    pending: list[tuple[int, Statistics]] = []
    for part in parts:
        size, total = 1, part
        while pending and pending[-1][0] <= size:
            before, left = pending.pop()
            size, total = before + size, merge(left, total)
        pending.append((size, total))
    if not pending:
        return None
    total = pending.pop()[1]
    while pending:
        total = merge(pending.pop()[1], total)
    return total


def _fill(chunk: Floats, X: npt.NDArray[np.float32], shift: Floats, missing: Integers) -> None:
    """Write the columns Z and M of some rows into `chunk`, the scratch space of one block."""
    n_features = shift.size
    np.subtract(X, shift, out=chunk[:, FEATURES : FEATURES + n_features])
    if missing.size:
        holes = np.isnan(X[:, missing])
        chunk[:, FEATURES + n_features :] = holes
        for position, feature in enumerate(missing):
            np.copyto(chunk[:, FEATURES + feature], 0.0, where=holes[:, position])


def _missing_features(X: npt.NDArray[np.float32]) -> Integers:
    # One product finds the few columns that need a look at every value.
    with np.errstate(invalid="ignore", over="ignore"):
        suspects = np.flatnonzero(~np.isfinite(np.ones(X.shape[0], dtype=X.dtype) @ X))
    return np.array([j for j in suspects if np.isnan(X[:, j]).any()], dtype=np.int64)


def _sorted_by_series(block: DesignBlock) -> DesignBlock:
    order = np.argsort(block.series, kind="stable")
    return DesignBlock(
        block.X[order], block.y[order], block.series[order], block.step[order], block.age[order]
    )


def _shifted(statistics: Statistics, basis: Basis) -> Statistics:
    """The same sums in another basis: Z + d (1 - M) and y + e are linear in the columns."""
    old = statistics.basis
    moved, y_moved = old.shift - basis.shift, old.y_shift - basis.y_shift
    if not moved.any() and not y_moved:
        return replace(statistics, basis=basis)
    n_features = len(basis.features)
    change = np.eye(statistics.gram.shape[1])
    change[ONE, Y] = y_moved
    change[ONE, FEATURES : FEATURES + n_features] = moved
    place = FEATURES + n_features + np.arange(statistics.missing.size)
    change[place, FEATURES + statistics.missing] = -moved[statistics.missing]
    return replace(statistics, basis=basis, gram=change.T @ statistics.gram @ change)


def _columns_in(part: Statistics, missing: Integers) -> Integers:
    """Where the columns of `part` stand in a Gram matrix with the missing features `missing`."""
    fixed = FEATURES + len(part.basis.features)
    return np.concatenate([np.arange(fixed), fixed + np.searchsorted(missing, part.missing)])


def _not_finite(block: DesignBlock, basis: Basis) -> DataError:
    bad: dict[str, Any] = {"y": np.count_nonzero(~np.isfinite(block.y))}
    for j, name in enumerate(basis.features):
        bad[name] = np.count_nonzero(np.isinf(block.X[:, j]))
    named = [f"{name!r} ({count} rows)" for name, count in bad.items() if count]
    return DataError(
        f"ridge: infinite or absent values in {', '.join(named[:5])} of the training design",
        hint="a logarithm or ratio of zero is a usual cause: change the feature or the target "
        "transform, or make such values null",
    )
