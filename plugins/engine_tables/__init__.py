"""Writers of result tables: Parquet and CSV, in the engine's columns or in other tools' dialects."""

from __future__ import annotations

from collections.abc import Iterator

from engine import hookimpl
from engine.components import Writer
from engine_tables.params import CsvParams, ParquetParams


@hookimpl
def engine_writers() -> Iterator[Writer]:
    """Offer the writers `parquet` and `csv`."""
    yield Writer(
        "parquet",
        "engine_tables.writers:ParquetWriter",
        ParquetParams,
        summary="a table of the run as a Parquet file, with columns renamed and chosen",
    )
    yield Writer(
        "csv",
        "engine_tables.writers:CsvWriter",
        CsvParams,
        summary="a table of the run as a CSV file, with columns renamed and chosen",
    )
