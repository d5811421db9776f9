"""A broken plugin is contained, named and recorded, and the other models finish."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import get_args

import polars as pl
import pytest

from engine.errors import PluginError, SpecError
from engine.execute import TaskError
from engine.registry import Registry
from engine.runner import Outcome, run
from engine.spec.validate import validate_text
from tests.broken_plugins import bad_models, hooks

SPEC = """version: 1
name: tiny
data:
  source: {use: simulate, series: 3, periods: 40, future_periods: 3, launches: 0}
  columns: {unique_id: [store, item], ds: ds, y: units}
  freq: 1d
horizon: 3
models:
  snaive: {use: seasonal_naive, season: 7}
evaluate: {metrics: [mae]}
"""
Install = Callable[[str], Registry]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a module of `broken_plugins` beside the built-in plugins."""
    real = metadata.entry_points

    def installed(module: str) -> Registry:
        fake = metadata.EntryPoint(module, f"tests.broken_plugins.{module}", "engine")

        def entry_points(*, group: str) -> metadata.EntryPoints:
            return metadata.EntryPoints([*real(group=group), fake])

        monkeypatch.setattr(metadata, "entry_points", entry_points)
        return Registry.discover()

    return installed


def run_tiny(registry: Registry, folder: Path, models: str = "") -> Outcome:
    text = SPEC.replace("evaluate:", f"{models}evaluate:")
    loaded = validate_text(text, "tiny.yaml", registry)
    return run(loaded, registry, output=folder, base=folder)


