from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from engine.backtest import (
    Task,
    actuals,
    backtest_tasks,
    eligible,
    final_tasks,
    make_folds,
    not_begun,
    task_seed,
)
from engine.components import Capabilities
from engine.data.fill import Missing
from engine.data.panel import Panel
from engine.errors import DataError
from engine.spec.model import RunSpec
from engine.wrapped import cut
from tests.panels import START, panel, rows

LOCAL = {"m": Capabilities(scope="local")}
GLOBAL = {"m": Capabilities(scope="global")}
OWN_QUANTILES = {"m": Capabilities(scope="global", quantiles=True)}


def spec_of(**changes: Any) -> RunSpec:
    return RunSpec.model_validate(
        {
            "version": 1,
            "name": "t",
            "data": {
                "source": {"use": "simulate"},
                "columns": {"unique_id": "store", "ds": "ds", "y": "y"},
                "freq": "1d",
                "series": changes.pop("series", {}),
            },
            "horizon": 7,
            "models": {"m": {"use": "seasonal_naive"}},
            "evaluate": {"metrics": ["mae"]},
            **changes,
        }
    )


def days_before_end(whole: Panel, spec: RunSpec, kind: str = "backtest") -> list[int]:
    return [whole.end - f.cutoff for f in make_folds(whole, spec) if f.kind == kind]


@pytest.mark.parametrize(
    ("changes", "backtest", "calibration"),
    [
        ({}, [7], [14]),
        ({"backtest": {"folds": 3}}, [21, 14, 7], [28]),
        ({"backtest": {"folds": 3, "step_size": 1}}, [9, 8, 7], [10]),
        ({"gap": 2, "backtest": {"folds": 2}}, [16, 9], [23]),
        ({"horizon": 3, "backtest": {"folds": 2, "step_size": 5}}, [8, 3], [13]),
        ({"backtest": {"folds": 1, "calibration": 0}}, [7], []),
        ({"backtest": {"folds": 1, "calibration": 3}}, [7], [28, 21, 14]),
    ],
)
def test_cutoffs_count_back_from_the_last_known_day(
    changes: dict[str, Any], backtest: list[int], calibration: list[int]
):
    whole, spec = panel(), spec_of(**changes)
    assert days_before_end(whole, spec) == backtest
    assert days_before_end(whole, spec, "calibration") == calibration


def test_calibration_folds_that_do_not_fit_are_left_out():
    spec = spec_of(backtest={"folds": 1, "calibration": 9})
    assert days_before_end(panel(rows(periods=20, future=7)), spec, "calibration") == [14]


def test_more_folds_than_the_history_holds_is_an_error_with_the_number_of_periods():
    with pytest.raises(DataError, match=r"has 20 periods, but 3 folds .* at least 22"):
        make_folds(panel(rows(periods=20, future=7)), spec_of(backtest={"folds": 3}))


def test_the_history_needed_is_exactly_what_the_error_says():
    spec = spec_of(backtest={"folds": 3, "calibration": 0})
    assert days_before_end(panel(rows(periods=22, future=7)), spec) == [21, 14, 7]


def test_a_sliding_window_keeps_the_last_periods_of_every_history():
    whole = panel()
    spec = spec_of(backtest={"window": "sliding", "size": 10})
    history, future = cut(whole, spec, whole.end - 7, None)
    assert history.lengths.tolist() == [10, 10, 10]
    assert history.end == whole.end - 7
    assert future.frame.height == 3 * 7


def test_an_expanding_window_keeps_everything():
    whole = panel()
    history, _ = cut(whole, spec_of(), whole.end - 7, None)
    assert history.lengths.tolist() == [53, 53, 53]


def test_refit_makes_one_task_a_cutoff():
    whole, spec = panel(), spec_of(backtest={"folds": 3})
    tasks = backtest_tasks(whole, spec, make_folds(whole, spec), GLOBAL)
    assert sorted(whole.end - c for t in tasks for c in t.cutoffs) == [7, 14, 21, 28]
    assert all(t.cutoffs == [t.fit_cutoff] for t in tasks)


def test_without_refit_there_is_one_fit_at_the_first_cutoff():
    whole, spec = panel(), spec_of(backtest={"folds": 3, "refit": False})
    tasks = backtest_tasks(whole, spec, make_folds(whole, spec), GLOBAL)
    assert [(whole.end - t.fit_cutoff, len(t.cutoffs)) for t in tasks] == [(28, 4)]


def test_calibration_folds_are_only_for_models_without_own_quantiles():
    whole, spec = panel(), spec_of()
    folds = make_folds(whole, spec)
    assert [t.kind for t in backtest_tasks(whole, spec, folds, OWN_QUANTILES)] == ["backtest"]
    assert sorted(t.kind for t in backtest_tasks(whole, spec, folds, GLOBAL)) == [
        "backtest",
        "calibration",
    ]


def test_a_bias_correction_needs_earlier_residuals_also_beside_own_quantiles():
    whole = panel()
    spec = spec_of(models={"m": {"use": "m", "target": "log1p", "correction": "mape"}})
    tasks = backtest_tasks(whole, spec, make_folds(whole, spec), OWN_QUANTILES)
    assert sorted(task.kind for task in tasks) == ["backtest", "calibration"]


def test_series_without_enough_history_are_skipped_with_the_count():
    frame = rows(periods=60, future=7).filter(
        (pl.col("store") != 2) | (pl.col("ds") >= START + pl.duration(days=50))
    )
    whole = panel(frame)
    found = eligible(whole, whole.end - 7, spec_of(series={"min_history": 5}))
    assert found.index.tolist() == [0, 2]
    assert found.skipped == [("2", "too short: 3 observed values, min_history is 5")]


