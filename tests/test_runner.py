"""Whole runs of a tiny simulated spec: what they write, and that it is the same every time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from engine import hookimpl
from engine.components import Executor, Writer
from engine.contracts import Results
from engine.errors import DataError, PluginError
from engine.registry import Registry
from engine.runner import Outcome, run
from engine.spec.validate import LoadedSpec, validate_text

SPEC: dict[str, Any] = {
    "version": 1,
    "name": "tiny",
    "seed": 3,
    "data": {
        "source": {"use": "simulate", "series": 8, "stores": 2, "periods": 90, "future_periods": 7},
        "columns": {"unique_id": ["store", "item"], "ds": "ds", "y": "units"},
        "freq": "1d",
        "covariates": {
            "future": ["price", "promo"],
            "past": ["stockout"],
            "static": ["category"],
        },
    },
    "horizon": 7,
    "quantiles": [0.1, 0.5, 0.9],
    "minimum": 0,
    "features": [
        {"use": "calendar", "one_hot": ["weekday"]},
        {"use": "lags", "lags": [0], "rolling": {"mean": [7]}},
        {"use": "promo", "price": "price", "flags": ["promo"]},
    ],
    "models": {
        "snaive": {"use": "seasonal_naive", "season": 7},
        "ridge": {"use": "ridge", "target": "log1p", "buckets": [7]},
    },
    "backtest": {"folds": 2},
    "evaluate": {"metrics": ["wape", "mae"], "by": ["category"]},
}
COLUMNS = SPEC["data"]["columns"]
SAME = ("forecast.parquet", "backtest.parquet", "scores.parquet", "failures.parquet")
Runner = Callable[..., Outcome]


def loaded(registry: Registry, **changes: Any) -> LoadedSpec:
    text = yaml.safe_dump({**SPEC, **changes}, sort_keys=False)
    return validate_text(text, "tiny.yaml", registry)


def run_tiny(output: Path, registry: Registry | None = None, **changes: Any) -> Outcome:
    registry = registry or Registry.discover()
    return run(loaded(registry, **changes), registry, output=output, base=output)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """A run without an executor."""
    yield run_tiny(tmp_path_factory.mktemp("plain"))


def contents(outcome: Outcome) -> dict[str, bytes]:
    return {name: (outcome.folder / name).read_bytes() for name in SAME}


def test_the_same_spec_gives_the_same_bytes(plain: Outcome, tmp_path: Path):
    assert contents(run_tiny(tmp_path)) == contents(plain)


@pytest.mark.parametrize(
    "executor",
    [
        "serial",
        pytest.param({"use": "process", "workers": 1}, marks=pytest.mark.slow),
        pytest.param({"use": "process", "workers": 2}, marks=pytest.mark.slow),
    ],
    ids=["serial", "one worker", "two workers"],
)
def test_the_executor_does_not_change_a_byte(plain: Outcome, tmp_path: Path, executor: Any):
    assert contents(run_tiny(tmp_path, run={"executor": executor})) == contents(plain)


def test_another_seed_is_another_simulation(plain: Outcome, tmp_path: Path):
    other = run_tiny(tmp_path, seed=4)
    mine, theirs = (pl.read_parquet(o.folder / "backtest.parquet")["y"] for o in (plain, other))
    assert not mine.equals(theirs)


def test_the_forecast_is_the_best_models_for_every_series_and_step(plain: Outcome):
    made = pl.read_parquet(plain.folder / "forecast.parquet")
    assert made["model"].unique().to_list() == [plain.choice.best]
    counts = made.group_by("store", "item").len()["len"].to_list()
    assert counts == [7] * 8
    assert made["ds"].min() > made["cutoff"].max()  # type: ignore[operator]


def test_forecasts_have_quantiles_in_order_and_above_the_minimum(plain: Outcome):
    made = pl.read_parquet(plain.folder / "forecast.parquet")
    crossed = made.filter(~(pl.col("q0.1") <= pl.col("q0.5")) | ~(pl.col("q0.5") <= pl.col("q0.9")))
    assert crossed.is_empty()
    assert made.select(pl.min_horizontal("y_hat", "q0.1").min()).item() >= 0


def test_the_backtest_table_holds_what_was_scored(plain: Outcome):
    tested = pl.read_parquet(plain.folder / "backtest.parquet").filter(model="ridge")
    wape = float((tested["y"] - tested["y_hat"]).abs().sum() / tested["y"].abs().sum())
    scores = pl.read_parquet(plain.folder / "scores.parquet")
    found = scores.filter(pl.col("cutoff").is_null(), model="ridge", metric="wape", segment="all")
    assert found["value"].to_list() == [pytest.approx(wape)]
    assert tested["cutoff"].n_unique() == 2


def test_all_models_forecast_if_asked_to(tmp_path: Path):
    made = run_tiny(tmp_path, select={"metric": "wape", "forecast": "all"})
    table = pl.read_parquet(made.folder / "forecast.parquet")
    assert sorted(table["model"].unique()) == ["ridge", "snaive"]


def test_the_manifest_says_what_made_the_run(plain: Outcome):
    manifest = json.loads((plain.folder / "manifest.json").read_text())
    ridge = next(p for p in manifest["plugins"] if p["name"] == "ridge")
    assert (ridge["kind"], ridge["distribution"]) == ("model", "engine-forecast")
    assert ridge["version"]
    assert len(manifest["spec_fingerprint"]) == 64
    assert len(manifest["data"]["fingerprint"]) == 40
    assert (manifest["status"], manifest["seed"]) == ("ok", 3)
    assert {t["status"] for t in manifest["tasks"]} == {"ok"}


def test_the_manifest_says_how_quantiles_were_calibrated(plain: Outcome):
    notes = json.loads((plain.folder / "manifest.json").read_text())["calibration"]
    tested = [n for n in notes if n["model"] == "ridge" and n["residuals"]]
    assert [n["method"] for n in tested] == ["split conformal by step"] * len(tested)
    assert len(tested) >= 2


def test_the_data_fingerprint_follows_the_data(plain: Outcome, tmp_path: Path):
    other = run_tiny(tmp_path, seed=4)
    same = run_tiny(tmp_path / "same")
    prints = [o.manifest["data"]["fingerprint"] for o in (plain, other, same)]
    assert prints[0] == prints[2] != prints[1]


class Watcher:
    """A plugin of observers that writes down what it is told, and may raise."""

    def __init__(self, breaks_at: str = "") -> None:
        self.seen: list[str] = []
        self._breaks_at = breaks_at

    def _note(self, what: str) -> None:
        self.seen.append(what)
        if what == self._breaks_at:
            raise RuntimeError("watcher is tired")

    @hookimpl
    def engine_panel_ready(self) -> None:
        self._note("panel")

    @hookimpl
    def engine_run_start(self, name: str) -> None:
        self._note(f"start {name}")

    @hookimpl
    def engine_task_end(self, task: dict[str, Any]) -> None:
        self._note(f"task {task['kind']}")

    @hookimpl
    def engine_run_end(self) -> None:
        self._note("end")

    @hookimpl
    def engine_run_error(self, error: BaseException) -> None:
        self._note(f"error {type(error).__name__}")


def watched(watcher: object) -> Registry:
    registry = Registry.discover()
    registry.add(watcher, "watcher", "watch-this", "1.0")
    return registry


def test_hooks_are_called_in_the_order_of_the_run(tmp_path: Path):
    watcher = Watcher()
    run_tiny(tmp_path, watched(watcher), models={"snaive": SPEC["models"]["snaive"]})
    order = list(dict.fromkeys(watcher.seen))
    assert order[:2] == ["panel", "start tiny"]
    assert order[-2:] == ["task final", "end"]


@pytest.mark.parametrize("hook", ["panel", "start tiny", "task final"])
def test_an_observer_that_raises_is_recorded_and_the_run_goes_on(tmp_path: Path, hook: str):
    made = run_tiny(tmp_path, watched(Watcher(hook)))
    manifest = json.loads((made.folder / "manifest.json").read_text())
    assert made.exit_code == 0
    assert "RuntimeError: watcher is tired" in manifest["observer_faults"][0]


def test_an_observer_that_raises_after_the_end_does_not_spoil_the_run(tmp_path: Path):
    made = run_tiny(tmp_path, watched(Watcher("end")))
    assert made.exit_code == 0
    assert "engine_run_end" in made.faults[0]


class FullDisk:
    """A writer that cannot write."""

    def __init__(self, params: object) -> None:
        del params

    def write(self, results: Results) -> list[Path]:
        raise DataError(f"no room for {results.name}")


class PowerCut:
    """An executor that ends after no task at all."""

    def __init__(self, params: object) -> None:
        del params

    def map(self, *arguments: object) -> list[dict[str, Any]]:
        raise DataError("the lights went out")


class Unready:
    """An executor that cannot be told ahead of its tasks."""

    left = 0

    def __init__(self, params: object) -> None:
        del params

    def __enter__(self) -> Unready:
        return self

    def __exit__(self, *_: object) -> None:
        Unready.left += 1

    def prepare(self, function: str, tasks: int, modules: list[str]) -> None:
        raise ValueError(f"no room for {tasks} of {function}, {modules}")

    def map(self, *arguments: object) -> list[dict[str, Any]]:
        raise AssertionError(arguments)


class Broken:
    """A plugin that offers the writer and the executor, and an observer that raises."""

    @hookimpl
    def engine_writers(self) -> list[Writer]:
        return [Writer("full_disk", "tests.test_runner:FullDisk")]

    @hookimpl
    def engine_executors(self) -> list[Executor]:
        return [
            Executor("power_cut", "tests.test_runner:PowerCut"),
            Executor("unready", "tests.test_runner:Unready"),
        ]

    @hookimpl
    def engine_run_error(self, error: BaseException) -> None:
        raise RuntimeError(f"cannot cope with {error}")


def test_an_error_leaves_a_partial_run_and_is_not_hidden_by_observers(tmp_path: Path):
    with pytest.raises(DataError, match="the lights went out"):
        run_tiny(tmp_path, watched(Broken()), run={"executor": "power_cut"})
    (folder,) = (tmp_path / "tiny").iterdir()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert folder.name.endswith(".partial")
    assert (manifest["status"], manifest["error"]) == ("failed", "the lights went out")


def test_an_executor_that_cannot_be_told_ahead_is_named_and_left(tmp_path: Path):
    said = r"executor 'unready'.*no room for 4 of engine.tasks:run_task, \['engine_calendar"
    with pytest.raises(PluginError, match=said):
        run_tiny(tmp_path, watched(Broken()), run={"executor": "unready"})
    assert Unready.left == 1
    assert list(tmp_path.iterdir()) == []


def test_a_writers_error_comes_after_the_run_is_published(tmp_path: Path):
    with pytest.raises(DataError, match="no room for tiny"):
        run_tiny(tmp_path, watched(Broken()), write=[{"use": "full_disk"}, {"use": "csv"}])
    (folder,) = (tmp_path / "tiny").iterdir()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["writer_errors"] == ["no room for tiny"]
    assert (folder / "forecast.parquet").exists()
    assert any(path.endswith(".csv") for path in manifest["written"])


def test_a_failed_gate_publishes_the_run_and_turns_the_exit_code(tmp_path: Path):
    made = run_tiny(tmp_path, expect=[{"model": "snaive", "metric": "wape", "max": 0.0}])
    assert (made.exit_code, made.manifest["status"]) == (6, "gate failed")
    assert made.folder.is_dir()


def test_nothing_is_written_if_the_data_are_wrong(tmp_path: Path):
    with pytest.raises(DataError, match="the data have no column"):
        run_tiny(tmp_path, data={**SPEC["data"], "columns": {**COLUMNS, "y": "sales"}})
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_skips_the_horizon_has_no_forecast_but_scores(tmp_path: Path):
    source = {**SPEC["data"]["source"], "future_periods": 0}
    data = {**SPEC["data"], "source": source, "missing": {"horizon": "skip"}}
    made = run_tiny(tmp_path, data=data)
    assert pl.read_parquet(made.folder / "forecast.parquet").is_empty()
    assert made.choice.best is not None
