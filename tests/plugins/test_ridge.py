from __future__ import annotations

import json
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

from engine.contracts import Design, DesignBlock
from engine.errors import DataError, NotFoundError
from engine_ridge.fitted import FittedRidge
from engine_ridge.model import Ridge
from engine_ridge.params import RidgeParams

NAN = float("nan")


def block_of(X, y, series=None, age=None) -> DesignBlock:
    rows = len(X)
    return DesignBlock(
        X=np.asarray(X, dtype=np.float32),
        y=np.asarray(y, dtype=np.float64),
        series=np.asarray(np.zeros(rows) if series is None else series, dtype=np.int32),
        step=np.ones(rows, dtype=np.int16),
        age=np.asarray(np.zeros(rows) if age is None else age, dtype=np.int32),
    )


def rows_of(block: DesignBlock, rows) -> DesignBlock:
    return DesignBlock(
        block.X[rows], block.y[rows], block.series[rows], block.step[rows], block.age[rows]
    )


def design_of(blocks: Sequence[DesignBlock], n_series: int = 1) -> Design:
    return Design(
        features=tuple(f"f{j}" for j in range(blocks[0].X.shape[1])),
        series=pl.DataFrame({"unique_id": [f"s{i}" for i in range(n_series)]}),
        quantiles=(),
        seed=0,
        blocks=lambda: iter(blocks),
        report=lambda event, values: None,
    )


def fit(*blocks: DesignBlock, n_series: int = 1, **options) -> FittedRidge:
    return Ridge(RidgeParams(**options)).fit(design_of(blocks, n_series))


def data(seed: int, rows: int = 60, columns: int = 4, holes: float = 0.0) -> DesignBlock:
    random = np.random.default_rng(seed)
    spread, center = np.resize([1, 10, 0.1, 1], columns), np.resize([0, 50, 3, -2], columns)
    X = random.normal(size=(rows, columns)) * spread + center
    y = X @ np.linspace(1, -1, columns) + random.normal(size=rows)
    X[random.random(X.shape) < holes] = NAN
    return block_of(X, y, age=random.integers(0, 20, rows), series=random.integers(0, 3, rows))


def direct(X, y, penalty, weight=None) -> np.ndarray:
    """Fitted values of the textbook normal equations on imputed, standardized columns."""
    X, w = np.asarray(X, dtype=np.float64), np.ones(len(y)) if weight is None else weight
    columns = []
    for x in X.T:
        hole = np.isnan(x)
        columns.append(np.where(hole, np.average(x[~hole], weights=w[~hole]), x))
        if hole.any():
            columns.append(hole.astype(float))
    S = np.stack(columns, axis=1)
    S = S - np.average(S, axis=0, weights=w)
    S = S / np.sqrt(np.average(S**2, axis=0, weights=w))
    y_mean = np.average(y, weights=w)
    gram = S.T @ (S * w[:, None]) + penalty * np.eye(S.shape[1])
    return y_mean + S @ np.linalg.solve(gram, S.T @ (w * (y - y_mean)))


@given(seed=st.integers(0, 999), holes=st.sampled_from([0.0, 0.2]), penalty=st.floats(0.01, 100))
@settings(max_examples=30, deadline=None)
def test_equals_the_normal_equations_of_imputed_standardized_columns(seed, holes, penalty):
    block = data(seed, holes=holes)
    expected = direct(block.X, block.y, penalty)
    np.testing.assert_allclose(fit(block, penalty=penalty).predict(block).y_hat, expected, 1e-9)


@given(seed=st.integers(0, 999), half_life=st.floats(1, 50))
@settings(max_examples=20, deadline=None)
def test_decay_halves_the_weight_of_a_row_each_half_life(seed, half_life):
    block = data(seed, holes=0.1)
    expected = direct(block.X, block.y, 2.0, 0.5 ** (block.age / half_life))
    got = fit(block, penalty=2.0, decay=half_life, missing_indicator=0).predict(block).y_hat
    np.testing.assert_allclose(got, expected, rtol=1e-9)


