"""Cross-sections made of y: of what the model sees, of all series, and of nothing after the cutoff."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from engine.backtest import Task, backtest_tasks, make_folds
from engine.contracts import CrossSection, Feature
from engine.data.panel import Panel
from engine.features import FeaturePlan
from engine.registry import Registry
from engine.runner import capabilities
from engine.spec.model import RunSpec
from engine.tasks import run_task
from engine.workspace import open_workspace, prepare
from tests.panels import panel, rows

HORIZON = 7
GROUP = {"use": "lags", "group": {"by": ["kind"]}, "lags": [0], "seasonal": {"period": 7}}
RIDGE = {"use": "ridge", "penalty": 0.0, "features": ["lags_y_mean_*"], "buckets": [7]}


def spec_of(model: dict[str, Any], **run: Any) -> RunSpec:
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
            "features": [GROUP],
            "models": {"m": model},
            "evaluate": {"metrics": ["mae"]},
            "backtest": {"calibration": 0},
            "run": run,
        }
    )


def series(n: int = 6) -> Panel:
    frame = rows(n_series=n, periods=60, future=HORIZON)
    return panel(frame.drop("temperature"), past=())


def tasks_of(folder: Path, whole: Panel, spec: RunSpec) -> list[Task]:
    registry = Registry.discover()
    prepare(folder, whole, spec, registry)
    return backtest_tasks(whole, spec, make_folds(whole, spec), capabilities(spec, registry))


def forecast(folder: Path, task: Task) -> pl.DataFrame:
    result = run_task(folder, task.plain(), lambda event, data: None)
    assert not result["failures"], result["failures"]
    frame = open_workspace(folder).kept_forecasts([result["path"]])
    return frame.select(pl.col("unique_id").cast(pl.String), "step", "y_hat")


def test_only_sections_of_y_that_a_feature_needs_are_made():
    mean = CrossSection("mean", pl.col("y").mean(), ("kind",))
    above = CrossSection("above", pl.col("mean") - pl.col("price").mean(), ())
    price = CrossSection("rank", pl.col("price").rank(), ())
    spare = CrossSection("spare", pl.col("y").sum(), ())
    plan = FeaturePlan(
        (Feature("f", pl.col("above"), "history"),), (mean, above, price, spare)
    )  # fmt: skip
    assert plan.sections_of_y == (mean, above)
    assert plan.sections_of_covariates == (price,)


@pytest.mark.parametrize("strategy", ["direct", "recursive"])
def test_the_mean_of_a_group_over_shards_is_that_of_the_whole_group(tmp_path, strategy):
    model = RIDGE | {"strategy": strategy}
    model = model if strategy == "direct" else {k: v for k, v in model.items() if k != "buckets"}
    made = []
    for number, shard_rows in enumerate((None, 70)):
        spec, folder = spec_of(model, shard_rows=shard_rows), tmp_path / str(number)
        (task,) = tasks_of(folder, series(), spec)
        made.append(forecast(folder, task)["y_hat"].to_numpy())
    np.testing.assert_allclose(made[1], made[0], rtol=1e-6)


def test_the_mean_is_of_the_scaled_target(tmp_path):
    """Scaled, series of a kind are alike; in units of y the mean of the large ones says little."""
    found = {}
    for scale in ("none", "standard"):
        (task,) = tasks_of(tmp_path / scale, series(8), spec_of(RIDGE | {"scale": scale}))
        found[scale] = forecast(tmp_path / scale, task)
    whole = series(8)
    last = whole.y().reshape(8, -1)[:, 60 - HORIZON : 60]
    error = {
        k: np.abs(v["y_hat"].to_numpy().reshape(8, -1) - last).mean() for k, v in found.items()
    }
    assert error["standard"] < 0.7 * error["none"]


def test_a_part_of_the_series_sees_the_mean_of_all(tmp_path):
    pytest.importorskip("statsforecast")
    model = {"use": "arima", "order": [1, 0, 0], "season": 1, "window": 40}
    model |= {"features": ["lags_y_mean_*season*"]}
    (task,) = tasks_of(tmp_path, series(), spec_of(model))
    everyone = forecast(tmp_path, task)
    some = forecast(tmp_path, replace(task, name="part", series=(2, 4)))
    expected = everyone.filter(pl.col("unique_id").is_in(["3", "4"]))
    assert some.height == 2 * HORIZON
    assert some.equals(expected)
