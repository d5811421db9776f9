"""The `lstm` model: one recurrent network over all series, in JAX."""

from __future__ import annotations

from collections.abc import Iterator

from engine import hookimpl
from engine.components import Capabilities, Model
from engine_lstm.params import LstmParams


@hookimpl
def engine_models() -> Iterator[Model]:
    """Yield the global encoder-decoder LSTM."""
    yield Model(
        name="lstm",
        factory="engine_lstm.model:Lstm",
        params=LstmParams,
        summary="global LSTM encoder-decoder with covariates and quantiles (JAX)",
        install="pip install 'engine-forecast[lstm]'",
        example={
            "hidden": 8,
            "decoder_hidden": 8,
            "context": 12,
            "batch": 8,
            "epochs": 2,
            "batches_per_epoch": 4,
        },
        capabilities=Capabilities(
            input="panel",
            scope="global",
            future_covariates=True,
            past_covariates=True,
            static_covariates=True,
            quantiles=True,
            missing_values=True,
        ),
    )
