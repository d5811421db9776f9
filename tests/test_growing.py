"""Fits that begin with the sums of earlier ones: the same forecasts, from fewer rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

import engine.design
import engine.growing
from engine.backtest import Task, backtest_tasks, final_tasks, make_folds
from engine.data.fill import Missing
from engine.data.panel import Panel
from engine.registry import Registry
from engine.runner import capabilities
from engine.spec.model import RunSpec
from engine.tasks import run_task
from engine.workspace import prepare
from tests.panels import panel, rows

FEATURES = [
    {"use": "lags", "lags": [0, 3], "rolling": {"mean": [5]}, "seasonal": {"period": 7}},
    {"use": "promo", "price": "price", "flags": ["promo"], "lag": [1]},
    {"use": "static"},
]
AHEAD = [FEATURES[0], {"use": "promo", "flags": ["promo"], "lead": [1]}]
RIDGE = {"use": "ridge", "penalty": 0.5}


def spec_of(model: dict[str, Any], features: Any = FEATURES, **changes: Any) -> RunSpec:
    spec = {
        "version": 1,
        "name": "t",
        "data": {
            "source": {"use": "simulate"},
            "columns": {"unique_id": "store", "ds": "ds", "y": "y"},
            "freq": "1d",
            "covariates": {"future": ["promo", "price"], "static": ["kind"]},
            "missing": changes.pop("missing", {"y": "drop"}),
            "series": changes.pop("series", {}),
        },
        "horizon": 6,
        "features": features,
        "models": {"m": model},
        "evaluate": {"metrics": ["mae"]},
        "backtest": {"folds": 3, "step_size": 6, "calibration": 1, **changes.pop("backtest", {})},
    }
    return RunSpec.model_validate({**spec, **changes})


def whole_panel(fill: str = "drop") -> Panel:
    """Four series, one of them younger, with holes in y, some at the end of a fold's history."""
    frame = rows(n_series=4, periods=90, future=8).drop("temperature")
    place = pl.int_range(pl.len()).over("store")
    frame = frame.filter((pl.col("store") > 1) | (place >= 20))
    holes = pl.when((place.mod(6) != 5) | (pl.col("store") != 2)).then("y")
    return panel(frame.with_columns(y=holes), past=(), ahead=8, missing=Missing(y=fill))


def tasks_of(whole: Panel, spec: RunSpec) -> list[Task]:
    """All tasks of a run, oldest cutoff first."""
    able, folds = capabilities(spec, Registry.discover()), make_folds(whole, spec)
    return [
        *backtest_tasks(whole, spec, folds, able),
        *final_tasks(whole, spec, ["m"], able, folds),
    ]


def forecasts(folder: Path, whole: Panel, spec: RunSpec, tasks: list[Task]) -> pl.DataFrame:
    work = prepare(folder, whole, spec, Registry.discover())
    paths = []
    for task in tasks:
        result = run_task(folder, task.plain(), lambda event, data: None)
        assert not result["failures"], result["failures"]
        paths.append(result["path"])
    return work.kept_forecasts(paths).sort("cutoff", "unique_id", "step")


def alone(tasks: list[Task]) -> list[Task]:
    return [replace(task, after=[]) for task in tasks]


def near(one: pl.DataFrame, other: pl.DataFrame) -> None:
    assert one.drop("y_hat").equals(other.drop("y_hat"))
    np.testing.assert_allclose(one["y_hat"], other["y_hat"], rtol=1e-6)


def sums_in(folder: Path) -> list[int]:
    """Cutoffs whose sums a run has kept."""
    return sorted(int(file.stem) for file in folder.glob("sums/m/*.npz"))


