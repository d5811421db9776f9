"""Options of the `calendar` feature builder."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from engine.components import Params

Part = Literal[
    "month",
    "week",
    "weekday",
    "day",
    "quarter",
    "day_of_year",
    "hour",
    "minute",
    "year",
    "weekend",
    "month_start",
    "month_end",
    "days_in_month",
]
CategoryPart = Literal["month", "week", "weekday", "day", "quarter", "hour"]
CyclicPart = Literal["month", "week", "weekday", "day", "quarter", "day_of_year", "hour", "minute"]


class Fourier(Params):
    """Sine and cosine waves of one period."""

    period: float = Field(gt=1, description="Length of the cycle in steps, e.g. 7 or 365.25.")
    order: int = Field(ge=1, description="Number of harmonics, at most half the period.")

    @model_validator(mode="after")
    def _below_nyquist(self) -> Fourier:
        if 2 * self.order > self.period:
            raise ValueError(
                f"order {self.order} is too high for period {self.period:g}: a wave shorter than "
                f"two steps cannot be seen, use order <= {int(self.period // 2)}"
            )
        return self


class Holidays(Params):
    """Public holidays of one country or of one of its parts."""

    country: str = Field(min_length=2, description="Country code of the `holidays` library: US.")
    subdivision: str | None = Field(None, description="State or province code, e.g. CA.")
    names: bool | tuple[str, ...] = Field(
        False, description="A flag for each holiday: true for all of them, or a list of names."
    )
    observed: bool = Field(True, description="Count days on which a holiday is made up for.")
    before: int = Field(
        0, ge=0, le=60, description="Flags for each of the n periods (at least days) before one."
    )
    after: int = Field(
        0, ge=0, le=60, description="Flags for each of the n periods (at least days) after one."
    )
    count: bool = Field(
        False, description="Number of days within the period (weeks, months) that are holidays."
    )
    days_to: int | None = Field(
        None, ge=1, le=366, description="Days until the next holiday, capped at this number."
    )
    days_since: int | None = Field(
        None, ge=1, le=366, description="Days since the last holiday, capped at this number."
    )
    label: Literal["start", "end"] = Field(
        "start", description="Whether ds is the first or the last day of its period (weeks)."
    )


class CalendarParams(Params):
    """Which features are made of `ds`; all of them are known ahead."""

    parts: tuple[Part, ...] = Field(
        (), description="Parts of the date; numbers unless listed below."
    )
    one_hot: tuple[CategoryPart, ...] = Field(
        (), description="Parts encoded as one flag for each value instead of a number."
    )
    cyclic: tuple[CyclicPart, ...] = Field(
        (), description="Parts encoded as sine and cosine instead of a number."
    )
    fourier: Fourier | tuple[Fourier, ...] = Field(
        (), description="One or several Fourier series: {period: 52.18, order: 3}."
    )
    trend: bool = Field(
        False, description="Time in years since 2000 (integer time: in hundreds of steps)."
    )
    holidays: Holidays | tuple[Holidays, ...] = Field(
        (), description="Public holidays, of one or several countries: {country: US}."
    )

    @property
    def waves(self) -> tuple[Fourier, ...]:
        """The Fourier series as a tuple."""
        return (self.fourier,) if isinstance(self.fourier, Fourier) else self.fourier

    @property
    def regions(self) -> tuple[Holidays, ...]:
        """The holiday calendars as a tuple."""
        return (self.holidays,) if isinstance(self.holidays, Holidays) else self.holidays

    @model_validator(mode="after")
    def _makes_something_once(self) -> CalendarParams:
        if not (
            self.parts or self.one_hot or self.cyclic or self.waves or self.trend or self.regions
        ):
            raise ValueError(
                "calendar makes no feature: give parts, one_hot, cyclic, fourier, trend or holidays"
            )
        for name, values in (
            ("parts", self.parts),
            ("one_hot", self.one_hot),
            ("cyclic", self.cyclic),
            ("fourier periods", tuple(f"{w.period:g}" for w in self.waves)),
            ("holidays", tuple(f"{r.country} {r.subdivision or ''}" for r in self.regions)),
        ):
            twice = sorted({str(v) for v in values if values.count(v) > 1})
            if twice:
                raise ValueError(f"{name} names {', '.join(twice)} more than once")
        return self
