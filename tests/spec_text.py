"""The smallest spec that is valid, and what is said about it when a piece of it is broken."""

from __future__ import annotations

import pytest

from engine.errors import Problem, SpecError
from engine.registry import Registry
from engine.spec.validate import LoadedSpec, validate_text

SPEC = """version: 1
name: tiny
data:
  source: {use: simulate, series: 2, periods: 60}
  columns: {unique_id: [store, item], ds: ds, y: units}
  freq: 1d
horizon: 7
models:
  snaive: {use: seasonal_naive, season: 7}
evaluate: {metrics: [mae]}
"""
REGISTRY = Registry.discover()


def load(text: str, *overrides: str, registry: Registry = REGISTRY, **options: int) -> LoadedSpec:
    return validate_text(text, "spec.yaml", registry, overrides, **options)


def problems(text: str, *overrides: str, registry: Registry = REGISTRY, **options: int):
    with pytest.raises(SpecError) as caught:
        load(text, *overrides, registry=registry, **options)
    assert caught.value.exit_code == 5
    return caught.value.problems


def problem(old: str, new: str) -> Problem:
    """The one problem of the spec with one piece of its text replaced."""
    assert SPEC.count(old) == 1
    found = problems(SPEC.replace(old, new))
    assert len(found) == 1, [p.message for p in found]
    return found[0]


def place(one: Problem) -> tuple[int, int, str]:
    return one.line, one.column, one.path
