"""Options of the `static` feature builder."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from engine.components import Params


class StaticParams(Params):
    """Which attributes of a series and which known categories become features."""

    columns: str | tuple[str, ...] | None = Field(
        None, description="Static columns or keys; default: all static columns."
    )
    covariates: str | tuple[str, ...] = Field(
        (), description="Future covariates that hold text, such as the name of an event."
    )
    encode: Literal["one_hot", "ordinal"] = Field(
        "one_hot",
        description="Categories as one flag for each level, or as the number of the level in "
        "sorted order.",
    )
    max_levels: int = Field(
        50, ge=1, description="Most levels of a one-hot column; more of them is an error."
    )

    @property
    def names(self) -> tuple[str, ...] | None:
        """The static columns as a tuple; None for all."""
        return (self.columns,) if isinstance(self.columns, str) else self.columns

    @property
    def covariate_names(self) -> tuple[str, ...]:
        """The covariates as a tuple."""
        return (self.covariates,) if isinstance(self.covariates, str) else self.covariates

    @model_validator(mode="after")
    def _makes_something_once(self) -> StaticParams:
        if self.names == () and not self.covariate_names:
            raise ValueError("static makes no feature: name columns or covariates")
        named = (*(self.names or ()), *self.covariate_names)
        twice = sorted({name for name in named if named.count(name) > 1})
        if twice:
            raise ValueError(f"columns and covariates name {', '.join(twice)} more than once")
        return self
