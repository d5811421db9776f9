from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from engine.contracts import Design, DesignBlock
from engine.errors import DataError
from engine_ridge.fitted import FittedRidge
from engine_ridge.model import Ridge
from engine_ridge.params import RidgeParams
from tests.plugins.test_ridge import block_of, data, design_of, fit

LEVELS = (0.05, 0.5, 0.95)


def panel_of(seed: int, series: int = 80, rows: int = 12, spread: float = 0.5):
    """Slopes 2 + spread * noise on the first feature, -1 for all on the second; noise 1."""
    random = np.random.default_rng(seed)
    slopes = np.stack([2 + spread * random.normal(size=series), np.full(series, -1.0)], axis=1)
    level = 3 * random.normal(size=series)
    number = np.repeat(np.arange(series), rows)
    X = random.normal(size=(number.size, 2))
    y = level[number] + (X * slopes[number]).sum(axis=1) + random.normal(size=number.size)
    return block_of(X, y, series=number), slopes


def fitted_on(block: DesignBlock, n_series: int = 80, **options) -> FittedRidge:
    design = design_of([block], n_series)
    return Ridge(RidgeParams(**options)).fit(
        Design(**{**vars(design), "quantiles": LEVELS}) if options.get("intervals") else design
    )


def slopes_of(fitted: FittedRidge) -> np.ndarray:
    return fitted.coefficients[1:] if fitted.coefficients.shape[0] == 81 else fitted.coefficients


@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0])
def test_partial_is_nearer_the_truth_than_global_and_local(spread: float):
    block, slopes = panel_of(1, spread=spread)
    error = {
        scope: float(np.square(slopes_of(fitted_on(block, scope=scope, penalty=0)) - slopes).mean())
        for scope in ("global", "local", "partial")
    }
    assert error["partial"] < 0.9 * error["local"]
    if spread:
        assert error["partial"] < 0.9 * error["global"]


@given(seed=st.integers(0, 999))
@settings(max_examples=10, deadline=None)
def test_a_coefficient_is_the_precision_weighted_mean_of_own_and_global(seed: int):
    block, _ = panel_of(seed)
    fitted = fitted_on(block, scope="partial", penalty=0)
    local = fitted_on(block, scope="local", penalty=0).coefficients[:, 0]
    center = fitted.coefficients[0, 0]
    pull = np.polyfit(local - center, fitted.coefficients[1:, 0] - center, 1)[0]
    # Spread 0.25 against a sampling variance near 1 / 10.
    assert 0.4 < pull < 0.95


def test_effects_that_do_not_differ_get_the_global_coefficient():
    block, _ = panel_of(2)
    fitted = fitted_on(block, scope="partial", penalty=0)
    assert fitted.coefficients[:, 1].std() < 0.1
    assert fitted.coefficients[:, 0].std() > 0.3


def test_a_stated_penalty_pulls_the_common_coefficients_to_zero():
    block, _ = panel_of(2)
    free, some, much = (
        fitted_on(block, scope="partial", penalty=penalty).coefficients[0]
        for penalty in (0, 100, 1e9)
    )
    assert free == pytest.approx([2.0, -1.0], abs=0.2)
    assert 0.5 < some[1] / free[1] < 0.99
    assert much[1] == pytest.approx(0.0, abs=1e-3)


def test_no_penalty_and_a_tiny_one_are_the_same():
    block, _ = panel_of(4)
    none, tiny = (fitted_on(block, scope="partial", penalty=p).coefficients for p in (0, 1e-9))
    assert tiny == pytest.approx(none, abs=1e-9)


def test_only_the_features_that_vary_differ_between_series():
    block, _ = panel_of(3)
    fitted = fitted_on(block, scope="partial", vary=["f0"])
    assert np.ptp(fitted.coefficients[:, 1]) == 0
    assert np.ptp(fitted.coefficients[:, 0]) > 0
    assert np.ptp(fitted.intercepts) > 0


def test_a_series_without_rows_gets_the_common_coefficients():
    block, _ = panel_of(4)
    fitted = fitted_on(block, 90, scope="partial")
    asked = block_of([[1.0, 2.0]] * 2, [], series=[85, 3])
    prediction = fitted.predict(asked)
    assert prediction.failures == {}
    own = fitted.coefficients[1:].mean(axis=0)
    np.testing.assert_allclose(fitted.coefficients[0], own, atol=0.02)
    common = fitted.intercepts[0] + fitted.coefficients[0] @ (np.array([1.0, 2.0]) - fitted.mean)
    assert prediction.y_hat[0] == pytest.approx(common)
    assert prediction.y_hat[1] != pytest.approx(common, rel=1e-3)


def test_differences_of_level_between_series_are_not_taken_for_an_effect():
    """Dear series sell less whatever the price does: a pooled fit mixes both, the common one does not."""
    block, _ = panel_of(7, rows=30, spread=0.0)
    level = np.random.default_rng(7).normal(size=80)[block.series]
    moved = block_of(block.X + np.outer(level, [3, 0]), block.y - 9 * level, series=block.series)
    # y = level - 9 l + 2 (x - 3 l) ... = level - 15 l + 2 x': its slope on x' is 2 within every series.
    found = fitted_on(moved, scope="partial", penalty=0.01).coefficients[0, 0]
    pooled = fitted_on(moved, scope="global", penalty=0.01).coefficients[0, 0]
    assert found == pytest.approx(2.0, abs=0.1)
    assert abs(pooled - 2.0) > 1.0


