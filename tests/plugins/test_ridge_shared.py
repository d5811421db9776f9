from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

import engine.design
from engine.columns import Rows
from engine.components import Capabilities
from engine.contracts import Feature, Training
from engine.data.fill import Missing
from engine.data.panel import Panel
from engine.design import SharedDesign, SharedModel, known_columns, shared_design
from engine.errors import DataError
from engine.features import FeaturePlan, evaluate
from engine.horizon import TabularModel
from engine.shard import bucket_ranges
from engine_ridge import shared as shared_module, statistics as statistics_module
from engine_ridge.fitted import FittedRidge
from engine_ridge.interactions import products_of
from engine_ridge.model import Ridge
from engine_ridge.params import RidgeParams
from engine_ridge.shared import shared_statistics
from engine_ridge.statistics import Statistics
from tests.panels import panel, rows

PLAN = FeaturePlan(
    (
        Feature("now", pl.col("y"), "history", lookback=0),
        Feature("price", pl.col("price"), "known", lookback=0),
        Feature("week", pl.col("y"), "aligned", lookback=0, season=7),
        Feature("mean", pl.col("y").rolling_mean(5, min_samples=3), "history", lookback=4),
        Feature("before", pl.col("promo").shift(1), "known", lookback=1),
        Feature("big", pl.col("kind") == "big", "static"),
    )
)
ACROSS = ("price x now", "big x mean", "before x price", "week x big")


def uneven() -> Panel:
    """Three series of different lengths with holes in y."""
    frame = rows(periods=60)
    place = pl.int_range(pl.len()).over("store")
    frame = frame.filter(place >= pl.col("store") * 9)
    holes = pl.when(place.mod(11) != 5).then("y")
    return panel(frame.with_columns(y=holes), missing=Missing(y="drop"), ahead=0)


def shared_of(
    buckets: list[int], gap: int = 0, window: int | None = None, whole: Panel | None = None
) -> SharedDesign:
    train = Training(whole or uneven(), buckets[-1], gap, (), 7, 0, lambda event, data: None)
    return shared_design(train, PLAN, bucket_ranges(buckets, gap), window)


def plain_statistics(shared: SharedDesign, **options: Any) -> list[Statistics]:
    model = Ridge(RidgeParams(**options))
    return [Statistics.of(model.statistics(design)) for design in shared.designs]


def fit_all(model: Ridge, shared: SharedDesign) -> list[FittedRidge]:
    """One fitted ridge a bucket, as the strategy makes them."""
    made = zip(model.statistics_all(shared), shared.designs, strict=True)
    return [model.solve(design, part) for part, design in made if part is not None]


def moments(statistics: Statistics) -> np.ndarray:
    """Raw sums of `[1, y, X, missing]` over all features, whatever the basis was."""
    basis, gram = statistics.basis, statistics.gram[0]
    features = len(basis.features)
    full = np.zeros((2 + 2 * features,) * 2)
    place = np.concatenate([np.arange(2 + features), 2 + features + statistics.missing])
    full[np.ix_(place, place)] = gram
    change = np.eye(full.shape[0])
    change[0, 1] = basis.y_shift
    change[0, 2 : 2 + features] = basis.shift
    for j in range(features):
        change[2 + features + j, 2 + j] = -basis.shift[j]
    return change.T @ full @ change


@settings(max_examples=25, deadline=None)
@given(
    buckets=st.sets(st.integers(1, 16), min_size=1, max_size=4).map(sorted),
    gap=st.integers(0, 3),
    window=st.none() | st.integers(15, 60),
    decay=st.none() | st.floats(3, 50),
    chunk=st.integers(9, 70),
)
def test_sums_of_all_buckets_are_those_of_their_design_rows(buckets, gap, window, decay, chunk):
    shared = shared_of(buckets, gap, window)
    names = shared.designs[0].features
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_module, "_CHUNK_ROWS", chunk)
        patch.setattr(shared_module, "_CHUNK_VALUES", chunk)
        found = shared_statistics(shared, products_of(names, ACROSS), decay)
    expected = plain_statistics(shared, interactions=ACROSS, decay=decay)
    for one, other in zip(found, expected, strict=True):
        assert one is not None
        np.testing.assert_allclose(moments(one), moments(other), rtol=1e-9, atol=1e-6)
        np.testing.assert_allclose(one.squares, other.squares, rtol=1e-12)


