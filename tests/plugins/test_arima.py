from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

pytest.importorskip("statsforecast")

from statsforecast.models import ARIMA, AutoARIMA

from engine_arima.model import Arima

from .arima_series import RANDOM_WALK, REGRESSION, autoregressive, cut, fit, forecast, noise, orders

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
    np.testing.assert_allclose(found.quantiles[0, :, 2] / scale, expected["hi-80"], rtol=5e-3)


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
