from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

pytest.importorskip("jax")

import jax
import jax.numpy as jnp

from engine_lstm import training
from engine_lstm.course import Course
from engine_lstm.data import learn_encoding
from engine_lstm.fitted import FittedLstm
from engine_lstm.model import Lstm
from engine_lstm.params import LstmParams
from engine_lstm.privacy import aggregated, epsilon, promise, slots_for
from engine_lstm.sampling import Stretch, StretchSize, cut, draw_apart
from engine_lstm.schedule import Schedule
from tests.plugins.test_lstm import SMALL, case, fit, same, training_of

PRIVATE: dict[str, Any] = {"differential_privacy": {"noise": 1.0, "clip": 0.5}}


@pytest.mark.parametrize(
    "noise, rate, steps, delta, expected",
    [
        # dp-accounting 0.6.0, RdpAccountant(orders=range(2, 513)).
        (4.0, 0.01, 10_000, 1e-5, 1.0354900660362347),
        (1.3, 250 / 60_000, 3_600, 1e-5, 0.9422002181626798),
        (1.0, 1.0, 10, 1e-5, 19.801691480042898),
        (0.7, 0.05, 200, 1e-4, 11.144769689957272),
    ],
)
def test_epsilon_is_that_of_a_published_accountant(
    noise: float, rate: float, steps: int, delta: float, expected: float
) -> None:
    assert epsilon(noise, rate, steps, delta) == pytest.approx(expected, rel=1e-9)


def test_epsilon_is_a_little_tighter_than_the_first_published_one() -> None:
    # Abadi et al. 2016, figure 2: 1.26 for q = 0.01, noise 4, 10,000 steps, delta 1e-5.
    assert 1.0 < epsilon(4.0, 0.01, 10_000, 1e-5) < 1.26


@settings(max_examples=40, deadline=None)
@given(
    noise=st.floats(0.5, 8.0),
    rate=st.floats(0.001, 1.0),
    steps=st.integers(1, 5_000),
)
def test_more_noise_or_fewer_steps_or_smaller_samples_promise_no_less(
    noise: float, rate: float, steps: int
) -> None:
    spent = epsilon(noise, rate, steps, 1e-5)
    assert epsilon(1.2 * noise, rate, steps, 1e-5) <= spent
    assert epsilon(noise, rate, 2 * steps, 1e-5) >= spent
    assert epsilon(noise, 0.5 * rate, steps, 1e-5) <= spent * (1 + 1e-9)


def test_without_noise_nothing_is_promised() -> None:
    assert epsilon(0.0, 0.1, 10, 1e-5) == float("inf")


def test_there_is_a_slot_for_every_series_that_is_drawn() -> None:
    promised = promise(1.0, 1.0, 1e-4, 0.1, 1_000)
    slots = slots_for(500, promised)
    assert 80 < slots < 120
    drawn = np.random.default_rng(1).binomial(500, 0.1, 200_000)
    assert drawn.max() <= slots


def stretches(n_series: int) -> tuple[training.Plan, training.DeviceData, training.Bounds, Any]:
    """A plan without dropout, and data on the device."""
    history, _ = case(n_series=n_series)
    train = training_of(history)
    lstm = Lstm(LstmParams(**{**SMALL, "dropout": 0.0}))
    encoding = learn_encoding(history, span=16, season=7, season_terms=3, static_keys=True)
    plan = lstm._plan(train, encoding)
    ones = np.ones(n_series, np.float32)
    course = Course(history, encoding, ones, StretchSize(16, 8, 7), 0, 0.0, None, 1)
    lessons, _ = course.lessons()
    pace = Schedule(1, 1, 0.01, 0.0, 1.0, 0.0).pace()
    keys = jax.random.key_data(jax.random.split(jax.random.key(1, impl="rbg"), 1))
    state = training.start(plan, lessons.watched, keys, pace)
    weights = jax.tree.map(lambda leaf: leaf[0], state.weights)
    return plan, lessons.watched, lessons.learn, weights


def alike(stretch: Stretch) -> Stretch:
    """The same number of targets in every stretch."""
    return stretch._replace(weight=jnp.ones_like(stretch.weight))