@given(
    seed=st.integers(0, 999),
    cuts=st.lists(st.integers(0, 60), max_size=8).map(sorted),
    scope=st.sampled_from(["global", "local", "partial"]),
    penalty=st.sampled_from([0.5, "auto"]),
)
@settings(max_examples=40, deadline=None)
def test_any_sharding_and_order_of_rows_gives_the_same_coefficients(seed, cuts, scope, penalty):
    block = data(seed, holes=0.1)
    shuffled = np.random.default_rng(seed).permutation(block.y.size)
    model = Ridge(RidgeParams(scope=scope, penalty=penalty))
    whole = model.fit(design_of([block], 3))
    parts = [
        # A basis of its own for every shard, as on different machines.
        model.statistics(design_of([rows_of(block, rows)], 3))
        for rows in np.split(shuffled, cuts)
        if rows.size
    ]
    merged = model.solve(design_of([block], 3), reduce(model.merge, parts))
    for name in ("coefficients", "intercepts", "mean"):
        expected = getattr(whole, name)
        close = 1e-10 * np.abs(expected).max()
        np.testing.assert_allclose(getattr(merged, name), expected, rtol=1e-10, atol=close)


def test_rows_of_all_blocks_and_beyond_one_chunk_count():
    block = data(3, rows=10_001)
    cut = [rows_of(block, slice(i, i + 5_000)) for i in (0, 5_000, 10_000)]
    for blocks in ([block], cut):
        got = fit(*blocks, penalty=3.0).predict(block).y_hat
        np.testing.assert_allclose(got, direct(block.X, block.y, 3.0), rtol=1e-9)


def test_without_a_penalty_equals_least_squares():
    block = data(5)
    X = np.column_stack([np.ones(block.y.size), block.X.astype(np.float64)])
    expected = np.linalg.lstsq(X, block.y, rcond=None)[0]
    fitted = fit(block, penalty=0)
    np.testing.assert_allclose(fitted.coefficients[0], expected[1:], rtol=1e-8)
    intercept = fitted.intercepts[0] - fitted.mean @ fitted.coefficients[0]
    np.testing.assert_allclose(intercept, expected[0], rtol=1e-8)


def test_a_large_mean_costs_no_accuracy():
    random = np.random.default_rng(2)
    x = random.integers(0, 64, 500) / 32.0
    y = 3.0 * x + random.normal(size=500)
    near = fit(block_of(x[:, None], y), penalty=0).coefficients
    # 2^16 + x is exact in float32, so that only the sums could lose digits.
    far = fit(block_of(x[:, None] + 2**16, y + 1e6), penalty=0).coefficients
    np.testing.assert_allclose(far, near, rtol=1e-9)


@pytest.mark.parametrize("penalty", [0, 1.0, "auto"])
def test_collinear_features_share_the_effect(penalty):
    block = data(7, columns=2)
    twice = block_of(np.hstack([block.X, 2 * block.X]), block.y)
    fitted = fit(twice, penalty=penalty)
    # Equal after standardizing, hence equal shares; per unit the doubled one has half.
    np.testing.assert_allclose(fitted.coefficients[0, :2], 2 * fitted.coefficients[0, 2:], 1e-5)
    assert np.abs(fitted.coefficients).max() < 10


@pytest.mark.parametrize("scope", ["global", "local", "partial"])
@pytest.mark.parametrize("value", [0.0, 0.1, 20_000.7, NAN, [1, 1 + 2**-23] * 30])
def test_a_constant_or_absent_feature_gets_no_coefficient(scope, value):
    block = data(8)
    with_constant = block.X.copy()
    with_constant[:, 1] = value
    fitted = fit(
        block_of(with_constant, block.y, block.series), n_series=3, penalty=1.0, scope=scope
    )
    assert (fitted.coefficients[:, 1] == 0).all()
    assert (fitted.coefficients[:, 0] != 0).all()
    assert fitted.coefficients.shape[1] == 4 or (fitted.coefficients[:, 4:] == 0).all()


