"""The section `data` of a spec: where the rows come from, what they mean, what may be missing."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from engine.data.calendar import Frequency
from engine.spec.sections import Count, Section, Use

Policy = Literal["error", "keep", "zero", "forward_fill", "interpolate"]
PastPolicy = Literal["error", "keep", "zero", "forward_fill"]
HorizonPolicy = Literal["error", "forward_fill", "zero"]


class SourceUse(Use):
    """A source of rows."""


class Columns(Section):
    """Which column is what."""

    unique_id: str | list[str] = Field(description="column or columns that identify a series")
    ds: str = Field(description="time column: dates, datetimes or integers")
    y: str = Field(description="target column")

    @property
    def keys(self) -> tuple[str, ...]:
        """Key columns."""
        return (self.unique_id,) if isinstance(self.unique_id, str) else tuple(self.unique_id)


class Covariates(Section):
    """Roles of further columns; what is not named here is not read."""

    future: list[str] = Field(default=[], description="known ahead: price, promotion, holiday")
    past: list[str] = Field(default=[], description="known up to the cutoff only")
    static: list[str] = Field(default=[], description="constant per series")


class MissingSpec(Section):
    """What happens to values that are not there; nothing is filled unless it is stated."""

    y: Literal["error", "drop", "zero", "forward_fill", "interpolate"] = Field(
        "error", description="`drop`: stays missing, is neither trained on nor scored"
    )
    future: Policy | dict[str, Policy] = Field("error", description="one policy, or one a column")
    past: PastPolicy | dict[str, PastPolicy] = Field(
        "keep", description="one policy, or one a column"
    )
    horizon: Literal["error", "forward_fill", "zero", "skip"] | dict[str, HorizonPolicy] = Field(
        "error",
        description="future covariates of steps after the last date on which they are known, one "
        "policy or one a column; `skip`: backtest only, no forecast beyond the data",
    )
    leading_zeros: Literal["keep", "drop"] = Field(
        "keep", description="`drop`: a series begins at its first non-zero y"
    )


class SeriesSpec(Section):
    """Which series are forecast from a cutoff; the others are listed with the reason."""

    min_history: Count = Field(1, description="observed values needed up to the cutoff")
    stale_after: Count | None = Field(
        None,
        description="periods without any observation before the cutoff after which a series "
        "counts as ended",
    )

    align: Literal["none", "end"] = Field(
        "none",
        description="`end`: shift the integer time of each series so that all end together, as in "
        "competition data without dates",
    )


class DataSpec(Section):
    """Where the rows come from and what they mean."""

    source: SourceUse
    columns: Columns
    freq: str | int = Field(
        description="1d, 1w, 1mo, 1q, 1y, 1h, 15min; an integer for integer time"
    )
    covariates: Covariates = Field(default_factory=lambda: Covariates.model_validate({}))
    missing: MissingSpec = Field(default_factory=lambda: MissingSpec.model_validate({}))
    series: SeriesSpec = Field(default_factory=lambda: SeriesSpec.model_validate({}))

    @field_validator("freq")
    @classmethod
    def _frequency(cls, value: str | int) -> str | int:
        Frequency.parse(value)
        return value