def test_without_noise_and_clip_the_gradient_is_the_ordinary_one() -> None:
    plan, data, bounds, weights = stretches(6)
    series = jnp.arange(6)
    stretch = alike(cut(data, series, jnp.full(6, bounds.last_origin), bounds, plan.size))
    key, bits = jax.random.key(2), jnp.zeros((6, 0), jnp.uint32)
    losses, gradients = training.each_series(weights, plan, stretch, bits)
    numbers = (jnp.asarray(value, jnp.float32) for value in (1e9, 0.0, 6.0))
    private = aggregated(gradients, *numbers, key)
    loss, ordinary = jax.value_and_grad(training._mean_loss)(weights, plan, stretch, bits[0])
    assert losses.mean() == pytest.approx(float(loss), rel=1e-5)
    for own, other in zip(jax.tree.leaves(private), jax.tree.leaves(ordinary), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-6)


def test_no_series_moves_the_sum_by_more_than_the_clip() -> None:
    gradients = {"a": jnp.asarray([[3.0, 0.0], [0.1, 0.0]]), "b": jnp.asarray([[4.0], [0.2]])}
    numbers = (jnp.asarray(value, jnp.float32) for value in (1.0, 0.0, 1.0))
    total = aggregated(gradients, *numbers, jax.random.key(1))
    np.testing.assert_allclose(total["a"], [0.6 + 0.1, 0.0], rtol=1e-6)
    np.testing.assert_allclose(total["b"], [0.8 + 0.2], rtol=1e-6)


def test_noise_has_the_size_that_the_promise_rests_on() -> None:
    nothing = {"a": jnp.zeros((4, 20_000))}
    numbers = (jnp.asarray(value, jnp.float32) for value in (0.5, 3.0, 10.0))
    noise = aggregated(nothing, *numbers, jax.random.key(1))["a"]
    assert float(noise.std()) == pytest.approx(0.5 * 3.0 / 10.0, rel=0.03)


def test_series_are_drawn_apart_and_once() -> None:
    _, data, bounds, _ = stretches(6)
    counts = np.zeros(6)
    for number in range(200):
        series, ends, taken = draw_apart(
            jax.random.key(number), data, bounds.last_origin, jnp.asarray(0.25), 8, 8
        )
        drawn = np.asarray(series)[np.asarray(taken)]
        assert len(set(drawn)) == len(drawn) and (drawn < 6).all()
        assert (np.asarray(ends) <= int(bounds.last_origin)).all()
        counts[drawn] += 1
    np.testing.assert_allclose(counts / 200, 0.25, atol=0.12)


@pytest.fixture(scope="module")
def private() -> FittedLstm:
    return fit(case(n_series=30)[0], **PRIVATE)


def test_a_private_fit_tells_its_epsilon_and_keeps_it(tmp_path: Path, private: FittedLstm) -> None:
    table = private.tables()["privacy"]
    row = table.row(0, named=True)
    assert row["steps"] == 15 and row["rate"] == pytest.approx(16 / 30)
    assert row["delta"] == pytest.approx(0.1 / 30)
    assert row["epsilon"] == pytest.approx(epsilon(1.0, 16 / 30, 15, 0.99 * 0.1 / 30))
    private.save(tmp_path)
    assert FittedLstm.load(tmp_path).tables()["privacy"].equals(table)


def test_a_private_fit_is_reproducible_and_noisy(private: FittedLstm) -> None:
    history, future = case(n_series=30)
    again = fit(history, **PRIVATE)
    assert same(private.predict(history, future), again.predict(history, future))
    quiet = fit(history, differential_privacy={"noise": 0.0, "clip": 0.5})
    assert not same(private.predict(history, future), quiet.predict(history, future))
    assert quiet.privacy is not None and quiet.privacy.epsilon == float("inf")


def test_members_of_an_ensemble_spend_together() -> None:
    fitted = fit(case(n_series=30)[0], ensemble=2, **PRIVATE)
    assert fitted.privacy is not None and fitted.privacy.steps == 30


def test_an_ordinary_fit_promises_nothing() -> None:
    assert "privacy" not in fit(case()[0]).tables()


@pytest.mark.parametrize(
    "option", [{"validation": 3}, {"refit_all": True}, {"weight": "size"}, {"device_series": 64}]
)
def test_what_the_epsilon_does_not_know_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=f"does not go with {next(iter(option))}"):
        LstmParams(**PRIVATE, **option)
