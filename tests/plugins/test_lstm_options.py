from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

pytest.importorskip("jax")

import jax
import jax.numpy as jnp

from engine.contracts import Training
from engine.errors import DataError
from engine_lstm import training
from engine_lstm.course import Course
from engine_lstm.data import encode, learn_encoding
from engine_lstm.model import Lstm
from engine_lstm.network import Forecaster
from engine_lstm.params import LstmParams
from engine_lstm.sampling import Bounds, StretchSize, cut, some_steps
from engine_lstm.schedule import Schedule
from tests.plugins.test_lstm import SMALL, case, fit, same, training_of
from tests.plugins.test_lstm_privacy import stretches


def test_members_of_an_ensemble_differ_and_their_forecasts_are_averaged() -> None:
    history, future = case()
    fitted = fit(history, ensemble=3)
    prediction = fitted.predict(history, future)
    members = [
        type(fitted)(
            fitted.shape,
            fitted.encoding,
            fitted.context,
            fitted.quantiles,
            fitted.aim,
            jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], fitted.weights),
            fitted.curve,
        ).predict(history, future)
        for i in range(3)
    ]
    assert not same(members[0], members[1]) and not same(members[1], members[2])
    np.testing.assert_allclose(
        prediction.y_hat, np.mean([m.y_hat for m in members], axis=0), rtol=1e-6
    )


def test_first_weights_are_decomposed_one_by_one() -> None:
    # Two batches of decompositions at once wait for each other's threads for ever (jaxlib 0.10.2).
    plan, data, _, _ = stretches(2)
    keys = jax.random.key_data(jax.random.split(jax.random.key(1, impl="rbg"), 2))
    pace = Schedule(1, 1, 0.01, 0.0, 1.0, 0.0).pace()
    one, anywhere = np.zeros(1, np.int32), Bounds(*np.zeros((4,), np.int32))
    stretch = jax.eval_shape(partial(cut, size=plan.size), data, one, one, anywhere)
    pair = replace(plan, members=2)
    text = training.first_states.lower(pair, stretch, keys, pace).as_text()
    calls = [line for line in text.splitlines() if "geqrf" in line and "custom_call" in line]
    assert calls and all("tensor<8x8xf32>" in line for line in calls)


class KilledError(Exception):
    """Ends a fit where a kill would."""


@pytest.mark.parametrize("options", [{}, {"ensemble": 2, "average": 0.9, "refit_all": True}])
def test_a_killed_fit_goes_on_to_the_same_end(tmp_path: Path, options: dict[str, Any]) -> None:
    history, future = case()
    whole = fit(history, **options).predict(history, future)
    kept = {**SMALL, **options, "checkpoint": {"folder": tmp_path, "every": 1}}
    seen: list[int] = []

    def kill(name: str, event: Mapping[str, Any]) -> None:
        if event["epoch"] == 3 and not seen:
            raise KilledError

    with pytest.raises(KilledError):
        Lstm(LstmParams(**kept)).fit(training_of(history, report=kill))
    assert len(list(tmp_path.iterdir())) == 1
    train = training_of(history, report=lambda name, event: seen.append(event["epoch"]))
    fitted = Lstm(LstmParams(**kept)).fit(train)
    assert seen[0] == 3
    assert same(whole, fitted.predict(history, future))
    assert fitted.curve.height == 3
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_of_other_data_or_options_is_not_used(tmp_path: Path) -> None:
    history, _ = case()
    kept = {**SMALL, "checkpoint": {"folder": tmp_path, "every": 1}}

    def epochs(train: Training, **changes: Any) -> list[int]:
        seen: list[int] = []

        def kill(name: str, event: Mapping[str, Any]) -> None:
            seen.append(event["epoch"])
            if event["epoch"] == 2:
                raise KilledError

        changed = Training(**{**train.__dict__, "report": kill})
        with pytest.raises(KilledError):
            Lstm(LstmParams(**{**kept, **changes})).fit(changed)
        return seen

    doubled = history.with_frame(history.frame.with_columns(pl.col("y") * 3 + 1))
    assert epochs(training_of(history)) == [1, 2]
    assert epochs(training_of(history)) == [2]
    assert epochs(training_of(doubled)) == [1, 2]
    assert epochs(training_of(history), learning_rate=0.02) == [1, 2]
    assert epochs(training_of(history, seed=12)) == [1, 2]


