"""Options of the `lstm` model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from engine.components import Params

Span = Annotated[int, Field(ge=1, le=4096)]
Units = Annotated[int, Field(ge=1, le=2048)]


class Checkpoint(Params):
    """Where the state of training is kept, so that a killed fit goes on where it was."""

    folder: Path = Field(
        description="folder of the checkpoints; one file a fit, removed at its end"
    )
    every: int = Field(1, ge=1, description="epochs between two checkpoints")


class DifferentialPrivacy(Params):
    """Noise in training that bounds what the weights can tell of any one series."""

    noise: float = Field(
        ge=0.0, description="standard deviation of the noise in clips; 0: none, and no promise"
    )
    clip: float = Field(gt=0.0, description="largest norm of the gradient of a series' stretch")
    delta: float | None = Field(
        None,
        gt=0.0,
        lt=1.0,
        description="chance that the promise fails; a tenth of one over the number of series",
    )


class LstmParams(Params):
    """Size of the network, length of its memory and how it is trained."""

    cell: Literal["lstm", "gru", "rnn"] = Field("lstm", description="the recurrent cell")
    hidden: Units | tuple[Units, ...] = Field(
        64, description="units of each recurrent layer; a list gives the layers different sizes"
    )
    layers: int = Field(
        1, ge=1, le=8, description="recurrent layers on top of each other, if hidden is one number"
    )
    norm: Literal["none", "layer"] = Field(
        "none", description="layer normalises the states of each recurrent layer"
    )
    residual: bool = Field(
        True, description="add the input of a layer to its states where both have one size"
    )
    decoder_hidden: Units = Field(
        64, description="units of the decoder that turns a state into forecasts"
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
    hide: float = Field(
        0.0,
        ge=0.0,
        lt=1.0,
        description="share of known covariates hidden from the deep network in a training stretch; "
        "against learning by heart what befell all series on a date",
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
    effects: tuple[Span, ...] | None = Field(
        None,
        description="add a linear path from the covariates of a target date, with coefficients for each "
        "series; the encoder then reads what they leave unexplained, and levels of it over so many steps, "
        "e.g. [4, 13]; null: no such path",
    )
    log1p: bool = Field(
        False,
        description="work on log1p(y), as `target: log1p` does, but let losses know of the units",
    )
    scaling: Literal["mean", "robust"] = Field(
        "mean",
        description="level and size of a series at each cutoff: exponential means, or medians over "
        "`context` steps",
    )
    censored: str | None = Field(
        None,
        description="a past covariate that is positive where y says too little of demand (a stockout): "
        "such rows are no targets and do not move the level",
    )
    offset: str | None = Field(
        None,
        description="a covariate or feature known ahead in units of y, such as last year's value: the "
        "network forecasts the difference from it, and from the level where it is missing; "
        "null: from the level everywhere",
    )
    offset_growth: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="with `offset`, the share of the mean distance of y from it, over the last `context` "
        "steps, that forecasts begin with: 1 for last year's value and the growth since then",
    )
    head: Literal["quantile", "gaussian", "student_t", "negative_binomial"] = Field(
        "quantile",
        description="what is said of a target: its quantiles, or the parameters of a distribution "
        "(negative_binomial: of counts)",
    )
    loss: Literal["mae", "mse", "huber", "mape"] | None = Field(
        None,
        description="y_hat is an output of its own, trained on this error; null takes the median of "
        "the head (the mean of counts)",
    )
    aim: float | None = Field(
        None,
        gt=0.0,
        lt=1.0,
        description="without `loss`, the quantile that y_hat is: percentage errors want one below the "
        "median, the lower the less sure a forecast is; null: the median",
    )
    weight: str | None = Field(
        None,
        description="`size` lets series count by their mean demand, as they do in WAPE; or a static "
        "column of weights; null: every target counts the same in its series' scale",
    )
    decay: float | None = Field(
        None, gt=0.0, description="half-life of a target's weight in steps before the newest target"
    )
    epochs: int = Field(20, ge=1, le=10_000, description="passes over the data, at most")
    batch: int = Field(64, ge=1, le=65_536, description="stretches of series in a training step")
    batches_per_epoch: int | None = Field(
        None, ge=1, description="training steps of an epoch; from the size of the data (25 to 400)"
    )
    learned_steps: int | None = Field(
        None,
        ge=1,
        description="steps ahead that one training step learns from each cutoff, spread over the "
        "horizon by chance; null: all",
    )
    learning_rate: float = Field(
        2e-3, gt=0.0, le=1.0, description="first step size of AdamW; falls to zero along a cosine"
    )
    weight_decay: float = Field(1e-4, ge=0.0, le=1.0, description="decay of the weights in AdamW")
    clip: float = Field(1.0, gt=0.0, description="largest norm of a gradient")
    average: float = Field(
        0.0,
        ge=0.0,
        lt=1.0,
        description="decay of the running mean of weights that forecasts; 0: none",
    )
    ensemble: int = Field(
        1,
        ge=1,
        le=64,
        description="networks trained at once from other seeds; forecasts are averaged",
    )
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
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="type of the factors of matrix products; sums are float32"
    )
    device_series: int | None = Field(
        None,
        ge=64,
        description="series on the device at once, another sample in each epoch; null: as many as 2 GiB hold",
    )
    checkpoint: Checkpoint | None = Field(
        None, description="keep the state of training, to go on after a killed run"
    )
    differential_privacy: DifferentialPrivacy | None = Field(
        None,
        description="train on clipped and noisy gradients of single series; the table `privacy` of "
        "the fitted model has the epsilon",
    )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of each recurrent layer."""
        return (self.hidden,) * self.layers if isinstance(self.hidden, int) else self.hidden

    @model_validator(mode="after")
    def _fits(self) -> LstmParams:
        if self.warm_up is not None and self.warm_up >= self.context:
            raise ValueError(
                f"warm_up ({self.warm_up}) must be smaller than context ({self.context}); "
                "the steps between them are the cutoffs trained at once"
            )
        if not isinstance(self.hidden, int) and self.layers != 1:
            raise ValueError("layers goes with one number of hidden units; leave it out")
        if not self.sizes:
            raise ValueError("hidden needs at least one layer")
        if self.aim is not None and (self.loss is not None or self.head == "negative_binomial"):
            raise ValueError(
                "aim goes with the quantile, gaussian and student_t heads, and no loss"
            )
        if self.head == "negative_binomial" and self.log1p:
            raise ValueError("negative_binomial is of counts: set log1p to false")
        if self.offset_growth and self.offset is None:
            raise ValueError("offset_growth is of the distance from an offset: name one")
        if self.head == "negative_binomial" and self.offset is not None:
            raise ValueError(
                "offset goes with the quantile, gaussian and student_t heads: negative_binomial forecasts "
                "a multiple of the level, to which nothing can be added"
            )
        return self

    @model_validator(mode="after")
    def _private(self) -> LstmParams:
        if self.differential_privacy is None:
            return self
        refused = {
            "validation": bool(self.validation),
            "refit_all": self.refit_all,
            "weight": self.weight is not None,
            "device_series": self.device_series is not None,
        }
        if any(refused.values()):
            names = ", ".join(name for name, asked in refused.items() if asked)
            raise ValueError(
                f"differential_privacy does not go with {names}: its epsilon knows neither an epoch "
                "chosen by the data nor series that count more or are drawn in two stages"
            )
        return self
