"""SQL expressions of a spec, checked against the columns they are to be computed from."""

from __future__ import annotations

import re
from collections.abc import Iterator

import polars as pl
from polars.exceptions import PolarsError

from engine.errors import DataError, first_line
from engine_files.columns import require

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_WINDOW = re.compile(r"\bover\s*\(", re.IGNORECASE)


def filtered(frame: pl.LazyFrame, condition: str | None, place: str) -> pl.LazyFrame:
    """The rows that meet an SQL condition; Polars pushes it down into the scan of the file."""
    if condition is None:
        return frame
    option = f"where: {condition}"
    expr = _parsed(condition, frame.collect_schema().names(), option, place)
    dtype = _resolved(frame, expr, option, place)
    if dtype not in (pl.Boolean, pl.Null):
        raise DataError(
            f"{option}: this is of type {dtype}, not a condition",
            hint="write a comparison, e.g. where: \"ds >= DATE '2015-01-01'\"",
        )
    return frame.filter(expr)


def derived(frame: pl.LazyFrame, name: str, expression: str, place: str) -> pl.LazyFrame:
    """The rows with one more (or one replaced) column, computed row by row."""
    option = f"derive.{name}: {expression}"
    expr = _parsed(expression, frame.collect_schema().names(), option, place)
    _resolved(frame, expr, option, place)
    return frame.with_columns(expr.alias(name))


def _parsed(text: str, columns: list[str], option: str, place: str) -> pl.Expr:
    try:
        expr = pl.sql_expr(text)
    except PolarsError as error:
        raise DataError(
            f"{option}: {_cause(error)}",
            hint="write one SQL expression, with texts in 'single' and odd names in \"double\" "
            "quotes",
        ) from None
    require(dict.fromkeys(expr.meta.root_names()), columns, option=option, place=place)
    # A sum or a window over all rows would see past every cutoff of a backtest.
    if _WINDOW.search(_QUOTED.sub("", text)) or any(_mixes_rows(n) for n in _nodes(expr)):
        raise DataError(
            f"{option}: this mixes several rows, which could carry the future into the past",
            hint="use one row's columns only; rolling and cross-series values are features",
        )
    return expr


def _nodes(expr: pl.Expr) -> Iterator[pl.Expr]:
    yield expr
    for part in expr.meta.pop():
        yield from _nodes(part)


def _mixes_rows(node: pl.Expr) -> bool:
    """Whether one node of an expression counts, aggregates or repeats the rows of its columns."""
    if not node.meta.root_names():
        return node.meta.eq(pl.len())
    try:
        return node.meta.is_scalar() or not node.meta.is_length_preserving()
    except PolarsError:
        # Arithmetic that is only resolved once it meets the frame's types; it works row by row.
        return False


def _resolved(frame: pl.LazyFrame, expr: pl.Expr, option: str, place: str) -> pl.DataType:
    try:
        return frame.select(expr.alias("value")).collect_schema()["value"]
    except PolarsError as error:
        raise DataError(
            f"{option}: {_cause(error)} ({place})",
            hint="text functions need text: CAST(column AS VARCHAR), or types: {column: string}",
        ) from None


def _cause(error: PolarsError) -> str:
    return first_line(error).partition(": ")[2] or first_line(error)
