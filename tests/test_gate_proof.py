"""The proof as a stage of `engine test`, and memory as something that a spec can expect."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from engine.cli.main import invoke
from engine.gate.judge import Evidence, judge
from engine.gate.proofs import proof_verdicts
from engine.prove.proof import Check, Finding, Proof
from engine.registry import Registry
from engine.runner import backtest
from engine.spec.expectation import Expectation
from engine.spec.validate import load_spec
from tests.gate_specs import BASE, GOOD, write_spec
from tests.spec_text import problems

NO_LEAKS = "- {no_leaks: true}"
SMALL = BASE.replace("series: 12, periods: 90", "series: 3, periods: 60").replace(
    "folds: 2", "folds: 1"
)
LEAKING = SMALL.replace("  spare: {use: seasonal_naive, season: 2}", "  leaks: {use: recall}")
PROCESSES = (
    SMALL.replace("folds: 1", "folds: 1, calibration: 0")
    + "run: {executor: {use: process, workers: 1}}\n"
)
"""As `SMALL`, but its tasks run in processes of their own."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install plugins that leak, until the test is over."""
    info = tmp_path / "site" / "plants-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plants\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[engine]\nplants = tests.prove.plants\n")
    monkeypatch.syspath_prepend(info.parent)
    monkeypatch.setattr("tests.prove.plants.MEMORY", {})


def found(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict]:
    """Exit code and result of the one spec tested."""
    code = invoke(["test", "weekly.yaml", "--json", "--quiet", *arguments])
    (result,) = json.loads(capsys.readouterr().out)
    return code, result


def test_a_spec_that_holds_is_proven_in_one_row_without_a_backtest(home: Path, capsys):
    write_spec(home, NO_LEAKS, base=SMALL)
    code, result = found("--output", "runs", capsys=capsys)
    (row,) = result["verdicts"]
    assert code == 0
    assert (row["title"], row["line"], row["holds"]) == ("no_leaks", 15, True)
    assert row["expected"].startswith("no leaks in ")
    assert not (home / "runs").exists()


def test_the_switch_proves_a_spec_that_expects_nothing_and_one_that_expects_more(
    home: Path, capsys
):
    write_spec(home, base=SMALL)
    code, result = found("--prove", capsys=capsys)
    assert (code, [v["title"] for v in result["verdicts"]]) == (0, ["no_leaks"])
    write_spec(home, GOOD, NO_LEAKS, base=SMALL)
    code, result = found("--prove", capsys=capsys)
    assert [v["number"] for v in result["verdicts"]] == [0, 1]
    write_spec(home, GOOD, base=SMALL)
    code, result = found(capsys=capsys)
    assert [v["title"] for v in result["verdicts"]] == ["weekly wape better_than last"]


@pytest.mark.usefixtures("planted")
def test_a_leak_is_a_failed_row_that_names_it_in_every_report(home: Path, capsys):
    write_spec(home, GOOD, NO_LEAKS, base=LEAKING)
    arguments = ["--github", "--junit", "junit.xml", "--quiet"]
    assert invoke(["test", "weekly.yaml", *arguments]) == 6
    out = capsys.readouterr().out
    assert "FAILED  model leaks (recall)" in out
    assert "::error file=weekly.yaml,line=16,title=no_leaks::model leaks (recall) no_leaks" in out
    suite = ElementTree.parse(home / "junit.xml").getroot()[0]
    (failure,) = [case.find("failure") for case in suite if case.find("failure") is not None]
    assert "e.g. model leaks (recall): y_hat of series" in (failure.text or "")


@pytest.mark.usefixtures("planted")
def test_a_snapshot_is_not_rewritten_with_scores_that_leak(home: Path, capsys):
    write_spec(home, NO_LEAKS, base=LEAKING)
    assert invoke(["test", "weekly.yaml", "--update", "--quiet"]) == 6
    assert "was not written" in capsys.readouterr().out
    assert not (home / "weekly.snapshot.yaml").exists()


def test_what_could_not_be_tried_is_not_proven():
    finding = Finding("features lags", "lag_1", "a", "2024-01-01", 2, "1", "2", "noise", count=5)
    checks = (
        Check("repeat", "all", "2024", "holds"),
        Check("state", "all", "2024", "skipped", reason="no forecast beyond the data"),
        Check("future", "features lags", "2024", "leaks", findings=(finding,)),
        Check("types", "model m", "2024", "failed", reason="no luck"),
    )
    leak, untried = proof_verdicts(Proof("p", 3, checks), [4])
    assert (leak.number, leak.model, leak.value, leak.holds) == (4, "features lags", 5.0, False)
    assert "looked 2 steps ahead" in leak.expected
    assert (untried.value, untried.holds) == (None, False)
    assert "it failed: no luck" in untried.expected
    (whole,) = proof_verdicts(Proof("p", 3, checks[:2]), [0])
    assert (whole.expected, whole.holds) == ("no leaks in 1 checks on 3 series", True)
    (nothing,) = proof_verdicts(Proof("p", 3, ()), [0])
    assert not nothing.holds


def test_a_plain_run_says_that_it_does_not_prove(home: Path, capsys):
    write_spec(home, NO_LEAKS, base=SMALL)
    assert invoke(["run", "weekly.yaml", "--quiet"]) == 0
    assert "no_leaks is not judged here, but by `engine test`" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    [
        "- {model: last, no_leaks: true}",
        "- {no_leaks: true, no_failures: true}",
        "- {model: last, metric: wape, max: 9, no_leaks: true}",
    ],
)
def test_no_leaks_stands_alone(line: str):
    (problem,) = problems(f"{SMALL}expect:\n  {line}\n")
    assert "stands alone" in problem.message


def test_memory_is_a_multiple_of_another_model_s():
    def holds(memory: dict[str, float], ratio: float = 2.0) -> bool:
        expected = Expectation(model="a", memory_ratio=ratio, than="b")
        (verdict,) = judge([expected], Evidence(scores=None, memory=memory))  # type: ignore[arg-type]
        assert verdict.metric == "megabytes"
        return verdict.holds

    assert holds({"a": 400.0, "b": 200.0})
    assert not holds({"a": 401.0, "b": 200.0})
    assert not holds({"a": 400.0})
    assert not holds({"b": 400.0})


def test_memory_without_processes_of_their_own_is_refused():
    line = "- {model: weekly, memory_ratio: 2, than: last}"
    (problem,) = problems(f"{SMALL}expect:\n  {line}\n")
    assert (problem.path, problem.line) == ("expect.0.memory_ratio", 15)
    assert "processes of their own" in problem.message


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_the_memory_of_a_task_is_its_own_and_not_that_of_who_started_it(home: Path):
    line = "- {model: weekly, memory_ratio: 1.5, than: last}"
    registry = Registry.discover()
    loaded = load_spec(write_spec(home, line, base=PROCESSES), registry)
    ballast = bytearray(600 << 20)
    ballast[::4096] = b"x" * len(ballast[::4096])
    done = backtest(loaded, registry, output=home / "runs", base=home)
    del ballast
    assert [row["holds"] for row in done.gate] == [True]
    assert done.evidence.memory.keys() == {"weekly", "last"}
    assert all(50 < megabytes < 500 for megabytes in done.evidence.memory.values())
    measured = {t["name"].split("/")[0] for t in done.manifest["tasks"] if "megabytes" in t}
    assert measured == {"weekly", "last"}