def test_a_censored_day_is_no_target_and_moves_no_level() -> None:
    history, _ = case(temperature=(pl.int_range(pl.len()) % 4 == 0).cast(pl.Float64))
    frame = history.frame
    out = (pl.col("temperature") > 0).fill_null(False)
    wild = history.with_frame(
        frame.with_columns(y=pl.when(out).then(pl.col("y") * 0).otherwise("y"))
    )
    first, second = (
        encode(
            h,
            learn_encoding(
                h, span=16, season=7, season_terms=2, static_keys=True, censored="temperature"
            ),
        )
        for h in (history, wild)
    )
    assert 0 < first.seen.mean() < 0.95
    for name in ("own", "y", "seen", "level", "scale"):
        assert (getattr(first, name) == getattr(second, name)).all(), name


def test_a_censoring_column_that_is_not_given_is_an_error() -> None:
    history, _ = case()
    with pytest.raises(DataError, match=r"censored is 'stockout'[\s\S]*temperature"):
        fit(history, censored="stockout")


def weights_of(**changes: Any) -> np.ndarray:
    """Weights of the newest targets of both series, (series, origins, steps)."""
    history, _ = case(n_series=2)
    encoding = learn_encoding(history, span=16, season=7, season_terms=2, static_keys=True)
    base = {"importance": np.ones(2, np.float32), "held": 0, "fading": 0.0, "at_once": None}
    size = StretchSize(16, 8, 7)
    course = Course(history, encoding, size=size, seed=1, **{**base, **changes})
    lessons, _ = course.lessons()
    series = jnp.arange(2)
    ends = jnp.full(2, lessons.learn.last_origin)
    return np.asarray(cut(lessons.watched, series, ends, lessons.learn, size).weight)


def test_older_targets_fade_by_half_in_a_half_life() -> None:
    plain, faded = weights_of(), weights_of(fading=np.log(0.5) / 3)
    assert set(np.unique(plain)) == {0.0, 1.0}
    # Origins end one date before the newest target, so the first step of the last is the newest.
    np.testing.assert_allclose(faded[:, -1, 0], 1.0, rtol=1e-6)
    np.testing.assert_allclose(faded[:, -4, 0], 0.5, rtol=1e-6)
    np.testing.assert_allclose(faded[:, -7, 3], 0.5, rtol=1e-6)


def test_series_count_by_their_weight() -> None:
    heavy = weights_of(importance=np.array([1.0, 3.0], np.float32))
    np.testing.assert_allclose(heavy[1], 3 * heavy[0])


def test_a_weight_is_size_or_a_static_column() -> None:
    history, future = case()
    plain = fit(history).predict(history, future)
    assert not same(plain, fit(history, weight="size").predict(history, future))
    with pytest.raises(DataError, match="weight is 'margin', which is no numeric static column"):
        fit(history, weight="margin")


def test_a_panel_larger_than_the_device_is_learned_from_in_samples() -> None:
    history, future = case(n_series=70)
    whole, parts = (fit(history, device_series=n) for n in (None, 64))
    assert np.isfinite(parts.predict(history, future).y_hat).all()
    assert parts.predict(history, future).y_hat.shape == (70, 7)
    assert not same(whole.predict(history, future), parts.predict(history, future))
    assert same(
        parts.predict(history, future), fit(history, device_series=64).predict(history, future)
    )


