"""Lags and rolling statistics as plain data, and where the series of a sorted frame lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

Statistic = Literal["value", "mean", "sum", "std", "zeros"]
Singles = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Window:
    """A statistic of `rows` rows of one column, the last of which lies `shift` rows back.

    statistic: `value` of a single row; of the observed values of several `mean`, `sum`, `std`
        (divided by their number less one; 0 where it is below 3e-7 of the values' size, which is
        what rounding leaves) or `zeros`, the share that is zero.
    every: rows between two that count, for a mean of the same day of several weeks.
    min_samples: observed values that it takes; with fewer the statistic is missing.
    """

    column: str
    statistic: Statistic = "value"
    rows: int = 1
    shift: int = 0
    min_samples: int = 1
    every: int = 1

    def __post_init__(self) -> None:
        if self.statistic == "value" and self.rows != 1:
            raise ValueError(f"the value of {self.rows} rows is no number: name a statistic")
        if self.every != 1 and (self.statistic != "mean" or self.min_samples != 1):
            raise ValueError("only a mean with min_samples 1 is made of rows that lie apart")
        if min(self.rows, self.min_samples, self.every) < 1 or self.shift < 0:
            raise ValueError("rows, min_samples and every are 1 or more, shift is 0 or more")
        if self.min_samples > self.rows:
            raise ValueError(f"{self.min_samples} observed values of {self.rows} rows are too many")

    @property
    def reach(self) -> int:
        """Rows between the first and the last one."""
        return (self.rows - 1) * self.every

    @property
    def lookback(self) -> int:
        """Rows before the current one that are read."""
        return self.shift + self.reach

    def expr(self) -> pl.Expr:
        """The same as an expression over the rows of one series."""
        # Double precision: running sums of a window would drift in single precision.
        return self.of(pl.col(self.column).cast(pl.Float64))

    def of(self, value: pl.Expr) -> pl.Expr:
        """The expression of the same statistic of another value."""
        if self.every > 1:
            shifts = (self.shift + i * self.every for i in range(self.rows))
            return pl.mean_horizontal(value.shift(shift) for shift in shifts)
        if self.statistic == "zeros":
            value = (value == 0).cast(pl.Float64)
        value = value.shift(self.shift)
        if self.statistic == "value":
            return value
        method = {"sum": value.rolling_sum, "std": value.rolling_std}
        return method.get(self.statistic, value.rolling_mean)(
            self.rows, min_samples=self.min_samples
        )


class SeriesRows:
    """Where the series of a sorted frame lie among its rows."""

    def __init__(self, starts: Integers, rows: int) -> None:
        self.starts, self.rows = starts, rows
        self.lengths = np.diff(starts, append=rows)
        self._first = np.empty(0, dtype=np.int64)
        self._counts: list[int] = [0]

    @classmethod
    def of(cls, ids: pl.Series) -> SeriesRows:
        """From the series of each row; rows of one series follow each other."""
        # A run of equal texts has a number too, found more slowly.
        codes = (ids.to_physical() if isinstance(ids.dtype, pl.Enum) else ids.rle_id()).to_numpy()
        changed = np.flatnonzero(codes[1:] != codes[:-1]) + 1
        return cls(np.append(0, changed).astype(np.int64), len(ids))

    def first(self, count: int) -> Integers:
        """Row numbers of the first `count` rows of every series: all first ones, all second ones, ..."""
        count = min(count, int(self.lengths.max(initial=0)))
        if count >= len(self._counts):
            place = np.arange(count)[:, None]
            inside = place < self.lengths
            self._first = (self.starts + place)[inside]
            self._counts = [0, *np.cumsum(inside.sum(axis=1)).tolist()]
        return self._first[: self._counts[count]]

    def heads(self, values: Doubles, count: int) -> Doubles:
        """The first `count` rows of every series, 0 after its end: (count, series)."""
        row = np.minimum(self.starts + np.arange(count)[:, None], values.size - 1)
        heads: Doubles = values[row]
        heads[self.lengths <= np.arange(count)[:, None]] = 0.0
        return heads
