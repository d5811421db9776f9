"""Options of the source `simulate`: how many series, how long, and how strong each effect is."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from engine.components import Params


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"the range [{value[0]:g}, {value[1]:g}] is empty: write [low, high]")
    return value


def _within(low: float, high: float) -> AfterValidator:
    def check(value: tuple[float, float]) -> tuple[float, float]:
        if not (low <= value[0] and value[1] <= high):
            raise ValueError(
                f"the range [{value[0]:g}, {value[1]:g}] must lie within [{low:g}, {high:g}]"
            )
        return value

    return AfterValidator(check)


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
Share = Annotated[float, Field(ge=0, le=1)]


class SimulateParams(Params):
    """Options of the source `simulate`; each [low, high] is the range that series draw from.

    The expected units of a series are
    `level * trend * weekly * yearly * holiday * (price / base_price)^elasticity * lift^promo`.
    """

    series: int = Field(
        60, ge=1, le=10_000_000, description="Number of series; more keep the first as they were."
    )
    stores: int = Field(
        5, ge=1, le=100_000, description="Number of stores; items go to all of them in turn."
    )
    categories: int = Field(
        4, ge=1, le=1_000, description="Number of item categories, each with its own seasons."
    )
    start: dt.date = Field(
        dt.date(2022, 1, 3), description="First date; for weeks the first day of the first week."
    )
    freq: Literal["1d", "1w"] = Field("1d", description="Days or weeks.")
    periods: int = Field(
        730, ge=2, le=100_000, description="Number of periods (days or weeks) with sales."
    )
    future_periods: int = Field(
        28, ge=0, le=10_000, description="Known-future periods after those, without sales."
    )
    seed: int | None = Field(
        None, ge=0, lt=2**32, description="Seed of the simulation; by default the run's seed."
    )
    level: Annotated[Range, _within(0.01, 1e6)] = Field(
        (2.0, 60.0), description="Expected units a period of a regular series (log-uniform)."
    )
    trend: Annotated[Range, _within(-0.9, 2.0)] = Field(
        (-0.1, 0.2), description="Growth a year, 0.1 for 10 percent."
    )
    weekly: float = Field(
        0.3, ge=0, le=2, description="Strength of the weekly season (log scale); days only."
    )
    yearly: float = Field(0.2, ge=0, le=2, description="Strength of the yearly season (log scale).")
    noise: float = Field(
        0.1,
        ge=0,
        le=10,
        description="Extra variance: mean + noise * mean^2 (negative binomial); 0 for Poisson.",
    )
    intermittent: Share = Field(
        0.1, description="Share of series that sell in some periods only, few units a sale."
    )
    launches: Share = Field(
        0.1, description="Share of series that begin within the first 60 percent of the periods."
    )
    stockouts: float = Field(
        0.02, ge=0, le=0.5, description="Share of periods in which the shelf runs empty."
    )
    promotions: float = Field(
        8.0, ge=0, le=50, description="Promotions a year and series, each of one to two weeks."
    )
    promotion_lift: Annotated[Range, _within(0.1, 20)] = Field(
        (1.2, 2.0), description="Factor on units while a promotion runs, price effect apart."
    )
    discount: Annotated[Range, _within(0, 0.9)] = Field(
        (0.1, 0.3), description="Price cut that goes with some days of a promotion, a share."
    )
    elasticity: Annotated[Range, _within(-6, 0)] = Field(
        (-2.5, -0.8), description="Price elasticity: percent of units for a percent of price."
    )
    price: Annotated[Range, _within(0.1, 1e5)] = Field(
        (1.5, 25.0), description="Regular price of an item when it starts (log-uniform)."
    )
    price_changes: float = Field(
        2.0, ge=0, le=50, description="Changes of the regular price a year, up to 8 percent each."
    )
    country: str | None = Field(
        None, description="Country of the public holidays (holidays library), e.g. US; else none."
    )
    holiday_effect: Annotated[Range, _within(0, 20)] = Field(
        (0.7, 1.5), description="Factor on units in a period with a public holiday."
    )
