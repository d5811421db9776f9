"""Middle-out forecasts: what a group is, how its forecast is shared out, and what the spec accepts."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from engine.aggregate import aggregated
from engine.backtest import backtest_tasks, make_folds
from engine.contracts import Prediction
from engine.data.panel import Panel
from engine.registry import Registry
from engine.runner import capabilities
from engine.spec.model import RunSpec
from engine.tasks import run_task
from engine.workspace import prepare
from tests.panels import START, history_and_future, panel, rows

HORIZON = 7


def spec_of(model: dict[str, Any]) -> RunSpec:
    return RunSpec.model_validate(
        {
            "version": 1,
            "name": "t",
            "data": {
                "source": {"use": "simulate"},
                "columns": {"unique_id": "store", "ds": "ds", "y": "y"},
                "freq": "1d",
                "covariates": {"future": ["promo", "price"], "static": ["kind"]},
                "missing": {"y": "drop"},
            },
            "horizon": HORIZON,
            "features": [{"use": "lags", "lags": [0], "rolling": {"mean": [7]}}],
            "models": {"m": model},
            "evaluate": {"metrics": ["mae"]},
            "backtest": {"calibration": 0},
        }
    )


def forecast(whole: Panel, tmp_path: Any, model: dict[str, Any]) -> tuple[pl.DataFrame, list[Any]]:
    """Forecasts of the last fold as a task makes them, and its failures."""
    spec, registry = spec_of(model), Registry.discover()
    work = prepare(tmp_path, whole, spec, registry)
    able = capabilities(spec, registry)
    (task,) = backtest_tasks(whole, spec, make_folds(whole, spec), able)
    result = run_task(tmp_path, task.plain(), lambda event, data: None)
    frame = work.kept_forecasts([result["path"]]) if result["path"] else pl.DataFrame()
    assert work.spec == spec
    return frame, result["failures"]


def test_a_group_is_the_sum_of_its_series_with_means_of_covariates():
    frame = rows(n_series=3, periods=30, future=HORIZON)
    made = aggregated(*history_and_future(panel(frame)), by=["kind"], share=7)
    assert made.history.ids == ["big", "small"]
    wanted = (
        frame.filter(pl.col("kind") == "big", pl.col("y").is_not_null())
        .group_by("ds", maintain_order=True)
        .agg(pl.col("y").sum(), pl.col("price", "promo").mean())
    )
    own = made.history.frame.filter(pl.col("unique_id") == "big")
    for column in ("y", "price", "promo"):
        assert own[column].to_list() == pytest.approx(wanted[column].to_list())
    ahead = frame.filter(pl.col("kind") == "small", pl.col("y").is_null())
    coming = made.future.frame.filter(pl.col("unique_id") == "small")
    assert coming["price"].to_list() == pytest.approx(ahead["price"].to_list())
    assert coming["ahead"].to_list() == list(range(1, HORIZON + 1))
    # Store 2 is the only small one, so that the group is that store; the big ones differ in it.
    assert made.history.series["store"].to_list() == [None, 2]


def test_categories_are_kept_where_the_series_of_a_group_agree():
    weather = pl.when(pl.col("ds") == START).then(pl.lit("wet")).otherwise(pl.col("kind"))
    whole = panel(rows(future=HORIZON).with_columns(sky=weather), future=("sky",), static=())
    made = aggregated(*history_and_future(whole), by=[], share=7)
    assert made.history.frame["sky"].cast(pl.String).to_list()[:2] == ["wet", None]


def test_a_period_in_which_nothing_was_observed_stays_missing():
    frame = rows(n_series=2, periods=20, future=HORIZON)
    lost = (pl.col("store") == 1) & (pl.col("ds") == frame["ds"][3])
    both = pl.col("ds") == frame["ds"][5]
    holes = frame.with_columns(y=pl.when(~lost & ~both).then(pl.col("y")))
    made = aggregated(*history_and_future(panel(holes)), by=[], share=7)
    y = made.history.frame["y"]
    other = frame.filter(pl.col("store") == 2)["y"]
    assert y[3] == other[3] and y[5] is None and y.null_count() == 1


def test_a_group_begins_with_its_first_series():
    frame = rows(n_series=2, periods=20, future=HORIZON)
    late = (pl.col("store") == 2) & (pl.col("ds") < frame["ds"][5])
    made = aggregated(*history_and_future(panel(frame.filter(~late))), by=[], share=7)
    assert made.history.lengths.tolist() == [20]
    assert made.history.starts.tolist() == [made.history.end - 19]


def test_series_get_their_part_of_the_last_periods():
    frame = rows(n_series=2, periods=20, future=HORIZON)
    older = pl.col("ds") < frame["ds"][17]
    y = pl.when(older).then(1000.0).otherwise(pl.col("store") * 10.0)
    frame = frame.with_columns(y=pl.when(pl.col("y").is_not_null()).then(y))
    made = aggregated(*history_and_future(panel(frame)), by=[], share=3)
    assert made.share.tolist() == pytest.approx([1 / 3, 2 / 3])


@settings(max_examples=30, deadline=None)
@given(
    sold=st.lists(st.lists(st.floats(0, 1e6), min_size=4, max_size=4), min_size=1, max_size=5),
    total=st.floats(-1e6, 1e6),
)
def test_the_parts_always_add_up_to_the_forecast_of_their_group(sold, total):
    frame = rows(n_series=len(sold), periods=4, future=HORIZON)
    observed = [value for series in sold for value in [*series, *([None] * HORIZON)]]
    whole = panel(frame.with_columns(pl.Series("y", observed, dtype=pl.Float64)))
    made = aggregated(*history_and_future(whole), by=["kind"], share=4)
    groups = made.history.n_series
    parts = made.shared_out(Prediction(np.full((groups, HORIZON), total))).y_hat
    sums = [parts[made.member == group].sum(axis=0) for group in range(groups)]
    assert np.allclose(sums, total, rtol=1e-9, atol=1e-9)


def test_a_failed_group_names_itself_for_each_of_its_series():
    made = aggregated(*history_and_future(panel()), by=["kind"], share=7)
    y_hat = np.ones((2, HORIZON))
    failures = made.shared_out(Prediction(y_hat, failures={0: "too odd"})).failures
    assert failures == {0: "its group 'big' failed: too odd", 2: "its group 'big' failed: too odd"}


@pytest.mark.parametrize(
    "model",
    [
        {"use": "seasonal_naive", "season": 7},
        {"use": "seasonal_naive", "season": 7, "target": "log1p", "scale": "mean"},
        {"use": "ridge", "intervals": True},
        {"use": "ridge", "strategy": "recursive"},
    ],
    ids=["naive", "transformed", "intervals", "recursive"],
)
def test_any_model_forecasts_sums(tmp_path, model):
    whole = panel(rows(n_series=3, periods=60, future=HORIZON))
    found, failures = forecast(whole, tmp_path, model | {"aggregate": {"by": []}})
    assert failures == []
    assert found["unique_id"].n_unique() == 3 and found.height == 3 * HORIZON
    # The engine calibrates quantiles, whatever the model has of its own.
    assert found["q0.5"].null_count() == found.height
    if model == {"use": "seasonal_naive", "season": 7}:
        last = whole.frame.filter(pl.col("ds") <= whole.grid.timestamp(whole.end - HORIZON))
        week = last.group_by("ds").agg(pl.col("y").sum()).sort("ds")["y"].tail(7)
        sums = found.group_by("ds").agg(pl.col("y_hat").sum()).sort("ds")["y_hat"]
        assert sums.to_list() == pytest.approx(week.to_list())


def test_a_local_model_of_sums_is_one_task():
    spec = spec_of({"use": "seasonal_naive", "season": 7, "aggregate": {"by": ["kind"]}})
    able = capabilities(spec, Registry.discover())["m"]
    assert (able.scope, able.quantiles) == ("global", False)
