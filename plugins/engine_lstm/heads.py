"""What the network says about a target, what that costs, and the quantiles that follow from it.

The network speaks of z; `y = level + scale * z` in the space in which it works, which is that of
the data or, with `log1p`, of their logarithms.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array

HeadName = Literal["quantile", "gaussian", "student_t", "negative_binomial"]
PointLoss = Literal["mae", "mse", "huber", "mape"]
Floats = npt.NDArray[np.float64]

_SMALLEST = 1e-3
_FEWEST_DEGREES = 2.1  # of freedom: the variance exists
_HUBER = 1.0
_MOST_LOG = (
    3.0  # a forecast 20 times too high costs no more than this; its exponential would explode
)


class Target(NamedTuple):
    """Targets, and where they stand; all broadcast to (...,).

    z: standardised; y: in the space of the network; level, scale: `y = level + scale * z`.
    """

    z: Array
    y: Array
    level: Array
    scale: Array


def free_outputs(head: str, quantiles: tuple[float, ...]) -> int:
    """Outputs of the network that a head needs for one target."""
    return {"quantile": len(quantiles), "student_t": 3}.get(head, 2)


def described(
    head: str, outputs: Array, level: Array, scale: Array, quantiles: tuple[float, ...]
) -> Array:
    """What free outputs (..., n) mean, as (..., n).

    quantile: ordered z, a median and positive distances from it. gaussian, student_t: center and
    spread of z, degrees of freedom. negative_binomial: mean of y, and its spread s, where the
    variance is mean + s mean^2 (Salinas et al. 2020, "DeepAR").
    """
    if head == "quantile":
        middle = quantiles.index(0.5)
        median = outputs[..., middle : middle + 1]
        above = jnp.cumsum(jax.nn.softplus(outputs[..., middle + 1 :]), axis=-1)
        below = jnp.cumsum(jax.nn.softplus(outputs[..., :middle])[..., ::-1], axis=-1)[..., ::-1]
        return jnp.concatenate([median - below, median, median + above], axis=-1)
    center, spread = outputs[..., 0], jax.nn.softplus(outputs[..., 1]) + _SMALLEST
    if head == "negative_binomial":
        usual = jnp.maximum(jnp.abs(level), scale)
        mean = usual * jax.nn.softplus(center) / jnp.log(2.0) + _SMALLEST * _SMALLEST
        return jnp.stack([mean, spread], axis=-1)
    if head == "gaussian":
        return jnp.stack([center, spread], axis=-1)
    freedom = _FEWEST_DEGREES + jax.nn.softplus(outputs[..., 2])
    return jnp.stack([center, spread, freedom], axis=-1)


def head_loss(head: str, meaning: Array, target: Target, quantiles: tuple[float, ...]) -> Array:
    """Loss of each target (...,) from what `described` says of it.

    quantile: pinball (Koenker & Bassett 1978), averaged over the quantiles. The others: negative
    log likelihood, constants left out.
    """
    if head == "quantile":
        error = target.z[..., None] - meaning
        share = jnp.asarray(quantiles, meaning.dtype)
        return jnp.maximum(share * error, (share - 1.0) * error).mean(-1)
    center, spread = meaning[..., 0], meaning[..., 1]
    if head == "negative_binomial":
        count, shape = target.y, 1.0 / spread
        more = jnp.log1p(spread * center)
        log_gamma = jax.scipy.special.gammaln
        return (
            log_gamma(shape)
            + log_gamma(count + 1.0)
            - log_gamma(count + shape)
            + (shape + count) * more
            - count * jnp.log(spread * center)
        )
    distance = (target.z - center) / spread
    if head == "gaussian":
        return 0.5 * jnp.square(distance) + jnp.log(spread)
    return jnp.log(spread) - jax.scipy.stats.t.logpdf(distance, meaning[..., 2])


def point_loss(loss: str, point: Array, target: Target, log1p: bool) -> Array:
    """Loss of the point output (...,).

    mae, mse and huber (Huber 1964) are of z; mape is the absolute error in the units of the data
    over the target, whose best point is lower than the median (Gneiting 2011, JASA 106); a target of
    zero has no percentage and costs nothing.
    """
    error = target.z - point
    if loss == "mse":
        return jnp.square(error)
    if loss == "mae":
        return jnp.abs(error)
    if loss == "huber":
        inside = jnp.minimum(jnp.abs(error), _HUBER)
        return inside * (jnp.abs(error) - 0.5 * inside)
    if log1p:
        excess = jnp.minimum(-error * target.scale, _MOST_LOG)
        demand = jnp.maximum(jnp.expm1(target.y), _SMALLEST)
        return jnp.where(target.y > 0, jnp.abs(jnp.expm1(excess)) * (1.0 + 1.0 / demand), 0.0)
    demand = jnp.maximum(jnp.abs(target.y), _SMALLEST)
    return jnp.where(target.y != 0, jnp.abs(error) * target.scale / demand, 0.0)


def center(head: str, meaning: Floats, level: Floats, scale: Floats, middle: int) -> Floats:
    """y (...,) at the center of what a head says: the median, or the mean of counts."""
    if head == "negative_binomial":
        return meaning[..., 0]
    return level + scale * meaning[..., middle if head == "quantile" else 0]


def quantiles_of(
    head: str, meaning: Floats, level: Floats, scale: Floats, quantiles: tuple[float, ...]
) -> Floats:
    """Quantiles of y, (..., quantile), from what `described` says; level and scale (...,)."""
    if head == "quantile":
        return np.asarray(level[..., None] + scale[..., None] * meaning)
    # Half a second that only these heads need.
    from scipy import stats

    share = np.asarray(quantiles)
    if head == "negative_binomial":
        shape = 1.0 / meaning[..., 1:2]
        return np.asarray(stats.nbinom.ppf(share, shape, shape / (shape + meaning[..., :1])))
    normal = head == "gaussian"
    away = stats.norm.ppf(share) if normal else stats.t.ppf(share, meaning[..., 2:3])
    z = meaning[..., :1] + meaning[..., 1:2] * away
    return np.asarray(level[..., None] + scale[..., None] * z)