@settings(max_examples=15, deadline=None)
@given(gap=st.integers(0, 4), decay=st.none() | st.floats(3, 50), chunk=st.integers(9, 200))
def test_sums_of_series_of_one_length_are_those_of_their_design_rows(gap, decay, chunk):
    shared = shared_of([1], gap, whole=panel(rows(periods=40), ahead=0))
    assert all(shard.stretch(shared.buckets[0]) is not None for shard in shared.shards())
    names = shared.designs[0].features
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_module, "_CHUNK_ROWS", chunk)
        patch.setattr(shared_module, "_CHUNK_VALUES", chunk)
        (found,) = shared_statistics(shared, products_of(names, ACROSS), decay)
    (expected,) = plain_statistics(shared, interactions=ACROSS, decay=decay)
    assert found is not None
    np.testing.assert_allclose(moments(found), moments(expected), rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(found.squares, expected.squares, rtol=1e-12)


@pytest.mark.parametrize("across", [(), ACROSS])
def test_fitting_all_buckets_at_once_gives_the_coefficients_of_each(across):
    shared = shared_of([2, 7, 14])
    model = Ridge(RidgeParams(interactions=across, penalty=0.5))
    for one, design in zip(fit_all(model, shared), shared.designs, strict=True):
        alone = model.fit(design)
        np.testing.assert_array_equal(one.indicators, alone.indicators)
        np.testing.assert_allclose(one.coefficients, alone.coefficients, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(one.intercepts, alone.intercepts, rtol=1e-7)


def test_cutting_into_shards_does_not_change_the_coefficients(monkeypatch):
    model = Ridge(RidgeParams(penalty=0.5))
    whole = fit_all(model, shared_of([3, 7]))
    monkeypatch.setattr(engine.design, "SHARD_ROWS", 50)
    cut = fit_all(model, shared_of([3, 7]))
    for one, other in zip(whole, cut, strict=True):
        np.testing.assert_allclose(one.coefficients, other.coefficients, rtol=1e-10)


def test_five_buckets_evaluate_the_features_as_often_as_one(monkeypatch):
    calls = []
    made = engine.design.columns_of
    monkeypatch.setattr(
        engine.design, "columns_of", lambda *given: (calls.append(1), made(*given))[1]
    )
    fit_all(Ridge(RidgeParams()), shared_of([1]))
    once = len(calls)
    fit_all(Ridge(RidgeParams()), shared_of([1, 2, 3, 4, 5]))
    assert len(calls) == 2 * once


def test_features_of_the_date_are_the_same_when_evaluated_once_for_all_series():
    ds = pl.col("ds")
    features = (
        Feature("price", pl.col("price"), "known", lookback=0),
        Feature("weekday", ds.dt.weekday(), "known", lookback=0),
        Feature("next", ds.shift(-1).dt.day(), "known", lookback=0),
        Feature("row", ds.cum_count(), "known", lookback=None),
        Feature("yesterday", ds.shift(1).dt.day(), "known", lookback=1),
    )
    whole = uneven()
    expected = evaluate(whole.frame, features)
    everything = Rows(np.arange(whole.frame.height), whole.series_index)
    made = everything.matrix(known_columns(whole, features))
    np.testing.assert_array_equal(made, expected)


def test_a_ridge_offers_the_sums_of_all_buckets():
    assert isinstance(Ridge(RidgeParams()), SharedModel)


def test_a_bucket_beyond_every_history_is_an_error():
    near, far = Ridge(RidgeParams()).statistics_all(shared_of([1, 80]))
    assert near is not None and far is None
    able = Capabilities(input="design", missing_values=True)
    model = TabularModel(Ridge(RidgeParams()), PLAN, [1, 80], None, able=able)
    with pytest.raises(DataError, match="3 series has no rows"):
        model.fit(Training(uneven(), 80, 0, (), 7, 0, lambda event, data: None))


def test_an_infinite_feature_is_named():
    frame = rows(periods=30).with_columns(price=pl.lit(0.0))
    plan = FeaturePlan((Feature("log", pl.col("price").log(), "known", lookback=0),))
    train = Training(panel(frame, ahead=0), 2, 0, (), 7, 0, lambda event, data: None)
    shared = shared_design(train, plan, [(1, 2)], None)
    with pytest.raises(DataError, match="infinite or absent values in 'log'"):
        fit_all(Ridge(RidgeParams()), shared)


@pytest.mark.parametrize("scope", ["local", "partial"])
def test_what_a_series_holds_constant_is_summed_like_any_other_column(scope, monkeypatch):
    shared = shared_of([1, 7])
    monkeypatch.setattr(statistics_module, "_LEAST_SPARED", 0)
    quick = plain_statistics(shared, scope=scope, interactions=ACROSS, decay=20.0)
    monkeypatch.setattr(statistics_module, "_held_features", lambda X, edges: np.empty(0, np.int64))
    every = plain_statistics(shared, scope=scope, interactions=ACROSS, decay=20.0)
    for one, other in zip(quick, every, strict=True):
        np.testing.assert_array_equal(one.groups, other.groups)
        np.testing.assert_allclose(one.gram, other.gram, rtol=1e-10, atol=1e-8)


def test_a_static_is_found_to_be_held_and_a_price_is_not():
    X = np.array([[1, 5, 2], [1, 6, 2], [3, 5, 2], [3, 5, np.nan]], dtype=np.float32)
    held = statistics_module._held_features(X, np.array([0, 2, 4]))
    assert held.tolist() == [0]
