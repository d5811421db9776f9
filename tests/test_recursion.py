"""Rows that are made from the last ones alone are those that the whole tables give."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from engine.contracts import Feature
from engine.data.panel import Future, Panel
from engine.features import FeaturePlan
from engine.recursion import _Evaluated, _Windowed, rows_ahead
from engine.windows import Window
from tests.panels import history_and_future, panel, rows

KNOWN = Feature("price", pl.col("price"), "known", lookback=0)
BIG = Feature("big", pl.col("kind") == "big", "static")


def uneven(periods: int, holes: int) -> Panel:
    """Three series, one of them of a few rows, with holes in y and 12 known days."""
    frame = rows(periods=periods, future=12)
    place = pl.int_range(pl.len()).over("store")
    frame = frame.filter(place >= pl.col("store") * (periods // 3 - 1))
    return panel(frame.with_columns(y=pl.when(place.mod(holes) != 1).then("y")), ahead=12)


@st.composite
def windowed(draw: st.DrawFn) -> Feature:
    statistic = draw(st.sampled_from(["value", "mean", "sum", "std", "zeros"]))
    size = 1 if statistic == "value" else draw(st.integers(1, 15))
    every = draw(st.sampled_from([1, 3])) if statistic == "mean" else 1
    least = 1 if every > 1 else draw(st.integers(1, size))
    column = draw(st.sampled_from(["y", "y", "price", "temperature"]))
    window = Window(column, statistic, size, draw(st.integers(0, 9)), least, every)
    season = draw(st.sampled_from([0, 0, 1, 7]))
    name = f"f{draw(st.integers(0, 10**9))}"
    return Feature.windowed(name, window, "aligned" if season else "history", season)


@given(
    features=st.lists(windowed(), min_size=1, max_size=5, unique_by=lambda f: f.name),
    periods=st.integers(6, 40),
    holes=st.sampled_from([3, 1000]),
    lost=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_windows_of_the_last_rows_are_those_of_the_tables(features, periods, holes, lost):
    history, future = history_and_future(uneven(periods, holes), horizon=9)
    plan = FeaturePlan((KNOWN, *features, BIG))
    quick, plain = rows_ahead(history, future, plan), evaluated(history, future, plan)
    assert isinstance(quick, _Windowed)
    for ahead in range(1, 10):
        made, wanted = quick.design(ahead), plain.design(ahead)
        np.testing.assert_allclose(made, wanted, rtol=2e-6, atol=1e-6, equal_nan=True)
        assert made.flags.f_contiguous
        y = np.array([1.5 * ahead, 0.0, np.nan if lost else 3.0])[: history.n_series]
        quick.put(ahead, y)
        plain.put(ahead, y)


def evaluated(history: Panel, future: Future, plan: FeaturePlan) -> _Evaluated:
    """The same rows from tables: an expression that is no window asks for them."""
    odd = Feature("odd", pl.col("y").abs(), "history", lookback=0)
    made = rows_ahead(history, future, FeaturePlan((*plan.features, odd)))
    assert isinstance(made, _Evaluated)
    made.fixed = rows_ahead(history, future, plan).fixed
    return made


def test_the_panel_that_is_given_stays_as_it_is():
    history, future = history_and_future(uneven(20, 3), horizon=9)
    before = history.frame.clone(), future.frame.clone()
    made = rows_ahead(
        history, future, FeaturePlan((Feature.windowed("a", Window("y"), "history"),))
    )
    made.design(1)
    made.put(1, np.ones(history.n_series))
    assert (made.design(2) == 1.0).all()
    assert history.frame.equals(before[0])
    assert future.frame.equals(before[1])


def test_without_features_of_the_past_there_is_nothing_to_remember():
    history, future = history_and_future(uneven(20, 3), horizon=9)
    made = rows_ahead(history, future, FeaturePlan((KNOWN,)))
    wanted = future.frame.filter(pl.col("ahead") == 2)["price"].to_list()
    assert made.design(2)[:, 0].tolist() == pytest.approx(wanted)
