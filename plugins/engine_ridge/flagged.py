"""Columns of some rows with flags of what is missing, which are kept only for rows that have one.

Most rows of a lag miss nothing: products of all flags with everything would double the columns, and
multiply their products by four, for sums of zeros.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine_ridge.products import products
from engine_ridge.statistics import Floats, Integers


@dataclass(frozen=True)
class Flagged:
    """The matrix `[values; flags]`, (columns + flags, rows).

    values: float64 (columns, rows), 0 where missing. at: increasing numbers of the rows in which a
    flag is not 0. flags: float64 (flags, those rows).
    """

    values: Floats
    at: Integers
    flags: Floats

    @classmethod
    def filled(
        cls,
        columns: Iterable[npt.NDArray[np.float32]],
        shifts: Floats,
        holes: npt.NDArray[np.bool_],
        rows: int,
        above: int = 0,
    ) -> Flagged:
        """Columns minus their shifts, with a flag for each of those that may have holes.

        above: rows of the matrix that stand before them, for the caller to fill.
        """
        values = np.empty((above + shifts.size, rows))
        missing: list[npt.NDArray[np.bool_]] = []
        some = np.zeros(rows, dtype=bool)
        for number, (column, row) in enumerate(zip(columns, values[above:], strict=True)):
            row[:] = column
            row -= shifts[number]
            if holes[number]:
                hole = np.isnan(column)
                missing.append(hole)
                where = np.flatnonzero(hole)
                row[where] = 0.0
                some[where] = True
        at = np.flatnonzero(some)
        flags = np.empty((len(missing), at.size))
        for flag, own in zip(flags, missing, strict=True):
            flag[:] = own[at]
        return cls(values, at, flags)

    @property
    def columns(self) -> int:
        """Columns without the flags."""
        return len(self.values)

    @property
    def rows(self) -> int:
        """Rows of the data."""
        return int(self.values.shape[1])

    def times(self, weight: Floats) -> Flagged:
        """Every row times its weight."""
        return Flagged(self.values * weight, self.at, self.flags * weight[self.at])

    def select(self, rows: Integers) -> Flagged:
        """Some of the rows, increasing."""
        values = np.ascontiguousarray(self.values[:, rows])
        place = np.searchsorted(rows, self.at)
        kept = rows[np.minimum(place, rows.size - 1)] == self.at
        return Flagged(values, place[kept], self.flags[:, kept])

    def runs(self, first: Integers) -> Flagged:
        """Sums over the runs of rows that begin at `first`."""
        if first.size == self.rows:
            return self
        values = np.add.reduceat(self.values, first, axis=1)
        if not self.at.size:
            return Flagged(values, self.at, self.flags)
        run = np.searchsorted(first, self.at, side="right") - 1
        begins = np.flatnonzero(np.diff(run, prepend=-1))
        return Flagged(values, run[begins], np.add.reduceat(self.flags, begins, axis=1))

    def products(self, other: Flagged) -> Floats:
        """This matrix times the transpose of another one of the same rows."""
        mine, theirs = self.columns, other.columns
        out = np.empty((mine + len(self.flags), theirs + len(other.flags)))
        out[:mine, :theirs] = products(self.values, other.values)
        out[mine:, :theirs] = self.flags @ other.values[:, self.at].T
        out[:mine, theirs:] = self.values[:, other.at] @ other.flags.T
        _, one, two = np.intersect1d(self.at, other.at, assume_unique=True, return_indices=True)
        out[mine:, theirs:] = self.flags[:, one] @ other.flags[:, two].T
        return out
