"""The panel: many series on one regular time grid, with explicit roles and cached offsets.

Rows are sorted by (`unique_id`, `ds`) and every series is contiguous in time, from its first
observation to the panel's last known `ds` (its `end`); what was not observed has a null `y`. So a
step is a row, a lag is a shift, and a dense array is a reshape: no stage has to group again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.data.calendar import TimeGrid

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Roles:
    """What each column is; nothing is ever inferred from a position or a type.

    `keys` identify a series, `future` covariates are known ahead, `past` covariates only up to the
    cutoff, `static` ones are constant per series.
    """

    keys: tuple[str, ...]
    future: tuple[str, ...] = ()
    past: tuple[str, ...] = ()
    static: tuple[str, ...] = ()

    @property
    def covariates(self) -> tuple[str, ...]:
        """Time-varying covariates, future ones first."""
        return self.future + self.past


@dataclass(frozen=True)
class Panel:
    """Series up to and including a cutoff, or with known future rows after it.

    frame: `unique_id` (Enum in series order), `ds`, `y` Float64, future and past covariates
        (numbers are Float64/Float32, flags Boolean, categories Enum); rows sorted by (unique_id, ds).
    series: one row a series in the same order: `unique_id`, key columns, static columns.
    offsets: Int64 (n_series + 1); rows of series i are `offsets[i]:offsets[i + 1]`.
    starts: Int64 (n_series); ordinal of each series' first row.
    end: ordinal of the last row that counts as history, the same for all series.
    notes: what was filled, dropped or assumed while it was built, for the report.
    fill: how `until` fills missing `y`: `forward_fill`, `interpolate`, or empty for not at all.
    """

    frame: pl.DataFrame
    series: pl.DataFrame
    roles: Roles
    grid: TimeGrid
    offsets: IntArray
    starts: IntArray
    end: int
    notes: tuple[str, ...] = ()
    fill: str = ""

    @property
    def n_series(self) -> int:
        """Number of series."""
        return self.series.height

    @property
    def ids(self) -> list[str]:
        """Identifiers of the series, in order."""
        return self.series["unique_id"].cast(pl.String).to_list()

    @property
    def cutoff(self) -> Any:
        """The last known `ds`."""
        return self.grid.timestamp(self.end)

    @property
    def lengths(self) -> IntArray:
        """Rows of each series, shape (n_series,)."""
        return np.diff(self.offsets)

    @property
    def series_index(self) -> npt.NDArray[np.int32]:
        """Number of the series of each row, shape (rows,)."""
        return np.repeat(np.arange(self.n_series, dtype=np.int32), self.lengths)

    @property
    def ordinals(self) -> IntArray:
        """Ordinal of each row, shape (rows,)."""
        position = np.arange(self.frame.height) - np.repeat(self.offsets[:-1], self.lengths)
        return np.repeat(self.starts, self.lengths) + position

    def y(self) -> npt.NDArray[np.float64]:
        """Target of each row, shape (rows,), NaN where it is missing."""
        y = self.frame["y"].cast(pl.Float64)
        return (y.fill_null(float("nan")) if y.null_count() else y).to_numpy()

    def numeric(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Those of `columns` that hold numbers or flags, in order."""
        schema = self.frame.schema | self.series.schema
        return tuple(c for c in columns if schema[c].is_numeric() or schema[c] == pl.Boolean)

    def until(self, end: int) -> Panel:
        """History up to ordinal `end` inclusive; series that begin later are left out.

        Missing `y` is filled here, after the cut, where the panel has a `fill`.
        """
        keep = self.starts <= end
        lengths = np.minimum(self.lengths, np.maximum(end - self.starts + 1, 0))
        history = self._cut(keep, lengths, end)
        if not self.fill or not history.frame["y"].null_count():
            return history
        y = pl.col("y")
        filled = y.forward_fill() if self.fill == "forward_fill" else y.interpolate()
        return history.with_frame(history.frame.with_columns(filled.over("unique_id")))

    def select(self, index: Sequence[int] | IntArray) -> Panel:
        """The series of these numbers (increasing order), whole."""
        keep = np.zeros(self.n_series, dtype=bool)
        keep[np.asarray(index, dtype=np.int64)] = True
        return self._cut(keep, self.lengths, self.end)

    def shards(self, rows: int) -> Iterator[Panel]:
        """Cut into sets of whole series of about `rows` rows each, in order."""
        first = 0
        while first < self.n_series:
            limit = self.offsets[first] + max(rows, 1)
            last = int(np.searchsorted(self.offsets, limit, side="right")) - 1
            last = min(max(last, first + 1), self.n_series)
            yield self.select(np.arange(first, last))
            first = last

    def dense(self, columns: Sequence[str], periods: int = 0) -> npt.NDArray[np.float32]:
        """Columns as (n_series, time, channel) float32, aligned at the last row, NaN-padded in front.

        Time runs over the longest series, or over `periods` if that is more; categories are not
        accepted (encode them first).
        """
        longest = int(self.lengths.max(initial=periods))
        out = np.full((self.n_series, longest, len(columns)), np.nan, dtype=np.float32)
        row = self.series_index
        position = np.arange(self.frame.height) - np.repeat(self.offsets[1:], self.lengths)
        for channel, column in enumerate(columns):
            values = self.frame[column].cast(pl.Float32).fill_null(float("nan")).to_numpy()
            out[row, longest + position, channel] = values
        return out

    def tail(self, periods: int) -> Panel:
        """The last `periods` rows of each series."""
        lengths = np.minimum(self.lengths, periods)
        if np.array_equal(lengths, self.lengths):
            return self
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        first = self.offsets[1:] - lengths
        rows = np.repeat(first - offsets[:-1], lengths) + np.arange(offsets[-1])
        starts = self.starts + self.lengths - lengths
        return replace(self, frame=self.frame[rows], offsets=offsets, starts=starts)

    def grown(self, frame: pl.DataFrame, periods: int) -> Panel:
        """The same series with `periods` more rows each, already in `frame`."""
        offsets = self.offsets + np.arange(self.n_series + 1) * periods
        return replace(self, frame=frame, offsets=offsets, end=self.end + periods)

    def with_frame(self, frame: pl.DataFrame, roles: Roles | None = None) -> Panel:
        """The same series and rows with other columns."""
        return replace(self, frame=frame, roles=roles or self.roles)

    def _cut(self, keep: npt.NDArray[np.bool_], lengths: IntArray, end: int) -> Panel:
        if keep.all() and np.array_equal(lengths, self.lengths):
            return replace(self, end=end)
        number = np.flatnonzero(keep)
        if number.size and number[-1] - number[0] == number.size - 1:
            series = self.series.slice(int(number[0]), number.size)
        else:
            series = self.series.filter(pl.Series(keep))
        starts, firsts, kept = self.starts[keep], self.offsets[:-1][keep], lengths[keep]
        offsets = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
        if (
            kept.size
            and firsts[-1] - firsts[0] == offsets[-2]
            and bool((np.diff(firsts) == kept[:-1]).all())
        ):
            frame = self.frame.slice(int(firsts[0]), int(offsets[-1]))
        elif 2 * offsets[-1] > self.frame.height:
            # Most rows stay: a mask needs a byte a row where row numbers need sixteen.
            frame = self.frame.filter(pl.Series(self._mask(np.where(keep, lengths, 0))))
        else:
            rows = np.repeat(firsts - offsets[:-1], kept) + np.arange(offsets[-1])
            frame = self.frame[rows]
        return replace(self, frame=frame, series=series, offsets=offsets, starts=starts, end=end)

    def _mask(self, kept: IntArray) -> npt.NDArray[np.bool_]:
        """True for the first `kept` rows of each series: (rows,)."""
        dropped = self.lengths - kept
        before = np.cumsum(dropped) - dropped
        rows = np.repeat(self.offsets[:-1] + kept - before, dropped) + np.arange(dropped.sum())
        mask = np.ones(self.frame.height, dtype=bool)
        mask[rows] = False
        return mask


