"""Options of the writers `parquet` and `csv`.

A table goes through these steps, in this order: `models` keeps rows, `dialect` changes the shape and
the names, `columns` chooses and orders, `rename` has the last word. `columns` and `rename` name
columns as they are after the dialect.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from engine.components import Params


class TableParams(Params):
    """Options of both writers."""

    table: Literal["forecast", "backtest", "scores", "series_scores", "failures"] = Field(
        "forecast", description="which table of the run"
    )
    path: str | None = Field(
        None,
        min_length=1,
        description="file to write; relative paths start at the folder that the source's start at, "
        "{name} stands for the run's name; default: outputs/<table> in the run's folder",
    )
    models: list[str] | None = Field(
        None, min_length=1, description="only the rows of these models; default: all"
    )
    dialect: Literal["none", "nixtla", "gluonts"] = Field(
        "none",
        description="none: the engine's columns; nixtla: one column a model, with <model>-lo-80, "
        "<model>-hi-80 and <model>-median; gluonts: item_id, timestamp, mean, 0.1, 0.9",
    )
    columns: list[str] | None = Field(
        None, min_length=1, description="columns to write, in this order; default: all"
    )
    rename: dict[str, str] = Field(
        default_factory=dict, description="new names of columns, from: to, e.g. {y_hat: mean}"
    )

    @field_validator("columns", "models")
    @classmethod
    def _once(cls, value: list[str] | None) -> list[str] | None:
        twice = sorted({v for v in value or () if (value or []).count(v) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is named twice")
        return value

    @field_validator("rename")
    @classmethod
    def _one_to_one(cls, value: dict[str, str]) -> dict[str, str]:
        if len(set(value.values())) < len(value):
            raise ValueError("rename gives two columns the same name")
        return value

    @field_validator("path")
    @classmethod
    def _placeholders(cls, value: str | None) -> str | None:
        if value is not None and ("{" in value or "}" in value):
            rest = value.replace("{name}", "")
            if "{" in rest or "}" in rest:
                raise ValueError(f"path {value!r}: the only placeholder is {{name}}")
        return value

    @model_validator(mode="after")
    def _dialects_are_for_forecasts(self) -> TableParams:
        if self.dialect != "none" and self.table not in ("forecast", "backtest"):
            raise ValueError(
                f"dialect {self.dialect} is for forecast and backtest, not {self.table}"
            )
        return self


class ParquetParams(TableParams):
    """Options of the writer `parquet`."""

    compression: Literal["zstd", "snappy", "lz4", "gzip", "uncompressed"] = Field(
        "zstd", description="compression of the columns"
    )


class CsvParams(TableParams):
    """Options of the writer `csv`."""

    compression: Literal["uncompressed", "gzip", "zstd"] = Field(
        "uncompressed",
        description="compression of the file; the default path then ends in .csv.gz or .csv.zst",
    )
    separator: str = Field(",", description="character between fields")
    float_precision: int | None = Field(
        None, ge=0, le=17, description="digits after the point; default: as many as are needed"
    )
    date_format: str | None = Field(
        None, min_length=1, description="format of dates, e.g. '%d.%m.%Y'; default: 2024-12-31"
    )
    datetime_format: str | None = Field(
        None,
        min_length=1,
        description="format of datetimes, e.g. '%Y-%m-%d %H:%M'; default: 2024-12-31T23:00:00",
    )

    @field_validator("separator")
    @classmethod
    def _one_byte(cls, value: str) -> str:
        if len(value.encode()) != 1 or value in '"\r\n':
            raise ValueError(f"separator {value!r} must be a single ASCII character, not a quote")
        return value
