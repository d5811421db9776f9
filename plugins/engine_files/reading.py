"""One file, or one set of like files, as a lazy table with the options of `ReadingParams`."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from engine.errors import DataError, first_line
from engine_files.columns import require
from engine_files.convert import convert
from engine_files.expressions import filtered
from engine_files.locate import Located, locate
from engine_files.params import CsvParams, ReadingParams
from engine_files.wide import unpivoted

# Dates, flags and categories are read as text first, so that what does not convert can be shown.
_CSV_TYPES = {"int": pl.Int64(), "float": pl.Float64()}
_UTF8 = {"utf8": "utf8", "utf-8": "utf8", "utf8-lossy": "utf8-lossy"}


def read(options: ReadingParams, base: Path) -> tuple[pl.LazyFrame, str]:
    """The table, and what to call it in messages; only what must be checked is read here."""
    located = locate(options.path, options.format, base)
    place = located.name
    try:
        frame = _opened(located, options)
        frame.collect_schema()
        if located.format == "csv":
            _check_numbers(frame)
    except (PolarsError, OSError, UnicodeError, LookupError) as error:
        raise DataError(
            f"{place} cannot be read as {located.format}: {first_line(error)}",
            hint=_reading_hint(located.format),
        ) from error
    if options.wide is not None:
        text = {c for c, to in options.types.items() if to == "string"} | set(options.formats)
        frame = unpivoted(frame, options.wide, text, place)
    frame = convert(frame, options.types, options.formats, place)
    frame = filtered(frame, options.where, place)
    return _renamed(frame, options.rename, place), place


def _opened(located: Located, options: ReadingParams) -> pl.LazyFrame:
    paths = list(located.paths)
    hive = located.partitioned if options.hive is None else options.hive
    if located.format == "csv":
        if hive and not located.remote:
            raise DataError(
                f"{located.name}: folders named column=value are read for Parquet and Arrow only",
                hint="set hive: false, or convert the text files to Parquet",
            )
        return _opened_csv(paths, options)
    if located.remote:
        hive_option = options.hive
        scan = pl.scan_parquet if located.format == "parquet" else pl.scan_ipc
        return scan(paths, hive_partitioning=hive_option)
    scan = pl.scan_parquet if located.format == "parquet" else pl.scan_ipc
    return scan(paths, hive_partitioning=hive, glob=False)


def _opened_csv(paths: list[str], options: ReadingParams) -> pl.LazyFrame:
    csv = options.csv
    overrides: dict[str, Any] = {
        c: _CSV_TYPES.get(t, pl.String()) for c, t in options.types.items()
    }
    overrides |= {c: pl.String() for c in options.formats}
    tabs = paths[0].lower().removesuffix(".gz").removesuffix(".zst").endswith(".tsv")
    known = _UTF8.get(csv.encoding.lower())
    sources: list[Any] = list(paths) if known else [_decoded(p, csv) for p in paths]
    return pl.scan_csv(
        sources,
        separator=csv.separator or ("\t" if tabs else ","),
        decimal_comma=csv.decimal_comma,
        null_values=csv.null_values or None,
        encoding=known or "utf8",  # type: ignore[arg-type]
        skip_lines=csv.skip_rows,
        infer_schema_length=csv.infer_rows,
        schema_overrides=overrides,
    )


def _decoded(path: str, csv: CsvParams) -> bytes:
    content = Path(path).read_bytes()
    content = gzip.decompress(content) if path.lower().endswith(".gz") else content
    return content.decode(csv.encoding).encode()


def _check_numbers(frame: pl.LazyFrame) -> None:
    """Parse the columns that are not text once, so that a stray text fails here with its place."""
    numbers = [c for c, dtype in frame.collect_schema().items() if dtype != pl.String]
    frame.select(pl.col(numbers).null_count() if numbers else pl.len()).collect(engine="streaming")


def _reading_hint(format: str) -> str:
    if format != "csv":
        return "check that the file is whole and its format; `format:` overrides the suffix"
    return (
        "state the type of the column (types: {column: string}), the missing values "
        "(csv: {null_values: [NA]}), the separator or the encoding"
    )


def _renamed(frame: pl.LazyFrame, rename: dict[str, str], place: str) -> pl.LazyFrame:
    if not rename:
        return frame
    names = frame.collect_schema().names()
    require(rename, names, option="rename", place=place)
    taken = [to for to in rename.values() if to in names and to not in rename]
    if taken:
        raise DataError(
            f"rename: {place} has a column {taken[0]!r} already",
            hint=f"rename that one as well, e.g. {taken[0]}: {taken[0]}_old",
        )
    return frame.rename(rename)
