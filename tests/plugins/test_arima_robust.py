from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from engine.components import Model
from engine.data.fill import Missing
from engine.data.panel import Future, Panel
from engine.errors import DataError, NotFoundError
from engine.registry import Registry
from tests.panels import history_and_future, panel

pytest.importorskip("statsforecast")

from engine_arima.model import Arima, FittedArima
from engine_arima.params import ArimaParams

from .arima_series import (
    HOLE,
    RANDOM_WALK,
    REGRESSION,
    autoregressive,
    cut,
    fit,
    forecast,
    noise,
    orders,
)

ROOT = Path(__file__).parents[2]

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
    assert (
        fit(data[0], **RANDOM_WALK).tables()["orders"]["failure"].to_list()[1]
        == (found.failures[1])
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
    inside = pl.when(pl.int_range(pl.len()).is_in([4, 5])).then(None).otherwise("price")
    unknown = history.with_frame(history.frame.with_columns(inside.alias("price")))
    reasons = fit(unknown, **REGRESSION).predict(unknown, future).failures
    assert list(reasons) == [0]
    assert "covariate 'price' is missing in 2 of 30 rows" in reasons[0]


def late(data: tuple[Panel, Future], first: int) -> tuple[Panel, Future]:
    """The covariate `x` missing in the first rows, as that of a lag is."""
    history, future = data
    row = pl.int_range(pl.len())
    column = pl.when(row >= first).then("x").alias("x")
    return history.with_frame(history.frame.with_columns(column)), future


def test_rows_before_a_covariate_begins_are_cut_off() -> None:
    x = noise(64, 8)
    y = autoregressive(60) + 5 * x[:60]
    found = forecast(late(cut(y, x=x), 7), **REGRESSION)
    whole = forecast(cut(y[7:], x=x[7:]), **REGRESSION)
    assert not found.failures
    np.testing.assert_allclose(found.y_hat, whole.y_hat, rtol=1e-6)


def test_a_covariate_that_only_the_end_has_is_not_worth_the_history() -> None:
    found = forecast(late(cut(autoregressive(60), x=noise(64, 8)), 40), **REGRESSION)
    assert "covariate 'x' is missing in 40 of 60 rows" in found.failures[0]


def test_history_and_future_of_different_series_are_rejected() -> None:
    history, _ = cut(noise(20))
    _, future = cut(noise(20), noise(20))
    with pytest.raises(DataError, match="1 series, the future has 2"):
        fit(history, **RANDOM_WALK).predict(history, future)


def test_seasonal_orders_need_a_season() -> None:
    with pytest.raises(DataError, match=r"seasonal_order \[1, 0, 0\] needs a season"):
        fit(cut(noise(20))[0], order=[1, 0, 0], seasonal_order=[1, 0, 0], usual=1)


# --------------------------------------------------------------- refitting, saving, options


def test_a_longer_history_keeps_the_orders_and_moves_the_coefficients() -> None:
    y = autoregressive(140)
    fitted = fit(cut(y[:100])[0], season=1)
    p, d, q, *_ = orders(fitted)[0]
    longer, future = cut(y)
    found = fitted.predict(longer, future)
    same_orders = forecast(cut(y), order=[p, d, q], season=1)
    assert fitted.tables()["orders"]["constant"].to_list() == ["mean"]
    np.testing.assert_allclose(found.y_hat, same_orders.y_hat, rtol=1e-9)
    assert not np.allclose(found.y_hat, fitted.predict(*cut(y[:100])).y_hat)


def test_saved_and_loaded_it_forecasts_the_same_bits(tmp_path) -> None:
    history, future = cut(autoregressive(60), [HOLE] * 60, noise(60), x=noise(64, 5))
    fitted = fit(history, season=1)
    fitted.save(tmp_path / "model")
    loaded = Arima.load(tmp_path / "model")
    one, two = fitted.predict(history, future), loaded.predict(history, future)
    assert np.array_equal(one.y_hat, two.y_hat, equal_nan=True)
    assert np.array_equal(one.quantiles, two.quantiles, equal_nan=True)
    assert one.failures == two.failures != {}
    assert loaded.tables()["orders"].equals(fitted.tables()["orders"])


def test_a_loaded_model_does_not_know_other_series(tmp_path) -> None:
    history, future = cut(autoregressive(60), autoregressive(60, 1))
    fit(history.select([0]), season=1).save(tmp_path)
    found = FittedArima.load(tmp_path).predict(history, future)
    assert list(found.failures) == [1]
    assert "was not in the training panel" in found.failures[1]


def test_loading_from_an_empty_folder_names_the_file(tmp_path) -> None:
    with pytest.raises(NotFoundError, match=r"arima\.json"):
        Arima.load(tmp_path)


def test_a_series_is_the_same_in_any_company() -> None:
    data = cut(autoregressive(60), autoregressive(60, 1), autoregressive(60, 2), x=noise(64, 5))
    together = forecast(data, season=1)
    assert np.array_equal(together.y_hat, forecast(data, season=1).y_hat)
    part = Future(data[1].frame[4:8], 1, 0, 4)
    single = forecast((data[0].select([1]), part), season=1)
    assert np.array_equal(single.quantiles[0], together.quantiles[1])


def test_nothing_that_is_given_changes_and_no_warning_escapes() -> None:
    y = autoregressive(40)
    y[[4, 20, 39]] = HOLE
    history, future = cut(y, x=noise(44))
    before, settings_before = (history.frame.clone(), future.frame.clone()), np.geterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(history, season=1).predict(history, future)
    assert history.frame.equals(before[0]) and future.frame.equals(before[1])
    assert np.geterr() == settings_before


def test_progress_counts_the_series() -> None:
    heard = []
    history, _ = cut(*(noise(20, i) for i in range(3)))
    fit(history, report=lambda event, fields: heard.append((event, dict(fields))), **RANDOM_WALK)
    assert heard == [("series", {"series": i, "of": 3}) for i in (1, 2, 3)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": [1, 0]}, "order"),
        ({"order": [1, -1, 0]}, "order"),
        ({"seasonal_order": [1, 0, 0]}, "needs order"),
        ({"order": [1, 0, 0], "seasonal_order": [1, 0, 0], "season": 1}, "needs a season of 2"),
        ({"max_d": 3}, "max_d"),
        ({"max_history": 2}, "max_history"),
    ],
)
def test_impossible_options_are_rejected(options, message) -> None:
    with pytest.raises(ValidationError, match=message):
        ArimaParams(**options)


