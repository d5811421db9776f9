"""What drives a model: false news of the days ahead cost what the model makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from engine import drivers
from engine.data.panel import Future, Panel
from engine.future import future_of
from engine.outputs import read_results
from engine.registry import Registry
from engine.rundir import read_run
from engine.runner import run as run_spec
from engine.spec.validate import validate_text
from tests import panels
from tests.plugins.report_runs import SPEC


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    registry, home = Registry.discover(), tmp_path_factory.mktemp("runs")
    text = SPEC.replace("forecast: all", "forecast: best")
    loaded = validate_text(text, "tiny.yaml", registry)
    return run_spec(loaded, registry, output=home, base=home).folder


def test_a_model_that_reads_one_covariate_is_hurt_by_false_values_of_it_alone(small_fold):
    def predict(history: Panel, future: Future) -> np.ndarray:
        return future.frame["promo"].to_numpy().reshape(history.n_series, -1).astype(float)

    made = drivers.importance(small_fold, predict, seed=1)
    found = {row["covariate"]: row for row in made.iter_rows(named=True)}
    assert found["price"]["shuffled"] == found["price"]["wape"] == 0
    assert found["promo"]["low"] > 0.2
    assert found["promo"]["low"] <= found["promo"]["shuffled"] <= found["promo"]["high"]
    again = drivers.importance(small_fold, predict, seed=1)
    assert again.equals(made)


def test_values_of_other_days_are_those_of_the_same_series(small_fold):
    """A price that never changes within a series carries no news and costs nothing."""
    level = {name: 11.0 + i for i, name in enumerate(small_fold.history.ids)}

    def predict(history: Panel, future: Future) -> np.ndarray:
        price = future.frame["price"].to_numpy().reshape(history.n_series, -1)
        assert (price == np.array([level[name] for name in history.ids])[:, None]).all()
        return price

    made = drivers.importance(small_fold, predict, seed=1)
    (price,) = made.filter(covariate="price").iter_rows(named=True)
    assert price["shuffled"] == price["wape"]


def test_many_series_are_sampled_and_the_number_is_stated(small_fold, monkeypatch):
    monkeypatch.setattr(drivers, "MOST_SERIES", 3)

    def predict(history: Panel, future: Future) -> np.ndarray:
        assert history.n_series == future.n_series == 3
        assert future.frame["unique_id"].unique(maintain_order=True).to_list() == history.ids
        return future.frame["promo"].to_numpy().reshape(3, -1).astype(float)

    made = drivers.importance(small_fold, predict, seed=1)
    assert made["series"].to_list() == [3, 3]
    assert made["wape"].to_list() == [0, 0]


@pytest.fixture
def small_fold() -> drivers.Fold:
    """Five series of which y is the promotion itself; the price is a constant of its series."""
    y = pl.when(pl.col("y").is_not_null()).then(pl.col("promo"))
    made = panels.panel(panels.rows(5, price=10.0 + pl.col("store"), y=y), ahead=0)
    cutoff = made.end - 10
    history, future = made.until(cutoff), future_of(made, cutoff, 2, 8)
    actual = drivers.actual_of(made, history, cutoff, 2, 8)
    assert np.isnan(actual[:, :2]).all()
    assert np.isfinite(actual[:, 2:]).all()
    return drivers.Fold(history, future, (), actual)


def test_a_run_keeps_what_drives_the_models_it_did_not_choose(folder: Path):
    best = read_results(read_run(folder), folder).manifest["best"]["model"]
    assert {p.name for p in (folder / "models").iterdir()} == {best}
    table = pl.read_parquet(folder / "drivers" / "ridge" / "importance.parquet")
    assert table["covariate"].to_list() == ["price", "promo"]
    tested = pl.read_parquet(folder / "backtest.parquet").filter(model="ridge")
    last = tested.filter(pl.col("cutoff") == pl.col("cutoff").max(), pl.col("y").is_not_null())
    wape = (last["y"] - last["y_hat"]).abs().sum() / last["y"].sum()
    assert table["wape"].to_list() == pytest.approx([wape, wape], rel=1e-6)
    assert (folder / "drivers" / "ridge" / "coefficients.parquet").exists()


@pytest.mark.parametrize("broken", ["explain", "tables"])
def test_importance_is_kept_when_the_model_cannot_explain_itself(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fails(self: object, *seen: object) -> None:
        raise RuntimeError("no reason given")

    monkeypatch.setattr("engine.horizon.FittedTabular." + broken, fails, raising=False)
    registry = Registry.discover()
    text = SPEC.replace("periods: 400", "periods: 60")
    loaded = validate_text(text, "tiny.yaml", registry)
    folder = run_spec(loaded, registry, output=tmp_path, base=tmp_path).folder
    kept = {p.stem for p in (folder / "drivers" / "ridge").iterdir()}
    assert "importance" in kept
    assert ("coefficients" in kept) == (broken == "explain")
    events = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    (told,) = [e for e in events if e["event"] == "explain_error"]
    assert (told["part"], told["error"]) == (broken, "RuntimeError: no reason given")
