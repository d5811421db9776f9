"""Static features as expressions over the table of series; known categories over the rows."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

import polars as pl

from engine.contracts import Availability, Feature, FeatureContext, FeatureSet
from engine.errors import DataError
from engine_static.params import StaticParams


class Static:
    """Builds features that are constant per series, and flags of known categories."""

    def __init__(self, params: StaticParams) -> None:
        self.params = params

    def build(self, context: FeatureContext) -> FeatureSet:
        """Name the features; DataError for an undeclared column or one with too many levels."""
        columns = context.roles.static if self.params.names is None else self.params.names
        covariates = self.params.covariate_names
        if not columns and not covariates:
            raise DataError(
                "static: there is nothing to encode, as no static column is declared",
                hint="declare data.covariates.static, or name keys: "
                f"columns: [{', '.join(context.roles.keys)}]",
            )
        features: list[Feature] = []
        for column in columns:
            _check(column, "a static column or key", context.roles.static + context.roles.keys)
            features.extend(self._static_features(column, context))
        for column in covariates:
            _check(column, "a future covariate", context.roles.future)
            features.extend(self._covariate_features(column, context))
        return FeatureSet(tuple(features))

    def _static_features(self, column: str, context: FeatureContext) -> Iterator[Feature]:
        is_number = _is_number(context.dtypes[column])
        # A key that is an integer is a name, not an amount.
        if is_number and column not in context.roles.keys:
            yield Feature(f"static_{column}", pl.col(column), "static", lookback=0)
            return
        yield from self._encoded(column, context, "static")

    def _covariate_features(self, column: str, context: FeatureContext) -> Iterator[Feature]:
        if _is_number(context.dtypes[column]):
            raise DataError(
                f"static: covariate {column!r} has type {context.dtypes[column]}, not text",
                hint=f"use a number as it is with promo: {{flags: [{column}]}}",
            )
        yield from self._encoded(column, context, "known")

    def _encoded(
        self, column: str, context: FeatureContext, availability: Availability
    ) -> Iterator[Feature]:
        levels, name = _levels(column, context), f"static_{column}"
        if self.params.encode == "ordinal":
            yield Feature(name, _number_of_level(column, levels), availability, lookback=0)
            return
        self._check_count(column, levels)
        dtype = context.dtypes[column]
        # Enums compare by code, which is much faster than making text of every row.
        is_text = dtype in (pl.Enum, pl.String)
        value = pl.col(column) if is_text else pl.col(column).cast(pl.String)
        for level in levels:
            # No value is none of the levels, not an unknown one: an event that is null is no event.
            flag = (value == level).fill_null(False)
            yield Feature(f"{name}_{level}", flag, availability, lookback=0)

    def _check_count(self, column: str, levels: Sequence[str]) -> None:
        if len(levels) > self.params.max_levels:
            raise DataError(
                f"static: column {column!r} has {len(levels)} levels, more than max_levels "
                f"{self.params.max_levels}",
                hint="use encode: ordinal, raise max_levels, or leave the column out",
            )


def _is_number(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype == pl.Boolean


def _number_of_level(column: str, levels: Sequence[str]) -> pl.Expr:
    """Place of a value among the levels, counted from 0; missing for any other value."""
    return (
        pl.col(column)
        .cast(pl.String)
        .replace_strict(
            pl.Series(levels, dtype=pl.String),
            pl.Series(range(len(levels)), dtype=pl.Float32),
            default=None,
            return_dtype=pl.Float32,
        )
    )


def _levels(column: str, context: FeatureContext) -> tuple[str, ...]:
    levels = context.levels.get(column)
    if levels is None:
        raise DataError(
            f"static: column {column!r} has too many distinct values to be treated as categories",
            hint="leave the column out, or give its series a static column with fewer groups",
        )
    if not levels:
        raise DataError(
            f"static: column {column!r} has no levels, as all its values are missing",
            hint="leave the column out",
        )
    return levels


def _check(column: str, what: str, offered: Sequence[str]) -> None:
    if column in offered:
        return
    close = difflib.get_close_matches(column, offered, n=1)
    advice = f"did you mean {close[0]!r}? " if close else ""
    raise DataError(
        f"static: {column!r} is not {what}",
        hint=f"{advice}columns: {', '.join(offered) or 'none'}",
    )