@settings(max_examples=12, deadline=None)
@given(
    buckets=st.sampled_from([[6], [3, 6], [2, 4, 6], [1, 2, 3, 4, 5, 6], None]),
    gap=st.integers(0, 2),
    step=st.sampled_from([6, 12]),
    strategy=st.sampled_from(["direct", "recursive"]),
    target=st.sampled_from(["none", "log1p"]),
)
def test_every_fold_forecasts_as_if_it_were_fitted_alone(
    tmp_path_factory, buckets, gap, step, strategy, target
):
    folder, whole = tmp_path_factory.mktemp("runs"), whole_panel()
    model = {**RIDGE, "strategy": strategy, "target": target}
    model |= {"buckets": buckets} if strategy == "direct" else {}
    spec = spec_of(model, gap=gap, backtest={"step_size": step})
    tasks = tasks_of(whole, spec)
    assert [len(task.after) for task in tasks] == [0, 1, 2, 3, 4]
    grown = forecasts(folder / "grown", whole, spec, tasks)
    near(grown, forecasts(folder / "alone", whole, spec, alone(tasks)))
    assert sums_in(folder / "grown") == [task.fit_cutoff for task in tasks]


def test_it_makes_no_difference_to_a_bit_which_tasks_ran_before(tmp_path: Path):
    whole, spec = whole_panel(), spec_of({**RIDGE, "buckets": [3, 6]})
    tasks = tasks_of(whole, spec)
    ordered = forecasts(tmp_path / "ordered", whole, spec, tasks)
    assert ordered.equals(forecasts(tmp_path / "turned", whole, spec, tasks[::-1]))
    last = forecasts(tmp_path / "last", whole, spec, tasks[-1:])
    assert last.equals(ordered.filter(pl.col("cutoff") == tasks[-1].fit_cutoff))


def test_sums_too_large_to_keep_are_made_again_to_the_same_bits(tmp_path: Path, monkeypatch):
    whole, spec = whole_panel(), spec_of({**RIDGE, "buckets": [3, 6]})
    tasks = tasks_of(whole, spec)
    kept = forecasts(tmp_path / "kept", whole, spec, tasks)
    monkeypatch.setattr(engine.growing, "MOST_BYTES", 100)
    assert kept.equals(forecasts(tmp_path / "lost", whole, spec, tasks))
    assert not sums_in(tmp_path / "lost")


def test_a_later_fold_reads_only_the_rows_since_the_one_before(tmp_path: Path, monkeypatch):
    read = []
    made = engine.design.columns_of
    monkeypatch.setattr(
        engine.design,
        "columns_of",
        lambda frame, *rest: (read.append(len(frame)), made(frame, *rest))[1],
    )
    whole, spec = whole_panel(), spec_of({**RIDGE, "buckets": [3, 6]})
    tasks = tasks_of(whole, spec)
    forecasts(tmp_path / "first", whole, spec, tasks[:1])
    first, read[:] = max(read), []
    forecasts(tmp_path / "first", whole, spec, tasks[1:])
    # Six new days, the season and the longest window before them: 4 series of 20 rows.
    assert first > 200
    assert max(read) <= 80


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ({"scale": "mean"}, {}),
        ({"window": 40}, {}),
        ({"decay": 20.0}, {}),
        ({"scope": "partial"}, {}),
        ({"select_features": {"use": "redundancy"}}, {}),
        ({}, {"backtest": {"window": "sliding", "size": 50}}),
        ({}, {"backtest": {"refit": False}}),
        ({}, {"missing": {"y": "interpolate"}}),
        ({"buckets": [4, 6]}, {}),
        ({}, {"features": AHEAD}),
        ({}, {"series": {"min_history": 60}}),
    ],
    ids=str,
)
def test_what_changes_older_rows_is_fitted_from_the_start(tmp_path: Path, model, changes):
    whole = whole_panel(changes.get("missing", {}).get("y", "drop"))
    spec = spec_of({**RIDGE, "buckets": [3, 6], **model}, **changes)
    tasks = tasks_of(whole, spec)
    grown = forecasts(tmp_path / "grown", whole, spec, tasks)
    scratch = forecasts(tmp_path / "alone", whole, spec, alone(tasks))
    if "min_history" in str(changes):
        # Only while a series comes in.
        near(grown, scratch)
    else:
        assert grown.equals(scratch)
