"""Errors of models against each other: WAPE of any rows, and a paired test of a score's difference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
class Loss:
    """A score as a ratio of sums over rows: sum of `loss` over sum of `weight`, or its root."""

    loss: pl.Expr
    weight: pl.Expr
    root: bool = False


_OFF, _Y = pl.col("error").abs(), pl.col("y").abs()
_ONE = pl.lit(1.0)
_SOLD = pl.when(_Y > 0).then(1.0).otherwise(0.0)
_SHARE = pl.when(_Y > 0).then(_OFF / _Y).otherwise(0.0)
_BOTH = _Y + (pl.col("y") + pl.col("error")).abs()
LOSSES: Mapping[str, Loss] = {
    "wape": Loss(_OFF, _Y),
    "mae": Loss(_OFF, _ONE),
    "mse": Loss(_OFF**2, _ONE),
    "rmse": Loss(_OFF**2, _ONE, root=True),
    "mape": Loss(100 * _SHARE, _SOLD),
    "rmspe": Loss(_SHARE**2, _SOLD, root=True),
    "smape": Loss(pl.when(_BOTH > 0).then(200 * _OFF / _BOTH).otherwise(0.0), _ONE),
}
"""Scores whose difference can be tested on the rows of a back-test; others need more than rows."""


@dataclass(frozen=True)
class Paired:
    """Difference in a score of a model from a reference on the rows both forecast.

    low, high: interval of 95 %. p: two-sided, of no difference; None where it cannot be told.
    """

    difference: float
    low: float | None
    high: float | None
    p: float | None


def paired(rows: pl.DataFrame, model: str, reference: str, score: str = "wape") -> Paired | None:
    """Compare two models by one of `LOSSES` on the same rows; None if they share none.

    Each score is a ratio of sums or its root; the standard error of the difference is that of the
    linearized ratios over clusters (Cochran, Sampling Techniques, 1977, 6.4): over series, and over
    folds if there are five or more, whichever is larger.
    """
    loss = LOSSES[score]
    keys = ["unique_id", "ds", "cutoff"]
    mine = rows.filter(pl.col("model") == model).select(*keys, a=loss.loss, weight=loss.weight)
    other = rows.filter(pl.col("model") == reference).select(*keys, b=loss.loss)
    both = mine.join(other, on=keys, how="inner")
    size = float(both["weight"].sum())
    if size <= 0:
        return None
    values, shares = [], []
    for column in ("a", "b"):
        ratio = float(both[column].sum()) / size
        slope = 0.5 / math.sqrt(ratio) if loss.root and ratio > 0 else 1.0
        values.append(math.sqrt(ratio) if loss.root else ratio)
        shares.append(slope * (pl.col(column) - ratio * pl.col("weight")) / size)
    difference = values[0] - values[1]
    both = both.with_columns(share=shares[0] - shares[1])
    errors = [_clustered(both, ["unique_id"])]
    if both["cutoff"].n_unique() >= MANY_FOLDS:
        errors.append(_clustered(both, ["cutoff"]))
    known = [e for e in errors if e is not None]
    if not known or max(known) == 0:
        return Paired(difference, None, None, None)
    error = max(known)
    p = math.erfc(abs(difference) / error / math.sqrt(2))
    return Paired(difference, difference - 1.96 * error, difference + 1.96 * error, p)


def _clustered(both: pl.DataFrame, by: Sequence[str]) -> float | None:
    """Standard error of the sum of `share`, from its sums over clusters."""
    sums = both.group_by(by, maintain_order=True).agg(pl.col("share").sum())["share"]
    n = sums.len()
    return math.sqrt(n / (n - 1) * float((sums**2).sum())) if n >= 2 else None
