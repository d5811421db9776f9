"""Products of a few columns over many rows, in pieces that BLAS multiplies fastest.

OpenBLAS has kernels for small products on processors with AVX-512, twice as fast for two dozen columns
as those for large ones; a product of many rows is a sum of small ones.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from threadpoolctl import threadpool_info

from engine_ridge.statistics import Floats

_SMALL = 900_000
"""Multiplications of a product that is small to OpenBLAS; its limit is a million."""

_LEAST_ROWS = 800
"""With fewer rows a piece costs more calls than it saves."""

_WITH_SMALL_KERNELS = {"SkylakeX", "Cooperlake", "SapphireRapids"}


def products(left: Floats, right: Floats) -> Floats:
    """`left` times the transpose of `right`: (m, rows) and (n, rows) give (m, n)."""
    rows = _SMALL // max(len(left) * len(right), 1)
    if not _LEAST_ROWS <= rows < left.shape[1] or not _has_small_kernels():
        return left @ right.T
    if left is not right:
        return _in_pieces(left, right, rows)
    # BLAS is not to see that it is one matrix: for that it has no small kernel.
    last = len(left) - 1
    out = np.empty((len(left), len(left)))
    out[:, :last] = _in_pieces(left, right[:last], rows)
    out[:last, last] = out[last, :last]
    out[last, last] = left[last] @ left[last]
    return out


def _in_pieces(left: Floats, right: Floats, rows: int) -> Floats:
    count, rest = divmod(left.shape[1], rows)
    whole = count * rows
    one = left[:, :whole].reshape(len(left), count, rows).swapaxes(0, 1)
    other = right[:, :whole].reshape(len(right), count, rows).transpose(1, 2, 0)
    sums: Floats = np.matmul(one, other).sum(axis=0)
    if rest:
        sums += left[:, whole:] @ right[:, whole:].T
    return sums


@cache
def _has_small_kernels() -> bool:
    """Whether the BLAS at work multiplies small matrices with kernels of their own."""
    return any(library.get("architecture") in _WITH_SMALL_KERNELS for library in threadpool_info())
