"""Forecasts of the LSTM that start from a covariate, such as last week's value, and not from the level."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

pytest.importorskip("jax")

import jax

from engine.data.fill import Missing
from engine.data.panel import Future, Panel
from engine.errors import DataError
from engine_lstm.attribution import integrated
from engine_lstm.data import encode, learn_encoding
from engine_lstm.fitted import FittedLstm
from engine_lstm.model import Lstm
from engine_lstm.offset import Offset
from engine_lstm.params import LstmParams
from tests.panels import history_and_future, panel, rows
from tests.plugins.test_lstm import HORIZON, fit, holed, same

LAST = pl.col("y").shift(HORIZON).over("store")
STORES = 3
MISSING = Missing(y="drop", columns=dict.fromkeys(("price", "temperature", "last"), "keep"))
OFFSETS = st.one_of(st.none(), st.floats(0.0, 1e5, width=32))


def case(periods: int = 60, last: pl.Expr = LAST, **columns: pl.Expr) -> tuple[Panel, Future]:
    """A week ahead of daily sales whose values a week before are known ahead, as `last`."""
    frame = rows(STORES, periods, future=HORIZON).with_columns(**columns).with_columns(last=last)
    whole = panel(holed(frame), future=("promo", "price", "last"), missing=MISSING)
    return history_and_future(whole, 0, HORIZON)


def silenced(fitted: FittedLstm) -> FittedLstm:
    """The same model with a network that says nothing at all."""
    weights = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf if "offset" in str(path) else 0.0 * leaf, fitted.weights
    )
    return replace(fitted, weights=weights)


def untrained(history: Panel, **options: Any) -> FittedLstm:
    """A silent network whose linear paths are as they begin."""
    small = {"epochs": 1, "batches_per_epoch": 1, "learning_rate": 1e-12, "validation": 0}
    return silenced(fit(history, **{"offset": "last", **small, **options}))


def ahead(future: Future, last: list[float | None]) -> Future:
    return replace(future, frame=future.frame.with_columns(last=pl.Series(last, dtype=pl.Float32)))


HISTORY, FUTURE = case()


@pytest.fixture(scope="module")
def plain() -> FittedLstm:
    return untrained(HISTORY)


@pytest.fixture(scope="module")
def logarithmic() -> FittedLstm:
    return untrained(HISTORY, log1p=True, scaling="robust")


@pytest.mark.parametrize("model", ["plain", "logarithmic"])
@settings(max_examples=30, deadline=None)
@given(last=st.lists(OFFSETS, min_size=STORES * HORIZON, max_size=STORES * HORIZON))
def test_a_network_that_says_nothing_forecasts_the_offset_and_the_level_without_one(
    request: pytest.FixtureRequest, model: str, last: list[float | None]
) -> None:
    fitted = request.getfixturevalue(model)
    level = fitted.predict(HISTORY, ahead(FUTURE, [None] * len(last))).y_hat
    wanted = np.array([np.nan if v is None else v for v in last]).reshape(STORES, HORIZON)
    forecast = fitted.predict(HISTORY, ahead(FUTURE, last)).y_hat
    assert np.ptp(level, axis=1).max() == 0
    np.testing.assert_allclose(forecast, np.where(np.isnan(wanted), level, wanted), 1e-4, 1e-2)


@pytest.mark.parametrize(
    "options", [{"head": "gaussian"}, {"head": "student_t"}, {"loss": "mse"}, {"effects": [4]}]
)
def test_every_output_that_says_where_a_target_is_starts_from_the_offset(
    options: dict[str, Any],
) -> None:
    prediction = untrained(HISTORY, **options).predict(HISTORY, FUTURE)
    last = FUTURE.dense(["last"])[..., 0]
    np.testing.assert_allclose(prediction.y_hat, last, rtol=1e-4)
    assert prediction.quantiles is not None
    np.testing.assert_allclose(prediction.quantiles[..., 1], last, rtol=1e-4)


@pytest.mark.parametrize(("share", "effects"), [(0.0, None), (0.5, None), (1.0, [3, 9])])
def test_forecasts_begin_with_the_share_of_growth_that_is_asked_for(
    share: float, effects: list[int] | None
) -> None:
    # Every week sells 3 more than the week before.
    time = pl.int_range(pl.len()).over("store")
    sold = pl.when(pl.col("y").is_not_null()).then(20 + time % 7 + 3 * (time // 7))
    history, future = case(y=sold)
    fitted = untrained(history, offset_growth=share, effects=effects)
    last = future.dense(["last"])[..., 0]
    np.testing.assert_allclose(fitted.predict(history, future).y_hat, last + 3 * share, rtol=1e-4)


@pytest.mark.slow
def test_a_season_seen_twice_is_carried_on() -> None:
    # Eight weeks of wild days come again once, and go on after that.
    wild = np.random.default_rng(5).gamma(2.0, 10.0, 56)
    season = pl.Series(wild).gather(np.tile(np.arange(112 + HORIZON) % 56, STORES))
    sold = pl.when(pl.col("y").is_not_null()).then(season * pl.col("store"))
    history, future = case(112, last=pl.col("y").shift(56).over("store"), y=sold)
    actual = wild[(112 + np.arange(HORIZON)) % 56] * np.arange(1, STORES + 1)[:, None]

    def error(**options: Any) -> float:
        fitted = fit(history, epochs=10, validation=0, **options)
        return float(np.abs(fitted.predict(history, future).y_hat - actual).sum() / actual.sum())

    assert error(offset="last") < 0.3 * error()


def test_a_peak_loses_no_more_than_what_may_be_noise() -> None:
    offset = np.ones((1, 1, HORIZON, 2), np.float32)
    offset[0, 0, :, 0] = [-40.0, -2.0, -1.0, 0.0, 1.0, 2.0, 40.0]
    module, inputs = Offset(1, HORIZON, 0.0), (np.zeros((1, 1, 1)), offset, np.zeros((1, 1)), None)
    weights = module.init(jax.random.key(0), *inputs)
    np.testing.assert_array_equal(module.apply(weights, *inputs)[0, 0], offset[0, 0, :, 0])
    bias = weights["params"]["held_back"]["bias"]
    weights["params"]["held_back"]["bias"] = bias + 0.1
    lost = offset[0, 0, :, 0] - np.asarray(module.apply(weights, *inputs))[0, 0]
    np.testing.assert_allclose(lost, 0.3 * np.array([-2, -2, -1, 0, 1, 2, 2]), atol=1e-5)


def test_dates_without_an_offset_are_learned_from_as_well() -> None:
    history, future = case(last=pl.lit(None, pl.Float64))
    fitted = fit(history, offset="last", effects=[4])
    assert fitted.curve["train_loss"].is_finite().all()
    assert np.isfinite(fitted.predict(history, future).y_hat).all()


def test_an_offset_that_is_not_given_is_an_error_with_the_columns_that_are() -> None:
    with pytest.raises(DataError, match=r"offset is 'last_year'.*known ahead") as caught:
        fit(HISTORY, offset="last_year")
    assert "promo, price, last" in str(caught.value.hint)
    with pytest.raises(DataError, match="offset is 'temperature'"):
        fit(HISTORY, offset="temperature")


def test_offsets_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValidationError, match="negative_binomial forecasts a multiple"):
        LstmParams(offset="last", head="negative_binomial")
    with pytest.raises(ValidationError, match="offset_growth is of the distance from an offset"):
        LstmParams(offset_growth=0.5)


def test_nothing_after_a_date_moves_its_distances_from_the_offset() -> None:
    encoding = learn_encoding(
        HISTORY, span=16, season=7, season_terms=2, static_keys=True, effects=(3,), offset="last"
    )
    whole, early = encode(HISTORY, encoding), encode(HISTORY.until(HISTORY.end - 9), encoding)
    np.testing.assert_allclose(whole.own[:, :-9], early.own, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(whole.offset[:, :-9], early.offset)
    assert (whole.offset[:, :HORIZON] == 0).all() and (whole.offset[:, HORIZON:, 1] == 1).all()


def test_an_offset_is_saved_with_the_model(tmp_path: Path) -> None:
    fitted = fit(HISTORY, offset="last", offset_growth=0.5)
    fitted.save(tmp_path)
    assert same(fitted.predict(HISTORY, FUTURE), Lstm.load(tmp_path).predict(HISTORY, FUTURE))


def test_a_model_saved_before_there_were_offsets_is_read(tmp_path: Path) -> None:
    fitted = fit(HISTORY)
    fitted.save(tmp_path)
    about = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    for part, names in {"shape": ("offset", "growth"), "encoding": ("offset",)}.items():
        for name in names:
            del about[part][name]
    (tmp_path / "model.json").write_text(json.dumps(about), encoding="utf-8")
    assert same(fitted.predict(HISTORY, FUTURE), Lstm.load(tmp_path).predict(HISTORY, FUTURE))


def test_what_a_forecast_owes_to_its_offset_is_told(plain: FittedLstm) -> None:
    inputs = plain._inputs(HISTORY, FUTURE)
    parts = integrated(plain.shape, plain.weights, inputs, len(plain.encoding.future.names))
    last = FUTURE.dense(["last"])[..., 0]
    way = (last - inputs.level[:, None]) / inputs.scale[:, None]
    np.testing.assert_allclose(parts[..., -1], way, rtol=1e-3, atol=1e-4)
    assert (parts[..., :-1] == 0).all()
    table = plain.explain(HISTORY, FUTURE)["attribution"]
    assert table["covariate"][0] == "last" and set(table["covariate"]) == {"last", "promo", "price"}
