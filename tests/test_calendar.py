from __future__ import annotations

import datetime as dt

import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from engine.data.calendar import Frequency, TimeGrid
from engine.errors import DataError

DAY = dt.date(2023, 11, 29)
HOUR = dt.datetime(2023, 12, 31, 22)


def grid_of(freq: str | int, *values: object, dtype: object = None) -> TimeGrid:
    return TimeGrid.infer(pl.Series("ds", values, dtype=dtype), Frequency.parse(freq))


def off_grid(grid: TimeGrid, *values: object) -> list[bool]:
    frame = pl.DataFrame({"ds": values})
    return frame.select(grid.off_grid(pl.col("ds"))).to_series().to_list()


@pytest.mark.parametrize(
    ("freq", "first", "second"),
    [
        ("1d", DAY, dt.date(2023, 11, 30)),
        ("1w", DAY, dt.date(2023, 12, 6)),
        ("1mo", dt.date(2023, 12, 1), dt.date(2024, 1, 1)),
        ("1mo", dt.date(2024, 1, 31), dt.date(2024, 2, 29)),
        ("1mo", dt.date(2024, 2, 15), dt.date(2024, 3, 15)),
        ("1q", dt.date(2023, 10, 1), dt.date(2024, 1, 1)),
        ("1q", dt.date(2023, 12, 31), dt.date(2024, 3, 31)),
        ("1q", dt.date(2024, 2, 1), dt.date(2024, 5, 1)),
        ("1y", dt.date(2023, 1, 1), dt.date(2024, 1, 1)),
        ("1y", dt.date(2023, 12, 31), dt.date(2024, 12, 31)),
        ("1y", dt.date(2023, 7, 1), dt.date(2024, 7, 1)),
        ("2mo", dt.date(2023, 12, 1), dt.date(2024, 2, 1)),
        ("1h", HOUR, dt.datetime(2023, 12, 31, 23)),
        ("15min", HOUR, dt.datetime(2023, 12, 31, 22, 15)),
        ("6h", HOUR, dt.datetime(2024, 1, 1, 4)),
        ("1d", HOUR, dt.datetime(2024, 1, 1, 22)),
        (1, 7, 8),
        (10, 27, 37),
    ],
)
def test_the_next_period_is_one_ordinal_later(freq: str | int, first: object, second: object):
    grid = grid_of(freq, first, second)
    assert grid.ordinal_of(second) - grid.ordinal_of(first) == 1  # type: ignore[arg-type]
    assert grid.timestamp(grid.ordinal_of(first)) == first  # type: ignore[arg-type]
    assert grid.shift(first, 1) == second  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None)
@given(
    first=st.dates(dt.date(1950, 1, 1), dt.date(2100, 1, 1)),
    freq=st.sampled_from(["1d", "3d", "1w", "2w", "1mo", "2mo", "1q", "1y", "1h", "15min"]),
    steps=st.integers(-300, 300),
)
def test_every_point_of_a_grid_comes_back(first: dt.date, freq: str, steps: int):
    start = first if Frequency.parse(freq).unit not in ("h", "min") else dt.datetime(
        first.year, first.month, first.day, 5
    )  # fmt: skip
    grid = grid_of(freq, start)
    ordinals = pl.Series([grid.ordinal_of(start) + steps])
    stamps = grid.timestamps(ordinals)
    assert pl.DataFrame(stamps).select(grid.ordinal(pl.col("ds"))).item() == ordinals[0]
    assert off_grid(grid, stamps[0]) == [False]


def test_the_thirtieth_of_every_month_is_the_last_of_february():
    days = [dt.date(2023, 1, 30), dt.date(2023, 2, 28), dt.date(2023, 3, 30), dt.date(2023, 4, 30)]
    grid = grid_of("1mo", *days)
    assert off_grid(grid, *days) == [False] * 4
    assert [grid.shift(days[0], i) for i in range(4)] == days


@pytest.mark.parametrize(
    ("freq", "on", "off"),
    [
        ("1w", DAY, dt.date(2023, 12, 7)),
        ("1mo", dt.date(2024, 1, 1), dt.date(2024, 2, 2)),
        ("1mo", dt.date(2024, 1, 31), dt.date(2024, 2, 28)),
        ("1q", dt.date(2024, 1, 1), dt.date(2024, 2, 1)),
        ("1y", dt.date(2023, 12, 31), dt.date(2024, 11, 30)),
        ("1h", HOUR, dt.datetime(2024, 1, 1, 0, 30)),
        ("1mo", dt.datetime(2024, 1, 1), dt.datetime(2024, 2, 1, 5)),
        (10, 7, 18),
    ],
)
def test_a_timestamp_between_two_points_is_off_the_grid(freq: str | int, on: object, off: object):
    assert off_grid(grid_of(freq, on, on), on, off) == [False, True]


@pytest.mark.parametrize("dtype", [pl.Datetime("ms"), pl.Datetime("us"), pl.Datetime("ns")])
def test_the_unit_of_a_datetime_column_is_kept(dtype: pl.Datetime):
    grid = grid_of("1h", HOUR, dtype=dtype)
    stamps = grid.timestamps(pl.Series([grid.ordinal_of(HOUR) + 3]))
    assert stamps.dtype == dtype
    assert stamps[0] == HOUR + dt.timedelta(hours=3)


@pytest.mark.parametrize(
    ("freq", "season"),
    [("1d", 7), ("1w", 52), ("1mo", 12), ("1q", 4), ("1y", 1), ("1h", 24), ("2h", 12), (1, 1)],
)
def test_the_usual_season_of_a_frequency(freq: str | int, season: int):
    assert Frequency.parse(freq).season == season


@pytest.mark.parametrize("text", ["", "0d", "1 fortnight", "d1", "-1d", "1.5h"])
def test_what_is_not_a_frequency_is_refused(text: str):
    with pytest.raises(ValueError, match="is not a frequency"):
        Frequency.parse(text)


@pytest.mark.parametrize(
    ("freq", "value", "words"),
    [
        ("1d", 3, "does not go with freq '1d'"),
        (1, DAY, "does not go with freq '1i'"),
        ("1h", DAY, "holds dates"),
        ("1d", "2024-01-01", "not a date"),
    ],
)
def test_time_of_the_wrong_type_is_one_clear_error(freq: str | int, value: object, words: str):
    with pytest.raises(DataError, match=words):
        grid_of(freq, value)
