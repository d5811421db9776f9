"""Effects on demand from coefficients of log1p(y), for counts that are small or often zero."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from benchmarks.effects import effects, summary
from engine.transforms import TargetTransform
from engine_ridge.model import Ridge
from engine_ridge.params import RidgeParams
from tests.plugins.test_ridge import block_of, design_of, rows_of

LOG = TargetTransform("log1p", np.zeros(4), np.ones(4))


def sold(
    mean: float, occurrence: float = 1.0, noise: float = 0.0, rows: int = 20_000
) -> pl.DataFrame:
    """The table of one series whose counts have elasticity -2 to a price that moves a little."""
    rng = np.random.default_rng(3)
    log_price = rng.normal(0, 0.1, rows)
    rate = mean * np.exp(-2.0 * log_price) / occurrence
    if noise:
        rate = rate * rng.gamma(1 / noise, noise, rows)
    y = rng.poisson(rate) * (rng.random(rows) < occurrence)
    return table_of(log_price[:, None], y)


def table_of(X, y, transform=LOG, parts=1, **options) -> pl.DataFrame:
    block = block_of(X, np.log1p(y), series=np.arange(len(y)) % 4)
    blocks = [rows_of(block, np.arange(len(y)) % parts == i) for i in range(parts)]
    design = replace(design_of(blocks, 4), transform=transform)
    params = RidgeParams.model_validate({"penalty": 0.0, "elasticity": ("f0",), **options})
    return Ridge(params).fit(design).tables()["elasticity"]


@pytest.mark.parametrize(
    ("mean", "occurrence", "noise"),
    [(1.5, 1.0, 0.0), (5.0, 1.0, 0.1), (60.0, 1.0, 0.3), (3.0, 0.3, 0.1)],
)
def test_the_elasticity_of_mixed_poisson_counts_is_found(mean, occurrence, noise):
    (row,) = sold(mean, occurrence, noise).rows(named=True)
    assert row["demand"] == pytest.approx(-2.0, abs=4 * row["demand_error"])
    assert row["demand_error"] < 0.3
    assert row["demand_error"] / row["standard_error"] == pytest.approx(
        row["demand"] / row["coefficient"]
    )


def test_without_a_logarithm_nothing_is_said_of_demand():
    X, y = np.random.default_rng(0).normal(size=(50, 1)), np.arange(50.0)
    for transform in (None, replace(LOG, target="none"), replace(LOG, factor=np.full(4, 2.0))):
        assert table_of(X, y, transform)["demand"].null_count() == 1


@pytest.mark.parametrize("scope", ["global", "local", "partial"])
def test_any_sharding_says_the_same_of_demand(scope):
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(200, 1)), rng.poisson(4.0, 200)
    whole, parts = (table_of(X, y, parts=n, scope=scope)["demand"].to_numpy() for n in (1, 7))
    np.testing.assert_allclose(parts, whole, rtol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["local", "partial"])
def test_intervals_of_simulated_effects_hold_the_truth_as_often_as_they_say(scope):
    tables = [effects(seed, {"series": 40, "periods": 730}, {"scope": scope}) for seed in range(5)]
    for row in summary(pl.concat(tables)).rows(named=True):
        assert 0.85 < row["coverage"] < 0.95, row
        assert abs(row["ratio"] - 1) < 0.05, row