@given(seed=st.integers(0, 999))
@settings(max_examples=10, deadline=None)
def test_local_equals_fits_of_each_series(seed):
    block = data(seed, rows=90)
    X = block.X.astype(np.float64)
    S = (X - X.mean(axis=0)) / X.std(axis=0)
    got = fit(block, n_series=3, scope="local", penalty=2.0).predict(block).y_hat
    for series in range(3):
        own = block.series == series
        A = np.column_stack([np.ones(own.sum()), S[own]])
        beta = np.linalg.solve(A.T @ A + np.diag([0, 2, 2, 2, 2]), A.T @ block.y[own])
        np.testing.assert_allclose(got[own], A @ beta, rtol=1e-8, atol=1e-8)


def test_a_series_without_training_rows_is_a_named_failure():
    block = data(4)
    fitted = fit(block, n_series=6, scope="local")
    asked = block_of(block.X[:3], [], series=[0, 5, 1])
    prediction = fitted.predict(asked)
    assert np.isnan(prediction.y_hat).tolist() == [False, True, False]
    assert prediction.failures == {5: "no training rows"}


@pytest.mark.parametrize("scope", ["global", "local"])
def test_auto_finds_the_penalty_of_brute_force_cross_validation(scope):
    block = data(11, rows=40)
    fitted = fit(block, n_series=3, scope=scope)
    X = block.X.astype(np.float64)
    S = (X - X.mean(axis=0)) / X.std(axis=0)
    table = fitted.tables()["penalties"]
    for penalty, score in table.select("penalty", "score").iter_rows():
        residual = freedom = 0.0
        for series in [block.series > -1] if scope == "global" else np.eye(3, dtype=bool):
            own = series if scope == "global" else series[block.series]
            A = np.column_stack([np.ones(own.sum()), S[own]])
            pull = np.diag([0.0, *[penalty] * 4])
            hat = A @ np.linalg.solve(A.T @ A + pull, A.T)
            residual += ((block.y[own] - hat @ block.y[own]) ** 2).sum()
            freedom += np.trace(hat)
        assert score == pytest.approx(residual / (1 - freedom / 40) ** 2, rel=1e-6)
    chosen = table.filter("chosen")
    assert chosen.height == 1
    assert chosen["score"].item() == table["score"].min()


def test_auto_pulls_noise_to_zero_and_leaves_a_clear_effect():
    random = np.random.default_rng(0)
    X = random.normal(size=(300, 20))
    noise = fit(block_of(X, random.normal(size=300)))
    signal = fit(block_of(X, 5 * X[:, 0] + 0.1 * random.normal(size=300)))
    assert np.abs(noise.coefficients).max() < 0.1
    assert signal.coefficients[0, 0] == pytest.approx(5, abs=0.05)


def test_more_features_than_rows_still_fit():
    random = np.random.default_rng(0)
    block = block_of(random.normal(size=(5, 30)), random.normal(size=5))
    assert np.isfinite(fit(block).predict(block).y_hat).all()


def test_indicators_stand_for_features_missing_more_often_than_the_threshold():
    block = data(3, rows=100)
    X = block.X.copy()
    X[:30, 0] = NAN
    X[0, 2] = NAN
    holes = block_of(X, block.y)
    assert fit(holes, missing_indicator=0.05).indicators.tolist() == [0]
    assert fit(holes, missing_indicator=0.0).indicators.tolist() == [0, 2]
    assert fit(holes, missing_indicator=None).indicators.tolist() == []
    names = fit(holes, missing_indicator=0.05).tables()["coefficients"]["feature"].to_list()
    assert names == ["f0", "f1", "f2", "f3", "missing(f0)"]


def test_a_feature_first_missing_when_predicting_takes_the_mean():
    block = data(6)
    fitted = fit(block, penalty=1.0)
    at_mean = block.X.astype(np.float64).mean(axis=0).astype(np.float32)[None, :]
    absent = np.full((1, 4), NAN)
    np.testing.assert_allclose(
        fitted.predict(block_of(absent, [])).y_hat,
        fitted.predict(block_of(at_mean, [])).y_hat,
        atol=1e-4,
    )


