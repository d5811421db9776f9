from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("jax", reason="the extra `lstm` is not installed")

import jax
import jax.numpy as jnp

from engine_lstm import training
from engine_lstm.chances import Chances, drawn
from engine_lstm.course import Course
from engine_lstm.data import learn_encoding
from engine_lstm.model import Lstm
from engine_lstm.network import Forecaster
from engine_lstm.params import LstmParams
from engine_lstm.sampling import StretchSize, cut
from engine_lstm.schedule import Schedule
from tests.plugins.test_lstm import SMALL, case, training_of

KEY = jax.random.key_data(jax.random.key(3, impl="rbg"))


def test_numbers_are_uniform_and_each_is_handed_out_once() -> None:
    _, bits = drawn(KEY, 20_000)
    chances = Chances(bits)
    first, second = np.asarray(chances.numbers(100, 100)), np.asarray(chances.numbers(10_000))
    assert chances.left == 0
    both = np.concatenate([first.ravel(), second])
    assert np.unique(both).size > 19_950 and (both >= 0).all() and (both < 1).all()
    assert np.histogram(both, 10, (0, 1))[0] == pytest.approx(np.full(10, 2000), abs=200)


def test_another_key_follows_with_other_numbers() -> None:
    after, bits = drawn(KEY, 64)
    _, more = drawn(after, 64)
    assert not set(np.asarray(bits).tolist()) & set(np.asarray(more).tolist())


def test_what_is_kept_has_the_share_asked_for() -> None:
    _, bits = drawn(KEY, 40_000)
    assert float(Chances(bits).kept(0.9, 200, 200).mean()) == pytest.approx(0.9, abs=0.01)


def test_more_numbers_than_there_are_is_an_error() -> None:
    with pytest.raises(ValueError, match="4 random numbers are asked for and 3 are left"):
        Chances(jnp.zeros(3, jnp.uint32)).bits(2, 2)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dropout": 0.0},
        {"dropout": 0.0, "hide": 0.3},
        {"hide": 0.3, "hidden": [8, 5], "effects": [7]},
        {"static_keys": False, "cell": "gru"},
    ],
    ids=str,
)
def test_a_training_pass_takes_as_many_numbers_as_it_says(options: dict[str, Any]) -> None:
    history, _ = case(n_series=3)
    params = LstmParams(**{**SMALL, **options})
    span = 16
    encoding = learn_encoding(
        history,
        span=span,
        season=7,
        season_terms=3,
        static_keys=params.static_keys,
        effects=params.effects,
    )
    plan = Lstm(params)._plan(training_of(history), encoding)
    course = Course(
        history, encoding, np.ones(3, np.float32), StretchSize(16, 8, 7), 0, 0.0, None, 1
    )
    lessons, _ = course.lessons()
    keys = jax.random.key_data(jax.random.split(jax.random.key(1, impl="rbg"), 1))
    state = training.start(plan, lessons.watched, keys, Schedule(1, 1, 0.01, 0.0, 1.0, 0.0).pace())
    weights = jax.tree.map(lambda leaf: leaf[0], state.weights)
    ends = jnp.full(3, lessons.learn.last_origin)
    stretch = cut(lessons.watched, jnp.arange(3), ends, lessons.learn, plan.size)
    needed = plan.network.chances(3, 8, stretch.codes.shape[1], stretch.known.shape[2])
    chances = Chances(drawn(KEY, needed)[1])

    def outputs(chances: Chances | None) -> Any:
        seen = (stretch.own, stretch.known, stretch.numbers, stretch.codes, stretch.offset)
        return Forecaster(plan.network).apply(weights, *seen, first_origin=8, chances=chances)

    dropped = outputs(chances)
    assert chances.left == 0
    assert bool(jnp.array_equal(dropped, outputs(None))) == (needed == 0)
