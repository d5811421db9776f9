"""ARIMA with regressors, one model a series, estimated by statsforecast."""

from collections.abc import Iterator

from engine import hookimpl
from engine.components import Capabilities, Model
from engine_arima.params import ArimaParams


@hookimpl
def engine_models() -> Iterator[Model]:
    """Offer the model `arima`."""
    yield Model(
        "arima",
        "engine_arima.model:Arima",
        params=ArimaParams,
        summary="ARIMA per series with future covariates, orders given or chosen by AICc",
        install="pip install 'engine-forecast[arima]'",
        example={"order": [1, 0, 0], "season": 1},
        capabilities=Capabilities(
            input="panel",
            scope="local",
            future_covariates=True,
            quantiles=True,
            missing_values=True,
        ),
    )
