"""Errors of models against each other: WAPE of any rows, and a paired test of their difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

MANY_FOLDS = 5
"""Folds from which on the spread over folds is used in the test as well."""


def wape() -> pl.Expr:
    """Sum of |error| over sum of |y| of a group of rows; null where all y are 0."""
    size = pl.col("y").abs().sum()
    return pl.when(size > 0).then(pl.col("error").abs().sum() / size)


def bias() -> pl.Expr:
    """Sum of the error (y_hat - y) over sum of |y| of a group of rows; null where all y are 0."""
    size = pl.col("y").abs().sum()
    return pl.when(size > 0).then(pl.col("error").sum() / size)


@dataclass(frozen=True)
class Paired:
    """Difference in WAPE of a model from a reference on the rows both forecast.

    low, high: interval of 95 %. p: two-sided, of no difference; None where it cannot be told.
    """

    difference: float
    low: float | None
    high: float | None
    p: float | None


def paired(rows: pl.DataFrame, model: str, reference: str) -> Paired | None:
    """Compare two models on the same rows; None if they share none.

    The difference of two WAPEs on the same rows is a ratio of sums, R = sum(d) / sum(|y|) with
    d = |e_model| - |e_reference|; its standard error is that of a ratio estimator over clusters
    (Cochran, Sampling Techniques, 1977, 6.4): over series, and over folds if there are five or
    more, whichever is larger.
    """
    keys = ["unique_id", "ds", "cutoff"]
    mine = rows.filter(pl.col("model") == model).select(*keys, "y", mine=pl.col("error").abs())
    other = rows.filter(pl.col("model") == reference).select(*keys, other=pl.col("error").abs())
    both = mine.join(other, on=keys, how="inner").with_columns(d=pl.col("mine") - pl.col("other"))
    size = float(both["y"].abs().sum())
    if size <= 0:
        return None
    difference = float(both["d"].sum()) / size
    errors = [_ratio_error(both, ["unique_id"], difference)]
    if both["cutoff"].n_unique() >= MANY_FOLDS:
        errors.append(_ratio_error(both, ["cutoff"], difference))
    known = [e for e in errors if e is not None]
    if not known or max(known) == 0:
        return Paired(difference, None, None, None)
    error = max(known)
    p = math.erfc(abs(difference) / error / math.sqrt(2))
    return Paired(difference, difference - 1.96 * error, difference + 1.96 * error, p)


def _ratio_error(both: pl.DataFrame, by: Sequence[str], ratio: float) -> float | None:
    sums = both.group_by(by, maintain_order=True).agg(
        pl.col("d").sum(), size=pl.col("y").abs().sum()
    )
    n, size = sums.height, float(sums["size"].sum())
    if n < 2:
        return None
    residual = sums["d"] - ratio * sums["size"]
    return math.sqrt(n / (n - 1) * float((residual**2).sum())) / size
