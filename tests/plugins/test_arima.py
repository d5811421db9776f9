from __future__ import annotations

import datetime as dt
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.components import Model
from engine.contracts import Prediction, Training
from engine.data.panel import Future, Panel
from engine.errors import DataError, NotFoundError
from engine.registry import Registry
from tests.panels import START, history_and_future, panel

pytest.importorskip("statsforecast")

from statsforecast.models import ARIMA, AutoARIMA

from engine_arima.model import Arima, FittedArima
from engine_arima.params import ArimaParams

ROOT = Path(__file__).parents[2]
QUANTILES = (0.1, 0.5, 0.9)
HOLE = math.nan
RANDOM_WALK = {"order": [0, 1, 0], "season": 1}
REGRESSION = {"order": [0, 0, 0], "season": 1}


def cut(*series: Sequence[float], horizon: int = 4, gap: int = 0, **columns) -> tuple[Panel, Future]:
    """Daily series of one length; `columns` are future covariates, one list for all series.

    NaN in `y` becomes missing after the panel is made, so that it may stand at either end.
    """
    n, ahead = len(series[0]), gap + horizon
    days = [START + dt.timedelta(days=t) for t in range(n + ahead)]
    frames = [
        pl.DataFrame({"store": i, "ds": days, "y": [1.0] * n + [None] * ahead, **columns})
        for i in range(len(series))
    ]
    whole = panel(pl.concat(frames), future=tuple(columns), past=(), static=(), ahead=ahead)
    history, future = history_and_future(whole, gap, horizon)
    y = pl.Series("y", np.concatenate([np.asarray(y, dtype=float) for y in series])).fill_nan(None)
    return history.with_frame(history.frame.with_columns(y)), future


def fit(history: Panel, quantiles=QUANTILES, report=None, season=7, **options) -> FittedArima:
    silent = report or (lambda event, fields: None)
    train = Training(history, 4, 0, tuple(quantiles), season, 0, silent)
    return Arima(ArimaParams(**options)).fit(train)


def forecast(data: tuple[Panel, Future], quantiles=QUANTILES, **options) -> Prediction:
    history, future = data
    return fit(history, quantiles, **options).predict(history, future)


def orders(fitted: FittedArima) -> list[tuple]:
    return fitted.tables()["orders"].select("p", "d", "q", "P", "D", "Q", "season").rows()


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n)


def autoregressive(n: int = 150, seed: int = 0, phi: float = 0.7) -> np.ndarray:
    y = [0.0]
    for shock in noise(n, seed)[1:]:
        y.append(phi * y[-1] + shock)
    return np.array(y) + 20.0


# ------------------------------------------------------------------------- the forecasts


def test_a_random_walk_stays_where_it_is_with_the_textbook_quantiles() -> None:
    # Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 5.5: sigma * sqrt(h).
    y = 50 + noise(60).cumsum()
    levels = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.8, 0.95, 0.975, 0.999)
    found = forecast(cut(y), levels, **RANDOM_WALK)
    sigma = math.sqrt((np.diff(y) ** 2).mean())
    z = np.array([NormalDist().inv_cdf(q) for q in levels])
    expected = y[-1] + z * sigma * np.sqrt(np.arange(1, 5))[:, None]
    np.testing.assert_allclose(found.y_hat[0], y[-1], rtol=1e-9)
    np.testing.assert_allclose(found.quantiles[0], expected, rtol=2e-3)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.001, 0.999), min_size=1, max_size=4, unique=True).map(sorted))
def test_quantiles_rise_around_the_mean_whatever_they_are(levels) -> None:
    found = forecast(cut(autoregressive(40)), levels, order=[1, 0, 0], season=1)
    assert found.quantiles.shape == (1, 4, len(levels))
    assert (np.diff(found.quantiles, axis=-1) >= 0).all()
    for i, q in enumerate(levels):
        assert ((found.quantiles[..., i] - found.y_hat) * (q - 0.5) >= 0).all()


def test_no_quantiles_are_an_empty_axis() -> None:
    assert forecast(cut(noise(30)), (), **RANDOM_WALK).quantiles.shape == (1, 4, 0)


