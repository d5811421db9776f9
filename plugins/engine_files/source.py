"""The source `files`: reads, puts the known future below, joins, derives; all of it lazily."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from engine.contracts import SourceContext
from engine_files.expressions import derived
from engine_files.joins import joined, with_future
from engine_files.params import FilesParams
from engine_files.reading import read


class Files:
    """Rows from files; see `FilesParams` for what can be stated and in which order it happens."""

    def __init__(self, params: FilesParams, context: SourceContext) -> None:
        self.params = params
        self.context = context

    def scan(self) -> pl.LazyFrame:
        """All rows, lazily: what is selected and filtered on top still reaches the files.

        Read at once are only schemas, the keys of joined tables (to see that they are unique),
        columns whose type is converted from text, and the numbers of text files (which may fail).
        NotFoundError for missing files, DataError for everything else.
        """
        base = self.context.base
        rows, place = read(self.params, base)
        if self.params.future is not None:
            ahead, ahead_place = read(self.params.future, base)
            rows = with_future(rows, ahead, ahead_place)
        rows = self.context.raw(rows)
        for options in self.params.join:
            table, table_place = read(options, base)
            rows = joined(rows, table, options, table_place)
        for name, expression in self.params.derive.items():
            rows = derived(rows, name, expression, f"the rows of {place}")
        return rows

    def artifacts(self) -> Mapping[str, pl.DataFrame]:
        """Nothing beside the rows."""
        return {}
