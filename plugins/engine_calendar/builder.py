"""Calendar features as expressions over `ds`: parts of the date, Fourier terms, trend, holidays."""

from __future__ import annotations

import math
from collections.abc import Iterator

import polars as pl

from engine.contracts import Feature, FeatureContext, FeatureSet
from engine.data.calendar import Frequency
from engine.errors import DataError, MissingDependencyError
from engine_calendar.params import CalendarParams, Fourier

_DS = pl.col("ds")
_UNITS = {"min": "minutes", "h": "hours", "d": "days", "w": "weeks", "mo": "months"} | {
    "q": "quarters",
    "y": "years",
}
_WITHIN_DAY = ("min", "h")
_DAYS = (*_WITHIN_DAY, "d")
_WEEKS = (*_DAYS, "w")
_MONTHS = (*_WEEKS, "mo")

# Units on which a part varies; on any other it would be constant or repeat a coarser part.
_VALID: dict[str, tuple[str, ...]] = {
    "minute": ("min",),
    "hour": _WITHIN_DAY,
    "weekday": _DAYS,
    "weekend": _DAYS,
    "month_start": _DAYS,
    "month_end": _DAYS,
    "day": _WEEKS,
    "day_of_year": _WEEKS,
    "week": _WEEKS,
    "month": _MONTHS,
    "days_in_month": _MONTHS,
    "quarter": (*_MONTHS, "q"),
    "year": (*_MONTHS, "q", "y"),
}
_VALUES: dict[str, pl.Expr] = {
    "minute": _DS.dt.minute(),
    "hour": _DS.dt.hour(),
    "weekday": _DS.dt.weekday(),
    "weekend": _DS.dt.weekday() >= 6,
    "month_start": _DS.dt.day() == 1,
    "month_end": _DS.dt.day() == _DS.dt.days_in_month(),
    "day": _DS.dt.day(),
    "day_of_year": _DS.dt.ordinal_day(),
    "week": _DS.dt.week(),
    "month": _DS.dt.month(),
    "days_in_month": _DS.dt.days_in_month(),
    "quarter": _DS.dt.quarter(),
    "year": _DS.dt.year(),
}
_LEVELS: dict[str, range] = {
    "hour": range(24),
    "weekday": range(1, 8),
    "day": range(1, 32),
    "week": range(1, 54),
    "month": range(1, 13),
    "quarter": range(1, 5),
}
# First value of each cycle and its length; a mean length where years and weeks are uneven.
_CYCLES: dict[str, tuple[int, float | pl.Expr]] = {
    "minute": (0, 60),
    "hour": (0, 24),
    "weekday": (1, 7),
    "day": (1, _DS.dt.days_in_month()),
    "day_of_year": (1, 365.25),
    "week": (1, 365.25 / 7),
    "month": (1, 12),
    "quarter": (1, 4),
}
_SECONDS = {"min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_UNIT_MONTHS = {"mo": 1, "q": 3, "y": 12}
_STEPS_PER_YEAR = {"min": 525_960, "h": 8_766, "d": 365.25, "w": 365.25 / 7} | {
    "mo": 12,
    "q": 4,
    "y": 1,
}
_YEARS_1970_TO_2000 = 30


class Calendar:
    """Builds features of the calendar, all known ahead."""

    def __init__(self, params: CalendarParams) -> None:
        self.params = params

    def build(self, context: FeatureContext) -> FeatureSet:
        """Name the features; DataError where an option makes no sense at the panel's frequency."""
        self._check_frequency(context.freq)
        features = [*self._part_features()]
        for wave in self.params.waves:
            features.extend(_fourier_features(wave, context.freq))
        if self.params.trend:
            features.append(_known("calendar_trend", _trend(context.freq)))
        features.extend(self._holiday_features(context))
        return FeatureSet(tuple(features))

    def _named_parts(self) -> tuple[str, ...]:
        named = (*self.params.parts, *self.params.one_hot, *self.params.cyclic)
        return tuple(dict.fromkeys(named))

    def _check_frequency(self, freq: Frequency) -> None:
        parts = self._named_parts()
        if freq.is_integer:
            asked = [*parts, *(["holidays"] if self.params.regions else [])]
            if asked:
                raise DataError(
                    f"calendar: {', '.join(asked)} need dates, but ds is integer time "
                    f"(freq {str(freq)!r})",
                    hint="with integer time use only fourier and trend, or give ds a date column",
                )
            return
        wrong = [part for part in parts if freq.unit not in _VALID[part]]
        if wrong:
            valid = [part for part, units in _VALID.items() if freq.unit in units]
            raise DataError(
                f"calendar: {', '.join(wrong)} says nothing at freq {str(freq)!r}",
                hint=f"parts that vary over {_UNITS[freq.unit]}: {', '.join(valid)}",
            )

    def _part_features(self) -> Iterator[Feature]:
        for part in self._named_parts():
            name, value = f"calendar_{part}", _VALUES[part]
            if part in self.params.one_hot:
                for level in _LEVELS[part]:
                    yield _known(f"{name}_{level}", value == level)
            if part in self.params.cyclic:
                first, length = _CYCLES[part]
                angle = 2 * math.pi * (value.cast(pl.Float64) - first) / length
                yield _known(f"{name}_sin", angle.sin())
                yield _known(f"{name}_cos", angle.cos())
            if part not in self.params.one_hot and part not in self.params.cyclic:
                yield _known(name, value)

    def _holiday_features(self, context: FeatureContext) -> Iterator[Feature]:
        if not self.params.regions:
            return
        try:
            from engine_calendar.holiday_features import holiday_expressions
        except ModuleNotFoundError as error:
            if error.name != "holidays":
                raise
            raise MissingDependencyError(
                "calendar: holidays needs the package 'holidays', which is not installed",
                hint="pip install 'engine-forecast[calendar]'",
            ) from error
        if context.first is None or context.last is None:
            raise DataError(
                "calendar: holidays needs the first and last date of the panel",
                hint="give FeatureContext first and last",
            )
        for region in self.params.regions:
            expressions = holiday_expressions(
                region, context.freq, context.first.year, context.last.year
            )
            for name, expr in expressions.items():
                yield _known(name, expr)


def _known(name: str, expr: pl.Expr) -> Feature:
    return Feature(name, expr, "known", lookback=0)


def _steps(freq: Frequency) -> pl.Expr:
    """Whole steps since 1970-01-01 (integer time: since 0), as a float; the phase of every cycle.

    Absolute, so that a longer history or another first date never shifts a wave.
    """
    if freq.is_integer:
        steps = _DS.cast(pl.Float64) / freq.every
    elif freq.unit in _UNIT_MONTHS:
        months = (_DS.dt.year().cast(pl.Float64) - 1970) * 12 + _DS.dt.month() - 1
        steps = months / (_UNIT_MONTHS[freq.unit] * freq.every)
    elif freq.unit in _WITHIN_DAY:
        steps = _DS.dt.epoch("s").cast(pl.Float64) / (_SECONDS[freq.unit] * freq.every)
    else:
        days = _SECONDS[freq.unit] // 86_400 * freq.every
        steps = _DS.dt.epoch("d").cast(pl.Float64) / days
    return steps.floor()


def _fourier_features(wave: Fourier, freq: Frequency) -> Iterator[Feature]:
    """sin and cos of 2 pi k t / period for k = 1..order (Harvey, 1989, section 2.3.4)."""
    cycle = 2 * math.pi * _steps(freq) / wave.period
    label = f"calendar_fourier_{wave.period:.10g}"
    for k in range(1, wave.order + 1):
        # At half the period the sine is zero on every step: only rounding noise would be left.
        if 2 * k != wave.period:
            yield _known(f"{label}_sin_{k}", (cycle * k).sin())
        yield _known(f"{label}_cos_{k}", (cycle * k).cos())


def _trend(freq: Frequency) -> pl.Expr:
    """Years since 2000, or hundreds of steps: a scale that does not move when data are added."""
    if freq.is_integer:
        return _steps(freq) / 100
    years = _steps(freq) * freq.every / _STEPS_PER_YEAR[freq.unit]
    return years - _YEARS_1970_TO_2000
