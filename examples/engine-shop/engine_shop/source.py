"""The source `sqlite`."""

import sqlite3
from collections.abc import Mapping

import polars as pl

from engine.contracts import SourceContext
from engine.errors import DataError, NotFoundError
from engine_shop.params import SqliteParams


class SqliteSource:
    """Rows of a query; texts that look like dates become dates."""

    def __init__(self, params: SqliteParams, context: SourceContext) -> None:
        self._params = params
        self._file = context.base / params.path

    def scan(self) -> pl.LazyFrame:
        """Run the query."""
        if not self._file.is_file():
            raise NotFoundError(f"there is no SQLite file {self._file}")
        with sqlite3.connect(self._file) as connection:
            try:
                frame = pl.read_database(self._params.query, connection)
            except sqlite3.Error as error:
                raise DataError(f"the query failed: {error}") from error
        texts = frame.select(pl.col(pl.String))
        dates = [c for c in texts.columns if texts[c].str.to_date(strict=False).null_count() == 0]
        return frame.with_columns(pl.col(dates).str.to_date()).lazy()

    def artifacts(self) -> Mapping[str, pl.DataFrame]:
        """Nothing else to keep."""
        return {}
