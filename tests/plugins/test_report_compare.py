"""The report of two runs, and reports as PDF and PNG."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from engine.cli.main import invoke
from engine.compare.runs import compare_runs
from engine.rundir import read_run
from engine_report import browser
from tests.plugins.report_runs import SPEC, Page, finished_run

HAS_BROWSER = any(shutil.which(name) for name in (*browser.NAMES, *browser.ELSEWHERE))
needs_browser = pytest.mark.skipif(not HAS_BROWSER, reason="needs Chromium, Chrome or Edge")


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("before"))


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> Path:
    changed = SPEC.replace("use: ridge, target: log1p", "use: ridge, target: none")
    return finished_run(tmp_path_factory.mktemp("after"), changed)


def test_two_runs_are_compared_with_the_numbers_of_engine_diff(before, after, capsys):
    assert invoke(["report", str(before), str(after)]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path == after / f"compared-with-{before.name}.html"
    page = Page(path.read_text())
    comparison = compare_runs(read_run(before), read_run(after))
    head, *rows = page.tables["Scores of models in both runs"]
    wanted = [d for d in comparison.deltas if d.segment == "all"]
    assert head[:5] == ["model", "metric", "before", "after", "change %"]
    assert [(r[0], r[1], float(r[2]), float(r[3])) for r in rows] == [
        (d.model, d.metric, d.before, d.after) for d in wanted
    ]
    shown = [float(r[7]) for r in rows if r[7] != "–"]
    assert shown == [d.p for d in wanted if d.p is not None]
    _, *changed = page.tables["Spec, data and versions"]
    assert ["spec", "models.ridge.target", "log1p", "none"] in changed
    _, *movers = page.tables["Largest movers of each model"]
    assert [(r[0], float(r[2])) for r in movers] == [
        (m.unique_id, m.before) for m in comparison.movers
    ]


def test_a_comparison_says_first_what_became_of_the_chosen_model(before, after, capsys):
    assert invoke(["report", str(before), str(after), "--format", "md"]) == 0
    first = Path(capsys.readouterr().out.strip()).read_text().splitlines()[0]
    scores = json.loads((after / "manifest.json").read_text())["best"]
    assert first.startswith("### tiny: two runs compared: By wape, of 2 models in both runs: ")
    assert f"The model chosen now, {scores['model']}, went from" in first


def test_a_run_compared_with_itself_is_the_same_to_the_last_digit(before, capsys):
    assert invoke(["report", str(before), str(before), "--format", "md"]) == 0
    text = Path(capsys.readouterr().out.strip()).read_text()
    assert "All scores are the same to the last digit" in text
    assert "Spec, data and versions are the same" in text


def test_without_a_browser_the_command_says_what_to_install(before, monkeypatch, capsys):
    monkeypatch.setattr(browser, "NAMES", ())
    monkeypatch.setattr(browser, "ELSEWHERE", ())
    monkeypatch.delenv("CHROME_PATH", raising=False)
    assert invoke(["report", str(before), "--format", "pdf"]) == 3
    assert "apt install chromium" in capsys.readouterr().err
    assert not (before / "report.pdf").exists()


@needs_browser
@pytest.mark.slow
def test_pdf_and_png_are_made_by_the_browser_that_is_there(before, capsys):
    assert invoke(["report", str(before), "--format", "pdf"]) == 0
    assert (before / "report.pdf").read_bytes().startswith(b"%PDF-")
    assert invoke(["report", str(before), "--format", "png"]) == 0
    head = (before / "report.png").read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    width, height = int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
    assert width == browser.WIDTH
    assert 3000 < height < browser.TALLEST
