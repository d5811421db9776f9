from __future__ import annotations

from pathlib import Path

import pytest

from engine.registry import Registry
from engine.spec.validate import load_spec, validate_text

ROOT = Path(__file__).parent.parent
SPECS = sorted(p for p in (ROOT / "specs").glob("*.yaml") if ".snapshot" not in p.name)
REGISTRY = Registry.discover()


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any folder will do: validation reads no data."""
    monkeypatch.setenv("ENGINE_DATA", str(tmp_path))


def test_the_specs_are_found():
    assert {"promo", "orange_juice"} <= {path.stem for path in SPECS}


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_spec_is_valid_and_named_like_its_file(path: Path):
    assert load_spec(path, REGISTRY).spec.name == path.stem


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_spec_means_the_same_when_its_defaults_are_written_out(path: Path):
    loaded = load_spec(path, REGISTRY)
    again = validate_text(loaded.resolved_yaml, path.name, REGISTRY)
    assert again.resolved == loaded.resolved


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_spec_starts_by_saying_what_it_is(path: Path):
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert len(first) > 20


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_spec_compares_its_models_with_the_seasonal_naive(path: Path):
    models = load_spec(path, REGISTRY).spec.models
    assert "seasonal_naive" in {model.use for model in models.values()}
    assert len(models) > 1


def test_only_the_simulated_specs_need_no_data_from_outside():
    inside = [p.stem for p in SPECS if "ENGINE_DATA" not in p.read_text(encoding="utf-8")]
    assert inside == ["lstm_classics", "promo"]


def test_data_is_looked_for_beside_the_project_when_no_folder_is_named(monkeypatch):
    monkeypatch.delenv("ENGINE_DATA")
    spec = load_spec(ROOT / "specs" / "orange_juice.yaml", REGISTRY).spec
    assert spec.data.source.options["path"].startswith("data/")
