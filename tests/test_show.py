"""A series drawn in the terminal, and the list of the best and the worst."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, strategies as st

from engine.cli import series_plot
from engine.cli.main import invoke
from engine.rundir import list_runs

SPEC = """version: 1
name: cafes
data:
  source: {use: files, path: sales.csv, types: {day: date}}
  columns: {unique_id: place, ds: day, y: sold}
  freq: 1d
horizon: 7
quantiles: [0.1, 0.5, 0.9]
models:
  snaive: {use: seasonal_naive, season: 7}
backtest: {folds: 2}
evaluate: {metrics: [mae]}
"""
PLACES = ("caf\u00e9 nord", "kiosk", "pier")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with one run of three places; the pier sells most and wildest."""
    home = tmp_path_factory.mktemp("cafes")
    rows = ["place,day,sold"]
    for number, place in enumerate(PLACES):
        for t in range(70):
            day = dt.date(2024, 1, 1) + dt.timedelta(days=t)
            wild = (t * 37 % 11) * number**2
            rows.append(f"{place},{day},{10 + t % 7 + wild}")
    (home / "sales.csv").write_text("\n".join(rows), encoding="utf-8")
    (home / "cafes.yaml").write_text(SPEC)
    before = Path.cwd()
    os.chdir(home)
    try:
        assert invoke(["run", "cafes.yaml", "--quiet"]) == 0
    finally:
        os.chdir(before)
    return home / "runs"


def shown(runs: Path, *arguments: str) -> list[str]:
    return ["show", "cafes", "--output", str(runs), *arguments]


def test_without_a_series_the_best_and_the_worst_are_listed(runs, capsys):
    assert invoke(shown(runs, "--top", "1")) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if line.startswith(("lowest", "highest"))]
    assert [row[0] for row in rows] == ["lowest", "highest"]
    assert rows[1][1] == "pier"
    assert "next: engine show cafes --series pier" in out
    (run,) = list_runs(runs)
    scores = pl.read_parquet(run.path / "series_scores.parquet")
    worst = scores.filter(unique_id="pier", metric="mae", model="snaive")["value"][0]
    assert float(rows[1][2]) == pytest.approx(worst, rel=1e-3)


def test_as_json_a_series_has_its_actuals_and_forecasts(runs, capsys):
    assert invoke(shown(runs, "--series", "kiosk", "--json", "--periods", "5")) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["model"] == "snaive"
    assert [row["ds"] for row in document["actual"]] == [
        str(dt.date(2024, 1, 1) + dt.timedelta(days=t)) for t in range(70 - 14 - 5, 70)
    ]
    assert len(document["forecast"]) == 3 * 7
    assert {row["cutoff"] for row in document["forecast"]} == {
        "2024-02-25", "2024-03-03", "2024-03-10"
    }  # fmt: skip


def test_a_series_is_drawn_as_wide_as_the_terminal(runs, capsys, monkeypatch):
    pytest.importorskip("plotille")
    monkeypatch.setenv("COLUMNS", "64")
    monkeypatch.setattr(series_plot, "_encodable", lambda text: True)
    assert invoke(shown(runs, "--series", "pier")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "pier by snaive"
    assert max(map(len, lines)) <= 64
    picture = "".join(lines[1:-2])
    assert any("\u2801" <= letter <= "\u28ff" for letter in picture)
    assert "o" in picture
    assert "24-0" in picture, "dates stand below"
    assert "q0.1 to q0.9" in lines[-2]
    assert "2024-03-10" in lines[-1]


def test_an_unknown_series_is_exit_4_and_near_ones_are_named(runs, capsys):
    assert invoke(shown(runs, "--series", "kiosc")) == 4
    assert "did you mean kiosk?" in capsys.readouterr().err
    assert invoke(shown(runs, "--series", "nord")) == 4
    assert PLACES[0] in capsys.readouterr().err


def test_an_unknown_model_is_exit_4_and_the_known_are_named(runs, capsys):
    assert invoke(shown(runs, "--series", "pier", "--model", "crystal")) == 4
    assert "models: snaive" in capsys.readouterr().err


def test_without_the_library_it_is_exit_3_with_the_line_that_installs_it(runs, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotille", None)
    assert invoke(shown(runs, "--series", "pier")) == 3
    assert "pip install 'engine-forecast[terminal]'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--series", PLACES[0]], []], ids=["drawn", "listed"])
def test_a_terminal_without_unicode_loses_dots_not_results(runs, arguments):
    pytest.importorskip("plotille")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "COLUMNS": "60"}
    command = [sys.executable, "-m", "engine.cli.main", *shown(runs, *arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout.decode("utf-8")
    assert not any("\u2800" <= letter <= "\u28ff" for letter in said)
    assert "caf" in said
    if arguments:
        picture = said.splitlines()[1:-2]
        assert {"o", ".", "-"} <= set("".join(picture))
        assert max(map(len, picture)) <= 60


def frames(values: list[float | None]) -> tuple[pl.DataFrame, pl.DataFrame]:
    schema = {"ds": pl.Int64, "y": pl.Float64}
    rows = {"ds": list(range(len(values))), "y": values}
    actual = pl.DataFrame(rows, schema=schema).drop_nulls("y")
    forecast = pl.DataFrame({"ds": [9], "cutoff": [8], "y_hat": [1.0]})
    return actual, forecast


@pytest.mark.parametrize("values", [[], [3.0], [0.0] * 5, [1e9, -1e9], [1.0, None, 2.0]])
def test_whatever_there_is_can_be_drawn(values):
    pytest.importorskip("plotille")
    lines = series_plot.draw("any", *frames(values))
    assert lines[0] == "any"
    assert len(lines) > 8


def test_nothing_is_said_to_be_nothing():
    pytest.importorskip("plotille")
    actual, forecast = frames([])
    assert "nothing to draw" in series_plot.draw("none", actual, forecast.clear())[1]


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-3, 1e6), lines=st.integers(6, 20))
def test_the_axis_holds_all_values_and_wastes_little(low: float, span: float, lines: int):
    first, last = series_plot._round(low, low + span, lines)
    assert first <= low + 1e-6 * span
    assert last >= low + span - 1e-6 * span
    assert last - first <= 2.6 * span
