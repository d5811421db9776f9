"""Options of the ridge regression."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from engine.components import Params

Penalty = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class RidgeParams(Params):
    """Options of the model `ridge`.

    The fit minimizes the weighted sum of squared errors plus `penalty` times the sum of squared
    coefficients of the standardized features; the intercept is not penalized.
    """

    penalty: Penalty | Literal["auto"] = Field(
        default="auto",
        description="Strength of the pull towards zero, in units of the sum of squared errors over "
        "rows (scikit-learn's alpha, on standardized features); 0 is least squares; auto chooses "
        "it by generalized cross-validation. A stated one holds for the common coefficients of scope "
        "partial as well.",
    )
    scope: Literal["global", "local", "partial"] = Field(
        default="global",
        description="global: one set of coefficients for all series; local: own coefficients for "
        "each series, on features standardized over all series; partial: own coefficients, pulled "
        "to the global ones as far as series are alike.",
    )
    vary: tuple[str, ...] | None = Field(
        default=None,
        description="With scope partial: names or patterns of the features whose coefficients "
        "differ between series; the others are global, the level always differs. Default: all.",
    )
    by: tuple[str, ...] = Field(
        default=(),
        description="With scope local or partial: key or static columns; series with the same values "
        "share their coefficients. Default: each series has its own.",
    )
    offset: str | None = Field(
        default=None,
        description="A feature such as last year's value, whose coefficient is pulled to 1 instead of "
        "to 0: what is learned is the difference to it. A row where it is missing is left out.",
    )
    interactions: tuple[str, ...] = Field(
        default=(),
        description="Products of features as further features: `promo_price_log x static_brand_*`.",
    )
    weight: str | None = Field(
        default=None,
        description="A feature that rows are weighted by, such as a static size; a row where it is "
        "missing or 0 is left out.",
    )
    elasticity: tuple[str, ...] = Field(
        default=(),
        description="Names or patterns of the features whose coefficients are written with "
        "standard errors to the table `elasticity`, in units of the transformed target.",
    )
    intervals: bool = Field(
        default=False,
        description="Quantiles from the posterior, with normal errors, instead of the engine's "
        "calibration.",
    )
    decay: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Half-life of a row's weight in periods before the newest target; null gives "
        "every row the same weight.",
    )
    missing_indicator: float | None = Field(
        default=0.001,
        ge=0,
        lt=1,
        allow_inf_nan=False,
        description="Add a 0/1 column `missing(<feature>)` for each feature that is missing in "
        "more than this share of the rows (weighted if there is a decay); null adds none. Missing "
        "values themselves take the mean of the observed ones.",
    )
    max_features: int = Field(
        default=1_000,
        ge=1,
        le=10_000,
        description="Refuse a design with more features than this: memory grows with the square "
        "(and with the number of series if scope is local or partial).",
    )

    @model_validator(mode="after")
    def _goes_with_the_scope(self) -> RidgeParams:
        if self.vary is not None and self.scope != "partial":
            raise ValueError("vary goes with scope: partial; leave it out, or set the scope")
        if self.by and self.scope == "global":
            raise ValueError("by goes with scope: local or partial; leave it out, or set the scope")
        return self
