"""Leaks of every kind, planted in plugins, and what the prover says of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from engine.cli.main import invoke
from engine.contracts import SourceContext
from engine.prove.proof import Finding, Proof
from engine.prove.prover import prove
from engine.registry import Registry, build
from engine.spec.validate import validate_text
from tests.panels import rows
from tests.prove import plants

SPEC: dict[str, Any] = {
    "version": 1,
    "name": "planted",
    "data": {
        "source": {"use": "shop"},
        "columns": {"unique_id": "store", "ds": "ds", "y": "y"},
        "freq": "1d",
        "covariates": {"future": ["promo", "price"], "past": ["temperature"]},
    },
    "horizon": 5,
    "features": [
        {"use": "lags", "lags": [0], "rolling": {"mean": [7]}},
        {"use": "lags", "columns": "temperature", "lags": [0]},
    ],
    "models": {"snaive": {"use": "seasonal_naive", "season": 7}, "ridge": {"use": "ridge"}},
    "backtest": {"folds": 1, "calibration": 0},
    "evaluate": {"metrics": ["mae"]},
}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The installed plugins and the planted ones."""
    real = metadata.entry_points

    def entry_points(*, group: str) -> metadata.EntryPoints:
        fake = metadata.EntryPoint("plants", "tests.prove.plants", "engine")
        return metadata.EntryPoints([*real(group=group), fake])

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    monkeypatch.setattr(plants, "MEMORY", {})
    return Registry.discover()


def proof_of(registry: Registry, source: Mapping[str, Any] = {}, **changes: Any) -> Proof:
    spec = {**SPEC, **changes}
    spec["data"] = {**SPEC["data"], "source": {"use": "shop", **source}, **changes.get("data", {})}
    loaded = validate_text(yaml.safe_dump(spec, sort_keys=False), "planted.yaml", registry)
    return prove(loaded, registry, base=Path("."))


def failed(proof: Proof) -> set[tuple[str, str, str]]:
    return {
        (c.check, c.subject, c.status) for c in proof.checks if c.status not in ("holds", "skipped")
    }


def only(proof: Proof) -> Finding:
    assert len(proof.findings) == 1, [f.sentence() for f in proof.findings]
    assert proof.exit_code == 6
    return proof.findings[0]


def test_an_honest_spec_holds_in_every_check(registry: Registry):
    proof = proof_of(registry)
    assert failed(proof) == set()
    assert proof.exit_code == 0
    said = {c.check for c in proof.checks}
    assert said == {
        "repeat",
        "state",
        "future",
        "lookback",
        "training",
        "order",
        "types",
        "others",
        "hindsight",
    }
    assert all(c.values for c in proof.checks)


@pytest.mark.parametrize(
    ("derive", "column", "steps"), [("centered", "temperature", 3), ("lead", "temperature", 3)]
)
def test_a_source_that_computes_a_column_from_later_rows(
    registry: Registry, derive: str, column: str, steps: int
):
    proof = proof_of(registry, {"derive": derive})
    assert ("future", "source shop", "leaks") in failed(proof)
    found = next(f for f in proof.findings if "linear" not in f.change)
    assert (found.plugin, found.name, found.ahead) == ("source shop", column, steps)
    assert found.ds == "2024-02-24"


def test_a_covariate_that_is_revised_later_but_declared_past(registry: Registry):
    found = only(proof_of(registry, {"derive": "revised"}))
    assert (found.name, found.ahead, found.ds) == ("temperature", 2, "2024-02-24")


def test_target_encoding_over_the_future(registry: Registry):
    data = {"covariates": {**SPEC["data"]["covariates"], "static": ["kind"]}}
    proof = proof_of(registry, {"derive": "encoded"}, data=data)
    assert {f.name for f in proof.findings} == {"kind"}
    assert ("future", "source shop", "leaks") in failed(proof)


def test_scaling_over_the_whole_series(registry: Registry):
    proof = proof_of(registry, {"derive": "scaled"})
    assert {(f.plugin, f.name) for f in proof.findings} == {("source shop", "y")}
    first = proof.findings[0]
    # The mean moves by the last day alone only within what sums on several threads round to.
    assert first.ahead in (59, 60), "the first day is divided by what comes after the cutoff"


