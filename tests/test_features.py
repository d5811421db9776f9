from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from engine.contracts import CrossSection, Feature, FeatureContext, FeatureSet
from engine.covariates import panel_with_features, with_covariates
from engine.data.panel import Panel
from engine.errors import DataError, PluginError
from engine.features import (
    FeaturePlan,
    add_cross_sections,
    evaluate,
    evaluate_static,
    feature_context,
    plan_features,
)
from tests.panels import history_and_future, panel, rows

Y, PRICE = pl.col("y"), pl.col("price")
LAG = Feature("lag_1", Y.shift(1), "history", lookback=1)
MEAN = Feature("mean_3", Y.rolling_mean(3), "history", lookback=2)
TOTAL = Feature("total", Y.cum_sum(), "history")
LEVEL = Feature("price_level", PRICE.log(), "known", lookback=0)
RELATIVE = CrossSection("price_rank", PRICE / PRICE.mean(), by=("kind",))


class Builder:
    """A builder of fixed features."""

    def __init__(self, *features: Feature, sections: tuple[CrossSection, ...] = ()) -> None:
        self.made = FeatureSet(features, sections)

    def build(self, context: FeatureContext) -> FeatureSet:
        assert context.horizon > 0
        return self.made


def plan(*builders: Builder, whole: Panel | None = None) -> FeaturePlan:
    context = feature_context(whole or panel(), horizon=7, gap=0)
    return plan_features([(f"b{i}", b) for i, b in enumerate(builders)], context)


@settings(max_examples=15, deadline=None)
@given(n_series=st.integers(1, 5), seed=st.integers(0, 99), holes=st.booleans())
def test_features_of_a_panel_are_those_of_each_series_alone(n_series: int, seed: int, holes: bool):
    frame = rows(n_series=n_series, periods=20, future=7, seed=seed)
    if holes:
        gap = pl.int_range(pl.len()).over("store").is_between(5, 8)
        frame = frame.with_columns(y=pl.when(~gap).then("y"))
    history = panel(frame).until(panel(frame).end)
    features = [LAG, LEVEL, MEAN, TOTAL]
    together = evaluate(history.frame, features)
    alone = [
        evaluate(history.frame.filter(pl.col("unique_id") == uid), features) for uid in history.ids
    ]
    np.testing.assert_array_equal(together, np.concatenate(alone, axis=1))


def test_a_lag_never_reaches_into_another_series():
    history = panel().until(panel().end)
    values = evaluate(history.frame, [LAG])[0]
    assert np.flatnonzero(np.isnan(values)).tolist() == history.offsets[:-1].tolist()


def test_values_are_in_the_order_of_the_features():
    history = panel().until(panel().end)
    both = evaluate(history.frame, [LEVEL, LAG])
    np.testing.assert_array_equal(both[0], evaluate(history.frame, [LEVEL])[0])
    np.testing.assert_array_equal(both[1], evaluate(history.frame, [LAG])[0])


def test_no_features_are_an_empty_matrix():
    assert evaluate(panel().frame, []).shape == (0, panel().frame.height)


@pytest.mark.parametrize("column", ["y", "temperature"])
def test_a_known_feature_that_reads_what_is_not_known_is_refused(column: str):
    leak = Feature("leak", pl.col(column).shift(-1), "known")
    with pytest.raises(DataError, match=f"'leak' of b0 is 'known' but reads '{column}'"):
        plan(Builder(leak))


@pytest.mark.parametrize("availability", ["known", "history", "aligned", "static"])
def test_an_undeclared_column_is_refused(availability: str):
    alien = Feature("alien", pl.col("weather"), availability, season=7)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="reads 'weather'") as caught:
        plan(Builder(alien))
    assert "available here" in caught.value.hint


def test_a_static_feature_reads_no_column_that_changes():
    with pytest.raises(DataError, match="'static' but reads 'price'"):
        plan(Builder(Feature("level", PRICE, "static")))


def test_the_same_name_twice_is_refused_with_both_builders():
    with pytest.raises(DataError, match="'lag_1' is made twice: by b0 and b1"):
        plan(Builder(LAG), Builder(LAG))


def test_an_aligned_feature_needs_a_season():
    with pytest.raises(PluginError, match="has no season"):
        plan(Builder(Feature("week", Y, "aligned")))


def test_patterns_choose_features_and_an_idle_one_is_an_error():
    made = plan(Builder(LAG, MEAN, LEVEL))
    assert made.matching(["*_1", "price_*"]).names == ["lag_1", "price_level"]
    assert made.matching(None).names == ["lag_1", "mean_3", "price_level"]
    with pytest.raises(DataError, match="no feature matches 'lags_"):
        made.matching(["lags_*"])


