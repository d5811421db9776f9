"""The dates that all series share, and what the calendar says of each."""

from __future__ import annotations

import datetime as dt
import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import DataError, MissingDependencyError
from engine_simulate.params import SimulateParams

FloatArray = npt.NDArray[np.floating[Any]]

_YEAR = 365.25


@dataclass(frozen=True)
class Timeline:
    """All periods, the known future included; every array has shape (periods,).

    dates: first day of each period. weekday: 0 for Monday. year: years since the first date.
    angle: place in the calendar year, 0..2 pi, at the middle of the period. holiday: whether one
    of the period's days is a public holiday. days: length of a period. observed: periods with sales.
    """

    dates: npt.NDArray[np.datetime64]
    weekday: npt.NDArray[np.int64]
    year: FloatArray
    angle: FloatArray
    holiday: npt.NDArray[np.bool_]
    days: int
    observed: int

    @classmethod
    def of(cls, params: SimulateParams) -> Timeline:
        """The timeline of the options; DataError if it leaves the calendar or has no such country."""
        days = 7 if params.freq == "1w" else 1
        total = params.periods + params.future_periods
        if params.start.toordinal() + total * days >= dt.date.max.toordinal():
            raise DataError(
                f"simulate: {total} periods of {params.freq} from {params.start} pass the year 9999",
                hint="lower periods or future_periods, or start earlier",
            )
        steps = np.arange(total)
        dates = np.datetime64(params.start, "D") + steps * days
        since_monday = dates.astype(np.int64) + 3
        middle = dates.astype(np.int64) + days / 2
        return cls(
            dates=dates,
            weekday=since_monday % 7,
            year=steps * days / _YEAR,
            angle=2 * np.pi * (middle % _YEAR) / _YEAR,
            holiday=_holidays(params.country, params.start, total, days),
            days=days,
            observed=params.periods,
        )

    @property
    def total(self) -> int:
        """Number of periods, the known future included."""
        return len(self.dates)


def _holidays(country: str | None, start: dt.date, total: int, days: int) -> npt.NDArray[np.bool_]:
    if country is None:
        return np.zeros(total, dtype=bool)
    try:
        import holidays
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"simulate: public holidays of {country!r} need the package holidays",
            hint="pip install 'engine-forecast[calendar]', or leave out `country`",
        ) from error
    known = holidays.list_supported_countries()
    if country not in known:
        close = difflib.get_close_matches(country.upper(), list(known), n=1, cutoff=0.5)
        raise DataError(
            f"simulate: the holidays library has no country {country!r}",
            hint=f"did you mean {close[0]!r}?" if close else "use a code such as US, DE or GBR",
        )
    last = start + dt.timedelta(days=total * days - 1)
    found = holidays.country_holidays(country, years=range(start.year, last.year + 1), expand=False)
    offsets = np.array([(day - start).days for day in found], dtype=np.int64)
    flags = np.zeros(total, dtype=bool)
    flags[offsets[(offsets >= 0) & (offsets < total * days)] // days] = True
    return flags