def test_a_sample_of_the_steps_has_one_of_each_part_of_the_horizon() -> None:
    numbers = np.random.default_rng(1).random((300, 7), np.float32)
    sampled = np.stack([some_steps(jnp.asarray(row), 28) for row in numbers])
    assert (sampled // 4 == np.arange(7)).all()
    assert set(np.unique(sampled)) == set(range(28))


def test_chosen_steps_are_cut_and_forecast_as_among_all() -> None:
    history, _ = case(n_series=2)
    encoding = learn_encoding(history, span=16, season=7, season_terms=3, static_keys=True)
    size, chosen = StretchSize(16, 8, 7), jnp.asarray([0, 3, 6])
    course = Course(history, encoding, np.ones(2, np.float32), size, 0, 0.0, None, 1)
    lessons, _ = course.lessons()
    ends = jnp.full(2, lessons.learn.last_origin)
    whole, some = (
        cut(lessons.watched, jnp.arange(2), ends, lessons.learn, size, steps)
        for steps in (None, chosen)
    )
    assert whole.weight[:, :, chosen].tolist() == some.weight.tolist()
    assert whole.target.y[:, :, chosen].tolist() == some.target.y.tolist()
    fitted = fit(history)
    weights = jax.tree.map(lambda leaf: leaf[0], fitted.weights)
    inputs = (whole.own, whole.known, whole.numbers, whole.codes, whole.offset)

    def forecast(steps: Any) -> Any:
        network = Forecaster(fitted.shape)
        return network.apply(weights, *inputs, first_origin=8, chosen=steps)

    np.testing.assert_allclose(forecast(None)[:, :, chosen], forecast(chosen), rtol=1e-5, atol=1e-6)


def test_learning_some_steps_at_a_time_still_teaches_all() -> None:
    history, future = case(n_series=8)
    fitted = fit(history, learned_steps=2, epochs=8)
    losses = fitted.curve["validation_loss"]
    assert losses.min() < losses[0]
    assert np.isfinite(fitted.predict(history, future).y_hat).all()


def test_averaged_weights_forecast_otherwise_than_the_last_ones() -> None:
    history, future = case()
    plain, averaged = (fit(history, average=a, validation=0) for a in (0.0, 0.95))
    assert plain.curve.equals(averaged.curve)
    assert not same(plain.predict(history, future), averaged.predict(history, future))


@pytest.mark.parametrize("head", ["gaussian", "student_t", "negative_binomial"])
def test_every_head_learns_and_orders_its_quantiles(head: str) -> None:
    history, future = case()
    fitted = fit(history, head=head, epochs=8, validation=0)
    losses = fitted.curve["train_loss"]
    assert losses[-1] < losses[0]
    quantiles = fitted.predict(history, future).quantiles
    assert quantiles is not None and (np.diff(quantiles, axis=-1) > 0).all()


def test_counts_are_forecast_by_whole_quantiles() -> None:
    history, future = case(y=pl.col("y").round())
    prediction = fit(history, head="negative_binomial").predict(history, future)
    assert prediction.quantiles is not None
    assert (prediction.quantiles == prediction.quantiles.round()).all()


def test_logs_are_taken_inside_and_undone() -> None:
    history, future = case()
    prediction = fit(history, log1p=True, loss="mape").predict(history, future)
    mean = history.y()[~np.isnan(history.y())].mean()
    assert 0.3 * mean < prediction.y_hat.mean() < 3 * mean
    below = history.with_frame(history.frame.with_columns(pl.col("y") - 1000))
    with pytest.raises(DataError, match=r"log1p needs y >= 0, but \d+ values are negative"):
        fit(below, log1p=True)


def test_a_robust_level_ignores_a_wild_day() -> None:
    history, _ = case()
    wild = history.with_frame(
        history.frame.with_columns(y=pl.when(pl.int_range(pl.len()) == 30).then(1e6).otherwise("y"))
    )

    def moved(robust: bool) -> float:
        options = {"span": 16, "season": 7, "season_terms": 2, "static_keys": True}
        levels = [
            encode(h, learn_encoding(h, robust=robust, **options)).level for h in (history, wild)
        ]
        return float(np.abs(levels[1][0, 31] / levels[0][0, 31] - 1))

    assert moved(robust=True) < 0.2 < moved(robust=False)


def test_layers_may_differ_in_size_and_be_normalised() -> None:
    history, future = case()
    fitted = fit(history, hidden=[8, 6], norm="layer", cell="gru", precision="bfloat16")
    assert fitted.shape.hidden == (8, 6)
    assert np.isfinite(fitted.predict(history, future).y_hat).all()


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match="layers goes with one number"):
        LstmParams(hidden=[8, 8], layers=2)
    with pytest.raises(ValidationError, match="negative_binomial is of counts"):
        LstmParams(head="negative_binomial", log1p=True)