def test_a_cross_section_groups_the_rows_of_one_date():
    whole = panel()
    made = add_cross_sections(whole, [RELATIVE])
    joined = made.frame.join(whole.series.select("unique_id", "kind"), on="unique_id")
    for (_, _), group in joined.group_by("kind", "ds"):
        expected = group["price"] / group["price"].mean()
        np.testing.assert_allclose(group["price_rank"].to_numpy(), expected.to_numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("column", "role"), [("price", "future"), ("y", "past"), ("temperature", "past")]
)
def test_a_cross_section_is_known_ahead_if_all_its_inputs_are(column: str, role: str):
    section = CrossSection("total", pl.col(column).sum(), by=())
    made = add_cross_sections(panel(), [section])
    assert "total" in getattr(made.roles, role)


def test_a_known_feature_may_read_a_known_cross_section_only():
    reads = Feature("rank", pl.col("price_rank"), "known")
    assert plan(Builder(reads, sections=(RELATIVE,))).names == ["rank"]
    sold = CrossSection("price_rank", Y.sum(), by=())
    with pytest.raises(DataError, match="reads 'price_rank'"):
        plan(Builder(reads, sections=(sold,)))


def test_static_features_have_one_value_a_series():
    whole = panel()
    big = Feature("big", pl.col("kind") == "big", "static")
    assert evaluate_static(whole.series, [big]).tolist() == [[1.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    ("expr", "words"),
    [(Y.unique(), "values for"), (Y.str.len_chars(), "'odd' cannot be evaluated")],
)
def test_an_expression_that_cannot_be_a_feature_names_itself(expr: pl.Expr, words: str):
    odd = Feature("odd", expr, "history")
    frame = rows(n_series=1, periods=6).with_columns(y=pl.lit(1.0))
    whole = panel(frame, future=(), past=(), ahead=0)
    with pytest.raises(PluginError, match=words):
        evaluate(whole.frame, [LAG, odd])


def test_panel_models_get_known_features_ahead_and_history_features_behind():
    history, future = history_and_future(panel())
    grown, ahead = panel_with_features(history, future, FeaturePlan((LEVEL, LAG)))
    assert ahead is not None
    expected = np.log(np.float32(future.frame["price"].to_numpy()))
    np.testing.assert_allclose(ahead.frame["price_level"].to_numpy(), expected, rtol=1e-6)
    assert "lag_1" in grown.frame.columns
    assert "lag_1" not in ahead.frame.columns
    assert (grown.roles.future[-1], grown.roles.past[-1]) == ("price_level", "lag_1")


def test_a_lead_reads_the_known_future_on_the_last_day_of_history():
    history, future = history_and_future(panel())
    lead = Feature("tomorrow", PRICE.shift(-1), "known", lookback=0)
    grown, _ = panel_with_features(history, future, FeaturePlan((lead,)))
    last = grown.frame["tomorrow"].to_numpy()[history.offsets[1:] - 1]
    np.testing.assert_array_equal(last, future.frame.filter(ahead=1)["price"].to_numpy())


def test_whole_series_models_read_a_long_season_before_every_row():
    whole = panel()
    history, future = history_and_future(whole)
    feature = Feature("last_week", Y, "aligned", lookback=0, season=future.ahead_max)
    grown, ahead = panel_with_features(history, future, FeaturePlan((feature,)))
    week_before = whole.frame.with_columns(pl.col("y").shift(7).over("unique_id").alias("before"))
    known = pl.concat([grown.frame, ahead.frame], how="diagonal").sort("unique_id", "ds")
    assert grown.roles.future[-1] == "last_week"
    np.testing.assert_allclose(
        known["last_week"].fill_null(np.nan).to_numpy(),
        week_before["before"].fill_null(np.nan).to_numpy(),
        rtol=1e-6,
    )


def test_a_season_shorter_than_the_steps_ahead_is_left_out():
    history, future = history_and_future(panel())
    feature = Feature("short", Y, "aligned", lookback=0, season=future.ahead_max - 1)
    grown, ahead = panel_with_features(history, future, FeaturePlan((feature,)))
    assert "short" not in grown.frame.columns + ahead.frame.columns


def test_a_model_sees_only_the_covariates_it_names():
    history, future = history_and_future(panel())
    kept, ahead = with_covariates(history, future, ["promo", "price"])
    assert ahead is not None
    assert kept.frame.columns == ["unique_id", "ds", "y", "promo", "price"]
    assert ahead.frame.columns == ["unique_id", "ds", "ahead", "promo", "price"]
    assert kept.roles.static == ()
