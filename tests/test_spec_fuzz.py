"""Random specs: valid ones mean the same when written out, mangled ones are refused in words."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings, strategies as st
from jsonschema import Draft202012Validator

from engine.errors import Problem, SpecError
from engine.spec.schema import spec_schema
from engine.spec.validate import load_spec, validate_text
from tests.spec_text import REGISTRY, SPEC

VALIDATOR = Draft202012Validator(spec_schema(REGISTRY))
NAMES = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,12}\Z")
COLUMN = st.text(string.ascii_letters + "0123456789 _:#-ÄÖ中", min_size=1, max_size=8)
FINITE = st.floats(-1e9, 1e9)
MODEL = st.one_of(
    st.fixed_dictionaries(
        {"use": st.just("seasonal_naive")}, optional={"season": st.integers(1, 400)}
    ),
    st.fixed_dictionaries(
        {"use": st.just("ridge")},
        optional={
            "target": st.sampled_from(["none", "log1p"]),
            "scale": st.sampled_from(["none", "mean", "center", "standard"]),
            "strategy": st.sampled_from(["direct", "recursive"]),
            "window": st.none() | st.integers(1, 1_000),
        },
    ),
)


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    """Plain data of a valid spec."""
    reserved = {"unique_id", "ds", "y", "cutoff", "step", "model", "y_hat", "ahead", "series"}
    columns = draw(
        st.lists(COLUMN.filter(lambda c: c not in reserved), min_size=7, max_size=7, unique=True)
    )
    key, ds, y, price, promo, past, static = columns
    metrics = draw(st.lists(st.sampled_from(["mae", "wape", "mase"]), min_size=1, unique=True))
    models = draw(st.dictionaries(NAMES, MODEL, min_size=1, max_size=3))
    window = draw(
        st.sampled_from([{}, {"window": "sliding", "size": 30}, {"refit": False, "folds": 3}])
    )
    spec: dict[str, Any] = {
        "version": 1,
        "name": draw(NAMES),
        "data": {
            "source": {"use": "simulate", "series": draw(st.integers(1, 99))},
            "columns": {"unique_id": draw(st.sampled_from([key, [key]])), "ds": ds, "y": y},
            "freq": draw(st.sampled_from(["1d", "1w", "1mo", "15min", 1, 7])),
            "covariates": {"future": [price, promo], "past": [past], "static": [static]},
            "missing": {"y": draw(st.sampled_from(["error", "drop", "zero", "forward_fill"]))},
        },
        "horizon": draw(st.integers(1, 60)),
        "models": models,
        "backtest": window,
        "evaluate": {"metrics": metrics},
    }
    optional: dict[str, st.SearchStrategy[Any]] = {
        "seed": st.integers(0, 2**32 - 1),
        "gap": st.integers(0, 9),
        "minimum": st.none() | FINITE,
        "quantiles": st.lists(st.floats(0.001, 0.999), max_size=4, unique=True).map(sorted),
        "features": st.just([{"use": "lags", "columns": past, "lags": [0, 3]}]),
        "select": st.just({"metric": metrics[0]}),
        "run": st.sampled_from([{"executor": "serial"}, {"on_error": "stop"}]),
        "write": st.just([{"use": "csv"}]),
        "expect": FINITE.map(lambda v: [{"model": min(models), "metric": metrics[0], "max": v}]),
    }
    for section, strategy in optional.items():
        if draw(st.booleans()):
            spec[section] = draw(strategy)
    return spec


def text_of(data: dict[str, Any]) -> str:
    """Spec text of plain data, which JSON is."""
    return json.dumps(data, ensure_ascii=False)


@given(specs())
@settings(max_examples=20, deadline=None)
def test_a_valid_spec_and_its_resolved_form_fit_the_json_schema(data: dict[str, Any]):
    assert [error.message for error in VALIDATOR.iter_errors(data)] == []
    resolved = validate_text(text_of(data), "random.yaml", REGISTRY).resolved
    assert [error.message for error in VALIDATOR.iter_errors(dict(resolved))] == []


@given(specs())
@settings(max_examples=60, deadline=None)
def test_a_valid_spec_means_the_same_when_it_is_written_out(data: dict[str, Any]):
    loaded = validate_text(text_of(data), "random.yaml", REGISTRY)
    again = validate_text(loaded.resolved_yaml, "resolved.yaml", REGISTRY)
    assert again.resolved == loaded.resolved


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of every value in plain data."""
    items = data.items() if isinstance(data, dict) else enumerate(data)
    out = []
    for key, value in items:
        out.append((*path, key))
        if isinstance(value, dict | list):
            out += places(value, (*path, key))
    return out


@given(specs(), st.data())
@settings(max_examples=120, deadline=None)
def test_a_mangled_spec_is_valid_or_refused_in_words(data: dict[str, Any], draws: st.DataObject):
    for _ in range(draws.draw(st.integers(1, 3))):
        *path, last = draws.draw(st.sampled_from(places(data)))
        holder: Any = data
        for part in path:
            holder = holder[part]
        how = draws.draw(st.sampled_from(["replace", "remove", "rename"]))
        if how == "replace":
            holder[last] = draws.draw(JUNK)
        elif how == "remove":
            del holder[last]
        elif isinstance(holder, dict):
            holder[draws.draw(st.text(max_size=6))] = holder.pop(last)
        if not data:
            break
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    assert in_words(problems_of(text), text)


@given(st.lists(st.tuples(st.integers(0, len(SPEC)), st.text(max_size=3)), min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_a_spec_with_letters_changed_is_valid_or_refused_in_words(edits: list[tuple[int, str]]):
    text = SPEC
    for place, letters in edits:
        text = text[:place] + letters + text[place + len(letters) :]
    assert in_words(problems_of(text), text)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_bytes_are_refused_in_words(tmp_path_factory, content: bytes):
    path = Path(tmp_path_factory.getbasetemp()) / "bytes.yaml"
    path.write_bytes(content)
    try:
        load_spec(path, REGISTRY)
    except SpecError as error:
        assert error.problems
    else:
        raise AssertionError("bytes at random are no spec")


def problems_of(text: str) -> tuple[Problem, ...]:
    """What a text is refused for; nothing if it is valid. Any other exception fails the test."""
    try:
        validate_text(text, "mangled.yaml", REGISTRY)
    except SpecError as error:
        assert error.problems, "refused without a reason"
        return error.problems
    return ()


def in_words(problems: tuple[Problem, ...], text: str) -> bool:
    """Whether every problem says something, and stands within the text."""
    lines = len(text.splitlines()) + 1
    return all(p.message.strip() and 0 <= p.line <= lines for p in problems)
