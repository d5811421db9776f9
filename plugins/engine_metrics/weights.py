"""Weights and scales of aggregated series, from the history or from a file."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.data.panel import Panel
from engine.errors import DataError, NotFoundError
from engine_metrics.hierarchy import Level
from engine_metrics.params import FileParams, SalesWeights

Floats = npt.NDArray[np.float64]


def sales(history: Panel, whole: Panel, options: SalesWeights) -> Floats:
    """Sales in money of each series of `whole` over the last periods of `history`, (n_series,).

    Rows without y or price count as no sale; a negative sum (returns) counts as 0. `history` may
    lack series that begin later; they have sold nothing.
    """
    column = options.column
    if column not in history.roles.covariates:
        close = difflib.get_close_matches(column, history.roles.covariates, n=1)
        advice = f"did you mean {close[0]!r}? " if close else ""
        raise DataError(
            f"metric 'wrmsse': weights.column {column!r} is not a covariate",
            hint=f"{advice}there are: {', '.join(history.roles.covariates) or 'none'}",
        )
    if not history.numeric([column]):
        raise DataError(
            f"metric 'wrmsse': weights.column {column!r} holds {history.frame.schema[column]}, "
            "not a price",
            hint="name the covariate with the price in money per unit of y",
        )
    recent = history.ordinals > history.end - options.periods
    price = history.frame[column].cast(pl.Float64).fill_null(0.0).fill_nan(0.0).to_numpy()
    money = np.where(recent, np.nan_to_num(history.y()) * price, 0.0)
    sums = np.bincount(history.series_index, weights=money, minlength=history.n_series)
    values = np.zeros(whole.n_series)
    values[whole.starts <= history.end] = np.maximum(sums, 0.0)
    return values


def summed(history: Panel, whole: Panel, finest: Level) -> Floats:
    """The history added up to the cells of a level, (n_cells, periods); without y adds nothing."""
    if not history.frame.height:
        return np.zeros((finest.n_cells, 0))
    cell = finest.cell[whole.starts <= history.end]
    ordinals = history.ordinals
    first = int(ordinals.min())
    periods = history.end - first + 1
    place = cell[history.series_index] * periods + ordinals - first
    y = np.bincount(place, weights=np.nan_to_num(history.y()), minlength=finest.n_cells * periods)
    return y.astype(np.float64, copy=False).reshape(finest.n_cells, periods)


def roots(y: Floats, cells: npt.NDArray[np.int64]) -> Floats:
    """Root of the mean squared step of each aggregated series, in units, (n_cells,).

    y: (finer cells, periods), cells: the cell that each of them adds to. The mean runs over the
    steps after the first sum other than 0; NaN where there is none. (M5 guide; Makridakis et al.
    2022, equation 1.)
    """
    order = np.argsort(cells, kind="stable")
    begins = np.flatnonzero(np.diff(cells[order], prepend=-1))
    y = np.add.reduceat(y[order], begins, axis=0)
    selling = np.logical_or.accumulate(y != 0, axis=1)[:, :-1]
    squares = np.where(selling, np.diff(y, axis=1) ** 2, 0.0).sum(axis=1)
    steps = selling.sum(axis=1)
    mean = np.full(len(begins), np.nan)
    np.divide(squares, steps, out=mean, where=steps > 0)
    root: Floats = np.sqrt(mean)
    return root


def read_table(options: FileParams, value: str, base: Path, option: str) -> pl.DataFrame:
    """A file of weights or scales with its level as a number, `number`, and its value, `value`.

    Relative paths start at `base`. NotFoundError without the file, DataError for a missing column,
    a level that does not end in a number, or a value that is negative or not finite.
    """
    path = base / Path(options.path).expanduser()
    if not path.is_file():
        names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        close = difflib.get_close_matches(path.name, names, n=1)
        raise NotFoundError(
            f"metric 'wrmsse': {option}.path: there is no file {path}",
            hint=f"did you mean {close[0]!r}?" if close else "check the path and its variables",
        )
    try:
        table = pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"metric 'wrmsse': {option}.path: {path} is not a Parquet file: {error}",
            hint="write the table as Parquet",
        ) from error
    _has_columns(table, [options.level, value, *(options.keys or [])], option)
    number = pl.col(options.level).cast(pl.String).str.extract(r"(\d+)$").cast(pl.Int64)
    table = table.with_columns(number=number, value=pl.col(value).cast(pl.Float64, strict=False))
    unread = table.filter(pl.col("number").is_null())
    if unread.height:
        raise DataError(
            f"metric 'wrmsse': {option}: {unread.height} rows have a {options.level} that does not "
            f"end in a number, such as {unread[options.level][0]!r}",
            hint="number the levels from 1 in the order of `levels`",
        )
    bad = table.filter(~(pl.col("value").is_finite() & (pl.col("value") >= 0)))
    if bad.height:
        raise DataError(
            f"metric 'wrmsse': {option}: {bad.height} values of {value!r} are negative or not "
            f"finite, the first is {bad['value'][0]}",
            hint="correct or remove these rows",
        )
    return table


def from_table(table: pl.DataFrame, level: Level, options: FileParams, option: str) -> Floats:
    """The file's value of each cell of a level, (n_cells,); NaN where the file has none.

    DataError if the file has two values for one cell, or too few key columns.
    """
    found = table.filter(pl.col("number") == level.number)
    values = np.full(level.n_cells, np.nan)
    if options.keys is not None and len(options.keys) < len(level.columns):
        raise DataError(
            f"metric 'wrmsse': {option}.keys has {len(options.keys)} columns, {level} needs "
            f"{len(level.columns)}",
            hint="name the file's columns in the order of the level's",
        )
    if not level.columns:
        if found.height > 1:
            raise _twice(option, level, found.height - 1)
        if found.height:
            values[0] = found["value"][0]
        return values
    keys = level.columns if options.keys is None else options.keys[: len(level.columns)]
    _has_columns(found, keys, option)
    named = found.select(
        *(pl.col(k).cast(pl.String).alias(c) for k, c in zip(keys, level.columns, strict=True)),
        pl.col("value").alias("value of cell"),
    )
    twice = named.height - named.select(level.columns).n_unique()
    if twice:
        raise _twice(option, level, twice)
    joined = level.cells.join(named, on=list(level.columns), how="left", maintain_order="left")
    return joined["value of cell"].fill_null(float("nan")).to_numpy()


def _twice(option: str, level: Level, count: int) -> DataError:
    return DataError(
        f"metric 'wrmsse': {option}: {count} aggregated series of {level} are given twice",
        hint="keep one row for each; are `level` and `keys` the right columns?",
    )


def _has_columns(table: pl.DataFrame, names: Sequence[str], option: str) -> None:
    for name in names:
        if name not in table.columns:
            close = difflib.get_close_matches(name, table.columns, n=1)
            advice = f"did you mean {close[0]!r}? " if close else ""
            raise DataError(
                f"metric 'wrmsse': {option}: the file has no column {name!r}",
                hint=f"{advice}there are: {', '.join(table.columns)}",
            )
