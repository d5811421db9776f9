"""Frequencies and the time grid: timestamps as consecutive integers ("ordinals") and back.

Every stage that counts steps counts ordinals, so months of different length, weeks that start on a
Thursday and plain integer time are all the same to it.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Any

import polars as pl

from engine.errors import DataError

_PATTERN = re.compile(r"^(\d+)?\s*(i|min|h|d|w|mo|q|y)$")
_FIXED_SECONDS = {"min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_MONTHS = {"mo": 1, "q": 3, "y": 12}
_SEASONS = {"min": 60, "h": 24, "d": 7, "w": 52, "mo": 12, "q": 4, "y": 1, "i": 1}

Timestamp = dt.date | dt.datetime | int


@dataclass(frozen=True, slots=True)
class Frequency:
    """Distance between consecutive timestamps: `every` units of `unit`.

    Units: `i` (integer time), `min`, `h`, `d`, `w`, `mo`, `q`, `y`.
    """

    every: int
    unit: str

    @classmethod
    def parse(cls, text: str | int) -> Frequency:
        """Read `1d`, `w`, `15min`, `1mo`, or an integer for integer time; ValueError otherwise."""
        if isinstance(text, int):
            text = f"{text}i"
        match = _PATTERN.match(text.strip())
        if match is None or int(match[1] or 1) < 1:
            raise ValueError(
                f"{text!r} is not a frequency; write a count and a unit, one of 1d, 1w, 1mo, 1q, "
                "1y, 1h, 15min, or a plain integer for integer time"
            )
        return cls(int(match[1] or 1), match[2])

    def __str__(self) -> str:
        return f"{self.every}{self.unit}"

    @property
    def season(self) -> int:
        """The usual season in steps (7 for days, 52 for weeks, 12 for months); 1 if none."""
        season = _SEASONS[self.unit]
        return max(season // self.every, 1) if season % self.every == 0 else 1

    @property
    def is_integer(self) -> bool:
        """True if time is counted in plain integers."""
        return self.unit == "i"


@dataclass(frozen=True, slots=True)
class TimeGrid:
    """The timestamps `phase + ordinal * frequency`, as stored in a column of type `dtype`.

    `phase` is in days (Date), ticks (Datetime) or integers for fixed units. For months, quarters and
    years it is 32 * m + d: month m (from 0) of each period and day d, 31 for a month's last day.
    """

    freq: Frequency
    dtype: pl.DataType
    phase: int

    @classmethod
    def infer(cls, ds: pl.Series, freq: Frequency) -> TimeGrid:
        """Find the phase of observed timestamps; a DataError if `ds` cannot carry `freq`."""
        dtype = ds.dtype
        if dtype.is_integer() != freq.is_integer:
            raise DataError(
                f"column ds has type {dtype}, which does not go with freq {str(freq)!r}",
                hint="write freq as a plain integer for integer time, e.g. freq: 1"
                if dtype.is_integer()
                else "use a calendar frequency such as 1d or 1w, or give ds an integer column",
            )
        if not (dtype.is_integer() or dtype == pl.Date or isinstance(dtype, pl.Datetime)):
            raise DataError(
                f"column ds has type {dtype}, not a date, a datetime or an integer",
                hint="state its type or format, e.g. source: {types: {week: date}}",
            )
        if dtype == pl.Date and freq.unit in ("h", "min"):
            raise DataError(f"column ds holds dates, which cannot carry freq {str(freq)!r}")
        values = ds.drop_nulls()
        if values.is_empty():
            return cls(freq, dtype, 0)
        if freq.unit in _MONTHS:
            month_end = bool((values.dt.month_end() == values).all())
            only_28 = bool((values.dt.day() == 28).all())
            day = 31 if month_end and not only_28 else int(values.dt.day().mode().min())  # type: ignore[arg-type]
            months = values.to_frame("ds").select(_months(pl.col("ds"))).to_series()
            month = int((months % (_MONTHS[freq.unit] * freq.every)).mode().min())  # type: ignore[arg-type]
            return cls(freq, dtype, 32 * month + day)
        unit = cls._unit(freq, dtype)
        if unit == 1:
            return cls(freq, dtype, 0)
        remainder = values.to_physical().cast(pl.Int64) % unit
        return cls(freq, dtype, int(remainder.mode().min()))  # type: ignore[arg-type]

    @staticmethod
    def _unit(freq: Frequency, dtype: pl.DataType) -> int:
        if freq.is_integer:
            return freq.every
        seconds = _FIXED_SECONDS[freq.unit] * freq.every
        if dtype == pl.Date:
            return seconds // 86_400
        return seconds * _ticks(dtype)

    def ordinal(self, ds: pl.Expr) -> pl.Expr:
        """Ordinals of timestamps, Int64, of days Int32; consecutive periods differ by exactly 1."""
        if self.freq.unit in _MONTHS:
            return (_months(ds) - self.phase // 32) // self._span
        unit, ticks = self._unit(self.freq, self.dtype), ds.to_physical()
        if unit == 1 and self.dtype == pl.Date:
            return ticks  # numbers of days as they are stored
        ticks = ticks.cast(pl.Int64)
        # Every step of such an expression is a column as long as the panel.
        since = ticks - self.phase if self.phase else ticks
        return since // unit if unit > 1 else since

    def timestamps(self, ordinals: pl.Series) -> pl.Series:
        """Timestamps of Int64 ordinals, in the dtype of the data."""
        name = pl.col("ordinal")
        if self.freq.unit in _MONTHS:
            months = name * self._span + self.phase // 32
            first = pl.date(months // 12, months % 12 + 1, 1)
            day = self._day(first)
            expr = pl.date(months // 12, months % 12 + 1, day).cast(self.dtype)
        else:
            unit = self._unit(self.freq, self.dtype)
            ticks = name * unit + self.phase
            expr = (
                ticks.cast(pl.Int32).cast(self.dtype)
                if self.dtype == pl.Date
                else ticks.cast(self.dtype)
            )
        frame = pl.DataFrame({"ordinal": ordinals.cast(pl.Int64)})
        return frame.select(expr.alias("ds")).to_series()

    def off_grid(self, ds: pl.Expr) -> pl.Expr:
        """True where a timestamp lies between two points of the grid."""
        if self.freq.unit in _MONTHS:
            wrong_month = (_months(ds) - self.phase // 32) % self._span != 0
            wrong = wrong_month | (ds.dt.day().cast(pl.Int64) != self._day(ds))
            return wrong if self.dtype == pl.Date else wrong | (ds.dt.truncate("1d") != ds)
        unit = self._unit(self.freq, self.dtype)
        if unit == 1:
            return pl.lit(False)
        return (ds.to_physical().cast(pl.Int64) - self.phase) % unit != 0

    @property
    def _span(self) -> int:
        """Months of one period."""
        return _MONTHS[self.freq.unit] * self.freq.every

    def _day(self, ds: pl.Expr) -> pl.Expr:
        """The grid's day in the month of `ds`."""
        last = ds.dt.month_end().dt.day().cast(pl.Int64)
        return pl.min_horizontal(pl.lit(self.phase % 32), last)

    def ordinal_of(self, value: Timestamp) -> int:
        """The ordinal of one timestamp."""
        frame = pl.DataFrame({"ds": pl.Series([value]).cast(self.dtype)})
        return int(frame.select(self.ordinal(pl.col("ds"))).item())

    def timestamp(self, ordinal: int) -> Any:
        """The timestamp of one ordinal."""
        return self.timestamps(pl.Series([ordinal])).item()

    def shift(self, value: Timestamp, steps: int) -> Any:
        """The timestamp `steps` periods after `value`."""
        return self.timestamp(self.ordinal_of(value) + steps)


def local_time(ds: pl.Expr, dtype: pl.DataType, freq: Frequency) -> pl.Expr:
    """Timestamps without their time zone where periods are days or longer, as the clock there shows.

    A day is a day also when the clocks change: in a time zone its midnights are 23 or 25 hours apart.
    Hours and minutes keep their zone, in which they are equally long.
    """
    zoned = isinstance(dtype, pl.Datetime) and dtype.time_zone is not None
    return ds.dt.replace_time_zone(None) if zoned and freq.unit in ("d", "w", *_MONTHS) else ds


def _months(ds: pl.Expr) -> pl.Expr:
    """Months since the year 0."""
    return ds.dt.year().cast(pl.Int64) * 12 + ds.dt.month().cast(pl.Int64) - 1


def _ticks(dtype: pl.DataType) -> int:
    unit = dtype.time_unit if isinstance(dtype, pl.Datetime) else "us"
    return {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[unit or "us"]
