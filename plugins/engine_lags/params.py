"""Options of the `lags` feature builder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from engine.components import Params

Window = Annotated[int, Field(ge=1)]
WideWindow = Annotated[int, Field(ge=2)]
Lag = Annotated[int, Field(ge=0)]
Level = Annotated[float, Field(ge=0, le=1)]
Alpha = Annotated[float, Field(gt=0, le=1)]


class Change(Params):
    """Growth against one season before, over windows of steps that end at the cutoff."""

    mean: tuple[Window, ...] = Field((), description="Windows of the mean difference.")
    median: tuple[Window, ...] = Field(
        (),
        description="Windows of the median difference, which a holiday that came in another week "
        "does not move.",
    )


class Seasonal(Params):
    """Values of earlier seasons, counted back from the target date."""

    period: float = Field(
        ge=1,
        allow_inf_nan=False,
        description="Length of the season in steps, e.g. 7 or 52. A season of 52.18 weeks blends the "
        "values 52 and 53 weeks before by the days that they share with the target's week a year "
        "before, so that Christmas stays in its place.",
    )
    count: int = Field(1, ge=1, le=60, description="How many seasons back, one feature each.")
    mean: bool = Field(False, description="Also the mean over these seasons.")
    windows: tuple[WideWindow, ...] = Field(
        (), description="Also means over windows that end one season before the target."
    )
    change: Change = Field(
        Change.model_validate({}),
        description="Also growth, without the season: the difference to one season before, over "
        "windows that end at the cutoff: {median: [13]}.",
    )
    weekday: tuple[str, ...] = Field(
        (),
        description="With a season that is no whole number: 0/1 covariates of holidays that fall on "
        "a weekday, such as Thanksgiving. Where one is set, and one step later, values are read "
        "whole steps back, not blended.",
    )

    @property
    def steps(self) -> int:
        """Whole steps of the season."""
        return int(self.period)

    @model_validator(mode="after")
    def _weekdays_go_with_a_blend(self) -> Seasonal:
        if self.weekday and self.period == self.steps:
            raise ValueError(
                f"weekday says where not to blend, but a season of {self.period:g} steps blends "
                "nothing: leave weekday out, or use a period such as 52.18"
            )
        return self


class Rolling(Params):
    """Statistics over windows of steps that end at the cutoff."""

    mean: tuple[Window, ...] = Field((), description="Windows of the mean.")
    std: tuple[WideWindow, ...] = Field((), description="Windows of the standard deviation.")
    min: tuple[Window, ...] = Field((), description="Windows of the minimum.")
    max: tuple[Window, ...] = Field((), description="Windows of the maximum.")
    median: tuple[Window, ...] = Field((), description="Windows of the median.")
    sum: tuple[Window, ...] = Field((), description="Windows of the sum of what is observed.")
    quantile: dict[Level, tuple[Window, ...]] = Field(
        default_factory=dict, description="Windows of each quantile: {0.9: [13]}."
    )

    def windows(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Name and windows of every statistic."""
        for name in ("mean", "std", "min", "max", "median", "sum"):
            yield name, getattr(self, name)
        for level, windows in self.quantile.items():
            yield f"quantile {level:g}", windows


class LagGroup(Params):
    """A mean over similar series, in place of the series' own values."""

    by: tuple[str, ...] = Field(
        description="Key, static or future columns: series with the same values on the same date are "
        "a group; [] for all series."
    )
    of: Literal["mean", "rest"] = Field(
        "mean",
        description="mean: what is summarised is the mean of the group, which has little noise; "
        "rest: the series' own value less that mean, which has no season or holiday of the group.",
    )


class LagsParams(Params):
    """Which summaries of the past are made; all of them end at the cutoff or a season earlier."""

    columns: str | tuple[str, ...] = Field(
        ("y",), description="Columns to summarise: y, past or future covariates."
    )
    group: LagGroup | None = Field(
        None,
        description="Summarise the mean over the series of a group, or what a series has besides: "
        "{by: [item], of: mean}. y is the mean of what models see, so a model's `scale` says what "
        "series have in common.",
    )
    lags: tuple[Lag, ...] = Field(
        (), description="Values this many steps before the cutoff; 0 is the last known one."
    )
    seasonal: Seasonal | tuple[Seasonal, ...] = Field(
        (), description="One or several seasons: {period: 7, count: 3}."
    )
    rolling: Rolling = Field(
        Rolling.model_validate({}), description="Statistics over windows: {mean: [4, 13]}."
    )
    ewm: tuple[Alpha, ...] = Field(
        (), description="Smoothing factors of exponentially weighted means."
    )
    zero_share: tuple[Window, ...] = Field((), description="Windows of the share of zeros.")
    since_last_sale: bool = Field(False, description="Steps since the value was last above zero.")
    diff: tuple[tuple[Lag, Lag], ...] = Field(
        (), description="Differences of two lags: [[0, 1]] is the last change."
    )
    min_samples: int = Field(
        1, ge=1, description="Observed values that a window needs; with fewer it is missing."
    )

    @property
    def names(self) -> tuple[str, ...]:
        """The columns as a tuple."""
        return (self.columns,) if isinstance(self.columns, str) else self.columns

    @property
    def seasons(self) -> tuple[Seasonal, ...]:
        """The seasons as a tuple."""
        return (self.seasonal,) if isinstance(self.seasonal, Seasonal) else self.seasonal

    def _options(self) -> Iterator[tuple[str, tuple[object, ...]]]:
        yield "columns", self.names
        yield "lags", self.lags
        yield "seasonal periods", tuple(s.period for s in self.seasons)
        for season in self.seasons:
            yield f"seasonal windows of period {season.period:g}", season.windows
            yield f"seasonal change means of period {season.period:g}", season.change.mean
            yield f"seasonal change medians of period {season.period:g}", season.change.median
        for name, windows in self.rolling.windows():
            yield f"rolling {name}", windows
        yield "ewm", self.ewm
        yield "zero_share", self.zero_share
        yield "diff", self.diff

    @model_validator(mode="after")
    def _makes_something_once(self) -> LagsParams:
        if not self.names:
            raise ValueError("columns is empty: name y or covariates")
        made = any(values for name, values in self._options() if name != "columns")
        if not (made or self.since_last_sale):
            raise ValueError(
                "lags makes no feature: give lags, seasonal, rolling, ewm, zero_share, "
                "since_last_sale or diff"
            )
        for name, values in self._options():
            twice = sorted({str(v) for v in values if values.count(v) > 1})
            if twice:
                raise ValueError(f"{name} names {', '.join(twice)} more than once")
        for first, second in self.diff:
            if first == second:
                raise ValueError(f"diff [{first}, {second}] is always zero: use two lags")
        return self

    @model_validator(mode="after")
    def _windows_hold_the_samples(self) -> LagsParams:
        named = [
            *self.rolling.windows(),
            ("zero_share", self.zero_share),
            *(("seasonal", season.windows) for season in self.seasons),
            *(("seasonal change mean", season.change.mean) for season in self.seasons),
            *(("seasonal change median", season.change.median) for season in self.seasons),
        ]
        for name, windows in named:
            short = [w for w in windows if w < self.min_samples]
            if short:
                raise ValueError(
                    f"min_samples {self.min_samples} is more than {name} window {short[0]}"
                )
        return self
