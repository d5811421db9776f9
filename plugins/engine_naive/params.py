"""Options of the seasonal naive forecast."""

from __future__ import annotations

from pydantic import Field

from engine.components import Params


class SeasonalNaiveParams(Params):
    """Options of the model `seasonal_naive`."""

    season: int | None = Field(
        default=None,
        ge=1,
        description="Steps of the season, such as 7 for days or 52 for weeks; 1 repeats the last "
        "value. Null takes the usual season of the data's frequency.",
    )
    seasons: int = Field(
        default=1,
        ge=1,
        description="Forecast the mean of this many observed values of the same season, the "
        "latest ones; 1 is the classic forecast.",
    )