@pytest.mark.parametrize(
    ("derive", "name", "steps"),
    [("centered", "temperature", 3), ("lead", "temperature", 3), ("scaled", "y", None),
     ("encoded", "kind", None)],
)  # fmt: skip
def test_columns_computed_elsewhere_are_known_by_their_marks(
    registry: Registry, derive: str, name: str, steps: int | None
):
    data = {"covariates": {**SPEC["data"]["covariates"], "static": ["kind"]}}
    source = {"derive": derive, "hands_over": False}
    proof = proof_of(registry, source, data=data if derive == "encoded" else {})
    found = only(proof)
    assert (found.plugin, found.name, found.ahead) == ("source shop", name, steps)
    assert failed(proof) == {("hindsight", "source shop", "leaks")}


def test_days_in_a_time_zone_are_proven_as_well(registry: Registry):
    proof = proof_of(registry, {"derive": "centered", "zone": "America/New_York"})
    found = next(f for f in proof.findings if "linear" not in f.change)
    assert (found.name, found.ahead, found.ds) == ("temperature", 3, "2024-02-24 00:00:00")
    assert failed(proof_of(registry, {"zone": "America/New_York"})) == set()


def test_types_and_time_zones_are_tried(registry: Registry):
    tried = {c.cases for c in proof_of(registry).checks if c.check == "types"}
    assert tried == {6}, "a datetime, three zones, keys in 64 bits, numbers as floats"


def test_a_lag_shorter_than_the_step_declared_as_known_ahead(registry: Registry):
    data = {"missing": {"future": "forward_fill", "horizon": "skip"}}
    proof = proof_of(registry, {"derive": "short_lag"}, data=data)
    assert ("future", "source shop", "leaks") in failed(proof)
    found = next(f for f in proof.findings if f.name == "price")
    assert (found.plugin, found.ahead) == ("source shop", 4)


@pytest.mark.parametrize(
    ("how", "steps"), [("centered", 3), ("lead", 2), ("scaled", None), ("encoded", None)]
)
def test_a_feature_that_looks_past_its_row(registry: Registry, how: str, steps: int | None):
    proof = proof_of(registry, features=[{"use": "peek", "how": how}])
    found = only(proof)
    assert failed(proof) == {("training", "features peek", "leaks")}
    assert (found.plugin, found.name) == ("features peek", f"peek_{how}")
    if steps is None:
        assert found.ahead is not None
        assert found.ahead > 30, "every row reads the last one"
    else:
        assert found.ahead == steps


def test_what_reads_a_leaking_column_is_not_judged_and_says_so(registry: Registry):
    proof = proof_of(registry, {"derive": "centered"})
    skipped = {c.subject: c.reason for c in proof.checks if c.status == "skipped"}
    assert "source shop, which it reads, failed the check 'future'" in skipped["model ridge"]


def test_a_feature_builder_that_remembers_later_data(registry: Registry):
    proof = proof_of(registry, features=[{"use": "peek", "how": "memory"}])
    found = only(proof)
    assert (found.plugin, found.name) == ("features peek", "peek_memory")
    assert found.ahead is not None and found.ahead >= 5
    assert ("state", "features peek", "leaks") in failed(proof)


def test_a_feature_that_is_drawn_at_random(registry: Registry):
    proof = proof_of(registry, features=[{"use": "peek", "how": "random"}])
    assert failed(proof) == {("repeat", "features peek", "differs")}


@pytest.mark.parametrize(
    ("how", "feature", "needed"), [("short", "peek_short", 13), ("short_known", "peek_known", 20)]
)
def test_a_lookback_that_is_too_short(registry: Registry, how: str, feature: str, needed: int):
    proof = proof_of(registry, features=[{"use": "peek", "how": how}])
    found = only(proof)
    assert (found.plugin, found.name) == ("features peek", feature)
    assert f"reads at least {needed}" in found.change


def test_a_model_that_remembers_a_later_fit(registry: Registry):
    proof = proof_of(registry, models={"m": {"use": "recall", "how": "latest"}})
    found = only(proof)
    assert (found.plugin, found.name, found.ahead) == ("model m (recall)", "y_hat", 5)
    assert failed(proof) == {("state", "model m (recall)", "leaks")}


