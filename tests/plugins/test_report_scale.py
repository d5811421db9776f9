"""The report of thousands of series stays small, and says of what it shows a sample only."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from engine.contracts import Results
from engine.history import MOST_ROWS
from engine.outputs import read_results
from engine.rundir import read_run
from engine_report.params import ReportParams
from engine_report.writer import ReportWriter
from tests.plugins.report_runs import finished_run

MOST_BYTES = 3_000_000


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What a run of 8 series left."""
    folder = finished_run(tmp_path_factory.mktemp("runs"))
    return read_results(read_run(folder), folder)


def grown(small: Results, n_series: int) -> Results:
    """The same run with copies of its series under other names, no two of the same size."""
    copies = pl.DataFrame({"copy": range(-(-n_series // 8))})
    factor = 0.5 + (pl.col("copy") * 0.618034) % 1

    def copied(name: str, table: pl.DataFrame, copies: pl.DataFrame) -> pl.DataFrame:
        scaled = [c for c in table.columns if c in ("y", "y_hat", "total") or re.match(r"q0", c)]
        names = [c for c in ("unique_id", "item") if c in table.columns]
        label = [pl.format("{}-{}", pl.col(c).cast(pl.String), "copy").alias(c) for c in names]
        both = copies.join(table, how="cross").with_columns(*label, pl.col(scaled) * factor)
        both = both.sort("unique_id", maintain_order=True).drop("copy")
        last = both["unique_id"].unique().sort().head(n_series)
        return both.filter(pl.col("unique_id").is_in(last.to_list())).select(table.columns)

    kept = max(n_series * 407 // MOST_ROWS, 1)
    tables = {
        name: copied(name, table, copies.gather_every(kept) if name == "history" else copies)
        for name, table in small.tables.items()
        if name in ("backtest", "forecast", "series", "history")
    }
    data = {**small.manifest["data"], "series": tables["series"].height}
    manifest = {**small.manifest, "data": data}
    return Results({**small.tables, **tables}, small.name, small.folder, small.base, manifest)


@pytest.mark.slow
@pytest.mark.parametrize("n_series", [3000, 30_490])
def test_thousands_of_series_make_a_small_page_that_says_what_is_a_sample(
    small: Results, n_series: int, tmp_path: Path
):
    results = grown(small, n_series)
    assert results.tables["backtest"]["unique_id"].n_unique() == n_series
    (path,) = ReportWriter(ReportParams(path=str(tmp_path / "r.html"))).write(results)
    text = path.read_text()
    assert len(text.encode()) < MOST_BYTES
    assert f"24 of {n_series:,} series are drawn" in text
    kept = results.tables["history"]["unique_id"].n_unique()
    assert kept < n_series
    assert f"of {kept:,} series of which history is kept" in text
    assert "of the series whose history is kept" in text


@pytest.mark.slow
def test_as_many_pictures_as_can_be_asked_for_keep_the_page_below_the_limit(
    small: Results, tmp_path: Path
):
    options = ReportParams(path=str(tmp_path / "r.html"), pictures=200)
    (path,) = ReportWriter(options).write(grown(small, 3000))
    assert "200 of 3,000 series are drawn" in path.read_text()
    assert path.stat().st_size < MOST_BYTES


@pytest.mark.parametrize("pictures", [0, 5])
def test_a_run_with_fewer_series_than_pictures_draws_each_once(
    small: Results, pictures: int, tmp_path: Path, drawn: Callable[[str], int]
):
    options = ReportParams(path=str(tmp_path / "r.html"), pictures=pictures)
    (path,) = ReportWriter(options).write(small)
    assert drawn(path.read_text()) == pictures


@pytest.fixture
def drawn() -> Callable[[str], int]:
    """Number of series among the pictures of a page."""
    return lambda text: len(re.findall(r'<figure data-name="store_', text))
