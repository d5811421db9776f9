from __future__ import annotations

import datetime as dt
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

from engine.contracts import FeatureContext, FeatureSet
from engine.data.calendar import Frequency
from engine.data.panel import Roles
from engine.errors import DataError
from engine.features import evaluate, feature_context, plan_features
from engine.registry import build
from engine_calendar import engine_features
from tests.panels import panel

CHRISTMAS = dt.date(2024, 12, 25)


def calendar(ds: list, freq: str | int = "1d", **options) -> FeatureSet:
    first, last = (None, None) if isinstance(ds[0], int) else (as_date(ds[0]), as_date(ds[-1]))
    context = FeatureContext(
        roles=Roles(("store",)),
        freq=Frequency.parse(freq),
        horizon=7,
        gap=0,
        dtypes={"ds": pl.Series(ds).dtype},
        levels={},
        first=first,
        last=last,
    )
    return build(next(engine_features()), options).build(context)


def as_date(value: dt.date) -> dt.date:
    return value.date() if isinstance(value, dt.datetime) else value


def values(ds: list, freq: str | int = "1d", **options) -> dict[str, np.ndarray]:
    """Values of the features for one series with these timestamps, by the engine's own pass."""
    features = calendar(ds, freq, **options).features
    made = evaluate(pl.DataFrame({"unique_id": ["a"] * len(ds), "ds": ds}), features)
    return {feature.name: row for feature, row in zip(features, made, strict=True)}


def days(first: dt.date, count: int, step: int = 1) -> list[dt.date]:
    return [first + dt.timedelta(days=step * i) for i in range(count)]


