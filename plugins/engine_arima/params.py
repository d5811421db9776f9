"""Options of ARIMA."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from engine.components import Params

Count = Annotated[int, Field(ge=0, le=24)]
Order = tuple[Count, Count, Count]


class ArimaParams(Params):
    """Options of the model `arima`.

    All numeric future covariates that the model sees (`covariates:` of the spec's model) are
    regressors; those that are constant, or a combination of others, within a series are left out
    for that series. Capital letters are the seasonal orders, as in Box & Jenkins. Gaps inside a series are
    interpolated linearly before the fit; missing values at its start are cut off, and those at its
    end are forecast on the way to the horizon.
    """

    order: Order | None = Field(
        default=None,
        description="Orders [p, d, q]: autoregressive terms, differences, moving-average terms. "
        "Null chooses them for each series by AICc.",
    )
    seasonal_order: Order | None = Field(
        default=None,
        description="Seasonal orders [P, D, Q] that go with `order`; null is [0, 0, 0].",
    )
    season: int | None = Field(
        default=None,
        ge=1,
        le=400,
        description="Steps of the season; 1 fits no seasonal terms. Null takes the usual season of "
        "the data's frequency. Long seasons (52, 365) are slow: give seasonality as covariates.",
    )
    max_p: Count = Field(default=5, description="Automatic choice: most autoregressive terms.")
    max_q: Count = Field(default=5, description="Automatic choice: most moving-average terms.")
    max_P: Annotated[int, Field(ge=0, le=4)] = Field(  # noqa: N815 - the field's own name
        default=2, description="Automatic choice: most seasonal autoregressive terms."
    )
    max_Q: Annotated[int, Field(ge=0, le=4)] = Field(  # noqa: N815 - the field's own name
        default=2, description="Automatic choice: most seasonal moving-average terms."
    )
    max_d: Annotated[int, Field(ge=0, le=2)] = Field(
        default=2, description="Automatic choice: most differences."
    )
    max_D: Annotated[int, Field(ge=0, le=1)] = Field(  # noqa: N815 - the field's own name
        default=1, description="Automatic choice: most seasonal differences."
    )
    max_order: Annotated[int, Field(ge=0, le=24)] = Field(
        default=5,
        description="Automatic choice without `stepwise`: most terms p + q + P + Q in all.",
    )
    stepwise: bool = Field(
        default=True,
        description="Automatic choice: search from neighbor to neighbor (fast) instead of trying "
        "every combination.",
    )
    approximation: bool = Field(
        default=False,
        description="Automatic choice: compare orders by conditional sums of squares, which is "
        "faster and less exact; the chosen one is fitted by maximum likelihood.",
    )
    max_history: int | None = Field(
        default=None,
        ge=10,
        description="Fit on at most this many of the latest rows of each series; null fits on all.",
    )

    @model_validator(mode="after")
    def _orders_go_together(self) -> ArimaParams:
        """Reject seasonal orders that could have no effect."""
        seasonal = self.seasonal_order
        if seasonal is None:
            return self
        if self.order is None:
            raise ValueError("seasonal_order needs order as well: give both, or neither")
        if self.season == 1 and any(seasonal):
            raise ValueError(f"seasonal_order {list(seasonal)} needs a season of 2 steps or more")
        return self
