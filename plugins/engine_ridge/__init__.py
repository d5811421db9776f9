"""Ridge regression of design rows, in closed form from sums that add up over shards."""

from collections.abc import Iterator

from engine import hookimpl
from engine.components import Capabilities, Model
from engine_ridge.params import RidgeParams


@hookimpl
def engine_models() -> Iterator[Model]:
    """Offer the model `ridge`."""
    yield Model(
        "ridge",
        "engine_ridge.model:Ridge",
        params=RidgeParams,
        summary="ridge regression in closed form, over all series or per series",
        capabilities=Capabilities(
            input="design",
            scope="global",
            future_covariates=True,
            past_covariates=True,
            static_covariates=True,
            missing_values=True,
            mergeable=True,
        ),
    )
