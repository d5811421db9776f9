"""The seasonal naive forecast, the yardstick that every other model has to beat."""

from collections.abc import Iterator

from engine import hookimpl
from engine.components import Capabilities, Model
from engine_naive.params import SeasonalNaiveParams


@hookimpl
def engine_models() -> Iterator[Model]:
    """Offer the model `seasonal_naive`."""
    yield Model(
        "seasonal_naive",
        "engine_naive.model:SeasonalNaive",
        params=SeasonalNaiveParams,
        summary="the last observed value of the same season, or the mean of the last few",
        capabilities=Capabilities(
            input="panel", scope="local", missing_values=True, vectorized=True
        ),
    )
