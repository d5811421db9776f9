"""Values of features as columns that are read at rows; what several features share is stored once.

Lags of a column are the same numbers read at other places, and features of the date are the same in all
series: neither is written out for every row before the rows of a design are taken from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from engine.data.panel import IntArray
from engine.windows import SeriesRows, Singles

T = TypeVar("T", bound=np.generic)
Steps = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Column:
    """Values of one feature for the rows of whole series that follow each other.

    The value of row r, which is of series i, is `values[r + places[i]]`, NaN where it is missing.
    values: float32, not to be written to. places: int64 (n_series,), in equal steps where all series
    are of one length; None for zeros.
    """

    values: Singles
    places: IntArray | None = None

    @property
    def may_miss(self) -> bool:
        """Whether the value of some row may be missing."""
        return bool(np.isnan(self.values).any())


class Rows:
    """Rows of whole series that columns are read at."""

    def __init__(self, row: IntArray, series: npt.NDArray[np.int32]) -> None:
        self._row, self._series = row, series
        self._found: dict[int, tuple[IntArray, IntArray]] = {}

    def __len__(self) -> int:
        return self.row.size

    @property
    def row(self) -> IntArray:
        """Numbers of the rows: int64 (count,)."""
        return self._row

    @property
    def series(self) -> npt.NDArray[np.int32]:
        """Number of the series of each: int32 (count,)."""
        return self._series

    def before(self, ahead: Steps | int) -> Rows:
        """The rows so many before each."""
        return Rows(self.row - ahead, self.series)

    def of(self, values: npt.NDArray[T]) -> npt.NDArray[T]:
        """Entries of an array with an entry a row: (count,)."""
        entries: npt.NDArray[T] = values[self.row]
        return entries

    def read(self, column: Column) -> Singles:
        """Values of a column: float32 (count,). All rows must exist."""
        # None needs clipping: it only spares the check of every one.
        values: Singles = column.values.take(self._where(column.places), mode="clip")
        return values

    def matrix(self, columns: Sequence[Column]) -> Singles:
        """Values of several columns: float32 (columns, count)."""
        out = np.empty((len(columns), len(self)), dtype=np.float32)
        self.write(columns, out)
        return out

    def write(self, columns: Sequence[Column], out: Singles) -> None:
        """The same into an array of that shape."""
        for column, values in zip(columns, out, strict=True):
            column.values.take(self._where(column.places), out=values, mode="clip")

    def _where(self, places: IntArray | None) -> IntArray:
        """Where the values of the rows stand; columns that share their places share the result."""
        if places is None:
            return self.row
        # The places are kept beside what was made of them, so that no others can take their number.
        if id(places) not in self._found:
            self._found[id(places)] = (places, self.row + places[self.series])
        return self._found[id(places)][1]


class Stretch(Rows):
    """The same rows of every series, where all are of one length: copied in runs, not one by one."""

    def __init__(
        self, n_series: int, length: int, first: int, count: int, skipped: int = 0
    ) -> None:
        """Rows first..first + count - 1 of each of `n_series` series of `length` rows.

        skipped: series before the first of those.
        """
        self._shape, self._length, self._first = (n_series, count), length, first
        self._skipped = skipped

    def __len__(self) -> int:
        return self._shape[0] * self._shape[1]

    def pieces(self, most: int) -> Iterator[Stretch]:
        """The same rows, at most so many at a time."""
        n_series, count = self._shape
        at_once, run = max(most // max(count, 1), 1), min(count, most)
        for series in range(0, n_series, at_once):
            for row in range(0, count, run):
                yield Stretch(
                    min(at_once, n_series - series),
                    self._length,
                    self._first + row,
                    min(run, count - row),
                    self._skipped + series,
                )

    @cached_property
    def row(self) -> IntArray:
        """Numbers of the rows: int64 (count,)."""
        starts = self._length * (self._skipped + np.arange(self._shape[0]))[:, None] + self._first
        rows: IntArray = (starts + np.arange(self._shape[1])).ravel()
        return rows

    @cached_property
    def series(self) -> npt.NDArray[np.int32]:
        """Number of the series of each: int32 (count,)."""
        series = np.arange(self._skipped, self._skipped + self._shape[0], dtype=np.int32)
        return np.repeat(series, self._shape[1])

    def before(self, ahead: Steps | int) -> Rows:
        """The rows so many before each."""
        if not isinstance(ahead, int):
            return super().before(ahead)
        (n_series, count), first = self._shape, self._first - ahead
        return Stretch(n_series, self._length, first, count, self._skipped)

    def of(self, values: npt.NDArray[T]) -> npt.NDArray[T]:
        """Entries of an array with an entry a row: (count,)."""
        return self._runs(values, self._first, self._length).ravel()

    def read(self, column: Column) -> Singles:
        """Values of a column: float32 (count,). All rows must exist."""
        return self._of_column(column).ravel()

    def write(self, columns: Sequence[Column], out: Singles) -> None:
        """Values of several columns into an array (columns, count)."""
        for first, last in _evenly_spaced(columns):
            # Copied in one go, so that a thread beside this one is disturbed once.
            runs = self._of_column(columns[first])
            distance = 0
            if last - first > 1:
                distance = _address(columns[first + 1]) - _address(columns[first])
            shape = (last - first, *self._shape)
            several = as_strided(runs, shape, (distance, *runs.strides), writeable=False)
            out[first:last].reshape(shape)[:] = several

    def _of_column(self, column: Column) -> Singles:
        """A view of the rows of a column: (n_series, run)."""
        first, step = self._first, self._length
        if column.places is not None:
            first += int(column.places[0])
            step += int(column.places[1] - column.places[0]) if column.places.size > 1 else 0
        return self._runs(column.values, first, step)

    def _runs(self, values: npt.NDArray[T], first: int, step: int) -> npt.NDArray[T]:
        """A view of the run of each series: (n_series, run); numpy refuses one beyond the values.

        first: where the run of series 0 begins. step: from there to the run of the next one.
        """
        size = values.itemsize
        first += self._skipped * step
        return np.ndarray(self._shape, values.dtype, values, first * size, (step * size, size))


def _evenly_spaced(columns: Sequence[Column]) -> Iterator[tuple[int, int]]:
    """First and last + 1 of columns that lie in one array in equal distances, as lags of a column do."""
    first = 0
    while first < len(columns):
        last, distance = first + 1, None
        while last < len(columns) and _together(columns[first], columns[last]):
            step = _address(columns[last]) - _address(columns[last - 1])
            if distance not in (None, step):
                break
            last, distance = last + 1, step
        yield first, last
        first = last


def _together(one: Column, other: Column) -> bool:
    """Whether columns are parts of one array, read at the same places."""
    base = one.values.base
    return base is not None and base is other.values.base and one.places is other.places


def _address(column: Column) -> int:
    """Where the first value stands in memory."""
    where: int = column.values.__array_interface__["data"][0]
    return where


def lags(values: Singles, series: SeriesRows, shifts: Sequence[int]) -> list[Column]:
    """The column of values so many rows before each row, NaN before a series' first one.

    values: of every row, (rows,). All columns but that of shift 0 are one array, in which missing values
    stand before the values of each series.
    """
    longest = int(series.lengths.max(initial=0))
    before = min(max(shifts), longest)
    if not before:
        return [Column(values) for _ in shifts]
    n = series.starts.size
    padded = np.full(values.size + before * n, np.nan, dtype=np.float32)
    places = before * np.arange(n)
    if values.size == longest * n:
        padded.reshape(n, -1)[:, before:] = values.reshape(n, -1)
    else:
        place = np.repeat(places + before, series.lengths)
        place += np.arange(values.size)
        padded[place] = values
    return [
        Column(padded[before - min(shift, before) :], places) if shift else Column(values)
        for shift in shifts
    ]
