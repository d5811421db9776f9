"""The three methods, for all series at once: one pass over time, vectors over series.

z is the smoothed size of a demand, p the smoothed interval between demands, q the periods since the
last demand, d the smoothed probability that a period has demand. Both z and p begin with the first
demand and the periods up to it. A missing period is as if it had not been there.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def interval_rate(y: Floats, alpha: float, beta: float) -> Floats:
    """Demand per period by Croston 1972: z / p, both updated in periods with demand only.

    y: (n_series, time), NaN where missing, never negative. Returns (n_series,), 0 for a series that
    has had no demand.
    """
    size, interval = np.full((2, len(y)), np.nan)
    since = np.ones(len(y))
    for now in y.T:
        demand = now > 0
        first = demand & np.isnan(size)
        size = np.where(first, now, np.where(demand, size + alpha * (now - size), size))
        moved = interval + beta * (since - interval)
        interval = np.where(first, since, np.where(demand, moved, interval))
        since = np.where(demand, 1.0, since + np.isfinite(now))
    return np.nan_to_num(size / interval)


def bias_corrected_rate(y: Floats, alpha: float, beta: float) -> Floats:
    """Demand per period by Syntetos & Boylan 2005: (1 - beta / 2) * z / p; shapes as `interval_rate`.

    The mean of 1 / p is larger than 1 over the mean of p, and the factor corrects it.
    """
    return (1 - beta / 2) * interval_rate(y, alpha, beta)


def probability_rate(y: Floats, alpha: float, beta: float) -> Floats:
    """Demand per period by Teunter, Syntetos & Babai 2011: d * z; shapes as `interval_rate`.

    d moves towards 0 in every period without demand and towards 1 in every one with it; it begins
    with one over the periods up to the first demand.
    """
    size, probability = np.full((2, len(y)), np.nan)
    waited = np.ones(len(y))
    for now in y.T:
        demand, seen = now > 0, np.isfinite(now)
        first = demand & np.isnan(size)
        size = np.where(first, now, np.where(demand, size + alpha * (now - size), size))
        moved = np.where(seen, probability + beta * (demand - probability), probability)
        probability = np.where(first, 1 / waited, moved)
        waited = waited + seen
    return np.nan_to_num(size * probability)
