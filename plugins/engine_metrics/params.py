"""Options of the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from engine.components import Params


class MaseParams(Params):
    """Options of `mase`."""

    season: int | None = Field(
        None,
        ge=1,
        description="steps of the season of the naive forecast that scales the errors, such as 7 "
        "for days; default: `evaluate.season`, else the usual season of the frequency",
    )


class RmsseParams(Params):
    """Options of `rmsse`."""

    season: int = Field(
        1,
        ge=1,
        description="steps of the season of the naive forecast that scales the errors; 1, the last "
        "value, is that of the M5 competition",
    )


class QuantileParams(Params):
    """Options of `pinball` and `wql`."""

    quantiles: list[float] | None = Field(
        None,
        min_length=1,
        description="quantiles that are scored, such as [0.1, 0.5, 0.9]; default: all of the spec",
    )

    @field_validator("quantiles")
    @classmethod
    def _between_0_and_1(cls, value: list[float] | None) -> list[float] | None:
        for quantile in value or ():
            if not 0 < quantile < 1:
                raise ValueError(f"quantile {quantile} must lie between 0 and 1, e.g. 0.9")
        if value is not None and len(set(value)) < len(value):
            raise ValueError(f"quantiles {value} name one twice")
        return value


class IntervalParams(Params):
    """Options of `coverage` and `width`: which interval; default: the outermost symmetrical one."""

    level: float | None = Field(
        None, description="nominal share inside the interval: 0.8 is that from q0.1 to q0.9"
    )
    lower: float | None = Field(None, description="quantile at the interval's lower end, e.g. 0.05")
    upper: float | None = Field(None, description="quantile at the interval's upper end, e.g. 0.5")

    @model_validator(mode="after")
    def _one_interval(self) -> IntervalParams:
        if (self.lower is None) != (self.upper is None):
            raise ValueError("`lower` and `upper` go together")
        if self.level is not None and self.lower is not None:
            raise ValueError("give either `level`, or `lower` and `upper`")
        for name in ("level", "lower", "upper"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ValueError(f"{name} is {value}; it must lie between 0 and 1, e.g. 0.8")
        if self.lower is not None and self.upper is not None and self.lower >= self.upper:
            raise ValueError(f"lower ({self.lower}) must be smaller than upper ({self.upper})")
        return self


class FileParams(Params):
    """A Parquet file with one number per aggregated series of every level."""

    path: str = Field(
        min_length=1, description="Parquet file; relative paths start where the source's start"
    )
    level: str = Field(
        "level",
        description="column with the number of the level: 3, or a text that ends in it (Level3); "
        "levels are counted from 1 in the order of `levels`",
    )
    keys: list[str] | None = Field(
        None,
        description="columns that identify an aggregated series, in the order of the columns of "
        "its level (the first k columns for a level of k); default: columns of the same names",
    )


class FileWeights(FileParams):
    """Weights from a file; within each level they are divided by their sum."""

    value: str = Field("weight", description="column with the weight, or anything proportional")


class SalesWeights(Params):
    """Weights in proportion to the latest sales in money before each cutoff."""

    column: str = Field(description="covariate with the price: the weight is the sum of y * price")
    periods: int = Field(28, ge=1, description="periods up to the cutoff that are summed")


def _kind_of_weights(value: Any) -> str:
    """Which weights are meant, so that a mistake in one kind is not explained as the other's."""
    names = value if isinstance(value, Mapping) else getattr(value, "__dict__", {})
    return "file" if "path" in names else "sales"


Weights = Annotated[
    Annotated[FileWeights, Tag("file")] | Annotated[SalesWeights, Tag("sales")],
    Discriminator(_kind_of_weights),
]


class FileScales(FileParams):
    """Scales from a file."""

    value: str = Field("scale", description="column with the scale")
    root: bool = Field(
        False,
        description="true: the file has the root of the mean squared step of each aggregated "
        "series (in units); false: the mean squared step itself",
    )


class WrmsseParams(Params):
    """Options of `wrmsse`."""

    levels: list[list[str]] = Field(
        min_length=1,
        description="levels of aggregation, each a list of key or static columns to sum by; [] is "
        "the total, e.g. [[], [state_id], [store_id], [store_id, dept_id]]",
    )
    weights: Weights = Field(
        description="weight of each aggregated series: {column: price} for the latest sales in "
        "money, or {path: ...} for a file"
    )
    scales: FileScales | None = Field(
        None, description="file with the scales; default: computed from the history"
    )

    @field_validator("levels")
    @classmethod
    def _distinct(cls, value: list[list[str]]) -> list[list[str]]:
        sets = [frozenset(level) for level in value]
        for level, columns in zip(value, sets, strict=True):
            if len(columns) < len(level):
                raise ValueError(f"level {level} names a column twice")
            if sets.count(columns) > 1:
                raise ValueError(f"level {level} is given twice")
        return value