@pytest.mark.parametrize("penalty", [0.0, 20.0])
def test_standard_errors_are_those_of_the_posterior_with_independent_errors(penalty):
    block = data(9)
    X = block.X.astype(np.float64)
    A = np.column_stack([np.ones(60), (X - X.mean(axis=0)) / X.std(axis=0)])
    posterior = np.linalg.inv(A.T @ A + np.diag([0.0, *[penalty] * 4]))
    estimator = posterior @ A.T
    residual = block.y - A @ estimator @ block.y
    noise = (residual @ residual) / (60 - np.trace(A @ estimator))
    expected = np.sqrt(noise * np.diag(posterior))[1:] / X.std(axis=0)
    table = fit(block, penalty=penalty).tables()["coefficients"]
    np.testing.assert_allclose(table["standard_error"], expected, 1e-6)


@pytest.mark.parametrize("scope", ["global", "local"])
def test_a_saved_model_predicts_the_same_bits(scope, tmp_path: Path):
    block = data(10, holes=0.1)
    fitted = fit(block, n_series=3, scope=scope)
    fitted.save(tmp_path)
    loaded = Ridge.load(tmp_path)
    assert loaded.predict(block).y_hat.tobytes() == fitted.predict(block).y_hat.tobytes()
    for name, table in fitted.tables().items():
        assert loaded.tables()[name].equals(table)


def test_loading_says_what_is_wrong(tmp_path: Path):
    with pytest.raises(NotFoundError, match=r"model\.json is missing"):
        Ridge.load(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(DataError, match="format 99"):
        Ridge.load(tmp_path)


@given(cut=st.integers(1, 59), scope=st.sampled_from(["global", "local", "partial"]))
@settings(max_examples=10, deadline=None)
def test_a_forecast_does_not_depend_on_the_rows_beside_it(cut, scope):
    block = data(12, columns=40, holes=0.1)
    fitted = fit(block, n_series=3, scope=scope)
    whole = fitted.predict(block).y_hat
    head, tail = rows_of(block, slice(0, cut)), rows_of(block, slice(cut, None))
    apart = np.concatenate([fitted.predict(head).y_hat, fitted.predict(tail).y_hat])
    assert apart.tobytes() == whole.tobytes()


def test_fitting_and_predicting_leave_the_block_alone():
    block = data(13, holes=0.1)
    before = [a.tobytes() for a in (block.X, block.y, block.series, block.age)]
    fit(block, n_series=3, scope="local", decay=3).predict(block)
    assert [a.tobytes() for a in (block.X, block.y, block.series, block.age)] == before


def test_errors_name_the_place_and_the_count():
    block = data(1)
    bad = block.X.copy()
    bad[:7, 2] = np.inf
    with pytest.raises(DataError, match=r"'f2' \(7 rows\)"):
        fit(block_of(bad, block.y))
    with pytest.raises(DataError, match=r"'y' \(1 rows\)"):
        fit(block_of(block.X, [NAN, *block.y[1:]]))
    with pytest.raises(DataError, match="has no rows"):
        fit(block_of(np.empty((0, 4)), []))
    with pytest.raises(DataError, match="4 features, more than max_features: 3"):
        fit(block, max_features=3)
    with pytest.raises(DataError, match="scope: global"):
        fit(block_of(np.eye(2, 400), [0, 1]), n_series=2_000, scope="local")
    with pytest.raises(DataError, match="does not hold 4 features"):
        fit(block).predict(block_of(block.X[:, :3], []))
    ridge = Ridge(RidgeParams())
    one, other = (ridge.statistics(design_of([data(1, columns=c)])) for c in (3, 4))
    with pytest.raises(DataError, match="cannot be merged"):
        ridge.merge(one, other)


@pytest.mark.parametrize(
    "options",
    [
        {"penalty": -1},
        {"penalty": "much"},
        {"decay": 0},
        {"scope": "mixed"},
        {"vary": ["f1"]},
        {"ridge": 1},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValidationError):
        RidgeParams(**options)
