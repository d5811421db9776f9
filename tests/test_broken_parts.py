"""Broken sources, feature builders, metrics, writers and executors: contained, named and recorded."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import polars as pl
import pytest

from engine.errors import DataError, EngineError, PluginError
from engine.registry import Registry
from engine.runner import Outcome, run
from engine.spec.validate import validate_text
from tests.broken_plugins import hooks
from tests.panels import rows

SPEC = """version: 1
name: tiny
data:
  source: {SOURCE}
  columns: {unique_id: store, ds: ds, y: y}
  freq: 1d
horizon: 3
features: [{use: lags, lags: [0]}FEATURES]
models:
  snaive: {use: seasonal_naive, season: 7}
  ridge: {use: ridge}
evaluate: {metrics: [mae, METRIC]}
write: [{WRITER}, {use: csv}]
run: {executor: {EXECUTOR}}
"""
GOOD = {
    "SOURCE": "use: bad",
    "FEATURES": "",
    "METRIC": "rmse",
    "WRITER": "use: parquet",
    "EXECUTOR": "use: serial",
}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The installed plugins, and one of broken parts."""
    real = metadata.entry_points

    def entry_points(*, group: str) -> metadata.EntryPoints:
        fake = metadata.EntryPoint("bad_parts", "tests.broken_plugins.bad_parts", "engine")
        return metadata.EntryPoints([*real(group=group), fake])

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    return Registry.discover()


def go(registry: Registry, folder: Path, **parts: str) -> Outcome:
    text = SPEC
    for place, value in {**GOOD, **parts}.items():
        text = text.replace(place, value)
    loaded = validate_text(text, "tiny.yaml", registry)
    return run(loaded, registry, output=folder, base=folder)


def refused(registry: Registry, folder: Path, **parts: str) -> EngineError:
    with pytest.raises(EngineError) as caught:
        go(registry, folder, **parts)
    return caught.value


def partial(folder: Path) -> Path:
    """The folder of the only run, which is marked as one that was not finished."""
    (found,) = folder.glob("tiny/*.partial")
    return found


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("factory", PluginError, "source 'bad' failed: RuntimeError: broken in factory"),
        ("scan", PluginError, "source 'bad' failed: RuntimeError: broken in scan"),
        ("none", PluginError, "source 'bad' returned NoneType, not a lazy frame"),
        ("artifacts", PluginError, "source 'bad' failed: RuntimeError: broken in artifacts"),
        ("lazily", DataError, "source 'bad' cannot be read: SchemaError"),
        ("no rows", DataError, "the source has no rows"),
        ("twice", DataError, "129 duplicate (unique_id, ds) rows"),
        ("infinite", DataError, "column 'y' is NaN or infinite in 43 rows"),
    ],
)
def test_a_broken_source_is_named(
    tmp_path: Path, registry: Registry, fault: str, kind: type[EngineError], said: str
):
    error = refused(registry, tmp_path, SOURCE=f"use: bad, fault: {fault}")
    assert type(error) is kind
    assert said in error.message


