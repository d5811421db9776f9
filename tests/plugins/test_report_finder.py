"""Series packed for the search of the page: their numbers come back, and the page stays small."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from engine.contracts import Results
from engine.outputs import read_results
from engine.rundir import read_run
from engine_report import finder
from engine_report.params import ReportParams
from engine_report.reading import Run, read
from engine_report.views import ROOM, views
from tests.plugins.report_runs import finished_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = finished_run(tmp_path_factory.mktemp("runs"))
    return read(read_results(read_run(folder), folder), ReportParams())


def unpacked(text: str, entry: list[Any]) -> list[float]:
    """As the page's script does it."""
    base = len(finder.LETTERS)
    codes = [
        finder.LETTERS.index(text[i]) * base + finder.LETTERS.index(text[i + 1])
        for i in range(0, len(text), 2)
    ]
    low, high = entry[1:3]
    return [low + (c - 1) / (base**2 - 2) * (high - low) if c else math.nan for c in codes]


def test_what_the_page_draws_are_the_rows_of_the_static_pictures(run: Run):
    names = sorted(run.rows["unique_id"].unique().to_list())
    found = finder.searched(run, names)
    assert found is not None
    data = json.loads(found.text)
    assert found.count == len(data["series"]) == len(names) == 8
    for entry, view in zip(data["series"], views(run, names), strict=True):
        name, low, high, (start, text), marks, lines = entry
        assert name == view.name
        near = pytest.approx
        step = (high - low) / finder.STEPS
        seen = view.history.filter(pl.col("y").is_not_null())
        dates = data["dates"][start : start + seen.height]
        assert dates == seen["ds"].cast(pl.String).to_list()
        assert unpacked(text, entry) == near(seen["y"].to_list(), abs=step)
        marked = view.history.filter(promo=1)["ds"].cast(pl.String).to_list()
        stretches = zip(marks[::2], marks[1::2], strict=True)
        assert [d for a, b in stretches for d in data["dates"][a:b]] == marked
        folds = view.tested.partition_by("cutoff", maintain_order=True)
        assert [line[0] for line in lines] == [0] * len(folds) + [1]
        drawn = [*seen["y"], *view.tested["y_hat"], *view.ahead["y_hat"]]
        room = ROOM * (max(drawn) - min(drawn))
        cut = pl.all().clip(min(drawn) - room, max(drawn) + room)
        for line, rows in zip(lines, [*folds, view.ahead], strict=True):
            assert data["dates"][line[1]] == str(rows["ds"][0])
            for packed, column in zip(line[2:], ("y_hat", "q0.1", "q0.9"), strict=True):
                shown = rows.select(column).select(cut)[column].to_list()
                assert unpacked(packed, entry) == near(shown, abs=step)


def test_there_is_room_for_a_few_only_and_those_are_the_first(run: Run, monkeypatch):
    names = sorted(run.rows["unique_id"].unique().to_list())
    monkeypatch.setattr(finder, "MOST_BYTES", 1500)
    found = finder.searched(run, names)
    assert found is not None
    assert 0 < found.count < 8
    assert len(found.text) < 1500 + 1500
    assert [entry[0] for entry in json.loads(found.text)["series"]] == names[: found.count]


def test_a_name_cannot_end_the_script_that_holds_it(run: Run):
    evil = "</script><script>alert(1)</script>"
    first = run.rows["unique_id"][0]
    tables = {
        name: table.with_columns(pl.col("unique_id").replace(first, evil))
        for name, table in run.results.tables.items()
        if name in ("backtest", "forecast", "history", "series", "scores")
        and "unique_id" in table.columns
    }
    made = Results({**run.results.tables, **tables}, "tiny", run.results.folder, Path(),
                   run.manifest)  # fmt: skip
    found = finder.searched(read(made, ReportParams()), [evil])
    assert found is not None
    assert "<" not in found.text
    assert json.loads(found.text)["series"][0][0] == evil
