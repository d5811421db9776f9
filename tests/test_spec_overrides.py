from __future__ import annotations

import re

import pytest

from tests.spec_text import SPEC, load, place, problems


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("horizon=14", lambda spec: spec.horizon == 14),
        ("models.snaive.season=3", lambda spec: spec.models["snaive"].options == {"season": 3}),
        ("name=a.b-c", lambda spec: spec.name == "a.b-c"),
        ("minimum=0.5", lambda spec: spec.minimum == 0.5),
        ("backtest.refit=false", lambda spec: spec.backtest.refit is False),
        ("evaluate.metrics=[mae, wape]", lambda spec: spec.evaluate.metrics == ["mae", "wape"]),
        ("evaluate.metrics.0=rmse", lambda spec: spec.evaluate.metrics == ["rmse"]),
        ("data.missing.y=drop", lambda spec: spec.data.missing.y == "drop"),
        ("models.b={use: ridge, target: log1p}", lambda spec: spec.models["b"].target == "log1p"),
    ],
)
def test_set_is_typed_and_dotted(override, read):
    assert not read(load(SPEC).spec) if "models.b" not in override else True
    assert read(load(SPEC, override).spec)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("horizon", "must be path=value"),
        ("=3", "must be path=value"),
        ("models..season=3", "must be path=value"),
        ("evaluate.metrics.5=mae", "evaluate.metrics has no item '5'"),
        ("horizon=[1", "not valid YAML"),
        ("name=no", "true or false"),
        ("horizon=007", "octal"),
        ("run={executor: serial, executor: process}", "given twice"),
    ],
)
def test_a_wrong_set_is_one_problem_that_quotes_it(override, said):
    (found,) = problems(SPEC, override)
    assert said in found.message
    assert repr(override) in found.message


@pytest.mark.parametrize("override", ["horizon=x", "models.snaive.seson=3", "horizon.steps=3"])
def test_a_value_from_the_command_line_is_not_blamed_on_a_line_of_the_file(override):
    (found,) = problems(SPEC, override)
    assert found.line == 0
    assert re.match(re.escape(found.path), override)


def test_seed_and_workers_override_the_spec():
    text = SPEC + "seed: 3\nrun: {executor: process}\n"
    loaded = load(text, seed=11, workers=2)
    assert loaded.spec.seed == 11
    assert loaded.resolved["run"]["executor"]["workers"] == 2


@pytest.mark.parametrize("run", ["", "run:\n", "run: {on_error: skip}\n"])
def test_workers_without_an_executor_are_processes(run):
    executor = load(SPEC + run, workers=2).spec.run.executor
    assert executor is not None
    assert (executor.use, executor.options) == ("process", {"workers": 2})


def test_workers_do_not_hide_a_wrong_section():
    (found,) = problems(SPEC + "run: fast\n", workers=2)
    assert found.path == "run"


def test_workers_for_an_executor_without_them_names_the_executor():
    (found,) = problems(SPEC + "run: {executor: serial}\n", workers=2)
    assert found.message == "executor 'serial' has no option 'workers'"


def test_a_negative_seed_is_refused():
    (found,) = problems(SPEC, seed=-1)
    assert place(found) == (0, 0, "seed")


def test_the_resolved_spec_is_a_valid_spec_with_the_same_meaning():
    first = load(SPEC)
    second = load(first.resolved_yaml)
    assert second.resolved == first.resolved
    assert first.resolved["models"]["snaive"]["seasons"] == 1
