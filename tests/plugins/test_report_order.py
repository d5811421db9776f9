"""What to order: every series is in the list, and what the forecast assumes stands above it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from engine.contracts import Results
from engine.outputs import read_results
from engine.rundir import read_run
from engine_report import ahead, charts, drivers, orders, trust
from engine_report.params import ReportParams
from engine_report.reading import Run, read
from engine_report.views import ROOM
from engine_report.writer import document
from tests.plugins.report_runs import SPEC, Page, finished_run

MANY = SPEC.replace("series: 8, stores: 2", "series: 20, stores: 4").replace(
    "write: [{use: report}]", "write: [{use: csv, table: forecast}, {use: report}]"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("runs"), MANY)


def a_run(folder: Path, spec: dict | None = None, **manifest: object) -> Run:
    found = read_results(read_run(folder), folder)
    made = Results(found.tables, found.name, folder, folder, {**found.manifest, **manifest})
    run = read(made, ReportParams())
    return replace(run, spec={**run.spec, **(spec or {})})


def order(run: Run) -> str:
    return " ".join(b.text for b in ahead.blocks(run) if b.kind == "prose")


def filled(run: Run, *notes: str) -> dict:
    return {**run.manifest["data"], "notes": list(notes)}


def test_the_page_holds_the_orders_of_every_series_and_their_total(folder: Path):
    run = a_run(folder)
    forecast = pl.read_parquet(folder / "forecast.parquet").filter(model="ridge")
    sums = dict(forecast.group_by("unique_id").agg(pl.col("y_hat").sum()).iter_rows())
    (table,) = [b for b in ahead.blocks(run) if b.kind == "table"]
    names = [column.name for column in table.columns]
    rows = json.loads(table.every)
    assert len(table.rows) == orders.MOST_SHOWN
    assert len(rows) == 20
    assert {row[0]: row[1] for row in rows} == pytest.approx(sums, rel=1e-5)
    tested = run.rows.filter(model="ridge", unique_id=rows[-1][0])
    wape = tested["error"].abs().sum() / tested["y"].sum()
    assert rows[-1][names.index("WAPE")] == pytest.approx(wape, rel=1e-5)
    assert rows[-1][names.index("bias")] == pytest.approx(
        tested["error"].sum() / tested["y"].sum(), rel=1e-4, abs=1e-6
    )
    assert table.total[:2] == ["all 20 series", pytest.approx(sum(sums.values()))]
    page = Page((folder / "report.html").read_text())
    assert float(page.tables["What is ahead"][-1][1]) == pytest.approx(sum(sums.values()))
    assert "outputs/forecast.csv" in order(run)


def test_a_series_of_which_nothing_is_forecast_has_no_margin_and_gives_none(folder: Path):
    found = read_results(read_run(folder), folder)
    sick = found.tables["series"]["unique_id"][0]
    y_hat = pl.when(pl.col("unique_id") == sick).then(0.01).otherwise(0.9) * pl.col("y")
    backtest = found.tables["backtest"].with_columns(y_hat=y_hat)
    tables = {**found.tables, "backtest": backtest}
    run = read(Results(tables, "t", folder, folder, found.manifest), ReportParams())
    (table,) = [b for b in ahead.blocks(run) if b.kind == "table"]
    place = [column.name for column in table.columns].index("enough")
    rows = {row[0]: row for row in json.loads(table.every)}
    assert rows[sick][place] is None
    assert rows[sick][-1] == orders.NOTHING
    assert all(row[place] is not None for name, row in rows.items() if name != sick)
    every, without = (ahead.spread_of(run, nothing) for nothing in ((), {sick}))
    assert without.factors["factor"].max() < every.factors["factor"].max()
    # All others are a tenth too low, and only they are corrected.
    text, _ = trust.lean_said(run)
    assert "10.0 % too low without the series of which it forecasts nothing" in text
    assert "Multiply totals of the others by 1.11" in text
    exact = backtest.with_columns(
        y_hat=pl.when(pl.col("unique_id") == sick).then("y_hat").otherwise("y")
    )
    run = read(Results({**tables, "backtest": exact}, "t", folder, folder, found.manifest),
               ReportParams())  # fmt: skip
    assert "Multiply" not in trust.lean_said(run)[0]


def test_large_units_keep_every_digit_that_the_page_writes():
    row = ["a", 1234567.25, None, 0.123456789, None, None, None, ""]
    made = orders.Orders([row], 1, enough=True)
    assert json.loads(made.text()) == [["a", 1234567.25, None, 0.123457, None, None, None, ""]]


def test_a_promotion_that_nobody_gave_is_a_warning_above_the_list(folder: Path):
    notes = ("promo: unknown for 7 steps of 20 series, filled by zero",
             "price: unknown for 7 steps of 20 series, filled by forward_fill")  # fmt: skip
    run = a_run(folder, data=filled(a_run(folder), *notes))
    blocks = ahead.blocks(run)
    kinds = [b.kind for b in blocks]
    (warning,) = [b for b in blocks if b.kind == "prose" and b.tone == "note"]
    assert "promo was taken as 0; price was kept at the last known value" in warning.text
    assert "assumes no promotion (promo = 0)" in warning.text
    assert blocks.index(warning) < kinds.index("table")


def test_a_forecast_of_known_covariates_warns_of_nothing(folder: Path):
    assert ahead.assumed(a_run(folder)) == []
    other = a_run(folder, data=filled(a_run(folder), "y: 3 missing values stay missing"))
    assert ahead.assumed(other) == []


def test_without_a_promotion_ahead_the_total_is_corrected_as_ordinary_periods_are(folder: Path):
    notes = ("promo: unknown for 7 steps of 20 series, filled by zero",)
    found = read_results(read_run(folder), folder)
    marks = found.tables["history"].select("unique_id", "ds", "promo")
    tested = found.tables["backtest"].join(marks, on=["unique_id", "ds"], how="left")
    share = pl.when(pl.col("promo") == 1).then(0.5).otherwise(0.8)
    backtest = tested.with_columns(y_hat=share * pl.col("y")).drop("promo")
    data = filled(a_run(folder), *notes)
    made = Results({**found.tables, "backtest": backtest}, "t", folder, folder,
                   {**found.manifest, "data": data})  # fmt: skip
    run = read(made, ReportParams())
    (figures,) = [b for b in ahead.blocks(run) if b.kind == "figures"]
    (corrected,) = [f for f in figures.items if f.name == "the same, corrected"]
    whole = found.tables["forecast"].filter(model="ridge")["y_hat"].sum()
    assert corrected.value == f"{whole / 0.8:,.0f}"
    assert corrected.detail.startswith("times 1.25, as it was 20.0 % too low without promotion")


def test_periods_that_the_gap_skips_are_told(folder: Path):
    assert "gap" not in order(a_run(folder))
    text = order(a_run(folder, spec={"gap": 2}))
    assert "the 2 days after that are skipped, because the spec says gap: 2" in text


def test_revenue_and_units_are_named_by_their_columns(folder: Path):
    run = a_run(folder)
    made = {
        s.name: " ".join(b.text for b in s.blocks if b.kind == "prose")
        for s in document(run).sections
    }
    assert "in the units of the column 'units'" in made["order"]
    assert "Revenue is the column 'price' times 'units'" in made["promotions"]
    assert "not an experiment" in made["promotions"]
    assert "not an experiment" in made["verdict"]


def test_a_share_is_named_as_no_mark_of_a_promotion(folder: Path):
    found = read_results(read_run(folder), folder)
    part = pl.when(pl.col("promo") == 1).then(pl.int_range(pl.len()) % 5 / 4).otherwise(0.0)
    history = found.tables["history"].with_columns(price=part)
    run = read(Results({**found.tables, "history": history}, "t", folder, folder, found.manifest),
               ReportParams())  # fmt: skip
    assert run.flags == ("promo",)
    assert run.shares == ("price",)
    (section,) = [s for s in document(run).sections if s.name == "promotions"]
    assert any(
        "price is not counted as a mark" in b.text for b in section.blocks if b.kind == "prose"
    )


def test_numbers_of_a_model_that_extrapolates_are_not_printed():
    table = pl.DataFrame({
        "covariate": ["deal", "price"], "wape": 0.3, "shuffled": [8e7, 0.4], "low": [7e7, 0.35],
        "high": [9e7, 0.45], "series": 9,
    })  # fmt: skip
    shown = drivers._importance_table("ridge", table)
    assert shown.rows[0] == ["deal", "beyond use", "beyond use", "beyond use"]
    assert shown.rows[1][1] == pytest.approx(0.1)
    assert "deal: beyond use" in drivers._importance("ridge", table).note


@pytest.mark.parametrize(
    ("feature", "value", "words"),
    [("price_log", -1.77, "1 % more: -1.8 % sales"),
     ("promo_deal", 0.5, "where 1, at the same price: +65 % sales"),
     ("promo_feat", 20.7, "no effect by itself")],
)  # fmt: skip
def test_effects_of_marks_are_told_in_percent_and_those_of_prices_as_elasticities(
    feature, value, words
):
    assert drivers._effect(feature, value).startswith(words)


def test_a_band_does_not_press_the_lines_flat():
    frame = pl.DataFrame({"low": [0.0, -50.0], "high": [12.0, 900.0], "y_hat": [5.0, 8.0]})
    cut = charts._within_reach(frame, pl.Series([2.0, None, 10.0]))
    room = ROOM * (10 - 2)
    assert cut["high"].to_list() == [12.0, 10 + room]
    assert cut["low"].to_list() == [0.0, 2 - room]
