"""A paired bootstrap over series: is the mean of per-series differences more than chance?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

REPLICATES = 1999
MIN_SERIES = 10
"""With fewer series a resample says too little; there is no test then."""
_AT_ONCE = 4_000_000

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Paired:
    """Mean difference over `series` series with its 95 % interval and two-sided p-value.

    low, high and p are None for fewer than `MIN_SERIES` series.
    """

    series: int
    mean: float
    low: float | None = None
    high: float | None = None
    p: float | None = None


def paired_bootstrap(differences: Array, seed: int = 0) -> list[Paired]:
    """Test each column of `differences`, shape (series, comparisons); NaN is a missing pair.

    Whole series are resampled, so that errors may be correlated within a series, and the same
    resamples serve all comparisons. The test is the symmetric bootstrap-t (Hall 1988; Efron &
    Tibshirani 1993, An Introduction to the Bootstrap, sections 12.5 and 16.4).
    """
    n, k = differences.shape
    there = np.isfinite(differences)
    d = np.where(there, differences, 0.0)
    counts = there.sum(axis=0)
    if n == 0:
        return [Paired(0, 0.0)] * k
    sums = np.concatenate([there.astype(np.float64), d, d * d], axis=1)
    mean, error = _mean_and_error(sums.sum(axis=0)[None, :], k)
    replicates = _replicates(sums, k, mean[0], np.random.default_rng(seed))
    return [
        _result(int(counts[j]), float(mean[0, j]), float(error[0, j]), replicates[:, j])
        for j in range(k)
    ]


def _replicates(sums: Array, k: int, mean: Array, rng: np.random.Generator) -> Array:
    """Absolute t statistics of resamples, shape (REPLICATES, comparisons)."""
    n = sums.shape[0]
    parts = []
    left = REPLICATES
    while left:
        size = min(left, max(1, _AT_ONCE // n))
        drawn = rng.integers(0, n, size=(size, n)) + n * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        means, errors = _mean_and_error(weights.astype(np.float64) @ sums, k)
        with np.errstate(divide="ignore", invalid="ignore"):
            parts.append(np.abs(means - mean) / errors)
        left -= size
    return np.nan_to_num(np.concatenate(parts), nan=0.0, posinf=np.inf)


def _mean_and_error(totals: Array, k: int) -> tuple[Array, Array]:
    """Means and their standard errors from totals of presence, values and squares."""
    count, total, square = totals[:, :k], totals[:, k : 2 * k], totals[:, 2 * k :]
    count = np.maximum(count, 1.0)
    mean = total / count
    # A variance below rounding is none at all: equal differences, not a tiny spread.
    variance = square / count - mean**2
    variance = np.where(variance > 1e-12 * square / count, variance, 0.0)
    return mean, np.sqrt(variance / np.maximum(count - 1.0, 1.0))


def _result(series: int, mean: float, error: float, replicates: Array) -> Paired:
    if series < MIN_SERIES:
        return Paired(series, mean)
    if error == 0:
        return Paired(series, mean, mean, mean, 1.0 if mean == 0 else 1 / (REPLICATES + 1))
    extreme = int((replicates >= abs(mean) / error).sum())
    reach = float(np.quantile(replicates, 0.95)) * error
    return Paired(series, mean, mean - reach, mean + reach, (1 + extreme) / (REPLICATES + 1))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P-values adjusted for being several (Holm 1979); None where there was no test."""
    tested = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(tested):
        largest = max(largest, min(1.0, p * (len(tested) - rank)))
        adjusted[i] = largest
    return adjusted
