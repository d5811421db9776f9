from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

from engine.correct import best_factor, correct
from engine.spec.model import ModelUse
from tests.test_calibrate import forecasts, world


def lognormal(spread: float, rows: int = 200_000) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    center = random.uniform(3, 6, rows)
    return np.expm1(center + spread * random.normal(size=rows)), np.expm1(center)


def test_the_mean_of_lognormal_demand_is_above_its_median_by_half_the_variance():
    assert best_factor(*lognormal(0.6), "mean") == pytest.approx(np.exp(0.18), rel=0.01)


def test_percentage_errors_want_the_median_lowered_by_the_variance():
    assert best_factor(*lognormal(0.6), "mape") == pytest.approx(np.exp(-0.36), rel=0.02)


@given(seed=st.integers(0, 999), rows=st.integers(1, 60))
@settings(max_examples=50, deadline=None)
def test_no_other_factor_has_lower_percentage_errors(seed: int, rows: int):
    random = np.random.default_rng(seed)
    y, y_hat = random.poisson(3, rows).astype(float), random.gamma(2, 2, rows)
    y[0] = 4.0

    def mape(c: float) -> float:
        sold = y > 0
        return float((np.abs(y - c * (1 + y_hat) + 1)[sold] / y[sold]).sum())

    best = mape(best_factor(y, y_hat, "mape"))
    candidates = np.concatenate([(1 + y) / (1 + y_hat), np.linspace(0.1, 4, 50)])
    assert best <= min(mape(c) for c in candidates) + 1e-9


@pytest.mark.parametrize("aim", ["mean", "mape"])
def test_without_sales_there_is_nothing_to_correct(aim: str):
    assert best_factor(np.empty(0), np.empty(0), aim) == 1.0
    assert best_factor(np.zeros(5), np.zeros(5), "mape") == 1.0


def test_only_residuals_known_at_the_cutoff_are_used():
    whole = world()
    raw = forecasts(whole, [20, 16, 8], y_hat=50.0)
    known = whole.frame.select("unique_id", "ds", "y")
    late = whole.grid.timestamp(whole.end - 8)
    wild = known.with_columns(y=pl.when(pl.col("ds") > late).then(1e6).otherwise("y"))
    calm = correct(raw, raw, known, whole, {"m": "mean"}, 0.0)
    assert correct(raw, raw, wild, whole, {"m": "mean"}, 0.0).forecasts.equals(calm.forecasts)
    assert [record["residuals"] for record in calm.records] == [0, 200, 400]
    by_cutoff = calm.forecasts.group_by("cutoff", maintain_order=True).agg(pl.col("y_hat").mean())
    assert by_cutoff["y_hat"][0] == 50.0
    assert by_cutoff["y_hat"].to_list()[1:] == pytest.approx([100, 100], abs=2)


def test_models_without_a_correction_and_quantiles_keep_their_bits():
    whole = world()
    raw = forecasts(whole, [12, 8]).with_columns(pl.lit(7.0).alias("q0.9"))
    known = whole.frame.select("unique_id", "ds", "y")
    assert correct(raw, raw, known, whole, {}, None).forecasts.equals(raw)
    assert correct(raw, raw, known, whole, {"other": "mape"}, None).forecasts.equals(raw)
    changed = correct(raw, raw, known, whole, {"m": "mape"}, None).forecasts
    assert changed.drop("y_hat").equals(raw.drop("y_hat"))
    assert not changed.equals(raw)


def test_a_correction_without_log1p_is_refused():
    assert ModelUse(use="ridge", target="log1p", correction="mape").correction == "mape"
    with pytest.raises(ValidationError, match="target: log1p"):
        ModelUse(use="ridge", correction="mean")
