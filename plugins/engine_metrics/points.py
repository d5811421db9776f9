"""Metrics of point forecasts that need nothing but `y` and `y_hat`.

In all formulas the error is e = y_hat - y and the sums run over the rows that have both; a row with
a null or NaN in either does not count. A group in which no row counts has a null score.
"""

from __future__ import annotations

from typing import Literal

import polars as pl

from engine.components import NoParams
from engine.contracts import MetricColumns
from engine_metrics.rows import counts, error, number, one, ratio, size, where

Better = Literal["lower", "higher", "none"]
Pool = Literal["rows", "series"]


class PointMetric:
    """What the metrics of this module have in common: no options, no scale, pooled over rows."""

    unit: str = "units"
    better: Better = "lower"
    pool: Pool = "rows"

    def __init__(self, params: NoParams) -> None:
        del params  # there are no options

    def scale(self, columns: MetricColumns) -> pl.Expr | None:
        """Nothing of the history is needed."""
        return None


class MeanAbsoluteError(PointMetric):
    """MAE = mean |e|, in units (Hyndman & Koehler 2006, section 2.1)."""

    def terms(self, columns: MetricColumns) -> dict[str, pl.Expr]:
        """Sum of absolute errors and number of rows."""
        return {"error": error().abs(), "count": one(error())}

    def value(self) -> pl.Expr:
        """Mean of the absolute errors."""
        return ratio("error", "count")


class MeanSquaredError(PointMetric):
    """MSE = mean e^2, in squared units (Hyndman & Koehler 2006, section 2.1)."""

    unit = "units^2"

    def terms(self, columns: MetricColumns) -> dict[str, pl.Expr]:
        """Sum of squared errors and number of rows."""
        return {"square": error().pow(2), "count": one(error())}

    def value(self) -> pl.Expr:
        """Mean of the squared errors."""
        return ratio("square", "count")


class RootMeanSquaredError(MeanSquaredError):
    """RMSE = sqrt(mean e^2), in units; the root is taken after pooling."""

    unit = "units"

    def value(self) -> pl.Expr:
        """Root of the mean of the squared errors."""
        return super().value().sqrt()


class RootMeanSquaredPercentageError(PointMetric):
    """RMSPE = sqrt(mean (e / y)^2), a ratio: 0.1 is 10 %.

    Rows with y = 0 do not count, as in the Rossmann Store Sales competition (Kaggle 2015).
    """

    unit = "ratio"

    def terms(self, columns: MetricColumns) -> dict[str, pl.Expr]:
        """Sum of squared relative errors and number of rows with y other than 0."""
        relative = where(number("y") != 0, error() / number("y"))
        return {"square": relative.pow(2), "count": one(relative)}

    def value(self) -> pl.Expr:
        """Root of the mean of the squared relative errors."""
        return ratio("square", "count").sqrt()


class MeanAbsolutePercentageError(PointMetric):
    """MAPE = 100 * mean |e / y|, in percent; rows with y = 0 do not count.

    Makridakis 1993, "Accuracy measures: theoretical and practical concerns".
    """

    unit = "percent"

    def terms(self, columns: MetricColumns) -> dict[str, pl.Expr]:
        """Sum of absolute percentage errors and number of rows with y other than 0."""
        percent = where(number("y") != 0, 100 * (error() / number("y")).abs())
        return {"percent": percent, "count": one(percent)}

    def value(self) -> pl.Expr:
        """Mean of the absolute percentage errors."""
        return ratio("percent", "count")


class SymmetricPercentageError(PointMetric):
    """sMAPE = mean 200 * |e| / (|y| + |y_hat|), in percent from 0 to 200.

    A row with y = y_hat = 0 counts with an error of 0 (Makridakis, Spiliotis & Assimakopoulos
    2020, "The M4 Competition").
    """

    unit = "percent"

    def terms(self, columns: MetricColumns) -> dict[str, pl.Expr]:
        """Sum of symmetric percentage errors and number of rows."""
        total = number("y").abs() + number("y_hat").abs()
        percent = where(
            counts(), pl.when(total > 0).then(200 * error().abs() / total).otherwise(0.0)
        )
        return {"percent": percent, "count": one(percent)}

    def value(self) -> pl.Expr:
        """Mean of the symmetric percentage errors."""
        return ratio("percent", "count")


class WeightedAbsolutePercentageError(PointMetric):
    """WAPE = sum |e| / sum |y|, a ratio; null where all y are 0.

    Also called ND, the normalized deviation (Kolassa & Schuetz 2007, "Advantages of the MAD/Mean
    ratio over the MAPE").
    """

    unit = "ratio"

    def terms(self, columns: MetricColumns) -> dict[str, pl.Expr]:
        """Sums of the absolute errors and of |y|; rows with y = 0 count in the first."""
        return {"error": error().abs(), "size": size()}

    def value(self) -> pl.Expr:
        """Absolute error per unit of y."""
        return ratio("error", "size")


class Bias(PointMetric):
    """Bias = sum e / sum |y|, a ratio; positive where too much was forecast, null where all y are 0.

    It has no order: 0 is best. (The mean error of Hyndman & Koehler 2006 over the mean of |y|.)
    """

    unit = "ratio"
    better: Better = "none"

    def terms(self, columns: MetricColumns) -> dict[str, pl.Expr]:
        """Sums of the signed errors and of |y|."""
        return {"error": error(), "size": size()}

    def value(self) -> pl.Expr:
        """Signed error per unit of y."""
        return ratio("error", "size")
