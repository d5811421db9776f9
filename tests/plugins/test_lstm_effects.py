"""The linear path of covariates known ahead, and what else keeps promotions from being learned by heart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

pytest.importorskip("jax")

import jax
import jax.numpy as jnp

from engine.data.panel import Future, Panel
from engine_lstm.ahead import forecast
from engine_lstm.data import encode, learn_encoding
from engine_lstm.effects import Effects
from engine_lstm.model import Lstm
from engine_lstm.params import LstmParams
from tests.panels import history_and_future, panel, rows
from tests.plugins.test_lstm import HORIZON, SMALL, case, fit, same, training_of

PRICES = {"price": 10 + pl.col("promo") - (pl.int_range(pl.len()) * 7 % 5) / 5}


def logs_of_price(periods: int = 60) -> tuple[Panel, Future]:
    """Log sales of four stores with a price elasticity of -2 and nothing else."""
    frame = rows(4, periods, future=HORIZON, **PRICES).with_columns(price=pl.col("price").log())
    whole = panel(frame.with_columns(y=8.0 - 2.0 * pl.col("price") + 0 * pl.col("y")), static=())
    return history_and_future(whole, 0, HORIZON)


def at_price(future: Future, log_price: float) -> Future:
    return replace(future, frame=future.frame.with_columns(price=pl.lit(log_price)))


def test_levels_are_freed_of_effects_that_are_linear() -> None:
    history, _ = logs_of_price()
    encoding = learn_encoding(
        history, span=16, season=7, season_terms=0, static_keys=True, effects=(4,)
    )
    arrays = encode(history, encoding)
    time, steps = arrays.y.shape[1] - 3, 3
    module, known = Effects(1, steps), arrays.known[:, : time + steps]
    static = np.zeros((4, 1), np.float32)
    weights = jax.device_get(module.init(jax.random.key(0), arrays.own[:, :time], known, static))
    price = list(encoding.future.names).index("price")
    # In the unit of the network, in which y is a distance from its level over its scale.
    slope = -2.0 * encoding.future.deviation[price] / float(np.median(arrays.scale[:, -1]))
    bias = weights["params"]["coefficient"]["bias"].copy()
    bias[price] = slope / 3.0
    weights["params"]["coefficient"]["bias"] = bias

    def bound(effects: Effects, *inputs: Any) -> tuple[Any, Any]:
        own, shift = effects(*inputs)
        return own, sum(shift(time - 20, None))

    inputs, moved = module.apply(weights, arrays.own[:, :time], known, static, method=bound)
    stand = arrays.level[:, time - 20 : time, None], arrays.scale[:, time - 20 : time, None]
    ahead = np.stack([arrays.y[:, time - 19 + k : time + 1 + k] for k in range(steps)], axis=-1)
    z = (ahead - stand[0]) / stand[1]
    assert np.abs(z).mean() > 0.5
    np.testing.assert_allclose(moved, z, atol=0.05 * np.abs(z).max())
    assert np.abs(inputs[:, -20:, 0]).max() < 0.05 * np.abs(z).max()
    assert np.abs(inputs[:, -20:, -1]).max() < 0.05 * np.abs(z).max()


@pytest.mark.slow
def test_a_price_that_never_was_is_answered_by_the_elasticity() -> None:
    history, future = logs_of_price()
    seen = history.frame["price"]
    low, usual = float(seen.min()) - 0.2, float(seen.mean())

    def answer(**options: Any) -> float:
        more = {"epochs": 12, "batches_per_epoch": 30, "validation": 0, **options}
        fitted = Lstm(LstmParams(**{**SMALL, **more})).fit(training_of(history))
        forecasts = [fitted.predict(history, at_price(future, p)).y_hat for p in (low, usual)]
        return float((forecasts[0] - forecasts[1]).mean() / (usual - low))

    assert answer(effects=[4]) == pytest.approx(2.0, rel=0.15)


def test_hidden_covariates_are_all_there_in_a_forecast() -> None:
    history, future = case()
    fitted = fit(history, hide=0.5)
    inputs = fitted._inputs(history, future)
    open_shape = replace(fitted.shape, hide=0.0)
    hidden = forecast(fitted.shape, fitted.weights, inputs)
    assert (np.asarray(hidden) == forecast(open_shape, fitted.weights, inputs)).all()
    assert not same(fitted.predict(history, future), fit(history).predict(history, future))


@pytest.mark.parametrize("head", ["quantile", "gaussian"])
def test_y_hat_is_the_quantile_that_is_aimed_at(head: str) -> None:
    history, future = case()
    prediction = fit(history, (0.3, 0.5), head=head, aim=0.3).predict(history, future)
    assert prediction.quantiles is not None
    np.testing.assert_array_equal(prediction.y_hat, prediction.quantiles[..., 0])
    assert (prediction.y_hat < prediction.quantiles[..., 1]).all()


def test_an_aim_beside_a_loss_is_refused() -> None:
    with pytest.raises(ValidationError, match="aim goes with"):
        LstmParams(aim=0.3, loss="mse")


def test_effects_are_saved_with_the_model(tmp_path: Any) -> None:
    history, future = case()
    fitted = fit(history, effects=[3], aim=0.4)
    fitted.save(tmp_path)
    assert same(fitted.predict(history, future), Lstm.load(tmp_path).predict(history, future))


def test_nothing_after_a_date_moves_its_averages() -> None:
    history, _ = case()
    encoding = learn_encoding(
        history, span=16, season=7, season_terms=2, static_keys=True, effects=(3, 9)
    )
    whole, early = encode(history, encoding), encode(history.until(history.end - 9), encoding)
    np.testing.assert_allclose(whole.own[:, :-9], early.own, rtol=1e-5, atol=1e-6)
    assert jnp.isfinite(whole.own).all()
