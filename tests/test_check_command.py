"""`engine plugins check`: the report card and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.cli.main import invoke
from engine.testing.base import run_python
from engine.testing.panels import Case


def test_a_component_that_passes_exits_0_and_names_every_check(capsys):
    assert invoke(["plugins", "check", "csv", "--json"]) == 0
    (card,) = json.loads(capsys.readouterr().out)
    assert (card["kind"], card["name"], card["distribution"]) == (
        "writer",
        "csv",
        "engine-forecast",
    )
    assert card["failed"] == 0
    assert card["ok"] + card["skipped"] == len(card["checks"]) >= 16


def test_what_is_skipped_says_why(capsys):
    assert invoke(["plugins", "check", "bias"]) == 0
    out = capsys.readouterr().out
    assert "the metric declares no order" in out
    assert "0 failed" in out


def test_a_source_reads_from_the_current_folder_and_a_failed_check_exits_7(
    tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Case().rows().write_parquet("sales.parquet")
    arguments = ["plugins", "check", "files", "--params"]
    assert invoke([*arguments, '{"path": "sales.parquet"}']) == 0
    assert invoke([*arguments, '{"path": "gone.parquet"}']) == 7
    assert "gone.parquet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing"], 4, "no component, plugin or distribution named 'nothing'"),
        (["files"], 2, "source 'files' cannot be built with {}: Field required (path)"),
        (["csv", "--params", "{"], 2, "--params is not JSON"),
        (["csv", "--params", "[1]"], 2, "not an object of options"),
        (["csv", "--kind", "model"], 4, "named 'csv'"),
    ],
)
def test_what_cannot_be_checked_is_said(arguments, code, message, capsys):
    assert invoke(["plugins", "check", *arguments]) == code
    assert message in capsys.readouterr().err


def test_a_plugin_s_name_checks_all_that_it_offers(capsys):
    assert invoke(["plugins", "check", "tables", "--json"]) == 0
    cards = json.loads(capsys.readouterr().out)
    assert [card["name"] for card in cards] == ["csv", "parquet"]


def test_the_kit_needs_no_pytest():
    script = "import sys; sys.modules['pytest'] = None; from engine.cli.main import invoke; "
    run_python(["-c", script + "sys.exit(invoke(['plugins', 'check', 'mae']))"])


def test_show_prints_the_example(capsys):
    assert invoke(["plugins", "show", "promo"]) == 0
    assert '{"use": "promo", "price": "price"' in capsys.readouterr().out
