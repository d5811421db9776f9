from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from engine.cli.main import invoke
from engine.gate.check import only_needed
from engine.gate.discover import looks_like_a_run_spec
from engine.gate.judge import Evidence, judge
from engine.registry import Registry
from engine.rundir import list_runs
from engine.runner import backtest
from engine.spec.expectation import RULES, Expectation
from engine.spec.validate import load_spec
from tests.gate_specs import BAD, BASE, GOOD, KEPT, write_spec
from tests.spec_text import load, problems
from tests.test_docs import fenced

REGISTRY = Registry.discover()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Scores of the whole small spec."""
    folder = tmp_path_factory.mktemp("whole")
    loaded = load_spec(write_spec(folder), REGISTRY)
    return backtest(loaded, REGISTRY, output=folder, base=folder).evidence


def engine_test(*arguments: str) -> int:
    return invoke(["test", *arguments, "--quiet"])


def verdicts(evidence: Evidence, **expected: object) -> list[bool]:
    one = Expectation.model_validate({"model": "weekly", "metric": "wape", **expected})
    return [verdict.holds for verdict in judge([one], evidence)]


def wape(evidence: Evidence, model: str) -> float:
    found = evidence.scores.headline().filter(metric="wape", model=model)["value"].item()
    assert isinstance(found, float)
    return found


def test_a_ratio_holds_up_to_the_ratio_of_the_two_scores(evidence: Evidence):
    ratio = wape(evidence, "weekly") / wape(evidence, "last")
    assert verdicts(evidence, ratio=ratio * 1.001, than="last") == [True]
    assert verdicts(evidence, ratio=ratio * 0.999, than="last") == [False]


def with_snapshot(evidence: Evidence, value: float) -> Evidence:
    scores = {"weekly": {"wape": value}}
    return Evidence(evidence.scores, evidence.failed, evidence.seconds, scores)


@pytest.mark.parametrize(
    ("change", "tolerance", "holds"),
    [(1.0, 0.0, True), (0.96, 0.05, True), (0.94, 0.05, False), (0.5, 0.1, False), (2, 0.0, True)],
)
def test_a_tolerance_is_about_getting_worse(evidence: Evidence, change, tolerance, holds):
    recorded = float(f"{wape(evidence, 'weekly') * change:.6g}")
    against = with_snapshot(evidence, recorded)
    assert verdicts(against, tolerance=tolerance) == [holds]


def test_a_model_that_the_snapshot_does_not_know_does_not_hold(evidence: Evidence):
    empty = Evidence(evidence.scores, recorded={})
    assert verdicts(empty, tolerance=10.0) == [False]


def test_a_failure_of_another_model_does_not_count_for_this_one(evidence: Evidence):
    failing = Evidence(evidence.scores, failed={"last": 3})
    assert [v.holds for v in judge([Expectation(model="weekly", no_failures=True)], failing)] == [
        True
    ]
    (found,) = judge([Expectation(no_failures=True)], failing)
    assert (found.holds, found.value) == (False, 3.0)


def test_time_is_a_multiple_of_another_model_s(evidence: Evidence):
    timed = Evidence(evidence.scores, seconds={"weekly": 4.0, "last": 1.0})
    assert verdicts(timed, time_ratio=4.0, than="last") == [True]
    assert verdicts(timed, time_ratio=3.9, than="last") == [False]
    assert set(evidence.seconds) == {"weekly", "last", "spare"}
    assert min(evidence.seconds.values()) > 0


def test_a_model_that_forecast_only_the_easy_rows_holds_nothing(evidence: Evidence):
    counts = {**evidence.scores.counts, "weekly": evidence.scores.counts["weekly"] // 2}
    partial = Evidence(type(evidence.scores)(**{**vars(evidence.scores), "counts": counts}))
    assert verdicts(partial, max=1e9) == [False]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("- {model: snaive, metric: mae}", "an expectation needs one of max, min"),
        ("- {metric: mae, max: 1}", "needs `model:` and `metric:`"),
        ("- {model: snaive, metric: mae, ratio: 0.5}", "`than:` go together"),
        ("- {model: snaive, metric: mae, max: 1, than: snaive}", "`than:` go together"),
        ("- {model: snaive, metric: mae, ratio: 0.5, than: snave}", "no model named 'snave'"),
        ("- {model: snaive, metric: mae, tolerance: 0.1}", "which model 'snaive' must beat"),
        ("- {no_failures: false}", "must be true"),
    ],
)
def test_an_expectation_that_says_nothing_sound_is_a_problem_of_the_spec(line, message):
    text = BASE.replace("  weekly: ", "  snaive: ") + f"expect:\n  {line}\n"
    (problem,) = problems(text)
    assert message.lower() in problem.message.lower()
    assert problem.line == 15


def test_only_the_models_that_expectations_need_are_run_and_score_the_same(
    home: Path, evidence: Evidence
):
    loaded = only_needed(load_spec(write_spec(home, GOOD), REGISTRY))
    assert list(loaded.spec.models) == ["weekly", "last"]
    outcome = backtest(loaded, REGISTRY, output=home / "runs", base=home)
    assert wape(outcome.evidence, "weekly") == wape(evidence, "weekly")
    assert {t["name"].split("/")[0] for t in outcome.manifest["tasks"]} == {"weekly", "last"}
    assert not any("final" in t["name"] for t in outcome.manifest["tasks"])


def test_expectations_that_hold_are_exit_0_and_leave_no_run_behind(home: Path, capsys):
    write_spec(home, GOOD, "- {no_failures: true}")
    assert engine_test("weekly.yaml") == 0
    assert "2 of 2 hold" in capsys.readouterr().out
    assert [p.name for p in home.iterdir()] == ["weekly.yaml"]


def test_a_failed_expectation_is_exit_6_in_every_report(home: Path, capsys):
    write_spec(home, GOOD, BAD)
    arguments = ("--github", "--junit", "junit.xml", "--output", "runs")
    assert engine_test("weekly.yaml", *arguments) == 6
    out = capsys.readouterr().out
    assert "1 of 2 hold" in out
    assert "::error file=weekly.yaml,line=16,title=last wape better_than weekly::last wape" in out
    suite = ElementTree.parse(home / "junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed == ["last wape better_than weekly"]
    (run,) = list_runs(home / "runs")
    assert run.status == "gate failed"


def test_a_folder_is_searched_and_a_broken_spec_does_not_hide_the_others(home: Path, capsys):
    write_spec(home, GOOD, name="good")
    write_spec(home, GOOD, name="broken", base=BASE.replace("horizon: 7", "horizon: 0"))
    write_spec(home, GOOD, name="old.snapshot")
    (home / "other.yaml").write_text("services: [web]\n")
    assert engine_test(".", "--json") == 5
    broken, good = json.loads(capsys.readouterr().out)
    assert (broken["spec"], good["spec"]) == ("broken.yaml", "good.yaml")
    assert "broken.yaml:7" in broken["error"]
    assert [v["holds"] for v in good["verdicts"]] == [True]


def test_a_gate_that_checks_nothing_does_not_pass(home: Path, capsys):
    write_spec(home)
    assert engine_test("weekly.yaml") == 2
    assert "expects anything" in capsys.readouterr().err


def test_a_run_s_copy_of_its_spec_is_not_a_spec_to_test(home: Path):
    path = write_spec(home, GOOD)
    assert looks_like_a_run_spec(path)
    (home / "manifest.json").write_text("{}")
    assert not looks_like_a_run_spec(path)


def test_update_writes_a_snapshot_shows_what_changed_and_then_holds(home: Path, capsys):
    write_spec(home, KEPT)
    assert engine_test("weekly.yaml") == 4
    assert "engine test weekly.yaml --update" in capsys.readouterr().err
    assert engine_test("weekly.yaml", "--update") == 0
    assert "+  weekly:" in capsys.readouterr().out
    snapshot = yaml.safe_load((home / "weekly.snapshot.yaml").read_text())
    assert list(snapshot["scores"]) == ["weekly", "last"]
    assert engine_test("weekly.yaml") == 0
    capsys.readouterr()
    assert engine_test("weekly.yaml", "--update") == 0
    assert "the snapshot has not changed" in capsys.readouterr().out


def test_a_worse_model_fails_against_the_snapshot(home: Path, capsys):
    write_spec(home, KEPT)
    engine_test("weekly.yaml", "--update")
    worse = BASE.replace("weekly: {use: seasonal_naive, season: 7}",
                         "weekly: {use: seasonal_naive, season: 3}")  # fmt: skip
    write_spec(home, KEPT, base=worse)
    capsys.readouterr()
    assert engine_test("weekly.yaml") == 6
    out = capsys.readouterr().out
    assert "at most 5 % worse than the snapshot" in out
    assert "features or models of the spec have changed" in out


def test_update_does_not_record_what_loses_to_its_baseline(home: Path, capsys):
    losing = "- {model: last, metric: wape, better_than: weekly, tolerance: 0.5}"
    write_spec(home, losing)
    assert engine_test("weekly.yaml", "--update") == 6
    assert "was not written" in capsys.readouterr().out
    assert not (home / "weekly.snapshot.yaml").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("periods: 90", "periods: 91", "made from other data"),
        ("folds: 2", "folds: 3", "measured in another way"),
    ],
)
def test_a_snapshot_of_something_else_is_an_error_not_a_pass(home: Path, capsys, old, new, message):
    write_spec(home, KEPT)
    engine_test("weekly.yaml", "--update")
    write_spec(home, KEPT, base=BASE.replace(old, new))
    assert engine_test("weekly.yaml") == 5
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[1, 2]", "version: 2\n", "a: [", "\x00"])
def test_a_damaged_snapshot_is_an_error_that_names_it(home: Path, capsys, text: str):
    write_spec(home, KEPT)
    (home / "weekly.snapshot.yaml").write_text(text)
    assert engine_test("weekly.yaml") == 5
    assert "weekly.snapshot.yaml" in capsys.readouterr().err


def test_a_locked_run_refuses_other_versions_and_other_data(home: Path, capsys):
    write_spec(home, KEPT)
    locked = ["run", "weekly.yaml", "--locked", "--quiet"]
    assert invoke(locked) == 4
    engine_test("weekly.yaml", "--update")
    capsys.readouterr()
    assert invoke(locked) == 0
    assert "at most 5 % worse than the snapshot" in capsys.readouterr().out
    assert invoke([*locked, "--set", "data.source.periods=91"]) == 5
    assert "made from other data" in capsys.readouterr().err
    assert invoke([*locked, "--set", "backtest.folds=1"]) == 5
    assert "measured in another way" in capsys.readouterr().err
    file = home / "weekly.snapshot.yaml"
    snapshot = yaml.safe_load(file.read_text())
    snapshot["versions"]["plugins"]["engine-forecast"] = "0.0.9"
    file.write_text(yaml.safe_dump(snapshot))
    assert invoke(locked) == 5
    assert "engine-forecast is " in capsys.readouterr().err
    assert engine_test("weekly.yaml") == 0


def test_a_plain_run_says_that_it_does_not_judge_tolerances(home: Path, capsys):
    write_spec(home, KEPT)
    assert invoke(["run", "weekly.yaml", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "tolerances are not judged here" in out
    assert "expect holds  weekly wape better than last" in out


def test_the_guide_shows_valid_expectations_and_every_rule():
    guide = (Path(__file__).parent.parent / "docs" / "testing-specs.md").read_text()
    shown = fenced(guide, "spec")["expectations.yaml"]
    base = BASE.replace("weekly:", "snaive:").replace("last: {", "ridge: {")
    spec = load(base.replace("[mae, wape]", "[mae, wape, coverage]") + shown).spec
    used = {rule for expected in spec.expect for rule in RULES if getattr(expected, rule)}
    assert used == set(RULES)
    assert [rule for rule in RULES if f"`{rule}`" not in guide] == []


def test_an_annotation_keeps_its_syntax_whatever_the_message(home: Path, capsys):
    write_spec(home, GOOD, base=BASE.replace("horizon: 7", "horizon: 0"), name="a,b")
    assert engine_test("a,b.yaml", "--github") == 5
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("::error")]
    assert line.startswith("::error file=a%2Cb.yaml,line=1,title=spec cannot be tested::")
    assert "%0A" in line