def test_standard_errors_of_series_cover_the_truth_as_often_as_they_say():
    covered = []
    for seed in range(5):
        block, slopes = panel_of(seed)
        table = fitted_on(block, scope="partial", elasticity=["f0"]).tables()["elasticity"]
        own = table.filter(pl.col("unique_id").is_not_null())
        assert own["unique_id"].to_list() == [f"s{i}" for i in range(80)]
        off = np.abs(own["coefficient"].to_numpy() - slopes[:, 0])
        covered.append(off < 1.645 * own["standard_error"].to_numpy())
    assert 0.85 < np.mean(covered) < 0.95


@pytest.mark.parametrize("scope", ["global", "local", "partial"])
def test_the_elasticity_table_names_series_and_features(scope: str):
    block, _ = panel_of(5)
    table = fitted_on(block, scope=scope, elasticity=["f*"]).tables()["elasticity"]
    of_demand = ["demand", "demand_error"]
    assert table.columns == ["unique_id", "feature", "coefficient", "standard_error", *of_demand]
    assert table["demand"].null_count() == table.height
    assert table.height == {"global": 2, "local": 160, "partial": 162}[scope]
    assert table["unique_id"].null_count() == {"global": 2, "local": 0, "partial": 2}[scope]
    first = table.row(0, named=True)
    assert first["feature"] == "f0"
    assert first["coefficient"] == pytest.approx(2, abs=1.5)


@pytest.mark.parametrize("scope", ["global", "local", "partial"])
def test_posterior_intervals_hold_new_rows_as_often_as_they_say(scope: str):
    block, _ = panel_of(6, rows=40)
    late = np.tile(np.arange(40) >= 30, 80)
    parts = [block_of(block.X[k], block.y[k], block.series[k]) for k in (~late, late)]
    fitted = fitted_on(parts[0], scope=scope, intervals=True)
    quantiles = fitted.predict(parts[1]).quantiles
    assert quantiles is not None
    inside = (parts[1].y > quantiles[:, 0]) & (parts[1].y < quantiles[:, 2])
    assert 0.86 < inside.mean() < 0.94


def test_the_interval_of_least_squares_is_the_textbook_one():
    block = data(9)
    X = block.X.astype(np.float64)
    A = np.column_stack([np.ones(60), X])
    beta, residual = np.linalg.lstsq(A, block.y, rcond=None)[:2]
    noise = residual[0] / (60 - 5)
    leverage = np.einsum("ri,ij,rj->r", A, np.linalg.inv(A.T @ A), A)
    fitted = fitted_on(block, 3, penalty=0, intervals=True)
    expected = A @ beta + 1.6448536 * np.sqrt(noise * (1 + leverage))
    np.testing.assert_allclose(fitted.predict(block).quantiles[:, 2], expected, rtol=1e-6)


def test_interactions_are_the_products_of_the_columns():
    block = data(7, holes=0.1)
    fitted = fit(block, interactions=["f0 x f[12]", "f1 x f0"], penalty=1.0)
    names = ["f0", "f1", "f2", "f3", "f0 x f1", "f0 x f2"]
    assert list(fitted.features) == names
    products = np.column_stack(
        [block.X, block.X[:, 0] * block.X[:, 1], block.X[:, 0] * block.X[:, 2]]
    )
    same = fit(block_of(products, block.y), penalty=1.0).predict(block_of(products, []))
    np.testing.assert_allclose(fitted.predict(block).y_hat, same.y_hat, rtol=1e-12)


def test_rows_are_weighted_by_a_feature():
    block = data(8)
    X = block.X.copy()
    X[:, 3] = np.random.default_rng(0).integers(0, 3, 60)
    times = np.repeat(np.arange(60), X[:, 3].astype(int))
    weighted = fit(block_of(X, block.y), weight="f3", penalty=1.0)
    repeated = fit(block_of(X[times], block.y[times]), penalty=1.0)
    np.testing.assert_allclose(weighted.coefficients, repeated.coefficients, rtol=1e-9)


def test_a_negative_weight_and_a_pattern_without_features_are_named():
    block = data(8)
    with pytest.raises(DataError, match="'f0' is negative or infinite in"):
        fit(block, weight="f0")
    for options in ({"weight": "g"}, {"elasticity": ["g*"]}, {"interactions": ["f0 x g"]}):
        with pytest.raises(DataError, match="no feature matches 'g"):
            fit(block, **options)
    with pytest.raises(DataError, match="not `left x right`"):
        fit(block, interactions=["f0 * f1"])


@pytest.mark.parametrize("scope", ["global", "local", "partial"])
def test_a_saved_model_with_products_and_intervals_predicts_the_same_bits(scope, tmp_path: Path):
    block, _ = panel_of(10)
    options = {"interactions": ["f0 x f1"], "intervals": True, "elasticity": ["f0"]}
    fitted = fitted_on(block, scope=scope, **options)
    fitted.save(tmp_path)
    loaded, before = Ridge.load(tmp_path).predict(block), fitted.predict(block)
    assert loaded.y_hat.tobytes() == before.y_hat.tobytes()
    assert loaded.quantiles.tobytes() == before.quantiles.tobytes()


def test_the_package_imports_nothing_heavy():
    code = "import sys, engine_ridge; print([m for m in ('numpy', 'polars') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