def months(count: int, year: int = 2024) -> list[dt.date]:
    return [dt.date(year + i // 12, i % 12 + 1, 1) for i in range(count)]


def on(ds: list, column: np.ndarray) -> list:
    """The timestamps at which a flag is set."""
    return [d for d, value in zip(ds, column, strict=True) if value]


@given(st.dates(dt.date(1990, 1, 1), dt.date(2060, 1, 1)))
@settings(max_examples=40, deadline=None)
def test_parts_are_those_of_the_date(day):
    after = day + dt.timedelta(days=1)
    last = (day.replace(day=28) + dt.timedelta(days=4)).replace(day=1) - dt.timedelta(days=1)
    expected = {
        "month": day.month,
        "week": day.isocalendar().week,
        "weekday": day.isoweekday(),
        "day": day.day,
        "quarter": (day.month + 2) // 3,
        "day_of_year": day.timetuple().tm_yday,
        "year": day.year,
        "weekend": day.isoweekday() >= 6,
        "month_start": day.day == 1,
        "month_end": after.month != day.month,
        "days_in_month": last.day,
    }
    made = values([day], parts=list(expected))
    assert {name.removeprefix("calendar_"): v[0] for name, v in made.items()} == expected


def test_hours_and_minutes_of_datetimes():
    ds = [dt.datetime(2024, 1, 1, 23, 45), dt.datetime(2024, 1, 2, 0, 0)]
    made = values(ds, "15min", parts=["hour", "minute", "weekday"])
    assert made["calendar_hour"].tolist() == [23, 0]
    assert made["calendar_minute"].tolist() == [45, 0]
    assert made["calendar_weekday"].tolist() == [1, 2]


def test_one_hot_replaces_the_number_by_exactly_one_flag():
    made = values(days(dt.date(2024, 1, 1), 400), parts=["weekday", "month"], one_hot=["weekday"])
    flags = [f"calendar_weekday_{level}" for level in range(1, 8)]
    assert list(made) == [*flags, "calendar_month"]
    np.testing.assert_array_equal(sum(made[flag] for flag in flags), 1.0)
    assert made["calendar_weekday_1"][:8].tolist() == [1, 0, 0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize("part", ["month", "weekday", "day", "quarter"])
def test_cyclic_parts_close_the_circle(part):
    """The step from the last value back to the first is as long as any other step."""
    ds = days(dt.date(2024, 1, 1), 2000)
    made = values(ds, cyclic=[part])
    sin, cos = made[f"calendar_{part}_sin"], made[f"calendar_{part}_cos"]
    np.testing.assert_allclose(sin**2 + cos**2, 1, atol=1e-6)
    within = np.array([d.month == 1 for d in ds]) if part == "day" else np.ones(2000, dtype=bool)
    move = np.hypot(np.diff(sin), np.diff(cos))[within[:-1]]
    steps = move[move > 1e-4]
    np.testing.assert_allclose(steps, steps[0], atol=1e-5)


def test_fourier_is_the_published_formula_counted_from_1970():
    ds = days(dt.date(2024, 3, 5), 30)
    made = values(ds, fourier={"period": 365.25, "order": 2})
    t = np.array([(d - dt.date(1970, 1, 1)).days for d in ds])
    for k in (1, 2):
        angle = 2 * math.pi * k * t / 365.25
        np.testing.assert_allclose(made[f"calendar_fourier_365.25_sin_{k}"], np.sin(angle), 1e-4)
        np.testing.assert_allclose(made[f"calendar_fourier_365.25_cos_{k}"], np.cos(angle), 1e-4)


@pytest.mark.parametrize(
    ("freq", "ds", "period"),
    [
        ("1w", days(dt.date(2024, 1, 3), 60, step=7), 13),
        ("1mo", months(60), 12),
        (1, list(range(100, 160)), 5),
        (2, list(range(101, 221, 2)), 5),
        ("1h", [dt.datetime(2024, 1, 1) + dt.timedelta(hours=i) for i in range(60)], 24),
    ],
)
def test_fourier_repeats_every_period_steps_and_advances_evenly(freq, ds, period):
    made = values(ds, freq, fourier={"period": period, "order": 1})
    sin, cos = (made[f"calendar_fourier_{period}_{wave}_1"] for wave in ("sin", "cos"))
    np.testing.assert_allclose(sin[period:], sin[:-period], atol=1e-5)
    np.testing.assert_allclose(
        np.hypot(np.diff(sin), np.diff(cos)), 2 * math.sin(math.pi / period), atol=1e-5
    )


def test_the_shortest_wave_has_no_sine():
    made = values(days(dt.date(2024, 1, 1), 8), fourier={"period": 2, "order": 1})
    assert list(made) == ["calendar_fourier_2_cos_1"]
    assert np.ptp(made["calendar_fourier_2_cos_1"]) == pytest.approx(2)


def test_a_longer_history_changes_no_value():
    ds = days(dt.date(2023, 1, 1), 500)
    options = {
        "parts": ["weekday"],
        "fourier": [{"period": 7, "order": 3}, {"period": 365.25, "order": 2}],
        "trend": True,
        "holidays": {"country": "US", "before": 2, "after": 1, "days_to": 20, "days_since": 20},
    }
    whole, part = values(ds, **options), values(ds[300:], **options)
    assert list(whole) == list(part)
    for name, column in whole.items():
        np.testing.assert_array_equal(column[300:], part[name], err_msg=name)


def test_trend_counts_years_and_hundreds_of_steps():
    by_day = values([dt.date(2000, 1, 1), dt.date(2010, 1, 1)], trend=True)["calendar_trend"]
    np.testing.assert_allclose(by_day, [0, 10], atol=0.01)
    by_month = values(months(13, 2000), "1mo", trend=True)["calendar_trend"]
    np.testing.assert_allclose(by_month[[0, 6, 12]], [0, 0.5, 1])
    assert values([0, 50, 100], 1, trend=True)["calendar_trend"].tolist() == [0, 0.5, 1]


def test_holidays_with_the_days_around_them():
    ds = days(dt.date(2024, 12, 20), 10)
    region = {"country": "US", "before": 2, "after": 1, "days_to": 4, "days_since": 3}
    made = values(ds, holidays=region)
    name = "calendar_holiday_us"
    assert on(ds, made[name]) == [CHRISTMAS]
    assert on(ds, made[f"{name}_before_2"]) == [dt.date(2024, 12, 23)]
    assert on(ds, made[f"{name}_after_1"]) == [dt.date(2024, 12, 26)]
    # 28 and 29 December look ahead to New Year's Day, beyond the panel's last year.
    assert made[f"{name}_days_to"].tolist() == [4, 4, 3, 2, 1, 0, 4, 4, 4, 3]
    assert made[f"{name}_days_since"].tolist() == [3, 3, 3, 3, 3, 0, 1, 2, 3, 3]


def test_names_and_subdivisions_choose_holidays():
    ds = days(dt.date(2024, 1, 1), 366)
    made = values(ds, holidays={"country": "US", "names": ["Thanksgiving Day"]})
    assert on(ds, made["calendar_holiday_us_thanksgiving_day"]) == [dt.date(2024, 11, 28)]
    both = [{"country": "DE", "subdivision": "BY"}, {"country": "DE"}]
    made = values(ds, holidays=both)
    epiphany = ds.index(dt.date(2024, 1, 6))
    assert made["calendar_holiday_de_by"][epiphany] == 1
    assert made["calendar_holiday_de"][epiphany] == 0


@given(offset=st.integers(0, 6), label=st.sampled_from(["start", "end"]))
@settings(max_examples=14, deadline=None)
def test_a_week_has_a_holiday_if_one_of_its_days_has(offset, label):
    first = dt.date(2023, 1, 2) + dt.timedelta(days=offset)
    daily = values(days(first, 7 * 60), holidays={"country": "US"})["calendar_holiday_us"]
    ds = days(first + dt.timedelta(days=6 if label == "end" else 0), 60, step=7)
    made = values(ds, "1w", holidays={"country": "US", "label": label, "count": True, "before": 1})
    expected = daily.reshape(60, 7).sum(axis=1)
    np.testing.assert_array_equal(made["calendar_holiday_us_count"], expected)
    np.testing.assert_array_equal(made["calendar_holiday_us"], expected > 0)
    before = made["calendar_holiday_us_before_1"]
    np.testing.assert_array_equal(before[:-1], expected[1:] > 0)


@pytest.mark.parametrize("every", [1, 2, 7])
def test_a_month_counts_its_holidays(every):
    starts = [dt.date(m // 12, m % 12 + 1, 1) for m in range(24220, 24290, every)]
    ds = starts[:-1]
    made = values(ds, f"{every}mo", holidays={"country": "US", "count": True})
    all_days = days(starts[0], (starts[-1] - starts[0]).days)
    daily = on(all_days, values(all_days, holidays={"country": "US"})["calendar_holiday_us"])
    expected = [sum(a <= day < b for day in daily) for a, b in zip(ds, starts[1:], strict=True)]
    assert made["calendar_holiday_us_count"].tolist() == expected
    assert sum(expected) == len(daily) > 5


def test_hours_are_holidays_all_day():
    ds = [dt.datetime(2024, 12, 24, 12) + dt.timedelta(hours=i) for i in range(48)]
    flags = values(ds, "1h", holidays={"country": "US"})["calendar_holiday_us"]
    assert {d.date() for d in on(ds, flags)} == {CHRISTMAS}
    assert flags.sum() == 24


@pytest.mark.parametrize(
    ("ds", "freq", "options", "message"),
    [
        ([CHRISTMAS], "1d", {"parts": ["hour"]}, "hour says nothing at freq '1d'"),
        ([CHRISTMAS], "1w", {"cyclic": ["weekday"]}, "parts that vary over weeks: day,"),
        ([CHRISTMAS], "1mo", {"one_hot": ["week"]}, "week says nothing at freq '1mo'"),
        ([1, 2], 1, {"parts": ["month"]}, "use only fourier and trend"),
        ([1, 2], 1, {"holidays": {"country": "US"}}, "holidays need dates"),
        ([CHRISTMAS], "1d", {"holidays": {"country": "USS"}}, "did you mean 'US"),
        ([CHRISTMAS], "1d", {"holidays": {"country": "US", "subdivision": "XX"}}, "subdivisions:"),
        (
            [CHRISTMAS],
            "1d",
            {"holidays": {"country": "US", "names": ["Christmas"]}},
            "did you mean 'Christmas Day'",
        ),
    ],
)
def test_options_that_make_no_sense_are_explained(ds, freq, options, message):
    with pytest.raises(DataError) as caught:
        calendar(ds, freq, **options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "calendar makes no feature"),
        ({"fourier": {"period": 7, "order": 4}}, "order <= 3"),
        ({"parts": ["month", "month"]}, "parts names month more than once"),
        ({"parts": ["mnth"]}, "month"),
        ({"holidays": {"country": "US", "days_to": 0}}, "greater than or equal to 1"),
        ({"weekday": True}, "Extra inputs"),
    ],
)
def test_options_are_validated(options, message):
    with pytest.raises(ValidationError, match=message):
        next(engine_features()).params.model_validate(options)


def test_all_are_known_ahead_and_accepted_by_the_engine():
    builder = build(
        next(engine_features()),
        {"parts": ["month"], "trend": True, "holidays": {"country": "US", "names": True}},
    )
    plan = plan_features([("calendar", builder)], feature_context(panel(), 7, 0))
    assert {(f.availability, f.lookback) for f in plan.features} == {("known", 0)}
    assert "calendar_holiday_us_new_years_day" in plan.names


def test_the_record_imports_nothing_heavy():
    heavy = ("holidays", "numpy", "pandas", "jax", "engine_calendar.builder")
    code = f"import sys, engine_calendar; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.data
@pytest.mark.skipif("ENGINE_DATA" not in os.environ, reason="ENGINE_DATA is not set")
def test_walmart_weeks_of_labor_day_and_thanksgiving():
    """The retailer marks the same autumn weeks, which it labels by their last day, a Friday."""
    sales = pl.scan_parquet(Path(os.environ["ENGINE_DATA"]) / "walmart_sales.parquet")
    weeks = sales.select(pl.col("Date").cast(pl.Date), "IsHoliday").unique().collect().sort("Date")
    ds = weeks["Date"].to_list()
    region = {"country": "US", "names": ["Labor Day", "Thanksgiving Day"], "label": "end"}
    made = values(ds, "1w", holidays=region)
    ours = made["calendar_holiday_us_labor_day"] + made["calendar_holiday_us_thanksgiving_day"]
    autumn = weeks["Date"].dt.month().is_in([9, 10, 11]).to_list()
    marked = [d for d in on(ds, weeks["IsHoliday"].to_list()) if d.month in (9, 10, 11)]
    assert [d for d, a in zip(ds, autumn, strict=True) if a and ours[ds.index(d)]] == marked
    assert len(marked) == 4
