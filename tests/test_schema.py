from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from engine.cli.main import invoke
from engine.components import Component, Model
from engine.registry import Registry
from engine.spec.loader import parse
from engine.spec.model import ModelUse, RunSpec
from engine.spec.schema import spec_schema

ROOT = Path(__file__).parent.parent
SPECS = sorted(p for p in (ROOT / "specs").glob("*.yaml") if ".snapshot" not in p.name)
REGISTRY = Registry.discover()
SCHEMA = spec_schema(REGISTRY)
VALIDATOR = Draft202012Validator(SCHEMA)
COMPONENTS = [entry.component for entry in REGISTRY.listing()]


def data_of(path: Path) -> dict[str, Any]:
    """A spec as plain data, read by the rules of the spec loader."""
    data: dict[str, Any] = parse(path.read_text(encoding="utf-8"), {"ENGINE_DATA": "data"}).data
    return data


def label(component: Component) -> str:
    return f"{component.kind}-{component.name}"


def test_the_schema_is_a_schema():
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"].endswith("2020-12/schema")


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_spec_of_the_repository_fits_the_schema(path: Path):
    assert [error.message for error in VALIDATOR.iter_errors(data_of(path))] == []


PROMO = data_of(ROOT / "specs" / "promo.yaml")


@pytest.mark.parametrize(
    "at",
    [
        ("models", "lstm"),
        ("models", "snaive"),
        ("features", 0),
        ("data", "source"),
        ("write", 0),
        ("run", "executor"),
        ("data", "columns"),
        ("backtest",),
        (),
    ],
    ids=lambda at: ".".join(map(str, at)) or "top",
)
def test_an_unknown_option_does_not_fit(at):
    spec = copy.deepcopy(PROMO)
    here = spec
    for part in at:
        here = here[part]
    here["hiden"] = 64
    assert not VALIDATOR.is_valid(spec)


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (("models", "lstm", "use"), "lstmm"),
        (("models", "lstm", "hidden"), "many"),
        (("models", "ridge", "target"), "log"),
        (("evaluate", "metrics", 0), "wappe"),
        (("evaluate", "metrics", 0), {"use": "wappe"}),
        (("run", "executor"), "procss"),
        (("quantiles",), [0.5, 1.5]),
        (("horizon",), 0),
        (("version",), 2),
    ],
)
def test_a_wrong_value_does_not_fit(at, value):
    spec = copy.deepcopy(PROMO)
    here = spec
    for part in at[:-1]:
        here = here[part]
    here[at[-1]] = value
    assert not VALIDATOR.is_valid(spec)


def test_the_options_of_one_model_do_not_fit_another():
    spec = copy.deepcopy(PROMO)
    spec["models"]["snaive"] = {"use": "seasonal_naive", "hidden": 64}
    assert not VALIDATOR.is_valid(spec)
    spec["models"]["snaive"] = {"use": "lstm", "hidden": 64}
    assert VALIDATOR.is_valid(spec)


@pytest.mark.parametrize("component", COMPONENTS, ids=label)
def test_every_component_says_what_it_does(component: Component):
    assert len(component.summary) > 10


def options(schema: dict[str, Any], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every option of a params model and of the models inside it."""
    for key, value in schema.get("properties", {}).items():
        yield f"{name}.{key}", value
    for inner, definition in schema.get("$defs", {}).items():
        yield from options(definition, f"{name}.{inner}")


@pytest.mark.parametrize("component", COMPONENTS, ids=label)
def test_every_option_of_a_plugin_is_described(component: Component):
    found = options(component.params.model_json_schema(), component.name)
    assert [name for name, option in found if not option.get("description")] == []


MODELS = [
    pytest.param(component, id=component.name)
    for component in COMPONENTS
    if isinstance(component, Model)
]


@pytest.mark.parametrize("component", MODELS)
def test_no_option_of_a_model_is_hidden_by_a_key_of_the_engine(component: Model):
    assert set(component.params.model_fields).isdisjoint(ModelUse.model_fields)


def test_the_engines_own_keys_are_described():
    sections = {"Columns", "Covariates", "MissingSpec", "SeriesSpec", "Backtest", "ModelUse"}
    bare = [
        f"{section}.{key}"
        for section in sorted(sections)
        for key, value in RunSpec.model_json_schema()["$defs"][section]["properties"].items()
        if not value.get("description")
    ]
    assert bare == []


def test_the_command_prints_the_schema_and_nothing_else(capsys):
    assert invoke(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA
