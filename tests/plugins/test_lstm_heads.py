from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

pytest.importorskip("jax")

import jax.numpy as jnp
from jax import Array

from engine_lstm.heads import (
    Target,
    center,
    described,
    free_outputs,
    head_loss,
    point_loss,
    quantiles_of,
)

LEVELS = (0.1, 0.5, 0.9)
HEADS = ("quantile", "gaussian", "student_t", "negative_binomial")


def target(y: float, level: float = 0.0, scale: float = 1.0) -> Target:
    return Target(*(jnp.asarray(v) for v in ((y - level) / scale, y, level, scale)))


def meaning(head: str, outputs: list[float], level: float = 0.0, scale: float = 1.0) -> Array:
    free = jnp.asarray(outputs, jnp.float32)
    assert free.shape[-1] == free_outputs(head, LEVELS)
    return described(head, free, jnp.asarray(level), jnp.asarray(scale), LEVELS)


@settings(deadline=None)
@given(st.lists(st.floats(-50, 50, width=32), min_size=5, max_size=5))
def test_quantiles_never_cross_whatever_the_network_says(outputs: list[float]) -> None:
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    nothing = jnp.zeros(())
    z = described("quantile", jnp.asarray(outputs, jnp.float32), nothing, nothing, levels)
    assert (np.diff(np.asarray(z)) >= 0).all() and float(z[2]) == np.float32(outputs[2])


def test_pinball_loss_weighs_misses_by_the_quantile() -> None:
    z = jnp.asarray([1.0, 2.0, 3.0])
    # (0.1 * 4 + 0.5 * 3 + 0.9 * 2) / 3 above all of them, then below all of them.
    assert np.isclose(head_loss("quantile", z, target(5.0), LEVELS), (0.4 + 1.5 + 1.8) / 3)
    assert np.isclose(head_loss("quantile", z, target(0.0), LEVELS), (0.9 + 1.0 + 0.3) / 3)


def test_likelihoods_differ_from_the_known_ones_by_a_constant_only() -> None:
    ys = np.array([0.0, 1.0, 4.0, 9.0])
    for head, outputs in (("gaussian", [0.3, 0.8]), ("student_t", [0.3, 0.8, 1.0])):
        says = np.asarray(meaning(head, outputs), np.float64)
        known = (
            stats.norm(says[0], says[1])
            if head == "gaussian"
            else stats.t(says[2], says[0], says[1])
        )
        losses = [float(head_loss(head, jnp.asarray(says), target(y), LEVELS)) for y in ys]
        np.testing.assert_allclose(np.ptp(losses + known.logpdf(ys)), 0.0, atol=1e-4)


def test_counts_have_the_likelihood_of_a_negative_binomial() -> None:
    says = np.asarray(meaning("negative_binomial", [0.3, 0.2], level=4.0, scale=2.0), np.float64)
    shape = 1 / says[1]
    known = stats.nbinom(shape, shape / (shape + says[0]))
    assert np.isclose(known.mean(), says[0]) and np.isclose(
        known.var(), says[0] + says[1] * says[0] ** 2
    )
    for y in (0.0, 3.0, 12.0):
        loss = float(head_loss("negative_binomial", jnp.asarray(says), target(y), LEVELS))
        assert np.isclose(loss, -known.logpmf(y), rtol=1e-4)


@pytest.mark.parametrize("head", HEADS)
def test_quantiles_are_ordered_and_have_their_share_below(head: str) -> None:
    outputs = [0.4, 0.7, 1.2][: free_outputs(head, LEVELS)]
    says = np.asarray(meaning(head, outputs, 10.0, 3.0), np.float64)[None]
    level, scale = np.array([10.0]), np.array([3.0])
    low, middle, high = quantiles_of(head, says, level, scale, LEVELS)[0]
    assert low < middle < high
    known = {
        "gaussian": stats.norm(10 + 3 * says[0, 0], 3 * says[0, 1]),
        "student_t": stats.t(says[0, -1], 10 + 3 * says[0, 0], 3 * says[0, 1]),
    }.get(head)
    if known is not None:
        np.testing.assert_allclose(known.cdf([low, middle, high]), LEVELS)
        assert np.isclose(middle, center(head, says, level, scale, 1)[0])


def test_point_losses_on_known_numbers() -> None:
    for loss, expected in (("mae", 3.0), ("mse", 9.0), ("huber", 2.5), ("mape", 6.0 / 10.0)):
        found = point_loss(loss, jnp.asarray(0.0), target(10.0, 4.0, 2.0), log1p=False)
        assert np.isclose(found, expected), loss
    assert np.isclose(point_loss("huber", jnp.asarray(2.6), target(10.0, 4.0, 2.0), False), 0.08)


@settings(deadline=None, max_examples=30)
@given(st.floats(1, 1e4), st.floats(1, 1e4))
def test_percentage_errors_of_logs_are_those_in_units(y: float, y_hat: float) -> None:
    logs = target(float(np.log1p(y)), level=2.0, scale=0.5)
    point = jnp.asarray((np.log1p(y_hat) - 2.0) / 0.5)
    loss = float(point_loss("mape", point, logs, log1p=True))
    if (1 + y_hat) / (1 + y) < 20:
        assert np.isclose(loss, abs(y - y_hat) / y, rtol=1e-3, atol=1e-4)
    else:
        assert 19 <= loss < 40


def test_a_target_of_zero_has_no_percentage() -> None:
    assert float(point_loss("mape", jnp.asarray(5.0), target(0.0), log1p=False)) == 0.0
    assert float(point_loss("mape", jnp.asarray(5.0), target(0.0), log1p=True)) == 0.0
