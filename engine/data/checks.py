"""What must be true of the rows of a source; each check names what, where, how often, and a way out."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import polars as pl

from engine.data.calendar import TimeGrid
from engine.errors import DataError


def columns_exist(named: Iterable[str], schema: Mapping[str, Any]) -> None:
    """Every column that the spec names is there; all missing ones are reported at once."""
    lost = [c for c in dict.fromkeys(named) if c not in schema]
    if not lost:
        return
    parts = []
    for column in lost:
        close = difflib.get_close_matches(column, list(schema), n=1)
        parts.append(f"{column!r}" + (f" (did you mean {close[0]!r}?)" if close else ""))
    shown = ", ".join(list(schema)[:30]) + (", ..." if len(schema) > 30 else "")
    raise DataError(
        f"the data have no column {', '.join(parts)}", hint=f"columns of the data: {shown}"
    )


def key_types(frame: pl.DataFrame, keys: Sequence[str]) -> None:
    """Keys are text, integers, flags or dates: what can be written down exactly."""
    for key in keys:
        dtype = frame[f"key:{key}"].dtype
        if dtype.is_float() or dtype.is_nested():
            raise DataError(
                f"key column {key!r} has type {dtype}, which does not identify a series",
                hint=f"state its type, e.g. source: {{types: {{{key}: string}}}}",
            )


def no_nulls(frame: pl.DataFrame, columns: Sequence[str]) -> None:
    """Keys and time are never null."""
    for column in columns:
        count = frame[column].null_count()
        if count:
            name = column.removeprefix("key:")
            rows = frame[column].is_null().arg_true()[:3].to_list()
            raise DataError(
                f"column {name!r} is null in {count} of {frame.height} rows (first rows: {rows})",
                hint=f"filter them out, e.g. source: {{where: '{name} IS NOT NULL'}}",
            )


def finite(frame: pl.DataFrame, column: str, keys: Sequence[str]) -> None:
    """No NaN and no infinity: a missing value is a null, anything else is a mistake upstream."""
    if all_finite(frame[column]):
        return
    bad = frame.filter(pl.col(column).is_not_null() & ~pl.col(column).is_finite())
    first = [
        "/".join(str(row[f"key:{k}"]) for k in keys) + f" at {row['ds']}: {row[column]}"
        for row in bad.head(3).to_dicts()
    ]
    raise DataError(
        f"column {column!r} is NaN or infinite in {bad.height} rows: {'; '.join(first)}",
        hint="repair the data, or filter these rows with source: {where: ...}",
    )


def all_finite(values: pl.Series) -> bool:
    """Whether no number is NaN or infinite; nulls do not count."""
    if not values.dtype.is_float():
        return True
    # What a sum of a NaN or an infinity is: a finite sum says it all, at a fifth of the cost.
    return math.isfinite(values.sum()) or bool(values.is_finite().all())


def on_grid(frame: pl.DataFrame, grid: TimeGrid, ids: pl.Series) -> None:
    """Every timestamp lies on the grid of the stated frequency."""
    wrong = grid.off_grid(pl.col("ds"))
    if not frame.select(wrong.any()).item():
        return
    off = frame.filter(wrong)
    named = _first_three(off, ids)
    raise DataError(
        f"{off.height} timestamps in {off['series'].n_unique()} series are not on a grid of "
        f"freq {str(grid.freq)!r}: {named}",
        hint="state the true frequency, or truncate the timestamps to it first",
    )


def no_duplicates(frame: pl.DataFrame, ids: pl.Series) -> None:
    """One row per series and time; `frame` is sorted."""
    series, ordinal = frame["series"].to_numpy(), frame["ordinal"].to_numpy()
    twice = np.flatnonzero(ordinal[1:] == ordinal[:-1]) + 1
    twice = twice[series[twice] == series[twice - 1]]
    if not twice.size:
        return
    rows = frame[twice]
    raise DataError(
        f"{rows.height} duplicate (unique_id, ds) rows: {_first_three(rows, ids)}",
        hint="add the missing key column to columns.unique_id, or aggregate the rows first",
    )


def constant(frame: pl.DataFrame, static: Sequence[str], ids: pl.Series) -> None:
    """A static column holds one value per series."""
    counts = frame.group_by("series", maintain_order=True).agg(
        pl.col(c).drop_nulls().n_unique() for c in static
    )
    for column in static:
        varying = counts.filter(pl.col(column) > 1)
        if not varying.is_empty():
            name = ids[int(varying["series"][0])]
            raise DataError(
                f"static column {column!r} changes within {varying.height} series "
                f"(first: {name!r}, {varying[column][0]} values)",
                hint="declare it under covariates.future or covariates.past",
            )


def no_gaps(frame: pl.DataFrame, ids: pl.Series) -> None:
    """No missing `y` inside a series; one that ends before the panel does is no gap."""
    ends = (
        frame.filter(pl.col("y").is_not_null()).group_by("series").agg(last=pl.col("ordinal").max())
    )
    gaps = (
        frame.filter(pl.col("y").is_null())
        .join(ends, on="series")
        .filter(pl.col("ordinal") < pl.col("last"))
    )
    if gaps.is_empty():
        return
    share = gaps.height / max(frame.height, 1)
    advice = "most periods are missing: is freq right? " if share > 0.5 else ""
    raise DataError(
        f"{gaps.height} missing values of y in {gaps['series'].n_unique()} series and no policy for "
        f"them: {_first_three(gaps.sort('series', 'ordinal'), ids)}",
        hint=f"{advice}state data.missing.y: drop, zero, forward_fill or interpolate",
    )


def covariate_missing(frame: pl.DataFrame, column: str, ids: pl.Series) -> NoReturn:
    """Raise: a covariate has nulls and no policy for them."""
    rows = frame.filter(pl.col(column).is_null())
    raise DataError(
        f"covariate {column!r} is missing in {rows.height} rows of {rows['series'].n_unique()} series "
        f"and there is no policy for it: {_first_three(rows, ids)}",
        hint=f"state data.missing.future (or past): forward_fill, or {{{column}: zero}}",
    )


def horizon_unknown(rows: pl.DataFrame, column: str, ids: pl.Series) -> NoReturn:
    """Raise: a future covariate is not known for the steps to forecast."""
    raise DataError(
        f"future covariate {column!r} is not known for {rows['ordinal'].n_unique()} steps to "
        f"forecast in {rows['series'].n_unique()} series: {_first_three(rows, ids)}",
        hint="add the known future rows to the source (for `files`: future: {path: ...}), or state "
        "data.missing.horizon: forward_fill, zero, or skip (backtest only)",
    )


def negative_target(y: pl.Series, unique_id: pl.Series, model: str) -> None:
    """A log1p target needs y >= 0; names the model, count and the first three series."""
    negative = y < 0
    if not negative.any():
        return
    names = unique_id.filter(negative).cast(pl.String).unique(maintain_order=True)
    raise DataError(
        f"model {model!r} has target: log1p, but y is negative in {int(negative.sum())} rows of "
        f"{len(names)} series: {', '.join(names[:3])}",
        hint="clip with source: {derive: {...}}, filter with where:, or use target: none",
    )


def _first_three(rows: pl.DataFrame, ids: pl.Series) -> str:
    names = ids.cast(pl.String)
    return ", ".join(
        f"{names[int(row['series'])]} at {row['ds']}"
        for row in rows.head(3).select("series", "ds").to_dicts()
    )
