"""Lags and rolling statistics, computed for all series of a panel at once.

A sum over 28 rows is that of two over 14 rows, and that one of two over 7, which a window of a week has
made already: a few vector additions, where expressions go through every series row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.windows import Doubles, SeriesRows, Singles, Window

_ROUNDING = 1e-13
"""Share of a sum of squares that is rounding."""

_BLOCK_ROWS = 65_536
"""Rows at a time: their sums stay in a core's cache."""


class WindowedColumn:
    """One column of a sorted frame, and windows over it."""

    def __init__(self, values: pl.Series, series: SeriesRows) -> None:
        self._column, self._series = values, series

    def write(self, windows: Sequence[Window], rows: Sequence[Singles]) -> None:
        """Values of every window for every row into arrays (rows,), NaN where missing."""
        sums = []
        for window, out in zip(windows, rows, strict=True):
            if window.statistic == "value":
                self._shifted(self.single, window.shift, out)
            else:
                sums.append((window, out))
        reach = max((window.reach for window, _ in sums), default=0)
        size = max(_BLOCK_ROWS, 4 * reach)
        for first in range(0, self._series.rows if sums else 0, size):
            start, stop = max(first - reach, 0), min(first + size, self._series.rows)
            block = _Sums(*self._between(start, stop))
            for window, out in sums:
                out[first:stop] = block.statistic(window)[first - start :]
        self._begin(sums, reach)
        for window, out in sums:
            if window.shift:
                self._shifted(out.copy(), window.shift, out)

    @cached_property
    def single(self) -> Singles:
        """Values in single precision, NaN where missing: (rows,), not to be written to."""
        if self._column.dtype == pl.Float32:
            return _with_nan(self._column)
        with np.errstate(over="ignore"):
            return _with_nan(self._column.cast(pl.Float64)).astype(np.float32)

    @cached_property
    def _double(self) -> Doubles:
        """Values, 0 where missing."""
        values = self._column.cast(pl.Float64)
        return (values.fill_null(0.0) if values.null_count() else values).to_numpy()

    @cached_property
    def _observed(self) -> Doubles | None:
        """1 where a value is observed, else 0; None if all are."""
        if not self._column.null_count():
            return None
        return self._column.is_not_null().to_numpy().astype(np.float64)

    def _between(self, start: int, stop: int) -> tuple[Doubles, Doubles | None]:
        observed = self._observed
        return self._double[start:stop], None if observed is None else observed[start:stop]

    def _shifted(self, values: Singles, shift: int, out: Singles) -> None:
        if not shift:
            out[:] = values
            return
        out[shift:] = values[:-shift]
        out[self._series.first(shift)] = np.nan

    def _begin(self, sums: Sequence[tuple[Window, Singles]], reach: int) -> None:
        """The first rows of each series, whose windows began in the series before it."""
        if not self._series.first(reach).size:
            return
        count = min(reach, int(self._series.lengths.max()))
        values = self._series.heads(self._double, count)
        inside = self._series.lengths > np.arange(count)[:, None]
        observed = inside.astype(np.float64)
        if self._observed is not None:
            observed = self._series.heads(self._observed, count)
        heads = _HeadSums(values, observed)
        for window, out in sums:
            first = self._series.first(window.reach)
            own = inside[: window.reach]
            out[first] = heads.statistic(window)[: window.reach][own]


def statistics_of_last(rows: Doubles, windows: Sequence[Window]) -> Singles:
    """Windows without their shifts that end at the last of some rows of many series at once.

    rows: (rows, n_series), NaN where missing, at least as many as a window reaches. Returns (windows,
    n_series), NaN where missing.
    """
    seen = ~np.isnan(rows)
    every = bool(seen.all())
    sums = _LastSums(rows if every else np.where(seen, rows, 0.0), None if every else seen * 1.0)
    out = np.empty((len(windows), rows.shape[1]), dtype=np.float32)
    with np.errstate(over="ignore"):
        for window, values in zip(windows, out, strict=True):
            values[:] = rows[-1] if window.statistic == "value" else sums.statistic(window)
    return out


def _with_nan(values: pl.Series) -> npt.NDArray[Any]:
    return (values.fill_null(float("nan")) if values.null_count() else values).to_numpy()


