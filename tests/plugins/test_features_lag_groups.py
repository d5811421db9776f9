"""Lags of a group's mean, seasons that are no whole number of steps, and growth against last year."""

from __future__ import annotations

import statistics

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

from engine.contracts import FeatureSet
from engine.data.panel import Panel
from engine.errors import DataError
from engine.features import add_cross_sections, evaluate, feature_context, plan_features
from engine.registry import build
from engine_lags import engine_features
from tests.panels import panel, rows

NAN = float("nan")
BIG = {"by": ["kind"]}


def lags(whole: Panel, **options) -> FeatureSet:
    made: FeatureSet = build(next(engine_features()), options).build(feature_context(whole, 7, 0))
    return made


def values(whole: Panel, **options) -> dict[str, np.ndarray]:
    """Values of the features on every row of a panel, by the engine's own pass."""
    made = lags(whole, **options)
    wide = add_cross_sections(whole, made.cross_sections)
    found = evaluate(wide.frame, made.features)
    return {feature.name: row for feature, row in zip(made.features, found, strict=True)}


def one_series(y: list[float | None], **columns) -> Panel:
    frame = rows(n_series=1, periods=len(y), **columns)
    return panel(frame.with_columns(y=pl.Series(y, dtype=pl.Float64)), ahead=0)


def season(y: list[float | None], period: float, flags: list[int] | None = None, **options):
    """The seasonal features of a series, with promo as a holiday of a weekday."""
    frame = {} if flags is None else {"promo": pl.Series(flags, dtype=pl.Float64)}
    weekday = [] if flags is None else ["promo"]
    asked = {"period": period, "weekday": weekday, **options}
    return values(one_series(y, **frame), seasonal=asked)


def test_the_mean_of_a_group_is_that_of_its_series_on_the_date():
    whole = panel(rows(n_series=5, periods=20), ahead=0)
    found = values(whole, group=BIG, lags=[1])["lags_y_mean_kind_1"].reshape(5, 20)
    y = whole.y().reshape(5, 20)
    big = y[[0, 2, 4]].mean(axis=0)
    np.testing.assert_allclose(found[2, 1:], big[:-1], rtol=1e-6)
    np.testing.assert_allclose(found[1, 1:], y[[1, 3]].mean(axis=0)[:-1], rtol=1e-6)


def test_the_rest_is_the_series_own_value_less_the_mean():
    whole = panel(rows(n_series=4, periods=20), ahead=0)
    found = values(whole, group={"by": [], "of": "rest"}, lags=[0])["lags_y_rest_all_0"]
    y = whole.y().reshape(4, 20)
    np.testing.assert_allclose(found.reshape(4, 20), y - y.mean(axis=0), atol=1e-4)


def test_a_mean_stands_where_the_series_itself_is_missing():
    frame = rows(n_series=4, periods=20)
    hole = (pl.col("store") == 1) & (pl.int_range(pl.len()).over("store") == 6)
    whole = panel(frame.with_columns(y=pl.when(~hole).then("y")), ahead=0)
    found = values(whole, group=BIG, lags=[0])["lags_y_mean_kind_0"].reshape(4, 20)
    assert found[0, 6] == pytest.approx(whole.y().reshape(4, 20)[2, 6])


def test_two_uses_share_the_mean_of_one_group():
    builder = next(engine_features())
    uses = [("a", {"group": BIG, "lags": [0]}), ("b", {"group": BIG | {"of": "rest"}, "lags": [0]})]
    made = plan_features(
        [(name, build(builder, options)) for name, options in uses], feature_context(panel(), 7, 0)
    )
    assert [s.name for s in made.cross_sections] == ["lags:y:kind"]


def test_a_group_by_an_unknown_column_is_refused_by_name():
    with pytest.raises(DataError, match="group by 'kin'") as error:
        lags(panel(), group={"by": ["kin"]}, lags=[0])
    assert "did you mean 'kind'" in error.value.hint


@given(
    y=st.lists(st.floats(-100, 100), min_size=12, max_size=20),
    share=st.sampled_from([0.125, 0.25, 0.5, 0.75]),
)
@settings(max_examples=20, deadline=None)
def test_a_season_between_two_steps_blends_both_by_the_days_they_share(y, share):
    found = season(y, 4 + share)["lags_y_season_%g_1" % (4 + share)]
    # Read by the engine 4 rows before the target: the row itself, and the one before it.
    expected = [(1 - share) * y[t] + share * y[t - 1] for t in range(1, len(y))]
    np.testing.assert_allclose(found[1:], expected, rtol=1e-5, atol=1e-4)


def test_the_second_season_lies_two_whole_periods_back():
    y = [float(v) for v in range(30)]
    found = season(y, 4.25, count=3)
    # 8.5 and 12.75 steps before the target, which lies 4 steps after the row.
    assert found["lags_y_season_4.25_2"][20] == pytest.approx(24 - 8.5)
    assert found["lags_y_season_4.25_3"][20] == pytest.approx(24 - 12.75)


def test_one_of_two_steps_stands_for_both_where_the_other_is_missing():
    found = season([1.0, None, 3.0, None, None, 6.0], 4.5)["lags_y_season_4.5_1"]
    np.testing.assert_allclose(found, [1, 1, 3, 3, NAN, 6], equal_nan=True)


def test_a_holiday_of_a_weekday_and_the_step_after_it_are_not_blended():
    y = [10.0, 20.0, 30.0, 40.0, 50.0]
    found = season(y, 4.5, flags=[0, 0, 1, 0, 0])["lags_y_season_4.5_1"]
    np.testing.assert_allclose(found[1:], [15, 30, 40, 45])


def test_weekday_is_refused_for_a_season_of_whole_steps():
    with pytest.raises(ValidationError, match="blends nothing"):
        season([1.0] * 9, 4, flags=[0] * 9)


@given(y=st.lists(st.floats(-100, 100), min_size=9, max_size=20), window=st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_change_is_the_mean_or_median_difference_to_a_season_before(y, window):
    found = season(y, 4, change={"mean": [window], "median": [window]})
    growth = [b - a for a, b in zip(y[:-4], y[4:], strict=True)]
    for name, statistic in (("mean", statistics.fmean), ("median", statistics.median)):
        expected = [statistic(growth[max(0, t - window + 1) : t + 1]) for t in range(len(growth))]
        got = found[f"lags_y_season_4_change_{name}_{window}"]
        assert np.isnan(got[:4]).all()
        np.testing.assert_allclose(got[4:], expected, rtol=1e-4, atol=1e-3)
