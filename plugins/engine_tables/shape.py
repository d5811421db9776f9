"""From a table of the run to the columns and rows that a spec asks for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import polars as pl

from engine.contracts import Results
from engine.errors import DataError
from engine_tables.dialects import gluonts, nixtla
from engine_tables.params import TableParams


def shaped(results: Results, params: TableParams) -> pl.DataFrame:
    """The table that `params` describe: models, then dialect, then columns, then new names.

    DataError, with near names, for a table, model or column that is not there.
    """
    table = results.tables.get(params.table)
    if table is None:
        raise DataError(
            f"this run has no table {params.table!r} to write",
            hint=f"it has {', '.join(results.tables) or 'none'}; set `table:` to one of them",
        )
    if params.models is not None:
        table = _of_models(table, params.models, params.table)
    if params.dialect == "gluonts":
        table = gluonts(table)
    elif params.dialect == "nixtla":
        table = nixtla(table)
    if params.columns is not None:
        _require(params.columns, table.columns, f"columns: table {params.table!r} has no column")
        table = table.select(params.columns)
    return _renamed(table, params)


def _of_models(table: pl.DataFrame, models: Sequence[str], name: str) -> pl.DataFrame:
    if "model" not in table.columns:
        raise DataError(
            f"models: table {name!r} has no column 'model' to choose by", hint="leave `models` out"
        )
    if not table.is_empty():
        there = [str(m) for m in table["model"].unique(maintain_order=True).drop_nulls()]
        if name != "failures":
            _require(models, there, f"models: table {name!r} has no rows of model")
    return table.filter(pl.col("model").cast(pl.String).is_in(list(models)))


def _renamed(table: pl.DataFrame, params: TableParams) -> pl.DataFrame:
    _require(params.rename, table.columns, f"rename: table {params.table!r} has no column")
    renamed = [params.rename.get(c, c) for c in table.columns]
    twice = sorted({c for c in renamed if renamed.count(c) > 1})
    if twice:
        raise DataError(
            f"rename: table {params.table!r} would have two columns named {twice[0]!r}",
            hint="choose another name, or leave one of them out with `columns`",
        )
    return table.rename(params.rename)


def _require(names: Iterable[str], available: Sequence[str], message: str) -> None:
    for name in names:
        if name not in available:
            close = difflib.get_close_matches(name, available, n=1)
            advice = f"did you mean {close[0]!r}? " if close else ""
            raise DataError(
                f"{message} {name!r}", hint=f"{advice}there are: {', '.join(available) or 'none'}"
            )
