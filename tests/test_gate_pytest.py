"""The pytest plugin, in sessions of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.gate_specs import BAD, BASE, GOOD, write_spec

pytest_plugins = ["pytester"]


COUNTING = """
import pathlib, uuid
from engine.gate import check
whole = check.backtest
def counted(*arguments, **options):
    (pathlib.Path(__file__).parent / f"{uuid.uuid4().hex}.run").touch()
    return whole(*arguments, **options)
check.backtest = counted
"""


def runs_counted(pytester: pytest.Pytester) -> int:
    return len(list(pytester.path.glob("*.run")))


def test_each_expectation_is_a_test_with_a_readable_failure_of_one_run(pytester: pytest.Pytester):
    write_spec(pytester.path, GOOD, BAD)
    (pytester.path / "conftest.py").write_text(COUNTING)
    result = pytester.runpytest_subprocess("-v")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "weekly.yaml::valid PASSED*",
            "weekly.yaml::1: weekly wape better_than last PASSED*",
            "weekly.yaml::2: last wape better_than weekly FAILED*",
            "*weekly.yaml:16: last wape: expected better than weekly (*), was *",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*judge.py*")
    assert runs_counted(pytester) == 1


def test_an_invalid_spec_is_one_failed_test_with_its_problems(pytester: pytest.Pytester):
    write_spec(pytester.path, GOOD, base=BASE.replace("horizon: 7", "horizon: 0"))
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*weekly.yaml:7:10: *"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("compose.yaml", "version: 1\nservices: {web: {}}\n"),
        ("weekly.snapshot.yaml", "version: 1\ndata: x\nmodels: y\nexpect: z\n"),
        ("nested.yaml", "version: 1\nouter:\n  data: x\n  models: y\n  expect: z\n"),
        ("quiet.yaml", "version: 1\ndata: x\nmodels: y\n"),
        ("notes.txt", "version: 1\ndata: x\nmodels: y\nexpect: z\n"),
    ],
)
def test_a_file_that_is_no_run_spec_is_not_collected(pytester: pytest.Pytester, name, text):
    (pytester.path / name).write_text(text)
    (pytester.path / "binary.yaml").write_bytes(b"version: \xff\xfe\x00models:\ndata:")
    assert pytester.runpytest_inprocess().ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_loading_the_plugin_imports_nothing_of_the_engine_s_weight():
    script = (
        "import sys, pytest, pluggy; before = set(sys.modules)\n"
        "import engine.gate.pytest_plugin\n"
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()).isdisjoint({"polars", "numpy", "pydantic", "yaml", "typer"})


@pytest.mark.slow
def test_xdist_s_workers_share_one_run(pytester: pytest.Pytester):
    write_spec(pytester.path, GOOD, BAD, *["- {no_failures: true}"] * 4)
    (pytester.path / "conftest.py").write_text(COUNTING)
    result = pytester.runpytest_subprocess("-n", "2")
    result.assert_outcomes(passed=6, failed=1)
    assert runs_counted(pytester) == 1


def test_a_proof_is_one_of_the_tests(pytester: pytest.Pytester):
    small = BASE.replace("series: 12", "series: 2").replace("folds: 2", "folds: 1")
    write_spec(pytester.path, "- {no_leaks: true}", base=small)
    (pytester.path / "conftest.py").write_text(COUNTING)
    result = pytester.runpytest_subprocess("-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["weekly.yaml::1: no_leaks PASSED*"])
    assert runs_counted(pytester) == 0