def test_the_package_imports_nothing_heavy() -> None:
    component = Registry.discover().find("model", "arima").component
    assert isinstance(component, Model) and component.capabilities.quantiles
    code = (
        "import engine_arima, sys; print({'polars', 'numpy', 'statsforecast'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif("ENGINE_DATA" not in os.environ, reason="ENGINE_DATA is not set")
@pytest.mark.parametrize("order", [None, [1, 0, 1]])
def test_orange_juice_is_forecast_without_a_failure_and_better_than_by_its_last_value(
    order,
) -> None:
    covariates = ("price", "deal", "feat")
    rows = pl.read_parquet(Path(os.environ["ENGINE_DATA"]) / "orange_juice.parquet")
    rows = rows.filter(pl.col("store").is_in([2, 5]), pl.col("week") <= 135)
    known = pl.col("week") <= 132
    rows = rows.select(
        "store", "brand", *covariates, ds="week", units="units",
        y=pl.when(known).then(pl.col("units").log1p()),
    )  # fmt: skip
    whole = panel(
        rows.drop("units"),
        future=covariates,
        past=(),
        static=(),
        keys=("store", "brand"),
        freq=1,
        ahead=3,
        missing=Missing("drop", dict.fromkeys(covariates, "forward_fill"), "forward_fill"),
    )
    history, future = history_and_future(whole, 1, 2)
    found = fit(history, order=order, season=1).predict(history, future)
    assert not found.failures
    assert np.isfinite(found.quantiles).all()
    forecasts = future.frame.with_columns(y_hat=found.y_hat.ravel()).join(
        history.series, "unique_id"
    )
    scored = forecasts.filter(pl.col("ahead") > 1).join(rows, ["store", "brand", "ds"])
    error = (scored["y_hat"] - scored["units"].log1p()).abs().mean()
    naive = (history.y()[history.offsets[1:] - 1]).repeat(2)
    assert scored.height == 44
    assert error < np.abs(naive - scored["units"].log1p().to_numpy()).mean()
