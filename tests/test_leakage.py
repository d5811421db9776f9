"""Nothing after a cutoff may change a forecast made at it, except covariates that are known ahead."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from engine.backtest import backtest_tasks, final_tasks, make_folds
from engine.data.fill import Missing
from engine.data.panel import Panel
from engine.registry import Registry
from engine.runner import capabilities
from engine.spec.model import RunSpec
from engine.tasks import run_task
from engine.workspace import prepare
from tests.panels import START, panel, rows

PERIODS, HORIZON = 70, 5
CUTOFF = PERIODS - HORIZON

FEATURES: list[dict[str, Any]] = [
    {"use": "calendar", "one_hot": ["weekday"]},
    {"use": "lags", "lags": [0, 1], "seasonal": {"period": 7, "count": 2}, "rolling": {"mean": [7]}},
    {"use": "lags", "columns": "temperature", "lags": [0]},
    {"use": "lags", "group": {"by": ["kind"], "of": "rest"}, "rolling": {"median": [3]},
     "seasonal": {"period": 7.5, "change": {"median": [3]}}},
    {"use": "promo", "price": "price", "change": [7], "flags": "promo", "lead": [1], "since": True,
     "group": {"by": ["kind"]}},
    {"use": "static"},
]  # fmt: skip
RIDGE = {"use": "ridge", "target": "log1p", "scale": "standard"}
MODELS: dict[str, dict[str, Any]] = {
    "direct": {**RIDGE, "buckets": [2, 5]},
    "recursive": {**RIDGE, "strategy": "recursive"},
    "snaive": {"use": "seasonal_naive", "season": 7, "target": "log1p", "scale": "mean"},
    "sums": {**RIDGE, "buckets": [2, 5], "aggregate": {"by": ["kind"]}},
}
ARIMA = {"use": "arima", "order": [1, 0, 0], "season": 1}


@functools.cache
def registry() -> Registry:
    return Registry.discover()


def spec_of(models: Mapping[str, Any], **changes: Any) -> RunSpec:
    return RunSpec.model_validate(
        {
            "version": 1,
            "name": "t",
            "data": {
                "source": {"use": "simulate"},
                "columns": {"unique_id": "store", "ds": "ds", "y": "y"},
                "freq": "1d",
                "covariates": {
                    "future": ["promo", "price"],
                    "past": ["temperature"],
                    "static": ["kind"],
                },
            },
            "horizon": HORIZON,
            "features": FEATURES,
            "models": dict(models),
            "backtest": {"folds": 2, "calibration": 0, "step_size": HORIZON},
            "evaluate": {"metrics": ["mae"]},
            **changes,
        }
    )


def observed(seed: int = 1, missing: bool = False) -> pl.DataFrame:
    frame = rows(periods=PERIODS, future=HORIZON, seed=seed)
    if not missing:
        return frame
    hole = pl.int_range(pl.len()).over("store").mod(13) > 10
    return frame.with_columns(pl.when(~hole).then("y"))


def disturbed(frame: pl.DataFrame, garbage: list[float], columns: tuple[str, ...]) -> pl.DataFrame:
    """Other values, holes among them, in `columns` on the days after the cutoff."""
    noise = pl.Series("noise", np.resize(garbage, frame.height))
    frame = frame.with_columns(noise)
    later = (pl.col("ds") >= START + pl.duration(days=CUTOFF)) & pl.col("y").is_not_null()
    return frame.with_columns(
        pl.when(later & (pl.col("noise") > -1)).then("noise").when(~later).then(c).alias(c)
        for c in columns
    ).drop("noise")


def forecasts(folder: Path, whole: Panel, spec: RunSpec, cutoff: int) -> pl.DataFrame:
    """Every forecast made at one cutoff of a back-test, by the tasks of the whole back-test."""
    work = prepare(folder, whole, spec, registry())
    able = capabilities(spec, registry())
    made = [pl.DataFrame()]
    for task in backtest_tasks(work.panel, spec, make_folds(work.panel, spec), able):
        result = run_task(folder, task.plain(), lambda event, data: None)
        if result["path"]:
            made.append(work.kept_forecasts([result["path"]]))
    everything = pl.concat(made, how="diagonal").with_columns(pl.col("unique_id").cast(pl.String))
    return everything.filter(cutoff=cutoff).sort("model", "unique_id", "step")


def at_cutoff(folder: Path, frame: pl.DataFrame, spec: RunSpec, policy: str) -> pl.DataFrame:
    missing = Missing(y=policy, columns={"temperature": "forward_fill"})
    whole = panel(frame, missing=missing, ahead=HORIZON)
    return forecasts(folder, whole, spec, whole.end - HORIZON)


def assert_same_bits(before: pl.DataFrame, after: pl.DataFrame, models: Mapping[str, Any]) -> None:
    assert before["model"].unique().sort().to_list() == sorted(models)
    assert before.height == len(models) * 3 * HORIZON
    assert before["y_hat"].to_numpy().tobytes() == after["y_hat"].to_numpy().tobytes()


@settings(max_examples=5, deadline=None)
@given(
    garbage=st.lists(st.floats(-10, 1e4, width=32), min_size=1, max_size=9).filter(
        lambda values: max(values) > 0
    ),
    seed=st.integers(0, 99),
    policy=st.sampled_from(["drop", "zero", "forward_fill", "interpolate"]),
)
def test_what_comes_after_the_cutoff_never_changes_a_forecast(
    tmp_path_factory: pytest.TempPathFactory, garbage: list[float], seed: int, policy: str
):
    frame, spec = observed(seed, missing=True), spec_of(MODELS)
    spoiled = disturbed(frame, garbage, ("y", "temperature"))
    spoiled = spoiled.with_columns(pl.col("y").clip(lower_bound=0))
    last = pl.col("ds") == START + pl.duration(days=PERIODS - 1)
    frame, spoiled = (f.with_columns(y=pl.when(last).then(9.0).otherwise("y"))
                      for f in (frame, spoiled))  # fmt: skip
    before = at_cutoff(tmp_path_factory.mktemp("a"), frame, spec, policy)
    after = at_cutoff(tmp_path_factory.mktemp("b"), spoiled, spec, policy)
    assert_same_bits(before, after, MODELS)


def test_what_comes_after_the_cutoff_never_changes_arima(tmp_path: Path):
    pytest.importorskip("statsforecast")
    frame, spec = observed(), spec_of({"arima": ARIMA}, quantiles=[0.1, 0.9])
    before = at_cutoff(tmp_path / "a", frame, spec, "drop")
    spoiled = disturbed(frame, [1.0, 900.0], ("y", "temperature"))
    after = at_cutoff(tmp_path / "b", spoiled, spec, "drop")
    assert_same_bits(before, after, {"arima": ARIMA})
    assert before.select("q0.1", "q0.9").equals(after.select("q0.1", "q0.9"))


@pytest.mark.parametrize("backtest", [{"refit": False}, {"window": "sliding", "size": 40}])
def test_nor_without_refit_or_with_a_sliding_window(tmp_path: Path, backtest: dict[str, Any]):
    spec = spec_of(MODELS, backtest={"folds": 2, "calibration": 0, **backtest})
    frame = observed()
    before = at_cutoff(tmp_path / "a", frame, spec, "drop")
    spoiled = disturbed(frame, [3.0, 700.0, 0.0], ("y", "temperature"))
    after = at_cutoff(tmp_path / "b", spoiled, spec, "drop")
    assert_same_bits(before, after, MODELS)


def test_the_past_does_change_the_forecast(tmp_path: Path):
    frame, spec = observed(), spec_of(MODELS)
    before = at_cutoff(tmp_path / "a", frame, spec, "drop")
    early = pl.col("ds") < START + pl.duration(days=CUTOFF)
    other = frame.with_columns(y=pl.when(early).then(pl.col("y") * 2).otherwise("y"))
    after = at_cutoff(tmp_path / "b", other, spec, "drop")
    differs = before.with_columns(differs=(before["y_hat"] - after["y_hat"]).abs() > 1e-6)
    assert differs["differs"].all()


@pytest.mark.parametrize(("model", "changes"), [("direct", True), ("snaive", False)])
def test_promotions_known_ahead_change_models_that_read_them(
    tmp_path: Path, model: str, changes: bool
):
    frame, spec = observed(), spec_of({model: MODELS[model]})
    before = at_cutoff(tmp_path / "a", frame, spec, "drop")
    later = pl.col("ds") >= START + pl.duration(days=CUTOFF)
    other = frame.with_columns(promo=pl.when(later).then(1 - pl.col("promo")).otherwise("promo"))
    after = at_cutoff(tmp_path / "b", other, spec, "drop")
    assert (not before["y_hat"].equals(after["y_hat"])) is changes


def test_a_past_covariate_is_not_read_after_the_cutoff_by_the_final_forecast(tmp_path: Path):
    """A source may hold observations of past covariates later than the last observed y."""
    made = []
    for name, temperature in (("a", 0.0), ("b", 1e3)):
        beyond = pl.col("y").is_null()
        frame = observed().with_columns(
            temperature=pl.when(beyond).then(temperature).otherwise("temperature")
        )
        spec = spec_of({"direct": MODELS["direct"]})
        work = prepare(tmp_path / name, panel(frame, ahead=HORIZON), spec, registry())
        (task,) = final_tasks(work.panel, spec, ["direct"], capabilities(spec, registry()))
        result = run_task(tmp_path / name, task.plain(), lambda event, data: None)
        made.append(work.kept_forecasts([result["path"]])["y_hat"])
    assert made[0].equals(made[1])
    assert made[0].is_finite().all()