def each_series(frame: pl.DataFrame, *values: pl.Expr) -> pl.DataFrame:
    """One row a series of a frame sorted by (unique_id, ds): `unique_id` and an aggregation each."""
    names = frame.schema["unique_id"]
    if not isinstance(names, pl.Enum):
        return frame.group_by("unique_id", maintain_order=True).agg(values)
    # Said to be sorted, groups are slices of the rows: nothing is hashed and nothing gathered.
    keyed = frame.with_columns(pl.col("unique_id").to_physical().set_sorted())
    made = keyed.group_by("unique_id", maintain_order=True).agg(values)
    return made.with_columns(pl.col("unique_id").cat.to(names))


@dataclass(frozen=True)
class Future:
    """What is known of the steps after a cutoff; it has no `y`, by construction.

    frame: `unique_id`, `ds`, `ahead` (1..gap + horizon, periods after the cutoff) and the future
        covariates; exactly `ahead_max` rows a series, in series order, sorted by ds.
    """

    frame: pl.DataFrame
    n_series: int
    gap: int
    horizon: int

    @property
    def ahead_max(self) -> int:
        """Rows of each series: gap + horizon."""
        return self.gap + self.horizon

    def select(self, index: Sequence[int] | IntArray) -> Future:
        """The series of these numbers (increasing order)."""
        first = np.asarray(index, dtype=np.int64) * self.ahead_max
        rows = (first[:, None] + np.arange(self.ahead_max)).ravel()
        return replace(self, frame=self.frame[rows], n_series=first.size)

    def dense(self, columns: Sequence[str]) -> npt.NDArray[np.float32]:
        """Columns as (n_series, gap + horizon, channel) float32, NaN where missing."""
        shape = (self.n_series, self.ahead_max)
        stacked = [
            self.frame[c].cast(pl.Float32).fill_null(float("nan")).to_numpy().reshape(shape)
            for c in columns
        ]
        return np.stack(stacked, axis=-1) if stacked else np.empty((*shape, 0), np.float32)
