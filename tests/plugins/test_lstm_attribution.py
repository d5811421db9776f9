"""Integrated gradients of the LSTM: they add up to the forecast, and find what it is made of."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

pytest.importorskip("jax")

import jax.numpy as jnp

from engine.contracts import ExplainedModel
from engine.data.panel import Future, Panel
from engine_lstm import attribution, fitted as fitted_module
from engine_lstm.ahead import Inputs, forecast
from engine_lstm.attribution import integrated, points
from engine_lstm.fitted import FittedLstm
from tests.panels import history_and_future, panel, rows
from tests.plugins.test_lstm import HORIZON, fit


def case(n_series: int = 6) -> tuple[Panel, Future]:
    """Sales that a promotion doubles; the price goes up and down and moves nothing."""
    time = pl.int_range(pl.len()).over("store")
    sold = pl.when(pl.col("y").is_not_null()).then(20.0 * (1.0 + pl.col("promo")))
    columns = {"price": 5.0 + (time * 7 % 5), "y": sold}
    return history_and_future(panel(rows(n_series, 60, future=HORIZON, **columns)), 0, HORIZON)


@pytest.fixture(scope="module")
def fitted() -> FittedLstm:
    return fit(case()[0], epochs=8, batches_per_epoch=30, season_terms=0)


def moved(fitted: FittedLstm, inputs: Inputs, share: float) -> np.ndarray:
    """Sum of a series' forecasts with covariates ahead at a share of the way from their average."""
    n = len(fitted.encoding.future.names)
    known = inputs.known.copy()
    known[:, -fitted.shape.steps :, :n] *= share
    outputs = forecast(fitted.shape, fitted.weights, inputs._replace(known=known)).mean(axis=0)
    return np.asarray(points(fitted.shape, outputs, jnp.asarray(inputs.scale)).sum(axis=1))


def test_they_add_up_to_what_the_covariates_change(fitted: FittedLstm):
    inputs = fitted._inputs(*case())
    channels = len(fitted.encoding.future.names)
    parts = integrated(fitted.shape, fitted.weights, inputs, channels)
    exact = integrated(fitted.shape, fitted.weights, inputs, channels, steps=400)
    assert parts.shape == exact.shape == (6, HORIZON, channels)
    whole = moved(fitted, inputs, 1.0) - moved(fitted, inputs, 0.0)
    assert np.abs(whole).max() > 0.5
    largest = float(np.abs(whole).max())
    assert exact.sum(axis=(1, 2)) == pytest.approx(whole, abs=0.006 * largest)
    assert parts.sum(axis=(1, 2)) == pytest.approx(whole, abs=0.08 * largest)


def test_what_sales_follow_has_the_larger_share(fitted: FittedLstm):
    assert isinstance(fitted, ExplainedModel)
    table = fitted.explain(*case())["attribution"]
    share = dict(table.select("covariate", "share").iter_rows())
    assert sum(share.values()) == pytest.approx(1)
    assert table["covariate"][0] == "promo"
    assert share["promo"] > 3 * share["price"]


def test_many_series_are_sampled_and_the_number_is_stated(
    fitted: FittedLstm, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fitted_module, "MOST_EXPLAINED", 2)
    assert fitted.explain(*case())["attribution"]["series"].unique().to_list() == [2]


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"head": "negative_binomial"}, {"loss": "mse"}])
def test_every_kind_of_output_can_be_explained(options: dict[str, str]):
    history, future = case()
    table = fit(history, **options).explain(history, future)["attribution"]
    assert table["share"].sum() == pytest.approx(1)


def test_without_a_covariate_there_is_nothing_to_tell(fitted: FittedLstm):
    made = attribution.attribution(fitted.shape, fitted.weights, fitted._inputs(*case()), ())
    assert made.is_empty()
