"""Levels of aggregation: which series add up to which aggregated series."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.data.panel import Panel
from engine.errors import DataError


@dataclass(frozen=True)
class Level:
    """One level: every series belongs to exactly one of its cells (aggregated series).

    number: from 1, in the order of the options. columns: what is summed by; empty for the total.
    cell: int64 (n_series,), number of the cell of each series. cells: one row a cell in order, the
    values of `columns` as String.
    """

    number: int
    columns: tuple[str, ...]
    cell: npt.NDArray[np.int64]
    cells: pl.DataFrame

    @property
    def n_cells(self) -> int:
        """Number of aggregated series."""
        return int(self.cell.max()) + 1

    @property
    def name(self) -> str:
        """The segment's name in the scores."""
        return f"level_{self.number}"

    def __str__(self) -> str:
        return f"{self.name} ({' x '.join(self.columns) or 'total'})"

    def sum(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Sums over series, shape (n_series,) -> (n_cells,)."""
        summed = np.bincount(self.cell, weights=values, minlength=self.n_cells)
        return summed.astype(np.float64, copy=False)

    def within(self, finer: Level) -> npt.NDArray[np.int64]:
        """The cell of this level that each cell of a finer one belongs to, (finer.n_cells,)."""
        cells = np.zeros(finer.n_cells, dtype=np.int64)
        cells[finer.cell] = self.cell
        return cells

    def label(self, cell: int) -> str:
        """What to call a cell in a message."""
        if not self.columns:
            return "total"
        return " x ".join(str(self.cells[column][cell]) for column in self.columns)


def finest_of(panel: Panel, levels: Sequence[Level]) -> Level:
    """The coarsest grouping of series that all levels can be summed up from; its number is 0."""
    columns = tuple(dict.fromkeys(c for level in levels for c in level.columns))
    return _level(panel, columns, 0, columns)


def levels_of(panel: Panel, levels: Sequence[Sequence[str]]) -> list[Level]:
    """The levels of a panel's series, by its key and static columns.

    DataError for a column that is neither, and for one without a value in some series.
    """
    available = [*panel.roles.keys, *panel.roles.static]
    return [_level(panel, available, i, tuple(c)) for i, c in enumerate(levels, start=1)]


def _level(panel: Panel, available: Sequence[str], number: int, columns: tuple[str, ...]) -> Level:
    for column in columns:
        if column not in available or column not in panel.series.columns:
            close = difflib.get_close_matches(column, available, n=1)
            advice = f"did you mean {close[0]!r}? " if close else ""
            raise DataError(
                f"metric 'wrmsse': levels[{number}] sums by {column!r}, "
                "which is neither a key nor a static column",
                hint=f"{advice}there are: {', '.join(available)}",
            )
        missing = panel.series[column].null_count()
        if missing:
            raise DataError(
                f"metric 'wrmsse': levels[{number}] sums by {column!r}, which has no value in "
                f"{missing} series",
                hint="fill it in the source, or leave the level out",
            )
    if not columns:
        return Level(number, columns, np.zeros(panel.n_series, np.int64), pl.DataFrame())
    labels = panel.series.select(pl.col(c).cast(pl.String) for c in columns)
    cells = labels.unique().sort(columns)
    numbered = labels.join(
        cells.with_row_index("cell"), on=list(columns), how="left", maintain_order="left"
    )
    return Level(number, columns, numbered["cell"].cast(pl.Int64).to_numpy(), cells)
