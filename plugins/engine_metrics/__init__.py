"""Scores of forecasts: errors, percentages, scaled errors, quantile scores, weighted hierarchies."""

from __future__ import annotations

from collections.abc import Iterator

from engine import hookimpl
from engine.components import Metric
from engine_metrics.params import (
    IntervalParams,
    MaseParams,
    QuantileParams,
    RmsseParams,
    WrmsseParams,
)

_POINT = {
    "mae": ("MeanAbsoluteError", "mean absolute error, in units"),
    "mse": ("MeanSquaredError", "mean squared error, in squared units"),
    "rmse": ("RootMeanSquaredError", "root mean squared error, in units"),
    "rmspe": ("RootMeanSquaredPercentageError", "root mean squared relative error, a ratio"),
    "mape": ("MeanAbsolutePercentageError", "mean absolute percentage error, without y = 0"),
    "smape": ("SymmetricPercentageError", "symmetric percentage error, 0 to 200"),
    "wape": ("WeightedAbsolutePercentageError", "sum of absolute errors over sum of |y|, a ratio"),
    "bias": ("Bias", "sum of errors over sum of |y|, a ratio; positive forecasts too much"),
}


@hookimpl
def engine_metrics() -> Iterator[Metric]:
    """Offer the built-in metrics."""
    for name, (factory, summary) in _POINT.items():
        yield Metric(name, f"engine_metrics.points:{factory}", summary=summary)
    yield Metric(
        "mase",
        "engine_metrics.scaled:MeanAbsoluteScaledError",
        MaseParams,
        summary="absolute error over that of the seasonal naive forecast in the history",
    )
    yield Metric(
        "rmsse",
        "engine_metrics.scaled:RootMeanSquaredScaledError",
        RmsseParams,
        summary="root mean squared error over that of the naive forecast in the history",
    )
    yield Metric(
        "pinball",
        "engine_metrics.quantiles:Pinball",
        QuantileParams,
        summary="mean quantile loss, in units",
    )
    yield Metric(
        "wql",
        "engine_metrics.quantiles:WeightedQuantileLoss",
        QuantileParams,
        summary="twice the quantile loss over sum of |y|, a ratio; approximates the scaled CRPS",
    )
    yield Metric(
        "coverage",
        "engine_metrics.quantiles:Coverage",
        IntervalParams,
        summary="share of y inside the forecast interval, to be compared with its level",
    )
    yield Metric(
        "width",
        "engine_metrics.quantiles:Width",
        IntervalParams,
        summary="mean width of the forecast interval over mean |y|, a ratio",
    )
    yield Metric(
        "wrmsse",
        "engine_metrics.wrmsse:WeightedScaledError",
        WrmsseParams,
        summary="scaled error of aggregated series, weighted by sales, at each level (M5)",
        example={"levels": [[], ["store"]], "weights": {"column": "price"}},
    )
