"""Options of the `lstm` model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from engine.components import Params


class LstmParams(Params):
    """Size of the network, length of its memory and how it is trained."""

    hidden: int = Field(64, ge=1, le=2048, description="units of each LSTM layer")
    layers: int = Field(1, ge=1, le=8, description="LSTM layers on top of each other")
    decoder_hidden: int = Field(
        64, ge=1, le=2048, description="units of the decoder that turns a state into forecasts"
    )
    context: int = Field(
        60, ge=2, le=4096, description="steps of history that the encoder reads before a cutoff"
    )
    warm_up: int | None = Field(
        None,
        ge=1,
        description="steps of a training stretch read before its first forecast; half of `context`",
    )
    dropout: float = Field(
        0.1, ge=0.0, lt=1.0, description="share of units switched off in a training step"
    )
    embedding: int | None = Field(
        None,
        ge=1,
        le=256,
        description="numbers that stand for one category; chosen from its levels",
    )
    static_keys: bool = Field(
        True, description="learn an embedding of each key column (store, item, ...)"
    )
    season_terms: int = Field(
        3, ge=0, le=50, description="sine and cosine pairs of the usual season given to the network"
    )
    loss: Literal["quantile", "mae", "mse"] = Field(
        "quantile",
        description="what y_hat is: the median of the quantile head, or an output of its own "
        "trained on the absolute or the squared error",
    )
    epochs: int = Field(20, ge=1, le=10_000, description="passes over the data, at most")
    batch: int = Field(64, ge=1, le=65_536, description="stretches of series in a training step")
    batches_per_epoch: int | None = Field(
        None, ge=1, description="training steps of an epoch; from the size of the data (25 to 400)"
    )
    learning_rate: float = Field(
        2e-3, gt=0.0, le=1.0, description="first step size of AdamW; falls to zero along a cosine"
    )
    weight_decay: float = Field(1e-4, ge=0.0, le=1.0, description="decay of the weights in AdamW")
    clip: float = Field(1.0, gt=0.0, description="largest norm of a gradient")
    patience: int = Field(
        5, ge=1, description="epochs without a better validation loss after which training stops"
    )
    validation: int | None = Field(
        None,
        ge=0,
        description="newest cutoffs held out to choose the best epoch; the horizon, 0 for none",
    )
    refit_all: bool = Field(
        False, description="train again on all targets, for as many epochs as were best"
    )

    @model_validator(mode="after")
    def _warm_up_fits(self) -> LstmParams:
        if self.warm_up is not None and self.warm_up >= self.context:
            raise ValueError(
                f"warm_up ({self.warm_up}) must be smaller than context ({self.context}); "
                "the steps between them are the cutoffs trained at once"
            )
        return self