@pytest.mark.parametrize(
    ("module", "error"),
    [
        ("fails_on_import", "RuntimeError: the license server is away"),
        ("other_api", "written for plugin API 2, this is 1"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_named_and_the_run_goes_on(
    tmp_path: Path, install: Install, module: str, error: str
):
    registry = install(module)
    (broken,) = registry.broken
    assert broken.plugin == module
    assert error in broken.error
    assert run_tiny(registry, tmp_path).exit_code == 0


def test_a_name_that_is_taken_harms_only_the_specs_that_use_it(tmp_path: Path, install: Install):
    registry = install("claims_a_name")
    assert run_tiny(registry, tmp_path).exit_code == 0
    with pytest.raises(PluginError, match="'ridge' is offered twice"):
        registry.find("model", "ridge")
    with pytest.raises(SpecError, match="claims_a_name") as caught:
        run_tiny(registry, tmp_path, "  r: {use: ridge}\n")
    assert caught.value.problems[0].line == 10


@pytest.mark.parametrize("hook", hooks.OFFERS)
def test_a_hook_that_offers_parts_may_raise(hook: str):
    registry = Registry.discover()
    known = len(list(registry.listing()))
    registry.add(hooks.raising(hook), "raising", "acme")
    (broken,) = registry.broken
    assert (broken.plugin, broken.distribution) == ("raising", "acme")
    assert broken.error == f"RuntimeError: {hook} is out of order"
    assert len(list(registry.listing())) == known


@pytest.mark.parametrize("hook", hooks.WATCHES)
def test_a_hook_that_watches_may_raise(tmp_path: Path, hook: str):
    registry = Registry.discover()
    registry.add(hooks.raising(hook), "raising", "acme")
    done = run_tiny(registry, tmp_path)
    assert done.exit_code == 0
    assert f"{hook} of plugin acme:raising: RuntimeError: {hook} is out of order" in done.faults


REASONS = {
    "factory": "RuntimeError: broken in factory",
    "fit": "RuntimeError: broken in fit",
    "predict": "RuntimeError: broken in predict",
    "save": "RuntimeError: broken in save",
    "no_memory": "MemoryError: no memory left",
    "returns_none": "returned NoneType, not a Prediction",
    "rows_missing": "returned y_hat of shape (2, 3), not (3, 3)",
    "steps_missing": "returned y_hat of shape (3, 2), not (3, 3)",
    "transposed": "",
    "quantile_missing": "returned quantiles of shape (3, 3, 2), not (3, 3, 3)",
    "no_quantiles": "declares quantiles but returned none",
    "nan": "the forecast is not finite",
    "infinite": "the forecast is not finite",
    "nan_quantile": "the forecast is not finite",
    "crossed": "",
}


LOST = {
    "hangs": "stopped after 3 s; raise run.task_seconds",
    "exits": "the process of the task died (exit code 3)",
    "hangs_saving": "stopped after 3 s; raise run.task_seconds",
}


def test_every_fault_has_its_reason():
    assert set(get_args(bad_models.Fault)) == {*REASONS, *LOST}


@pytest.mark.parametrize("fault", [f for f, reason in REASONS.items() if reason])
def test_a_model_at_fault_is_recorded_and_the_others_finish(
    tmp_path: Path, install: Install, fault: str
):
    text = "select: {metric: mae, forecast: all}\n"
    registry = install("bad_models")
    done = run_tiny(registry, tmp_path, f"  bad: {{use: bad, fault: {fault}}}\n{text}")
    assert done.exit_code == 7
    assert done.failures["model"].unique().to_list() == ["bad"]
    assert done.failures["reason"].str.contains(REASONS[fault], literal=True).all()
    forecast = pl.read_parquet(done.folder / "forecast.parquet")
    assert forecast.filter(pl.col("model") == "snaive").height == 3 * 3


def test_quantiles_that_cross_are_put_in_order(tmp_path: Path, install: Install):
    done = run_tiny(install("bad_models"), tmp_path, "  bad: {use: bad, fault: crossed}\n")
    made = pl.read_parquet(done.folder / "backtest.parquet").filter(pl.col("model") == "bad")
    assert made.height == 3 * 3
    assert made.filter(pl.col("q0.1") > pl.col("q0.5")).is_empty()
    assert made.filter(pl.col("q0.5") > pl.col("q0.9")).is_empty()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The bad models, installed so that processes of their own find them too."""
    info = tmp_path / "site" / "bad-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[engine]\nbad = tests.broken_plugins.bad_models\n")
    monkeypatch.syspath_prepend(info.parent)
    return Registry.discover()


RUN = "run: {executor: {use: process, workers: 2}, task_seconds: 3, fallback: snaive}\n"


@pytest.mark.parametrize("fault", LOST)
def test_a_model_that_hangs_or_ends_its_process_is_recorded_and_the_others_finish(
    tmp_path: Path, installed: Registry, fault: str
):
    saving = fault == "hangs_saving"
    text = f"select: {{metric: mae, forecast: {'all' if saving else 'best'}}}\n" + RUN
    done = run_tiny(installed, tmp_path, f"  bad: {{use: bad, fault: {fault}}}\n{text}")
    assert done.exit_code == 7
    lost = done.failures.filter(pl.col("kind") == "failed")
    assert lost["reason"].str.starts_with(LOST[fault]).all()
    assert lost["fallback"].to_list() == ["snaive"]
    failed = [t["name"].split("/") for t in done.manifest["tasks"] if t["status"] == "failed"]
    assert [name[:2] for name in failed] == [["bad", "final" if saving else "backtest"]]
    forecast = pl.read_parquet(done.folder / f"{'forecast' if saving else 'backtest'}.parquet")
    heights = dict(forecast.group_by("model").len().iter_rows())
    assert heights == {"snaive": 3 * 3, "bad": 3 * 3}
    assert not list(done.folder.rglob("half.txt"))


def test_a_lost_task_ends_a_run_that_shall_stop_at_errors(tmp_path: Path, installed: Registry):
    stop = RUN.replace("fallback: snaive", "on_error: stop")
    with pytest.raises(TaskError, match=r"task bad/backtest/\d+ failed: the process") as error:
        run_tiny(installed, tmp_path, "  bad: {use: bad, fault: exits}\n" + stop)
    assert "run it alone" in error.value.hint


@pytest.mark.parametrize(
    ("executor", "who"),
    [("", "without an executor"), ("executor: serial, ", "with the executor 'serial'")],
)
def test_a_limit_that_nobody_could_keep_is_refused_before_anything_runs(executor: str, who: str):
    text = SPEC + f"run: {{{executor}task_seconds: 3}}\n"
    with pytest.raises(SpecError) as caught:
        validate_text(text, "tiny.yaml", Registry.discover())
    (problem,) = caught.value.problems
    assert (problem.path, problem.line) == ("run.task_seconds", 11)
    assert who in problem.message
    assert "use: process" in problem.hint
