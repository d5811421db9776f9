"""What a coefficient of log1p(y) says of demand itself, where y is small or often zero.

With E y = m and log m = x'b, the mean of log(1 + y) moves less than log m: by b times
k = m d/dm E log(1 + y). If y is a mixed Poisson count, whatever the mixture (negative binomial, with
zeros inflated, intermittent), then k = E[y log(1 + 1/y)], by the identity E[l f(y + 1)] = E[y f(y)] for a
rate l (Robbins 1956, Third Berkeley Symposium 1) and the derivative of a Poisson mean,
E[log(2 + y) - log(1 + y)]. A linear fit sees the average of such slopes (Stoker 1986, Econometrica 54),
so that its coefficients divided by the mean of y log(1 + 1/y) are effects on log demand: the elasticity,
for a log price. Nothing is assumed of how y is distributed but that it counts.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.contracts import DesignBlock
from engine.transforms import TargetTransform
from engine_ridge.statistics import ONE, Basis, Floats, Statistics, row_weights

_LEAST = 1e-6


def tells_demand(transform: TargetTransform | None) -> bool:
    """Whether coefficients are those of log1p(y) in units, so that demand can be told from them."""
    return (
        transform is not None
        and transform.target == "log1p"
        and bool((transform.factor == 1).all())
    )


def counted(
    statistics: Statistics,
    block: DesignBlock,
    basis: Basis,
    y: Floats,
    half_life: float | None,
    weight_feature: int | None,
) -> Statistics:
    """The statistics of a block with the weighted sum of y log(1 + 1/y) of every group.

    y: (rows,), in units. Groups are numbered as `block.series`, or there is one.
    """
    response = np.where(y > 0, y * np.log1p(1.0 / np.maximum(y, 1e-300)), 0.0)
    weight = row_weights(block, basis, half_life, weight_feature)
    groups = statistics.groups
    place = np.searchsorted(groups, block.series) if groups.size > 1 else np.zeros(y.size, np.int64)
    sums = np.bincount(place, weights=weight * response, minlength=groups.size)
    return replace(statistics, responses=sums.astype(np.float64, copy=False))


def response_of(statistics: Statistics) -> Floats | None:
    """By how much log1p(y) moves for a step of log demand: (groups,), in 0..1, NaN without sales."""
    if statistics.responses is None:
        return None
    share = statistics.responses / statistics.gram[:, ONE, ONE]
    return np.where(share > _LEAST, share, np.nan)