def test_unsorted_dates_are_sorted(tmp_path: Path, registry: Registry):
    made = [
        pl.read_parquet(go(registry, tmp_path / name, SOURCE=source).folder / "backtest.parquet")
        for name, source in (("a", "use: bad"), ("b", "use: bad, fault: unsorted"))
    ]
    assert made[0].equals(made[1])
    assert made[0].height == 2 * 3 * 3


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("factory", "features 'bad' failed: RuntimeError: broken in factory"),
        ("build", "features[2] bad failed: RuntimeError: broken in build"),
        ("none", "features[2] bad returned NoneType, not a FeatureSet"),
    ],
)
def test_a_builder_that_makes_no_features_is_named(
    tmp_path: Path, registry: Registry, fault: str, said: str
):
    error = refused(registry, tmp_path, FEATURES=f", {{use: bad, fault: {fault}}}")
    assert isinstance(error, PluginError)
    assert error.message == said


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("shorter", "feature 'bad' gives 9 values for"),
        ("text", "feature 'bad' cannot be evaluated"),
        ("raises", "broken in an expression"),
    ],
)
def test_a_feature_that_breaks_costs_only_the_models_that_read_it(
    tmp_path: Path, registry: Registry, fault: str, said: str
):
    done = go(registry, tmp_path, FEATURES=f", {{use: bad, fault: {fault}}}")
    assert done.exit_code == 7
    assert done.failures["model"].unique().to_list() == ["ridge"]
    assert done.failures["reason"].str.contains(said, literal=True).all()
    assert done.choice.best == "snaive"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("factory", "RuntimeError: broken in factory"),
        ("terms", "RuntimeError: broken in terms"),
        ("value", "RuntimeError: broken in value"),
        ("no column", "ColumnNotFoundError"),
    ],
)
def test_a_metric_that_breaks_costs_only_its_own_scores(
    tmp_path: Path, registry: Registry, fault: str, said: str
):
    done = go(registry, tmp_path, METRIC=f"rmse, {{use: bad, fault: {fault}}}")
    assert done.exit_code == 7
    (error,) = done.manifest["metric_errors"]
    assert error.startswith("metric 'bad' failed: ")
    assert said in error
    assert set(done.scores.headline()["metric"]) == {"mae", "rmse"}
    assert json.loads((done.folder / "manifest.json").read_text())["status"] == "failures"


def test_a_metric_that_decides_may_not_break_and_the_forecasts_are_kept(
    tmp_path: Path, registry: Registry
):
    select = "rmse, {use: bad, fault: terms}]}\nselect: {metric: bad}\nminimum: 0 #"
    error = refused(registry, tmp_path, METRIC=select)
    assert error.message == "metric 'bad' failed: RuntimeError: broken in terms"
    kept = pl.read_parquet(partial(tmp_path) / "backtest.parquet")
    assert set(kept["model"]) == {"snaive", "ridge"}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("factory", "writer 'bad' failed: RuntimeError: broken in factory"),
        ("write", "writer 'bad' failed: RuntimeError: broken in write"),
        ("none", "writer 'bad' failed: TypeError"),
    ],
)
def test_a_writer_that_breaks_costs_neither_the_run_nor_the_next_writer(
    tmp_path: Path, registry: Registry, fault: str, said: str
):
    error = refused(registry, tmp_path, WRITER=f"use: bad, fault: {fault}")
    assert said in error.message
    (folder,) = (p for p in tmp_path.glob("tiny/*") if p.is_dir() and not p.is_symlink())
    record = json.loads((folder / "manifest.json").read_text())
    assert record["writer_errors"] == [error.message]
    assert any(path.endswith(".csv") for path in record["written"])


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("factory", "executor 'bad' failed: RuntimeError: broken in factory"),
        ("map", "executor 'bad' failed: RuntimeError: broken in map"),
        ("halfway", "executor 'bad' failed: RuntimeError: broken halfway"),
        ("loses", "ended without the results of 1 of 4 tasks: "),
        ("junk", "returned \"{'what': 1}\", which is the result of no task that is left"),
    ],
)
def test_an_executor_that_breaks_or_loses_tasks_is_no_finished_run(
    tmp_path: Path, registry: Registry, fault: str, said: str
):
    error = refused(registry, tmp_path, EXECUTOR=f"use: bad, fault: {fault}")
    assert isinstance(error, PluginError)
    assert said in error.message
    if fault == "factory":  # found before anything is begun
        assert not list(tmp_path.glob("tiny/*"))
    else:
        assert said in json.loads((partial(tmp_path) / "manifest.json").read_text())["error"]


def test_a_hook_that_hears_of_errors_may_raise_and_hides_none(tmp_path: Path, registry: Registry):
    registry.add(hooks.raising("engine_run_error"), "raising", "acme")
    rows(periods=40).write_parquet(tmp_path / "x.parquet")
    error = refused(registry, tmp_path, SOURCE="use: files, path: y.parquet")
    assert "y.parquet" in error.message
