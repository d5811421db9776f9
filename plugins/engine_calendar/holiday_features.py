"""Public holidays as expressions over `ds`: dates come from the `holidays` library as literals."""

from __future__ import annotations

import datetime as dt
import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import holidays
import polars as pl

from engine.data.calendar import Frequency
from engine.errors import DataError
from engine_calendar.params import Holidays

# Only English names do not change with the language of the machine.
_LANGUAGE = "en_US"
_REMARK = re.compile(r"\s*\((?:observed|estimated|observed, estimated)\)$")
_MONTHS = {"mo": 1, "q": 3, "y": 12}


@dataclass(frozen=True)
class Periods:
    """The periods of a frequency, each labelled by one date that both days and `ds` map to.

    days: length of a period in days, 1 for hours and minutes too; 0 for months and longer.
    months: length in months, 0 for days and weeks. ends: `ds` is the last day of its period.
    """

    days: int
    months: int
    ends: bool

    @classmethod
    def of(cls, freq: Frequency, label: str) -> Periods:
        """The periods of a calendar frequency."""
        if freq.unit in _MONTHS:
            return cls(0, _MONTHS[freq.unit] * freq.every, False)
        days = {"d": 1, "w": 7}.get(freq.unit)
        return cls(days * freq.every if days else 1, 0, label == "end")

    def key(self) -> pl.Expr:
        """The label of a row, a Date: `ds` itself, or the first of its months."""
        date = pl.col("ds").dt.date()
        if not self.months:
            return date
        # Counted from year 0, as the time grid does: truncating would count from 1970.
        months = date.dt.year().cast(pl.Int32) * 12 + date.dt.month().cast(pl.Int32) - 1
        first = months // self.months * self.months
        return pl.date(first // 12, first % 12 + 1, 1)

    def labels(self, day: dt.date, ahead: int = 0) -> list[dt.date]:
        """Labels of the periods that hold `day`, moved by `ahead` periods.

        For days and weeks every date that could be the label is named, whatever weekday the
        weeks of the panel begin on.
        """
        if self.months:
            index = (day.year * 12 + day.month - 1) // self.months + ahead
            year, month = divmod(index * self.months, 12)
            return [dt.date(year, month + 1, 1)]
        sign = 1 if self.ends else -1
        return [
            day + dt.timedelta(days=sign * offset + ahead * self.days)
            for offset in range(self.days)
        ]

    def years_within(self, periods: int) -> int:
        """Years, at least 1, that hold this many periods."""
        return 1 + periods * (self.months * 31 or self.days) // 366

    def first_day(self) -> pl.Expr:
        """The first day of a row's period, a Date."""
        shift = self.days - 1 if self.ends else 0
        return self.key() - pl.duration(days=shift) if shift else self.key()


def holiday_expressions(
    region: Holidays, freq: Frequency, first_year: int, last_year: int
) -> dict[str, pl.Expr]:
    """Features by name, for panels that lie between two years; DataError for an unknown region."""
    periods = Periods.of(freq, region.label)
    margin = periods.years_within(max(region.before, region.after) + 1)
    days = _holidays_of(region, first_year - margin, last_year + margin)
    place = _slug(f"{region.country} {region.subdivision or ''}")
    name = f"calendar_holiday_{place}"
    dates = sorted(days)
    out = {name: _flag(periods, dates)}
    for j in range(1, region.before + 1):
        out[f"{name}_before_{j}"] = _flag(periods, dates, -j)
    for j in range(1, region.after + 1):
        out[f"{name}_after_{j}"] = _flag(periods, dates, j)
    if region.count:
        counts = Counter(label for day in dates for label in periods.labels(day))
        out[f"{name}_count"] = _look_up(periods.key(), dict(counts), default=0)
    if region.days_to is not None:
        out[f"{name}_days_to"] = _distance(periods, dates, region.days_to, -1)
    if region.days_since is not None:
        out[f"{name}_days_since"] = _distance(periods, dates, region.days_since, 1)
    for wanted in _wanted_names(region, days, first_year, last_year):
        chosen = [day for day in dates if wanted in days[day]]
        out[f"{name}_{_slug(wanted)}"] = _flag(periods, chosen)
    return out


def _flag(periods: Periods, dates: Iterable[dt.date], ahead: int = 0) -> pl.Expr:
    labels = sorted({label for day in dates for label in periods.labels(day, ahead)})
    return periods.key().is_in(pl.lit(pl.Series(labels, dtype=pl.Date)).implode())


def _distance(periods: Periods, dates: Iterable[dt.date], cap: int, sign: int) -> pl.Expr:
    """Days between the first day of the period and the next (-1) or last (1) holiday."""
    near: dict[dt.date, int] = {}
    for day in dates:
        for distance in range(cap):
            at = day + dt.timedelta(days=sign * distance)
            near[at] = min(distance, near.get(at, cap))
    return _look_up(periods.first_day(), near, default=cap)


def _look_up(key: pl.Expr, values: Mapping[dt.date, int], default: int) -> pl.Expr:
    dates = sorted(values)
    return key.replace_strict(
        pl.Series(dates, dtype=pl.Date),
        pl.Series([values[date] for date in dates], dtype=pl.Float32),
        default=float(default),
        return_dtype=pl.Float32,
    )


def _holidays_of(region: Holidays, first_year: int, last_year: int) -> dict[dt.date, set[str]]:
    """Names of the holidays of each date, without the remark that a day is made up for."""
    known = holidays.list_supported_countries()
    if region.country not in known:
        raise DataError(
            f"calendar: the holidays library has no country {region.country!r}",
            hint=_advice(region.country, sorted(known)) or "use a code such as US, DE or GBR",
        )
    subdivisions = list(known[region.country])
    if region.subdivision is not None and region.subdivision not in subdivisions:
        offered = ", ".join(subdivisions[:60]) or "none"
        advice = _advice(region.subdivision, subdivisions)
        raise DataError(
            f"calendar: country {region.country!r} has no subdivision {region.subdivision!r}",
            hint=f"{advice + '; ' if advice else ''}subdivisions: {offered}",
        )
    found = holidays.country_holidays(
        region.country,
        subdiv=region.subdivision,
        years=range(first_year, last_year + 1),
        expand=False,
        observed=region.observed,
        language=_LANGUAGE,
    )
    return {day: {_REMARK.sub("", name) for name in found.get_list(day)} for day in sorted(found)}


def _wanted_names(
    region: Holidays, days: Mapping[dt.date, set[str]], first_year: int, last_year: int
) -> list[str]:
    if region.names is False:
        return []
    within = {n for day, ns in days.items() if first_year <= day.year <= last_year for n in ns}
    if region.names is True:
        return sorted(within)
    asked = list(dict.fromkeys(region.names))
    everything = sorted({name for names in days.values() for name in names})
    for name in asked:
        if name not in everything:
            advice = _advice(name, everything)
            raise DataError(
                f"calendar: {region.country!r} has no holiday named {name!r} in "
                f"{first_year}..{last_year}",
                hint=f"{advice + '; ' if advice else ''}names: {', '.join(everything)}",
            )
    return asked


def _advice(word: str, offered: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, offered, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else ""


def _slug(text: str) -> str:
    return re.sub(r"\W+", "_", text.lower().replace("'", "")).strip("_")
