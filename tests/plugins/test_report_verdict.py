"""What the verdict advises: which model, what not to order from, how sure, and what is no sales."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from engine.contracts import Results
from engine.outputs import read_results
from engine.rundir import read_run
from engine_report import choice, failing, periods, trust, verdict
from engine_report.compare import LOSSES, paired
from engine_report.document import Document, Table
from engine_report.leaderboard import section as leaderboard
from engine_report.params import ReportParams
from engine_report.reading import Run, read
from engine_report.writer import document
from tests.plugins.report_runs import SPEC, finished_run

METRICS = "[wape, mape, smape, rmse, rmspe, mae, mse, mase, bias, coverage]"
SPEC_OF_ALL = SPEC.replace("[wape, mae, bias, coverage, pinball]", METRICS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("runs"), SPEC_OF_ALL)


def results(folder: Path, manifest: dict | None = None, **tables: pl.DataFrame) -> Results:
    found = read_results(read_run(folder), folder)
    kept = {**found.manifest, **(manifest or {})}
    return Results({**found.tables, **tables}, found.name, folder, folder, kept)


@pytest.fixture
def run(folder: Path) -> Run:
    return read(results(folder), ReportParams())


def said(made: Document, section: str) -> str:
    (found,) = [s for s in made.sections if s.name == section]
    return " ".join(b.text for b in found.blocks if b.kind == "prose")


@pytest.mark.parametrize("score", sorted(LOSSES))
def test_the_tested_difference_is_that_of_the_scores(run: Run, score: str):
    found = paired(run.rows, "snaive", "ridge", score)
    assert found is not None
    difference = run.headline["snaive", score] - run.headline["ridge", score]
    assert found.difference == pytest.approx(difference, rel=1e-9)
    assert found.low < found.difference < found.high


@pytest.mark.parametrize("score", ["wape", "mape", "rmspe"])
def test_a_model_that_is_off_by_half_as_much_again_is_worse_beyond_chance(run: Run, score: str):
    mine = run.rows.filter(model="ridge")
    worse = mine.with_columns(pl.lit("worse").alias("model"), error=1.5 * pl.col("error"))
    found = paired(pl.concat([mine, worse]), "worse", "ridge", score)
    assert found.p < 0.05
    assert found.difference == pytest.approx(0.5 * run.headline["ridge", score], rel=1e-9)


def test_an_equally_good_model_that_takes_less_work_is_named_in_the_first_sentence(folder: Path):
    """The same forecasts under another name: no difference, a tenth of the work."""
    tables = {}
    found = read_results(read_run(folder), folder)
    for name in ("backtest", "scores"):
        table = found.tables[name]
        other = table.filter(model="ridge").with_columns(pl.lit("quick").alias("model"))
        if name == "backtest":  # Each off by a little, now high, now low.
            off = pl.when(pl.int_range(pl.len()) % 2 == 0).then(0.001).otherwise(-0.001)
            other = other.with_columns(pl.col("y_hat") + off)
        tables[name] = pl.concat([table, other])
    tasks = [
        {"name": "ridge/backtest/1", "seconds": 20.0},
        {"name": "quick/backtest/1", "seconds": 2.0},
    ]
    run = read(results(folder, {"tasks": tasks}, **tables), ReportParams())
    assert choice.cheaper(run) == ("quick", pytest.approx(10))
    text = verdict.sentence(run)
    assert text.startswith(
        "Use ridge, or quick: these data show no difference between them, and quick"
    )
    assert "10 times less work" in text


def test_a_model_that_is_much_worse_is_no_choice_though_few_series_cannot_tell(run: Run):
    assert choice.cheaper(run) is None
    assert verdict.sentence(run).startswith("Use ridge: its wape over 3 folds is 0.")


def test_groups_of_which_next_to_nothing_is_forecast_are_not_to_be_ordered_from(folder: Path):
    made = results(folder)
    mine = (pl.col("model") == "ridge") & (pl.col("store") == "store_001")
    nothing = pl.when(mine).then(0.02 * pl.col("y_hat")).otherwise(pl.col("y_hat"))
    tables = {n: made.tables[n].with_columns(y_hat=nothing) for n in ("backtest", "forecast")}
    run = read(results(folder, **tables), ReportParams())
    found = failing.nothing_forecast(run)
    assert found is not None
    silent = run.rows.filter(store="store_001")["unique_id"].unique()
    assert found.series == set(silent)
    (group,) = found.groups
    assert found.nearest[0] == "snaive"
    report = document(run)
    assert f"For {group} (bias -98 %) the forecast is practically 0" in said(report, "verdict")
    assert "do not order from it" in said(report, "verdict")
    assert "Do not order" in said(report, "order")
    assert f"{group} (WAPE" not in said(report, "verdict")


def test_a_run_of_which_all_series_are_forecast_warns_of_none(run: Run):
    assert failing.nothing_forecast(run) is None
    assert "practically 0" not in said(document(run), "verdict")


def test_simulated_data_are_called_so_under_the_title(run: Run):
    assert document(run).notice == "Simulated data, no real sales."
    files = {**run.spec, "data": {**run.spec["data"], "source": {"use": "files"}}}
    assert verdict.notice(replace(run, spec=files)) == ""


def test_failed_forecasts_name_their_model_its_stand_in_and_who_is_not_touched(folder: Path):
    failures = pl.DataFrame({
        "kind": ["failed"] * 2, "model": ["snaive"] * 2, "cutoff": None, "unique_id": ["a", "b"],
        "reason": "x", "fallback": ["ridge"] * 2,
    })  # fmt: skip
    counts = {"failures": {"failed": 2, "skipped": 0}}
    run = read(results(folder, counts, failures=failures), ReportParams())
    text, _ = trust.failures_said(run)
    assert text.startswith("2 forecasts of snaive failed, ridge stood in; ridge is not affected")
    scores = next(b for b in leaderboard(run).blocks if isinstance(b, Table))
    assert [row[0] for row in scores.rows] == ["snaive †", "ridge"]
    assert "† snaive: 2 forecasts failed and are those of ridge" in scores.note


@pytest.mark.parametrize(("late", "said"), [(70, "but it was too narrow in the last 3 folds (70 %)"),
                                            (84, "it can be relied on")])  # fmt: skip
def test_an_interval_that_was_too_narrow_of_late_is_not_simply_relied_on(
    run: Run, late: int, said: str
):
    """Nine folds of a hundred values; 84 of them lie in the interval, of the last three `late`."""
    rows = [
        ("s", fold, i, "ridge", 5.0 if i < (late if fold >= 6 else 84) else -5.0, 0.0, 10.0, 0.0)
        for fold in range(9)
        for i in range(100)
    ]
    schema = ["unique_id", "cutoff", "ds", "model", "y", "q0.1", "q0.9", "error"]
    made = pl.DataFrame(rows, schema=schema, orient="row")
    nothing_else = Results({}, "t", run.results.folder, run.results.folder, {})
    text, tone = trust.interval_said(replace(run, results=nothing_else, rows=made))
    assert said in text
    assert tone == ("note" if late == 70 else "plain")


def test_promoted_and_ordinary_periods_that_lean_apart_get_their_own_factor(folder: Path):
    made = results(folder)
    marks = made.tables["history"].select("unique_id", "ds", "promo")
    tested = made.tables["backtest"].join(marks, on=["unique_id", "ds"], how="left")
    share = pl.when(pl.col("promo") == 1).then(0.5).otherwise(0.9)
    backtest = tested.with_columns(y_hat=share * pl.col("y")).drop("promo")
    run = read(results(folder, backtest=backtest), ReportParams())
    parts = trust.lean_by_mark(run)
    assert parts["promoted"].factor == pytest.approx(2.0)
    assert parts["ordinary"].factor == pytest.approx(1 / 0.9)
    text, _ = trust.lean_said(run)
    assert "-50.0 % in promoted periods and -10.0 % in ordinary periods" in text
    assert "those without promotions by 1.11" in text


def test_the_worst_dates_are_those_that_were_spoiled(folder: Path):
    tested = results(folder).tables["backtest"]
    bad = tested["ds"].unique().sort()[9]
    spoiled = pl.when(ds=bad).then(3 * pl.col("y_hat") + 50).otherwise(pl.col("y_hat"))
    run = read(results(folder, backtest=tested.with_columns(y_hat=spoiled)), ReportParams())
    blocks = periods.blocks(run)
    table = next(b for b in blocks if isinstance(b, Table))
    assert table.rows[0][0] == str(bad)
    mine = run.rows.filter(model="ridge", ds=bad)
    assert table.rows[0][1] == pytest.approx(mine["error"].abs().sum() / mine["y"].sum())
    assert blocks[0].text.startswith(f"Worst by date: {bad} (WAPE")