class _Sums:
    """Sums over the windows that end at each of some consecutive rows; made of sums over fewer rows.

    Each is a sum of its own values only, in an order of their own: it does not depend on the rows
    around, and nothing cancels. values: 0 where missing. observed: 1 or 0, None if all are.
    """

    def __init__(self, values: Doubles, observed: Doubles | None) -> None:
        self._values, self._observed = values, observed
        self._made: dict[tuple[str, int, int], Doubles] = {}

    def statistic(self, window: Window) -> Doubles:
        """Of every row; rows with fewer rows before them than a window reaches are meaningless."""
        n = window.rows if self._observed is None else self.over("observed", window)
        if window.statistic == "std":
            return _deviation(
                n, self.over("sum", window), self.over("squares", window), window.min_samples
            )
        total = self.over("zeros" if window.statistic == "zeros" else "sum", window)
        return _mean(n, total, window)

    def over(self, what: str, window: Window) -> Doubles:
        """Sums over the rows of a window; windows of the same rows share them."""
        if window.every == 1:
            return self._last(what, window.rows)
        key = (what, window.rows, window.every)
        if key not in self._made:
            self._made[key] = self._spaced(self._last(what, 1), window)
        return self._made[key]

    def _last(self, what: str, rows: int) -> Doubles:
        """Sums over so many rows: of two halves, or of a power of two and the rest."""
        key = (what, rows, 1)
        if key not in self._made:
            self._made[key] = self._sum(what, rows) if rows > 1 else self._source(what)
        return self._made[key]

    def _sum(self, what: str, rows: int) -> Doubles:
        near = _near(rows)
        return _plus(self._last(what, near), self._last(what, rows - near), near)

    def _spaced(self, values: Doubles, window: Window) -> Doubles:
        total = values.copy()
        for back in range(window.every, window.reach + 1, window.every):
            _add(total, values, back)
        return total

    def _source(self, what: str) -> Doubles:
        if what == "observed":
            assert self._observed is not None
            return self._observed
        if what == "squares":
            return self._values * self._values
        if what == "zeros":
            zero: Doubles = (self._values == 0).astype(np.float64)
            return zero if self._observed is None else zero * self._observed
        return self._values


class _HeadSums(_Sums):
    """The same for the first rows of all series, shape (rows, series): windows are cut at the begin."""

    def _sum(self, what: str, rows: int) -> Doubles:
        # Of all rows up to each, whatever the window: it is asked for where it begins before the first.
        key = (what, 0, 1)
        if key not in self._made:
            self._made[key] = np.cumsum(self._last(what, 1), axis=0)
        return self._made[key]


class _LastSums(_Sums):
    """The same sums for the last of some rows of all series, shape (rows, series): (series,)."""

    def over(self, what: str, window: Window) -> Doubles:
        """Sums over the rows of a window, added in the same order."""
        rows = self._last(what, 1)
        if window.every == 1:
            return self._ending(rows, what, window.rows, len(rows) - 1)
        total: Doubles = rows[-1].copy()
        for back in range(window.every, window.reach + 1, window.every):
            total += rows[-1 - back]
        return total

    def _ending(self, values: Doubles, what: str, rows: int, last: int) -> Doubles:
        """Sums over so many rows that end at a row."""
        if rows == 1:
            alone: Doubles = values[last]
            return alone
        key = (what, rows, last)
        if key not in self._made:
            near = _near(rows)
            far = self._ending(values, what, rows - near, last - near)
            self._made[key] = self._ending(values, what, near, last) + far
        return self._made[key]


def _near(rows: int) -> int:
    """How many of some rows are summed first: half of them, or a power of two."""
    return 1 << (rows.bit_length() - 1) if rows % 2 else rows // 2


def _add(total: Doubles, part: Doubles, back: int) -> Doubles:
    """Add what lies some rows before, in place."""
    if back < len(total):
        total[back:] += part[: len(part) - back]
    return total


def _plus(total: Doubles, part: Doubles, back: int) -> Doubles:
    """The sum with what lies some rows before."""
    out = np.empty_like(total)
    back = min(back, len(total))
    out[:back] = total[:back]
    np.add(total[back:], part[: len(part) - back], out=out[back:])
    return out


def _mean(n: Doubles | int, total: Doubles, window: Window) -> Doubles:
    """The sum, or its share of the number of values."""
    with np.errstate(invalid="ignore"):
        values = total.copy() if window.statistic == "sum" else total / n
    return _enough(values, n, window.min_samples)


def _deviation(n: Doubles | int, total: Doubles, squares: Doubles, least: int) -> Doubles:
    """Standard deviation from the sums of values and of their squares."""
    with np.errstate(divide="ignore", invalid="ignore"):
        rest = np.multiply(total, total)
        rest *= np.divide(1.0, n)
        np.subtract(squares, rest, out=rest)
        # Of equal values it is zero, and not what rounding leaves.
        np.copyto(rest, 0.0, where=rest <= squares * _ROUNDING)
        rest *= np.divide(1.0, np.subtract(n, 1.0))
        return _enough(np.sqrt(rest, out=rest), n, max(least, 2))


def _enough(values: Doubles, n: Doubles | int, least: int) -> Doubles:
    """NaN in place where there are too few observed values."""
    if isinstance(n, int):
        if n < least:
            values[:] = np.nan
    else:
        values[n < least] = np.nan
    return values