def test_series_that_have_ended_are_skipped_with_the_reason():
    frame = rows(periods=60, future=7).with_columns(
        y=pl.when((pl.col("store") != 3) | (pl.col("ds") < START + pl.duration(days=40))).then("y")
    )
    whole = panel(frame)
    found = eligible(whole, whole.end, spec_of(series={"stale_after": 20}))
    assert found.skipped == [("3", "ended: no observation in the last 20 periods")]
    assert eligible(whole, whole.end, spec_of(series={"stale_after": 21})).skipped == []


@settings(max_examples=60, deadline=None)
@given(
    observed=st.lists(
        st.lists(st.booleans(), min_size=1, max_size=12).filter(lambda days: days[0]),
        min_size=1,
        max_size=5,
    ),
    back=st.integers(0, 12),
    least=st.integers(1, 4),
    stale=st.none() | st.integers(1, 6),
)
def test_who_is_eligible_is_what_a_look_at_every_value_says(observed, back, least, stale):
    frame = pl.concat(
        pl.DataFrame(
            {
                "store": [store] * len(days),
                "ds": [START + dt.timedelta(days=day + 3 * store) for day in range(len(days))],
                "y": [1.0 if seen else None for seen in days],
            }
        )
        for store, days in enumerate(observed)
    )
    whole = panel(frame, future=(), past=(), static=(), ahead=0)
    cutoff = whole.end - back
    rules = {"min_history": least, "stale_after": stale}
    found = eligible(whole, cutoff, spec_of(series=rules))
    able, skipped = [], []
    for number, days in enumerate(observed):
        start = int(whole.starts[number])
        seen = [start + day for day, there in enumerate(days) if there and start + day <= cutoff]
        name = whole.ids[number]
        if start > cutoff:
            continue
        if len(seen) < least:
            reason = f"too short: {len(seen)} observed values, min_history is {least}"
            skipped.append((name, reason))
        elif stale is not None and cutoff - seen[-1] >= stale:
            reason = f"ended: no observation in the last {cutoff - seen[-1]} periods"
            skipped.append((name, reason))
        else:
            able.append(number)
    assert found.index.tolist() == able
    assert sorted(found.skipped) == sorted(skipped)


def test_series_that_begin_after_the_cutoff_are_listed_and_not_eligible():
    frame = rows(periods=60, future=7).filter(
        (pl.col("store") != 1) | (pl.col("ds") > START + pl.duration(days=52))
    )
    whole = panel(frame)
    assert not_begun(whole, whole.end - 7) == ["1"]
    assert eligible(whole, whole.end - 7, spec_of()).index.tolist() == [1, 2]


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 300))
def test_shards_hold_every_series_once(n: int):
    whole = panel(rows(n_series=n, periods=12, future=7))
    parts = [t.series for t in final_tasks(whole, spec_of(), ["m"], LOCAL)]
    assert [i for part in parts if part for i in range(*part)] == list(range(n))


def test_a_global_model_is_one_task_for_all_series():
    whole = panel(rows(n_series=100, periods=12, future=7))
    assert [t.series for t in final_tasks(whole, spec_of(), ["m"], GLOBAL)] == [None]


def explained_of(merging: bool) -> list[bool]:
    whole = panel(rows(n_series=3, periods=60, future=7))
    spec = spec_of(backtest={"folds": 3})
    able = {"m": Capabilities(scope="global", mergeable=merging)}
    return [task.explain for task in backtest_tasks(whole, spec, make_folds(whole, spec), able)]


def test_the_fit_that_is_explained_comes_first_unless_it_goes_on_from_earlier_ones():
    assert explained_of(merging=False) == [True, False, False, False]
    assert explained_of(merging=True) == [False, False, False, True]


def test_tasks_do_not_depend_on_the_executor_or_its_workers():
    whole = panel(rows(n_series=70, periods=30, future=7))
    made = [
        backtest_tasks(whole, spec, make_folds(whole, spec), LOCAL)
        for spec in (
            spec_of(),
            spec_of(run={"executor": {"use": "process", "workers": 7}}),
        )
    ]
    assert made[0] == made[1]
    assert len(made[0]) > 2


def test_a_seed_depends_on_the_name_and_the_runs_seed_only():
    whole = panel()
    one, two = spec_of(seed=3), spec_of(seed=3, models={
        "other": {"use": "seasonal_naive"}, "m": {"use": "seasonal_naive"},
    })  # fmt: skip
    able = {**GLOBAL, "other": GLOBAL["m"]}
    alone = {t.name: t.seed for t in final_tasks(whole, one, ["m"], able)}
    among = {t.name: t.seed for t in final_tasks(whole, two, ["other", "m"], able)}
    assert alone.items() <= among.items()
    assert len(set(among.values())) == 2
    assert task_seed(3, "m/final/9") != task_seed(4, "m/final/9")


def test_a_task_survives_its_way_through_plain_data():
    whole = panel(rows(n_series=40, periods=12, future=7))
    for task in final_tasks(whole, spec_of(), ["m"], LOCAL):
        assert Task.of(task.plain()) == task


def test_only_observed_values_are_actuals():
    frame = rows(n_series=1, periods=20, future=7).with_columns(
        y=pl.when(pl.col("ds") != START + pl.duration(days=18)).then("y")
    )
    whole = panel(frame, missing=Missing(y="forward_fill"))
    known = actuals(whole, [whole.end - 3])
    assert (known["ds"] - START).dt.total_days().to_list() == [17, 19]
    assert np.isfinite(known["y"].to_numpy()).all()
