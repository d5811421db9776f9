"""Lag features: past values of the target and covariates, and summaries of them."""

from collections.abc import Iterator

from engine import hookimpl
from engine.components import FeatureBuilder
from engine_lags.params import LagsParams


@hookimpl
def engine_features() -> Iterator[FeatureBuilder]:
    """The `lags` builder."""
    yield FeatureBuilder(
        "lags",
        "engine_lags.builder:Lags",
        params=LagsParams,
        summary="lags, seasonal lags, rolling statistics and moving averages of past values",
        example={"lags": [0, 1], "seasonal": {"period": 7}, "rolling": {"mean": [7], "std": [7]}},
    )
