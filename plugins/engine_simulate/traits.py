"""What makes one series different from another: drawn once, from a generator of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine_simulate.params import SimulateParams
from engine_simulate.timeline import Timeline

FloatArray = npt.NDArray[np.floating[Any]]

# Entropy after the seed and a number; a series' own generator is [seed, number].
_ITEM, _CATEGORY = 1, 2

# Logarithms of the sales of Monday to Sunday beside those of a mean day, standard deviation 1.
_WEEK = np.array([-0.7, -0.9, -0.7, -0.2, 0.7, 1.7, 0.1])


@dataclass(frozen=True)
class Traits:
    """The true parameters of one series; see `SimulateParams` for the formula they belong to.

    store, item, category: numbers from 0. level: expected units at the start without any effect.
    trend: growth a year. elasticity: of units to price. lift: factor of a promotion. base_price:
    the first regular price. holiday_effect: factor. occurrence: share of periods with demand, 1
    for a regular series. launch: first period. week: factors of Monday to Sunday, mean 1. yearly,
    phase: size and phase of the yearly wave.
    """

    store: int
    item: int
    category: int
    level: float
    trend: float
    elasticity: float
    lift: float
    base_price: float
    holiday_effect: float
    occurrence: float
    launch: int
    week: FloatArray
    yearly: float
    phase: float


def generator(seed: int, number: int) -> np.random.Generator:
    """The random numbers of one series, whatever other series there are."""
    return np.random.default_rng([seed, number])


def draw_traits(
    number: int, seed: int, params: SimulateParams, timeline: Timeline, rng: np.random.Generator
) -> Traits:
    """The traits of series `number`: all stores sell item 0, then all sell item 1, and so on.

    Everything is drawn in the same order for every series, so that an option that changes one
    trait leaves the other traits as they were.
    """
    item, store = divmod(number, params.stores)
    of_item = np.random.default_rng([seed, item, _ITEM])
    category = int(of_item.integers(params.categories))
    price = _log_uniform(of_item, params.price)
    profile, phase = _seasons(seed, category)
    level = _log_uniform(rng, params.level)
    trend, elasticity, lift, holiday_effect = (
        float(rng.uniform(*bounds))
        for bounds in (
            params.trend,
            params.elasticity,
            params.promotion_lift,
            params.holiday_effect,
        )
    )
    weekly = params.weekly * rng.uniform(0.6, 1.4)
    yearly = params.yearly * float(rng.uniform(0.6, 1.4))
    store_price = float(rng.uniform(0.92, 1.08))
    is_intermittent, occurrence = rng.random() < params.intermittent, float(rng.uniform(0.1, 0.5))
    is_launch, launch = rng.random() < params.launches, rng.uniform(0.1, 0.6)
    week = np.exp(weekly * profile) if timeline.days == 1 else np.ones(7)
    return Traits(
        store=store,
        item=item,
        category=category,
        level=level * occurrence if is_intermittent else level,
        trend=trend,
        elasticity=elasticity,
        lift=lift,
        base_price=max(round(price * store_price, 2), 0.01),
        holiday_effect=holiday_effect,
        occurrence=occurrence if is_intermittent else 1.0,
        launch=int(launch * timeline.observed) if is_launch else 0,
        week=week / week.mean(),
        yearly=yearly,
        phase=phase,
    )


def _seasons(seed: int, category: int) -> tuple[FloatArray, float]:
    """Weekly profile (log scale, standard deviation about 1) and yearly phase of a category."""
    rng = np.random.default_rng([seed, category, _CATEGORY])
    profile = _WEEK + rng.normal(0, 0.3, 7)
    return profile - profile.mean(), float(rng.uniform(0, 2 * np.pi))


def _log_uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(np.log(bounds[0]), np.log(bounds[1]))))