def test_a_seasonal_random_walk_repeats_the_last_season() -> None:
    y = np.tile([5.0, 9, 1, 4, 2, 8, 7], 8) + noise(56)
    found = forecast(cut(y, horizon=9), order=[0, 0, 0], seasonal_order=[0, 1, 0])
    np.testing.assert_allclose(found.y_hat[0], [*y[-7:], *y[-7:-5]], rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_it_is_the_library_s_arima_at_every_scale_of_y(scale) -> None:
    y, x = autoregressive(100), noise(104, 9)
    expected = ARIMA(order=(2, 0, 1)).fit(y, x[:100, None]).predict(4, x[100:, None], [80])
    found = forecast(cut(y * scale, x=x), order=[2, 0, 1], season=1)
    np.testing.assert_allclose(found.y_hat[0] / scale, expected["mean"], rtol=5e-3)
    np.testing.assert_allclose(found.quantiles[0, :, 2] / scale, expected["hi-80.0"], rtol=5e-3)


def test_the_automatic_choice_is_the_library_s() -> None:
    y = autoregressive(120)
    theirs = AutoARIMA(season_length=1).fit(y).model_
    fitted = fit(cut(y)[0], season=1)
    p, q, P, Q, _, d, D = theirs["arma"]
    assert orders(fitted) == [(p, d, q, P, D, Q, 1)]
    assert fitted.tables()["orders"]["aicc"][0] == pytest.approx(theirs["aicc"], abs=0.05)


def test_the_automatic_choice_differences_a_random_walk_only() -> None:
    walk, still = 100 + 5 * noise(150, 3).cumsum(), 100 + noise(150, 4)
    found = fit(cut(walk, still)[0], season=1)
    assert [row[1] for row in orders(found)] == [1, 0]


def test_a_drift_is_kept_by_saving_and_by_predicting_again(tmp_path) -> None:
    history, future = cut(5.0 * np.arange(60) + noise(60).cumsum())
    fitted = fit(history, season=1)
    assert fitted.tables()["orders"]["constant"].to_list() == ["drift"]
    first = fitted.predict(history, future)
    assert (np.diff(first.y_hat[0]) > 3).all()
    fitted.save(tmp_path)
    for again in (fitted, Arima.load(tmp_path)):
        assert np.array_equal(again.predict(history, future).y_hat, first.y_hat)


def test_limits_of_the_automatic_choice_hold() -> None:
    y = autoregressive(120) + np.tile([0.0, 3, 0, 9, 0, 0, 5], 18)[:120]
    limits = {"max_p": 0, "max_q": 1, "max_P": 0, "max_Q": 0, "max_d": 0, "max_D": 0}
    p, d, q, P, D, Q, season = orders(fit(cut(y)[0], **limits))[0]
    assert (p, d, P, D, Q, season) == (0, 0, 0, 0, 0, 7)
    assert q <= 1


def test_a_series_that_never_changes_is_forecast_as_it_is() -> None:
    found = forecast(cut([6.0] * 20, x=np.arange(24.0)))
    assert found.y_hat.tolist() == [[6.0] * 4]
    assert (found.quantiles == 6.0).all()


# --------------------------------------------------------------------------- covariates


def test_covariates_are_regressors() -> None:
    x, z = noise(34, 1), noise(34, 2)
    y = 3 + 2 * x - 5 * z
    data = cut(y[:30] + 1e-3 * noise(30, 3), x=x, z=z)
    np.testing.assert_allclose(forecast(data, **REGRESSION).y_hat[0], y[30:], atol=5e-3)
    assert fit(data[0], **REGRESSION).tables()["orders"]["covariates"].to_list() == [["x", "z"]]


def test_covariates_can_be_left_alone() -> None:
    x = noise(34, 1)
    found = forecast(cut(5 * x[:30], x=x), covariates=False, **REGRESSION)
    np.testing.assert_allclose(found.y_hat[0], (5 * x[:30]).mean(), rtol=1e-5)


def test_constant_and_collinear_covariates_are_left_out_of_the_series() -> None:
    x, z = noise(44, 1), noise(44, 2)
    columns = {"x": x, "always": np.full(44, 9.9), "twice": 2 * x + 1, "z": z, "sum": x - z}
    data = cut(2 * x[:40] + z[:40] + noise(40, 3), **columns)
    for options in (REGRESSION, RANDOM_WALK, {"season": 1}):
        fitted = fit(data[0], **options)
        assert fitted.tables()["orders"]["covariates"].to_list() == [["x", "z"]]
        assert not fitted.predict(*data).failures


def test_a_line_is_constant_after_differencing_and_left_out() -> None:
    data = cut(noise(40).cumsum(), line=np.arange(44.0), twice=np.arange(44.0) * 2)
    one_difference = fit(data[0], **RANDOM_WALK).tables()["orders"]
    two_differences = fit(data[0], order=[0, 2, 0], season=1).tables()["orders"]
    assert one_difference["covariates"].to_list() == [["line"]]
    assert two_differences["covariates"].to_list() == [[]]


def test_categories_are_no_regressors() -> None:
    data = cut(noise(30), kind=["a", "b"] * 17)
    assert fit(data[0], **REGRESSION).tables()["orders"]["covariates"].to_list() == [[]]


# ------------------------------------------------------------------------ missing values


def test_gaps_are_interpolated_and_missing_values_in_front_are_cut_off() -> None:
    y = autoregressive(60)
    y[31] = (y[29] + 2 * y[32]) / 3
    y[30] = (2 * y[29] + y[32]) / 3
    holes = np.concatenate([[HOLE] * 5, y])
    holes[[35, 36]] = HOLE
    options = {"order": [1, 0, 1], "season": 1}
    whole, found = forecast(cut(y), **options), forecast(cut(holes), **options)
    np.testing.assert_allclose(found.y_hat, whole.y_hat, rtol=1e-6)


def test_missing_values_at_the_end_are_steps_on_the_way() -> None:
    x = noise(64, 8)
    y = autoregressive(60) + 5 * x[:60]
    holes = y.copy()
    holes[-2:] = HOLE
    options = {"order": [1, 0, 0], "season": 1}
    longer = forecast(cut(y[:-2], horizon=6, x=x), **options)
    found = forecast(cut(holes, x=x), **options)
    assert np.array_equal(found.y_hat, longer.y_hat[:, 2:])
    assert np.array_equal(found.quantiles, longer.quantiles[:, 2:])


def test_a_history_that_goes_on_without_values_is_forecast_from_its_own_end() -> None:
    y = autoregressive(60)
    train, _ = cut(y)
    fitted = fit(train, order=[1, 0, 0], season=1)
    _, longer = cut(y, horizon=6)
    expected = fitted.predict(train, longer).y_hat[:, 2:]
    history, future = cut([*y, HOLE, HOLE])
    assert np.array_equal(fitted.predict(history, future).y_hat, expected)


def test_steps_of_the_gap_are_forecast() -> None:
    y = autoregressive(50)
    options = {"order": [1, 0, 0], "season": 1}
    found = forecast(cut(y, horizon=3, gap=2), **options)
    assert np.array_equal(found.y_hat, forecast(cut(y, horizon=5), **options).y_hat)


def test_only_the_latest_rows_are_fitted_on() -> None:
    y = np.concatenate([np.full(50, 900.0) + noise(50), 5 + noise(30)])
    found = forecast(cut(y), max_history=30, **REGRESSION)
    np.testing.assert_allclose(found.y_hat[0], y[-30:].mean(), rtol=1e-6)


# ------------------------------------------------------------------------------ failures


def test_a_series_that_cannot_be_fitted_fails_alone_and_says_why() -> None:
    short = np.full(40, HOLE)
    short[[3, 20]] = 1.0, 2.0
    data = cut(autoregressive(40), short, autoregressive(40, 1))
    found = forecast(data, **RANDOM_WALK)
    assert found.failures == {1: "only 2 observed values up to the cutoff, 3 are needed"}
    assert np.isnan(found.y_hat[1]).all() and np.isnan(found.quantiles[1]).all()
    assert np.isfinite(found.y_hat[[0, 2]]).all()
    assert fit(data[0], **RANDOM_WALK).tables()["orders"]["failure"].to_list()[1] == (
        found.failures[1]
    )


def test_too_many_terms_for_a_short_series_are_a_failure() -> None:
    found = forecast(cut(noise(12)), order=[3, 1, 2], seasonal_order=[1, 1, 1])
    assert list(found.failures) == [0]
    assert found.failures[0].startswith("fit failed")


def test_an_exploding_forecast_is_a_failure() -> None:
    x = noise(34, 1)
    x[33] = 1e6
    found = forecast(cut(2 * x[:30], x=x), **REGRESSION)
    assert "explodes" in found.failures[0]
    assert np.isnan(found.y_hat).all()


def test_a_missing_covariate_is_named_with_its_count() -> None:
    history, future = cut(noise(30), noise(30, 1), price=noise(34, 2))
    hole = pl.when(pl.int_range(pl.len()) < 2).then(None).otherwise("price").alias("price")
    broken = Future(future.frame.with_columns(hole), 2, 0, 4)
    found = fit(history, **REGRESSION).predict(history, broken)
    assert found.failures == {0: "covariate 'price' is missing in 2 of 4 future rows"}
    unknown = history.with_frame(history.frame.with_columns(hole))
    reasons = fit(unknown, **REGRESSION).predict(unknown, future).failures
    assert list(reasons) == [0]
    assert "covariate 'price' is missing in 2 of 30 rows" in reasons[0]


def test_history_and_future_of_different_series_are_rejected() -> None:
    history, _ = cut(noise(20))
    _, future = cut(noise(20), noise(20))
    with pytest.raises(DataError, match="1 series, the future has 2"):
        fit(history, **RANDOM_WALK).predict(history, future)


def test_seasonal_orders_need_a_season() -> None:
    with pytest.raises(DataError, match=r"seasonal_order \[1, 0, 0\] needs a season"):
        fit(cut(noise(20))[0], order=[1, 0, 0], seasonal_order=[1, 0, 0], season=1)
