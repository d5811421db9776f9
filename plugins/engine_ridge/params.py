"""Options of the ridge regression."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

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
        "it by generalized cross-validation.",
    )
    scope: Literal["global", "local"] = Field(
        default="global",
        description="global: one set of coefficients for all series; local: own coefficients for "
        "each series, on features standardized over all series.",
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
        "(and with the number of series if scope is local).",
    )
