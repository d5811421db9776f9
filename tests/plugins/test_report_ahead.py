"""What to order: sums of the forecast, and how much would have been enough in the back-test."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from engine_report import ahead, trust
from engine_report.classes import groupings
from engine_report.residuals import autocorrelation

STEPS, FOLDS = 7, 10


def a_run(n_series: int = 60, noise: float = 0.3) -> SimpleNamespace:
    """Forecasts that are right on average; small series are off by more of their size."""
    rng, rows = np.random.default_rng(5), []
    level = {f"s{i:02d}": 1000.0 if i < 12 else 10.0 for i in range(n_series)}
    for name, size in level.items():
        for fold in range(FOLDS):
            share = noise if size > 100 else 3 * noise
            shock = rng.normal(0, share)
            for step in range(1, STEPS + 1):
                day = dt.date(2024, 1, 1) + dt.timedelta(days=fold * STEPS + step)
                y = max(size * (1 + shock), 0.0)
                rows.append((name, day, fold, step, "m", y, size, size, size, y - size))
    schema = ["unique_id", "ds", "cutoff", "step", "model", "y", "y_hat", "q0.1", "q0.9", "off"]
    frame = pl.DataFrame(rows, schema=schema, orient="row").with_columns(error=-pl.col("off"))
    series = pl.DataFrame({
        "unique_id": list(level), "mean": list(level.values()), "total": list(level.values()),
        "rows": 100, "missing": 0, "sales": 100, "sales_mean": 1.0, "sales_std": 0.0,
    })  # fmt: skip
    last = frame.filter(cutoff=FOLDS - 1).with_columns(pl.col("ds") + pl.duration(days=STEPS))
    return SimpleNamespace(
        rows=frame, series=series, history=frame.filter(model="m").select("unique_id", "ds", "y"),
        leader="m", best="m", quantiles={0.1: "q0.1", 0.9: "q0.9"}, spec={"minimum": 0}, keys=[],
        forecast=last.drop("y"), models=("m",), interval=("q0.1", "q0.9", 0.8),
        flags=(), baseline="m",
    )  # fmt: skip


def test_what_is_enough_would_have_been_enough_in_nine_of_ten_sums_of_each_class():
    run = a_run()
    spread = ahead.spread_of(run)
    assert spread is not None
    assert spread.sums == 60 * FOLDS
    enough = dict(ahead.sums(run, run.forecast, spread).select("unique_id", "enough").iter_rows())
    sums = run.rows.group_by("unique_id", "cutoff").agg(pl.col("y").sum())
    for large in (True, False):
        part = sums.filter((pl.col("unique_id") < "s12") == large)
        held = sum(y <= enough[name] for name, _, y in part.iter_rows()) / part.height
        assert 0.88 <= held <= 0.93
    assert enough["s00"] / (1000 * STEPS) < enough["s59"] / (10 * STEPS)


def test_the_sums_are_those_of_the_forecast_and_of_as_many_periods_before():
    run = a_run()
    made = ahead.sums(run, run.forecast, None)
    first = made.row(0, named=True)
    assert first["unique_id"] == "s00"
    assert first["ahead"] == pytest.approx(1000 * STEPS)
    assert first["enough"] is None
    known = run.history.filter(unique_id="s00").sort("ds")["y"].tail(STEPS).sum()
    assert first["before"] == pytest.approx(known)


def test_few_sums_tell_nothing():
    run = a_run(n_series=2)
    run.rows = run.rows.filter(pl.col("cutoff") < 2)
    assert ahead.spread_of(run) is None


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.0, 30.0, "wider than it needs to be"),
        (9.0, 11.0, "upper end (90 % intended): that end is too low"),
        (0.0, 18.0, "of the values lie at its lower end"),
        (4.0, 18.0, "its lower end is too high"),
    ],
)
def test_the_verdict_on_the_interval_says_which_end_is_at_fault(low, high, said):
    """Actual values: 40 % zeros, the others even from 10 to 19, so that 90 % are below 18."""
    y = [0.0] * 40 + [10.0 + i % 10 for i in range(60)]
    if low == 4.0:
        y = [3.0] * 25 + y[25:]
    rows = pl.DataFrame({"model": "m", "y": y, "q0.1": low, "q0.9": high, "cutoff": 0})
    run = a_run(n_series=1)
    run.rows = rows
    text, _ = trust.interval_said(run)
    assert said in text


def test_errors_without_a_pattern_show_no_autocorrelation_in_few_steps():
    """Relative to a mean within six steps, white noise would show -0.2 at every lag."""
    rng = np.random.default_rng(1)
    rows = pl.DataFrame({
        "unique_id": np.repeat([f"s{i}" for i in range(400)], 6),
        "cutoff": 0, "step": np.tile(np.arange(1, 7), 400), "error": rng.normal(0, 1, 2400),
    })  # fmt: skip
    assert autocorrelation(rows)["value"].abs().max() < 0.1


def test_numbers_are_cut_into_quarters_and_keys_are_not():
    frame = pl.DataFrame({
        "unique_id": [f"s{i:03d}" for i in range(120)], "store": [i // 3 for i in range(120)],
        "income": [float(i) for i in range(120)], "total": 1.0, "rows": 10, "missing": 0,
        "sales": 10, "sales_mean": 1.0, "sales_std": 0.0,
    })  # fmt: skip
    run = SimpleNamespace(series=frame, keys=["store", "unique_id"])
    found = {name: table for name, _, table in groupings(run)}
    assert found["store"]["segment"].n_unique() == 40
    quarters = found["income"].group_by("segment").len().sort("segment")
    assert quarters.rows() == [
        ("Q1: 0.0 to 29.0", 30), ("Q2: 30.0 to 59.0", 30), ("Q3: 60.0 to 89.0", 30),
        ("Q4: 90.0 to 119.0", 30),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": "log1p", "correction": "median"}, "correction: mean in the spec would lift it"),
        ({"target": "log1p", "correction": "mape"}, "aims low on purpose"),
        (
            {"target": "none"},
            "of 100 units sold it forecast 80. Multiply totals by 1.25 (1 / 0.800)",
        ),
    ],
)
def test_a_forecast_that_leans_low_is_told_with_its_reason(options, said):
    run = a_run()
    run.spec = {"models": {"m": options}}
    run.rows = run.rows.with_columns(error=-0.2 * pl.col("y"))
    text, tone = trust.lean_said(run)
    assert text.startswith("In sum its forecasts were 20.0 % too low")
    assert said in text
    assert tone == "note"
