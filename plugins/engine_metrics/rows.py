"""Expressions that all row metrics are made of; here it is decided which rows count.

A row counts if it has a `y` and a `y_hat`; NaN means the same as null. Everything that is summed is
null on other rows, so that numerators and denominators are sums over the same rows.
"""

from __future__ import annotations

import polars as pl


def number(column: str) -> pl.Expr:
    """A column as Float64, null where it is missing or NaN."""
    return pl.col(column).cast(pl.Float64).fill_nan(None)


def counts() -> pl.Expr:
    """Whether a row has both `y` and `y_hat`."""
    return number("y").is_not_null() & number("y_hat").is_not_null()


def error() -> pl.Expr:
    """`y_hat - y` in units, positive where too much was forecast; null on rows that do not count."""
    return number("y_hat") - number("y")


def where(condition: pl.Expr, value: pl.Expr) -> pl.Expr:
    """`value` where `condition` holds, null elsewhere."""
    return pl.when(condition).then(value)


def size() -> pl.Expr:
    """`|y|` in units; null on rows that do not count."""
    return where(counts(), number("y").abs())


def one(value: pl.Expr) -> pl.Expr:
    """1.0 where `value` is there, null elsewhere; its sum is the number of rows that count."""
    return where(value.is_not_null(), pl.lit(1.0))


def ratio(numerator: str, denominator: str) -> pl.Expr:
    """One summed term over another; null, not NaN, where nothing counted or all of `y` is 0."""
    return where(pl.col(denominator) > 0, pl.col(numerator) / pl.col(denominator))