def test_a_local_model_that_pools_its_series_minds_the_others(registry: Registry):
    proof = proof_of(registry, models={"m": {"use": "recall", "how": "crowd"}})
    assert failed(proof) == {("others", "model m (recall)", "differs")}


def test_a_model_that_cannot_be_tried_is_no_pass(registry: Registry):
    models = {**SPEC["models"], "m": {"use": "recall", "how": "raises"}}
    proof = proof_of(registry, models=models)
    assert proof.exit_code == 7
    reasons = {c.reason for c in proof.checks if c.status == "failed"}
    assert reasons == {"ValueError: no luck"}


def test_the_command_names_the_leak_and_exits_with_6(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    spec = {**SPEC, "data": {**SPEC["data"], "source": {"use": "shop", "derive": "revised"}}}
    path = tmp_path / "planted.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    assert invoke(["prove", str(path), "--quiet"]) == 6
    out = capsys.readouterr().out
    assert "source shop: temperature of series" in out
    assert "looked 2 steps ahead" in out
    assert invoke(["prove", str(path), "--json", "--quiet"]) == 6
    document = json.loads(capsys.readouterr().out)
    assert document["holds"] is False
    assert [f["ahead"] for c in document["checks"] for f in c["findings"]] == [2]


def test_gaps_and_models_without_refit_hold_too(registry: Registry):
    proof = proof_of(
        registry,
        data={"missing": {"y": "interpolate", "past": "forward_fill"}},
        backtest={"folds": 2, "calibration": 0, "refit": False, "step_size": 3},
    )
    assert failed(proof) == set()
    assert {c.cases for c in proof.checks if c.check == "future"} == {4}


def test_two_cutoffs_are_proven_when_two_folds_are_asked_for(registry: Registry):
    spec = {**SPEC, "backtest": {"folds": 3, "calibration": 0}, "features": []}
    spec["models"] = {"snaive": {"use": "seasonal_naive"}}
    loaded = validate_text(yaml.safe_dump(spec, sort_keys=False), "planted.yaml", registry)
    proof = prove(loaded, registry, base=Path("."), series=2, folds=2)
    assert proof.series == 2
    assert {c.cutoff for c in proof.checks if c.check == "future"} == {"2024-02-19", "2024-02-24"}


ROOT = Path(__file__).parent.parent.parent
SMALL = ("data.source.series=6", "data.source.periods=160", "horizon=7", "backtest.step_size=7")


def shipped(*overrides: str, without: tuple[str, ...] = ()) -> Proof:
    """The proof of the shipped promotion spec, made small."""
    registry = Registry.discover()
    data = yaml.safe_load((ROOT / "specs" / "promo.yaml").read_text())
    data["models"] = {k: v for k, v in data["models"].items() if k not in without}
    data["combine"], data["expect"] = {}, []
    text = yaml.safe_dump(data, sort_keys=False)
    loaded = validate_text(text, "promo.yaml", registry, [*SMALL, *overrides])
    return prove(loaded, registry, base=Path("."), series=4)


def test_the_shipped_spec_holds_without_a_false_alarm():
    proof = shipped("models.ridge.strategy=recursive", without=("arima", "lstm"))
    assert failed(proof) == set()
    assert {c.subject for c in proof.checks if c.check == "lookback"} == {
        "features calendar",
        "features lags",
        "features promo",
    }


@pytest.mark.slow
def test_every_built_in_model_holds_without_a_false_alarm():
    pytest.importorskip("statsforecast")
    pytest.importorskip("jax")
    proof = shipped("models.lstm.epochs=1", "models.lstm.hidden=4", "models.lstm.context=14")
    assert failed(proof) == set()
    said = {c.subject for c in proof.checks if c.check == "future" and c.subject[:5] == "model"}
    assert said == {"model snaive (seasonal_naive)", "model ridge", "model arima", "model lstm"}


def test_the_files_source_hands_its_rows_over_before_it_derives(tmp_path: Path):
    rows(n_series=1, periods=5).write_parquet(tmp_path / "shop.parquet")
    component = Registry.discover().find("source", "files").component
    options = {"path": "shop.parquet", "derive": {"double": "y * 2"}}
    context = SourceContext(1, tmp_path, lambda frame: frame.with_columns(y=pl.lit(4.0)))
    frame = build(component, options, context).scan().collect()
    assert frame["double"].to_list() == [8.0] * 5
