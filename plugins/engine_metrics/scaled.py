"""Errors in units of the naive forecast's error in each series' own history.

A series whose scale is zero (a constant history) or absent (too short a history) does not count,
nor does a row with a null or NaN in `y` or `y_hat`.
"""

from __future__ import annotations

import polars as pl

from engine.contracts import MetricColumns
from engine_metrics.params import MaseParams, RmsseParams
from engine_metrics.points import Better, Pool
from engine_metrics.rows import error, number, one, ratio, where


class MeanAbsoluteScaledError:
    """MASE = mean |e| / scale per series, a ratio, averaged over the series that count.

    scale = mean |y_t - y_(t-m)| over the history up to the cutoff, with m the season: the in-sample
    MAE of the seasonal naive forecast. Steps with a null at either end are left out of the scale.
    Hyndman & Koehler 2006, "Another look at measures of forecast accuracy", in the seasonal form of
    the M4 competition. Below 1: better than the naive forecast was, one season ahead, in the history.
    """

    unit: str = "ratio"
    better: Better = "lower"
    pool: Pool = "series"

    def __init__(self, params: MaseParams) -> None:
        self.season = params.season

    def scale(self, columns: MetricColumns) -> pl.Expr | None:
        """Mean absolute seasonal step of the history, in units."""
        y = number("y")
        return (y - y.shift(self.season or columns.season)).abs().mean()

    def terms(self, columns: MetricColumns) -> dict[str, pl.Expr]:
        """Sum of scaled absolute errors and number of rows."""
        scaled = where(number("scale") > 0, error().abs() / number("scale"))
        return {"scaled": scaled, "count": one(scaled)}

    def value(self) -> pl.Expr:
        """Mean of the scaled absolute errors."""
        return ratio("scaled", "count")


class RootMeanSquaredScaledError:
    """RMSSE = sqrt(mean e^2 / scale) per series, a ratio, averaged over the series that count.

    scale = mean (y_t - y_(t-m))^2 over the history up to the cutoff, from the first y other than 0
    on, with m the season (1 in M5). Steps with a null at either end are left out of the scale.
    Makridakis, Spiliotis & Assimakopoulos 2022, "M5 accuracy competition: Results, findings, and
    conclusions", equation 1.
    """

    unit: str = "ratio"
    better: Better = "lower"
    pool: Pool = "series"

    def __init__(self, params: RmsseParams) -> None:
        self.season = params.season

    def scale(self, columns: MetricColumns) -> pl.Expr | None:
        """Mean squared seasonal step of the history since the first sale, in squared units."""
        y = number("y")
        selling = (y != 0).fill_null(False).cast(pl.Int8).cum_max() == 1
        before = where(selling, y).shift(self.season)
        return (y - before).pow(2).mean()

    def terms(self, columns: MetricColumns) -> dict[str, pl.Expr]:
        """Sum of scaled squared errors and number of rows."""
        scaled = where(number("scale") > 0, error().pow(2) / number("scale"))
        return {"scaled": scaled, "count": one(scaled)}

    def value(self) -> pl.Expr:
        """Root of the mean of the scaled squared errors."""
        return ratio("scaled", "count").sqrt()
