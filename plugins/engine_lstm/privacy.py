"""Differentially private training: noise in the gradients, and what it promises about one series.

The unit of privacy is a series' sampled stretch: in a training step every series is drawn or not, by
chance and independently of the others (Poisson sampling), a drawn one gives a single stretch, and
the gradient of that stretch is clipped before noise is added (Abadi et al. 2016). A series can so move
no step's sum by more than the clip, and the epsilon holds for whole series, present or absent.

It holds for the weights alone. Levels and scales of a series, means of covariates, the names of the
categories and the reported losses are made of the data without noise. The noise is made by JAX's
Philox generator, which is not a cryptographic one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import polars as pl
from jax import Array

_ORDERS = np.arange(2, 513)
_SLOTS_MULTIPLE = 8
_CROWDED = 0.01  # share of delta for a step in which more series are drawn than there are slots


@dataclass(frozen=True)
class Privacy:
    """What a training promises: (epsilon, delta) for adding or removing one series.

    noise: standard deviation of the noise in clips. clip: largest norm of the gradient of a series'
    stretch. rate: chance of a series to be drawn in a step. steps: of all trainings together.
    """

    epsilon: float
    delta: float
    noise: float
    clip: float
    rate: float
    steps: int

    def table(self) -> pl.DataFrame:
        """One row; the unit of privacy in words."""
        unit = "one series, by its sampled stretch in a step"
        return pl.DataFrame({**asdict(self), "unit": [unit]})


def promise(noise: float, clip: float, delta: float, rate: float, steps: int) -> Privacy:
    """The promise of so many steps of the Gaussian mechanism on a Poisson sample of series.

    Epsilon is infinite without noise.
    """
    spent = epsilon(noise, rate, steps, delta * (1.0 - _CROWDED))
    return Privacy(spent, delta, noise, clip, rate, steps)


def slots_for(n_series: int, privacy: Privacy) -> int:
    """Places for the series drawn in a step that practically never are too few.

    In all steps together more are drawn with a probability of at most a hundredth of delta; those
    over the places are left out.
    """
    most = n_series
    if privacy.rate < 1.0:
        from scipy.stats import binom  # half a second, which other trainings spare

        rare = _CROWDED * privacy.delta / privacy.steps
        most = min(int(binom.isf(rare, n_series, privacy.rate)) + 1, n_series)
    return -(-most // _SLOTS_MULTIPLE) * _SLOTS_MULTIPLE


def epsilon(noise: float, rate: float, steps: int, delta: float) -> float:
    """Epsilon by Rényi differential privacy of the integer orders 2 to 512.

    Mironov, Talwar & Zhang 2019, "Rényi Differential Privacy of the Sampled Gaussian Mechanism",
    section 3.3; from orders to epsilon by Canonne, Kamath & Steinke 2020, proposition 12.
    """
    if noise == 0.0:
        return float("inf")
    orders = _ORDERS.astype(np.float64)
    spent = steps * np.array([_divergence(int(order), noise, rate) for order in _ORDERS])
    bounds = spent + np.log1p(-1 / orders) - (np.log(delta) + np.log(orders)) / (orders - 1)
    return max(float(bounds.min()), 0.0)


def _divergence(order: int, noise: float, rate: float) -> float:
    """Rényi divergence of one step at an integer order."""
    if rate == 1.0:
        return order / (2 * noise**2)
    from scipy.special import gammaln, logsumexp

    k = np.arange(order + 1)
    chosen = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    drawn = k * np.log(rate) + (order - k) * np.log1p(-rate)
    return float(logsumexp(chosen + drawn + (k * k - k) / (2 * noise**2))) / (order - 1)


def aggregated(gradients: Any, clip: Array, noise: Array, expected: Array, key: Array) -> Any:
    """Sum of the clipped gradients of series with noise, over the number of series expected.

    gradients: leaves (series, ...). The noise has a standard deviation of `noise * clip`.
    """
    aggregate = optax.contrib.differentially_private_aggregate(clip, noise, key)
    mean, _ = aggregate.update(gradients, aggregate.init(None))
    slots = jax.tree.leaves(gradients)[0].shape[0]
    return jax.tree.map(lambda leaf: leaf * (slots / jnp.maximum(expected, 1.0)), mean)
