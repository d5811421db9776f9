"""One series: its prices and promotions, expected units, and the units that were sold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import DataError
from engine_simulate.params import SimulateParams
from engine_simulate.timeline import Timeline
from engine_simulate.traits import Traits

FloatArray = npt.NDArray[np.floating[Any]]

_DAYS_OF_PROMOTION = (7, 14)
_DAYS_OUT_OF_STOCK = 3.0
_LARGEST_CHANGE = 0.08
_MOST_UNITS = 1e9  # Units are 32-bit integers; noise may double the expected ones.


@dataclass(frozen=True)
class Demand:
    """One series over all periods, the known future included; arrays of shape (periods,).

    price: currency units, rounded to cents. promo, stockout: flags. mean: expected units of
    demand. baseline: the same without promotions and at the base price. units: what was sold;
    less than was asked for where the stock ran out.
    """

    price: FloatArray
    promo: npt.NDArray[np.bool_]
    stockout: npt.NDArray[np.bool_]
    mean: FloatArray
    baseline: FloatArray
    units: npt.NDArray[np.int32]


def simulate(
    traits: Traits, timeline: Timeline, params: SimulateParams, rng: np.random.Generator
) -> Demand:
    """Draw one series; DataError if its options let the expected units grow out of bounds."""
    promo, cut = _promotions(timeline, params, rng)
    price = np.round(_regular_price(traits, timeline, params, rng) * (1 - cut), 2)
    price = np.maximum(price, 0.01)
    baseline = _baseline(traits, timeline)
    mean = baseline * (price / traits.base_price) ** traits.elasticity * traits.lift**promo
    if mean.max() > _MOST_UNITS:
        raise DataError(
            f"simulate: store {traits.store + 1}, item {traits.item + 1} would sell "
            f"{mean.max():.3g} units a period",
            hint="lower level, trend, price_changes or elasticity",
        )
    asked = _counts(mean, traits.occurrence, params.noise, rng)
    stockout = _stockouts(timeline.total, params.stockouts, timeline.days, rng)
    left = np.floor(asked * rng.uniform(0.0, 0.5, timeline.total)).astype(np.int32)
    return Demand(price, promo, stockout, mean, baseline, np.where(stockout, left, asked))


def _promotions(
    timeline: Timeline, params: SimulateParams, rng: np.random.Generator
) -> tuple[npt.NDArray[np.bool_], FloatArray]:
    """Flags of the promotions and their price cuts as shares of the price.

    A cut holds for the first half to all of a promotion and one promotion in five has none, so
    that the effect of the promotion and that of the price can be told apart.
    """
    promo = np.zeros(timeline.total, dtype=bool)
    cut = np.zeros(timeline.total)
    years = timeline.total * timeline.days / 365.25
    count = int(rng.poisson(params.promotions * years))
    starts = rng.integers(timeline.total, size=count)
    days = rng.integers(_DAYS_OF_PROMOTION[0], _DAYS_OF_PROMOTION[1] + 1, size=count)
    discounts = rng.uniform(*params.discount, size=count) * (rng.random(count) < 0.8)
    parts = rng.uniform(0.5, 1.0, size=count)
    lengths = -(-days // timeline.days)
    for start, length, discount, part in zip(starts, lengths, discounts, parts, strict=True):
        promo[start : start + length] = True
        reduced = cut[start : start + max(round(length * part), 1)]
        np.maximum(reduced, discount, out=reduced)
    return promo, cut


def _regular_price(
    traits: Traits, timeline: Timeline, params: SimulateParams, rng: np.random.Generator
) -> FloatArray:
    """The base price after changes of up to 8 percent up or down at random dates."""
    years = timeline.total * timeline.days / 365.25
    count = int(rng.poisson(params.price_changes * years))
    at = rng.integers(1, timeline.total, size=count)
    changes = np.zeros(timeline.total)
    np.add.at(changes, at, rng.uniform(-_LARGEST_CHANGE, _LARGEST_CHANGE, size=count))
    return np.exp(np.cumsum(changes)) * traits.base_price


def _baseline(traits: Traits, timeline: Timeline) -> FloatArray:
    angle = timeline.angle + traits.phase
    yearly = np.exp(traits.yearly * (np.sin(angle) + 0.3 * np.sin(2 * angle)))
    trend = (1 + traits.trend) ** timeline.year
    holiday = np.where(timeline.holiday, traits.holiday_effect, 1.0)
    level: FloatArray = traits.level * trend * yearly * holiday
    return level * traits.week[timeline.weekday]


def _counts(
    mean: FloatArray, occurrence: float, noise: float, rng: np.random.Generator
) -> npt.NDArray[np.int32]:
    """Whole units with the given mean: a negative binomial as a Poisson with a gamma-drawn rate.

    An intermittent series has demand in a share `occurrence` of its periods, larger by as much.
    """
    rate = mean / occurrence
    if noise > 0:
        rate = rate * rng.gamma(1 / noise, noise, size=mean.size)
    occurs = rng.random(mean.size) < occurrence
    # Counts beyond 32 bits are only met at the far end of a distribution that is clipped there.
    drawn = np.minimum(rng.poisson(np.minimum(rate, 2 * _MOST_UNITS)), np.iinfo(np.int32).max)
    return np.where(occurs, drawn, 0).astype(np.int32)


def _stockouts(
    total: int, rate: float, days: int, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Flags of episodes without stock, three days long on average, covering about `rate`."""
    length = max(_DAYS_OUT_OF_STOCK / days, 1.0)
    # Episodes fall on each other: 1 - exp(-n * length / total) of the periods are covered.
    episodes = int(rng.poisson(-np.log1p(-rate) * total / length))
    flags = np.zeros(total, dtype=bool)
    starts = rng.integers(total, size=episodes)
    for start, span in zip(starts, rng.geometric(1 / length, size=episodes), strict=True):
        flags[start : start + span] = True
    return flags
