"""Forecast tables in the columns of other forecasting libraries."""

from __future__ import annotations

import polars as pl

from engine.data.forecast import quantiles_of
from engine.errors import DataError

_ROW = ("unique_id", "ds", "cutoff")


def gluonts(frame: pl.DataFrame) -> pl.DataFrame:
    """Rename to `item_id, timestamp, mean, 0.1, 0.5, ...`; the other columns follow unchanged.

    These are the columns of AutoGluon's and GluonTS' forecast tables. The table stays long by
    model; choose one with `models`, or leave `model` out with `columns`.
    """
    quantiles = {name: f"{q!r}" for q, name in quantiles_of(frame.columns).items()}
    names = {"unique_id": "item_id", "ds": "timestamp", "y_hat": "mean", **quantiles}
    _need(frame, ["unique_id", "ds", "y_hat"], "gluonts")
    others = [c for c in frame.columns if c not in names]
    return frame.select(*(pl.col(old).alias(new) for old, new in names.items()), *others)


def nixtla(frame: pl.DataFrame) -> pl.DataFrame:
    """One row a series and date, one column a model: `<model>`, `<model>-lo-80`, `<model>-hi-80`.

    Quantile q is the lower end of the interval of 100 - 200 q percent below the median, the upper
    end of that of 200 q - 100 percent above it, and `<model>-median` at 0.5, as in neuralforecast.
    A model without quantiles has only its own column. Columns that differ between the models of a
    row have no place in this shape and are left out.
    DataError if a model has two rows for one series, date and cutoff.
    """
    _need(frame, ["unique_id", "ds", "model", "y_hat"], "nixtla")
    quantiles = quantiles_of(frame.columns)
    row = [c for c in _ROW if c in frame.columns]
    twice = frame.select("model", *row).is_duplicated().sum()
    if twice:
        raise DataError(
            f"dialect nixtla: {twice} rows share their model, {' and '.join(row)} with another",
            hint="write the table without a dialect to see them",
        )
    wide = _common_to_models(frame, row, ["model", "y_hat", *quantiles.values()])
    for model in frame["model"].unique(maintain_order=True).drop_nulls().to_list():
        columns = {"y_hat": str(model)}
        columns |= {name: f"{model}{_ending(q)}" for q, name in quantiles.items()}
        one = frame.filter(pl.col("model") == model).select(
            *row, *(pl.col(old).alias(new) for old, new in columns.items())
        )
        taken = sorted(set(columns.values()) & set(wide.columns))
        if taken:
            raise DataError(
                f"dialect nixtla: model {model!r} needs a column {taken[0]!r}, which is taken",
                hint="give the model another name",
            )
        intervals = [c for c in one.columns if c not in row and c != str(model)]
        empty = [c for c in intervals if one[c].null_count() == one.height]
        # A cutoff may be null (a forecast beyond the data), and null must then meet null.
        wide = wide.join(
            one.drop(empty), on=row, how="left", nulls_equal=True, maintain_order="left"
        )
    return wide


def _ending(quantile: float) -> str:
    if quantile == 0.5:
        return "-median"
    level = round(abs(200 * quantile - 100), 6)
    return f"-{'lo' if quantile < 0.5 else 'hi'}-{level:g}"


def _common_to_models(frame: pl.DataFrame, row: list[str], own: list[str]) -> pl.DataFrame:
    """One row for each of `row`, with the columns that are the same for all models."""
    others = [c for c in frame.columns if c not in row and c not in own]
    grouped = frame.group_by(row, maintain_order=True)
    spread = grouped.agg(pl.col(others).n_unique()) if others else frame.select(row)
    same = [c for c in others if frame.is_empty() or spread[c].max() == 1]
    return (
        grouped.agg(pl.col(same).first()) if same else frame.select(row).unique(maintain_order=True)
    )


def _need(frame: pl.DataFrame, names: list[str], dialect: str) -> None:
    lost = [name for name in names if name not in frame.columns]
    if lost:
        raise DataError(
            f"dialect {dialect} needs the column {lost[0]!r}, which the table does not have",
            hint=f"columns: {', '.join(frame.columns)}",
        )
