"""Numbers that the report makes itself: uplift against the season, bias by level, leaderboard."""

from __future__ import annotations

import datetime as dt
import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from engine.data.calendar import Frequency
from engine_report import charts, uplift
from engine_report.params import ReportParams
from engine_report.residuals import level_values
from tests.plugins.report_runs import Page, finished_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("runs"))


def seasonal(true: float, *, marked_week: int, peak: float) -> SimpleNamespace:
    """Three years of weeks with a season of the year; every series is marked in one week of it."""
    rng, rows = np.random.default_rng(0), []
    for number in range(40):
        level = rng.uniform(20, 80)
        for week in range(156):
            on = week % 52 == marked_week
            yearly = 1 + peak * math.exp(-(((week % 52 - 48) / 5) ** 2))
            units = float(rng.poisson(level * yearly * (1 + true * on)))
            day = dt.date(2020, 1, 6) + dt.timedelta(weeks=week)
            rows.append((f"s{number:02d}", day, units, int(on)))
    history = pl.DataFrame(rows, schema=["unique_id", "ds", "y", "event"], orient="row")
    return SimpleNamespace(
        history=history,
        series=history.select("unique_id").unique(),
        flags=("event",),
        params=ReportParams(),
        freq=Frequency.parse("1w"),
        keys=["unique_id"],
        spec={},
        column=lambda name: None,
    )


@pytest.mark.parametrize(("week", "peak"), [(48, 1.0), (20, 1.0), (20, 0.0)])
def test_a_mark_at_the_peak_of_the_year_is_not_credited_with_the_peak(week, peak):
    run = seasonal(0.2, marked_week=week, peak=peak)
    found = uplift.estimate("event", uplift.marked_rows(run))
    assert found.units.share == pytest.approx(0.2, abs=0.06)


def test_bias_by_level_is_weighed_by_volume():
    """A hundred forecasts near 0 that are far off in percent are no level of their own."""
    small = [(0.01, 1.0)] * 100
    large = [(10.0, 10.0)] * 900
    rows = pl.DataFrame(
        [
            {"unique_id": str(i), "ds": i, "cutoff": 0, "y_hat": y_hat, "error": y_hat - y}
            for i, (y_hat, y) in enumerate(small + large)
        ]
    )
    values = level_values(rows)
    assert values["group"].to_list() == list(range(1, 11))
    whole = float(rows["error"].sum() / rows["y_hat"].sum())
    assert values["value"].mean() == pytest.approx(whole, rel=0.02)
    assert values["value"].abs().max() < 0.15


def test_the_axis_of_two_steps_names_each_once():
    frame = pl.DataFrame({"step": [1, 2], "value": [0.1, 0.2], "model": ["a", "a"]})
    svg = str(charts.lines(frame, "step", "value", ["a"], ("step ahead", "WAPE")))
    assert svg.count(">1</text>") == 1
    assert svg.count(">2</text>") == 1


def test_the_leaderboard_has_every_fold_and_its_spread_and_the_steps(folder: Path):
    page = Page((folder / "report.html").read_text())
    scores = pl.read_parquet(folder / "scores.parquet")
    folds = scores.filter(pl.col("segment") == "all", pl.col("cutoff").is_not_null())
    head, *rows = page.tables["Every score of every fold"]
    shown = {
        (row[0], row[1], metric): float(value)
        for row in rows
        for metric, value in zip(head[2:], row[2:], strict=True)
    }
    wanted = folds.select("model", pl.col("cutoff").cast(pl.String), "metric", "value").rows()
    assert shown == {(m, c, k): v for m, c, k, v in wanted}
    head, *rows = page.tables["± over folds"]
    for row in rows:
        values = folds.filter(model=row[0], metric="wape")["value"]
        assert float(row[1]) == pytest.approx(values.std() / math.sqrt(3), rel=1e-9)
    head, *rows = page.tables["WAPE by steps ahead"]
    assert head[1:] == [f"step {k}" for k in range(1, 8)]
    tested = pl.read_parquet(folder / "backtest.parquet").filter(model="ridge", step=3)
    (ridge,) = [row for row in rows if row[0] == "ridge"]
    true = (tested["y_hat"] - tested["y"]).abs().sum() / tested["y"].sum()
    assert float(ridge[3]) == pytest.approx(true, rel=1e-9)


def test_the_ticks_of_small_numbers_keep_their_digits():
    rows = [{"covariate": "price", "increase": 0.031}, {"covariate": "promo", "increase": 0.084}]
    svg = str(charts.bars(rows, "covariate", "increase", "WAPE added"))
    assert ">0.02</text>" in svg
    assert ">0.04</text>" in svg


def test_the_legend_names_only_what_is_drawn_in_the_color_it_always_has():
    frame = pl.DataFrame({"step": [1, 2], "value": [0.1, 0.2], "model": ["b", "b"]})
    svg = str(charts.lines(frame, "step", "value", ["a", "b"], ("step ahead", "WAPE")))
    assert ">b</text>" in svg
    assert ">a</text>" not in svg
    assert "var(--c2)" in svg
    assert "var(--c1)" not in svg


def test_values_far_apart_are_drawn_on_a_log_scale_that_is_named():
    frame = pl.DataFrame({"step": [1, 2] * 2, "value": [1.0, 1.1, 9.0, 9.5], "model": list("aabb")})
    svg = str(charts.lines(frame, "step", "value", ["a", "b"], ("step", "WAPE")))
    assert "WAPE (log scale)" in svg
    near = frame.with_columns(value=pl.col("value") / 10 + 1)
    svg = str(charts.lines(near, "step", "value", ["a", "b"], ("step", "WAPE")))
    assert "log scale" not in svg


def luminance(color: str) -> float:
    """Relative luminance of WCAG 2.2 of `#rrggbb` or `#rgb`."""
    digits = color[1:] if len(color) == 7 else "".join(2 * c for c in color[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    dark, light = sorted((luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colors_can_be_told_from_their_ground(scheme: int):
    """WCAG 2.2: 4.5 for text (1.4.3), 3 for what a chart draws (1.4.11)."""
    style = (Path(charts.__file__).parent / "templates" / "style.css").read_text()
    roots = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    color = dict(re.findall(r"--(\w+): (#\w+)", roots[scheme]))
    for text in ("ink", "quiet", "link"):
        for ground in ("ground", "panel"):
            assert contrast(color[text], color[ground]) >= 4.5, (text, ground)
    for mark in ("good", "bad", "note", *(f"c{i}" for i in range(1, 9))):
        assert contrast(color[mark], color["ground"]) >= 3, mark
    assert contrast(color["c1"], color["shade"]) >= 3
