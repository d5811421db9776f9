"""Options of the source `files`: what a YAML spec may say about reading, joining and deriving.

The steps happen in this order, for the base file, for `future` and for each joined file alike:
read, `wide`, `types` and `formats`, `where`, `rename`. All these name columns as they stand in the
file; `on`, `columns` and `derive` name them as they are after `rename`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from engine.components import Params

TypeName = Literal["string", "int", "float", "bool", "date", "datetime", "category"]
Names = str | list[str]


class CsvParams(Params):
    """How text files are written."""

    separator: str | None = Field(
        default=None, description="character between fields; by default a comma, a tab for .tsv"
    )
    decimal_comma: bool = Field(default=False, description="numbers are written 1,5 instead of 1.5")
    null_values: list[str] = Field(
        default_factory=list, description="texts that mean 'missing', beside the empty field"
    )
    encoding: str = Field(
        default="utf8",
        description="utf8, utf8-lossy, or a codec such as latin-1 (then read into memory)",
    )
    skip_rows: int = Field(default=0, ge=0, description="lines before the header")
    infer_rows: int = Field(
        default=10_000, ge=1, description="rows that types are inferred from; `types` states them"
    )

    @field_validator("separator")
    @classmethod
    def _one_byte(cls, value: str | None) -> str | None:
        if value is not None and len(value.encode()) != 1:
            raise ValueError(f"separator {value!r} must be a single ASCII character")
        return value


class WideParams(Params):
    """A file with one column a period, to be turned into rows."""

    columns: Names = Field(
        description="the periods' columns: a list or a pattern, e.g. d_*, d_{1..1941}"
    )
    name: str = Field("period", description="new column that holds the periods' column names")
    value: str = Field("y", description="new column that holds the periods' values")
    id: Names | None = Field(
        None, description="columns (or patterns) kept on every row; by default all the others"
    )
    extend: Names = Field(
        default_factory=list,
        description="periods to add without values, e.g. d_{1942..1969}: rows of the known future",
    )

    @model_validator(mode="after")
    def _distinct(self) -> WideParams:
        if self.name == self.value:
            raise ValueError(f"wide.name and wide.value are both {self.name!r}; give two names")
        return self


class ReadingParams(Params):
    """How one file, or one set of like files, becomes a table."""

    path: Annotated[str, Field(min_length=1)] | Annotated[list[str], Field(min_length=1)] = Field(
        description="file, glob, folder, URL of an object store (s3://...), or a list of them; "
        "relative paths start in the folder where engine is run"
    )
    format: Literal["auto", "parquet", "csv", "arrow"] = Field(
        "auto", description="format of the files; auto goes by the suffix"
    )
    hive: bool | None = Field(
        None, description="read folders named column=value as columns; by default if there are any"
    )
    csv: CsvParams = Field(default_factory=CsvParams, description="how text files are written")
    wide: WideParams | None = Field(None, description="turn one column a period into rows")
    types: dict[str, TypeName] = Field(
        default_factory=dict, description="type of a column: string, int, float, bool, date, ..."
    )
    formats: dict[str, str] = Field(
        default_factory=dict,
        description="format of a text column of dates, e.g. '%d.%m.%Y'; periods without a day "
        "('%Y-%m') become the first of the month",
    )
    where: str | None = Field(
        None, description="SQL condition that rows must meet; pushed down into the file's scan"
    )
    rename: dict[str, str] = Field(
        default_factory=dict, description="new names of columns, from: to"
    )

    @model_validator(mode="after")
    def _dates_only(self) -> ReadingParams:
        for column in self.formats:
            if self.types.get(column, "date") not in ("date", "datetime"):
                raise ValueError(
                    f"formats.{column} goes with type date or datetime, not {self.types[column]}"
                )
        return self

    @field_validator("rename")
    @classmethod
    def _one_to_one(cls, value: dict[str, str]) -> dict[str, str]:
        if len(set(value.values())) < len(value):
            raise ValueError("rename gives two columns the same name")
        return value


class JoinParams(ReadingParams):
    """A file whose columns are added to the rows by its keys; it never adds rows."""

    on: (
        Annotated[list[str], Field(min_length=1)] | Annotated[dict[str, str], Field(min_length=1)]
    ) = Field(description="key columns, or a mapping from the rows' column to this file's")
    how: Literal["left", "inner"] = Field(
        "left", description="left keeps rows without a match (nulls), inner drops them"
    )
    columns: list[str] | None = Field(
        None, description="columns to take; by default all that the rows do not have yet"
    )
    suffix: str = Field(
        "", description="appended to columns that the rows have too, instead of leaving them out"
    )


class FutureParams(ReadingParams):
    """A file of rows after the last observed y: what is known ahead, without y."""


class FilesParams(ReadingParams):
    """Options of the source `files`."""

    future: FutureParams | None = Field(
        None, description="known-future rows in a file of their own; columns it lacks become null"
    )
    join: list[JoinParams] = Field(
        default_factory=list, description="files joined to the rows and the known future, in order"
    )
    derive: dict[str, str] = Field(
        default_factory=dict,
        description="new columns as SQL expressions of one row, computed in order after the joins",
    )
