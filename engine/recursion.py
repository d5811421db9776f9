"""Design rows of one period after the other, where forecasts become history of the later ones.

Of lags and rolling statistics they are made from the last rows that the windows reach, of all series at
once: no frame is put together, and no other row is evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl

from engine.columns import Column, Rows
from engine.contracts import Feature
from engine.data.panel import Future, IntArray, Panel
from engine.design import lookback_of, tail_for
from engine.features import (
    FeaturePlan,
    Matrix,
    add_cross_sections,
    columns_of,
    evaluate_static,
    known_rows,
)
from engine.rolling import statistics_of_last
from engine.shard import rows_after, values_of
from engine.windows import Doubles, Window


class RowsAhead(Protocol):
    """Design rows of one period ahead after the other."""

    def design(self, ahead: int) -> Matrix:
        """Rows of the targets so many periods after the history: float32 (n_series, features)."""
        ...

    def put(self, ahead: int, y: Doubles) -> None:
        """Forecasts of those targets, (n_series,), as history of the later ones."""
        ...


def rows_ahead(history: Panel, future: Future, plan: FeaturePlan) -> RowsAhead:
    """The rows of all periods ahead; where all that is read before a target are windows, from those."""
    rows, first_future = known_rows(history, future, lookback_of(plan.of("known"), 1))
    known = columns_of(rows, plan.of("known"))
    static = evaluate_static(history.series, plan.of("static"))
    fixed = _Fixed(plan, known, static, first_future)
    before = plan.of("history", "aligned")
    if plan.sections_of_y or not all(feature.window for feature in before):
        return _Evaluated(tail_for(history, plan), future, fixed)
    return _Windowed(Recent.of(history, future, before), fixed)


@dataclass(frozen=True)
class _Fixed:
    """What no forecast changes. first_future: row of each series' first target among the known ones."""

    plan: FeaturePlan
    known: tuple[Column, ...]
    static: Matrix
    first_future: IntArray

    def known_at(self, ahead: int) -> Matrix:
        """Known values of the targets so far ahead: (features, n_series)."""
        index = np.arange(self.first_future.size, dtype=np.int32)
        return Rows(self.first_future + ahead - 1, index).matrix(self.known)


@dataclass
class _Evaluated:
    """Rows of any features: evaluated anew for the end of a panel that grows by a period each time."""

    tail: Panel
    future: Future
    fixed: _Fixed

    def design(self, ahead: int) -> Matrix:
        """See `RowsAhead`."""
        fixed = self.fixed
        values = values_of(self.tail, fixed.plan, fixed.known, fixed.static)
        next_one = np.ones(fixed.first_future.size, dtype=np.int32)
        return rows_after(self.tail, values, fixed.plan, next_one, fixed.first_future + ahead - 1)

    def put(self, ahead: int, y: Doubles) -> None:
        """See `RowsAhead`."""
        grown = _appended(self.tail, self.future, ahead, y)
        self.tail = add_cross_sections(grown, self.fixed.plan.sections_of_y)


@dataclass(frozen=True)
class _Windowed:
    """Rows of lags and rolling statistics: made from the last rows of all series at once."""

    recent: Recent
    fixed: _Fixed

    def design(self, ahead: int) -> Matrix:
        """See `RowsAhead`."""
        plan = self.fixed.plan
        sources = {
            "known": iter(self.fixed.known_at(ahead)),
            "static": iter(self.fixed.static),
            "history": iter(self.recent.values(plan.of("history"), ahead)),
            "aligned": iter(self.recent.values(plan.of("aligned"), ahead)),
        }
        X = np.empty((self.fixed.first_future.size, len(plan.features)), np.float32, order="F")
        for feature, column in zip(plan.features, X.T, strict=True):
            column[:] = next(sources[feature.availability])
        return X

    def put(self, ahead: int, y: Doubles) -> None:
        """See `RowsAhead`."""
        self.recent.put(ahead, y)


@dataclass(frozen=True)
class Recent:
    """The last rows of every series, followed by those to come.

    columns: name to (rows, n_series), NaN where missing and before a series begins. y of the rows to
    come is filled by whoever forecasts. known: rows that were there before.
    """

    columns: dict[str, Doubles]
    known: int

    @classmethod
    def of(cls, history: Panel, future: Future, features: Sequence[Feature]) -> Recent:
        """What features of history and of seasons before their target read, at any step."""
        windows = [f.window for f in features if f.window]
        reach = max((f.lookback or 0) + f.season for f in features) + 1 if windows else 1
        names = dict.fromkeys(["y", *(window.column for window in windows)])
        tail = history.tail(reach)
        position = np.arange(tail.frame.height) - np.repeat(tail.offsets[1:], tail.lengths) + reach
        columns = {}
        for name in names:
            rows = np.full((reach + future.ahead_max, tail.n_series), np.nan)
            rows[position, tail.series_index] = _doubles(tail.frame[name])
            if name in future.frame.columns:
                coming = _doubles(future.frame[name]).reshape(tail.n_series, future.ahead_max)
                rows[reach:] = coming.T
            columns[name] = rows
        return cls(columns, reach)

    def values(self, features: Sequence[Feature], ahead: int) -> Matrix:
        """Values of features for the targets so many periods after the last known row.

        Those of history are read one period before the target: (features, n_series), NaN where missing.
        """
        out = np.empty((len(features), self.columns["y"].shape[1]), dtype=np.float32)
        groups: dict[tuple[str, int], list[tuple[int, Window]]] = {}
        for number, feature in enumerate(features):
            assert feature.window is not None
            back = (feature.season or 1) + feature.window.shift
            groups.setdefault((feature.window.column, back), []).append((number, feature.window))
        for (name, back), own in groups.items():
            last = self.known + ahead - 1 - back
            reach = max(window.reach for _, window in own)
            rows = self.columns[name][last - reach : last + 1]
            numbers, windows = zip(*own, strict=True)
            out[list(numbers)] = statistics_of_last(rows, windows)
        return out

    def put(self, ahead: int, y: Doubles) -> None:
        """The forecast so many periods after the last known row, (n_series,), as history of later ones."""
        self.columns["y"][self.known + ahead - 1] = y


def _doubles(column: pl.Series) -> Doubles:
    values: Doubles = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return values


def _appended(tail: Panel, future: Future, ahead: int, y_hat: Doubles) -> Panel:
    """The panel one period longer: known covariates, forecasts for y, no past covariates."""
    row = future.frame.filter(pl.col("ahead") == ahead).drop("ahead")
    row = row.with_columns(pl.Series("y", y_hat, nan_to_null=True))
    row = row.with_columns(
        pl.lit(None, dtype=tail.frame.schema[c]).alias(c) for c in tail.roles.past
    )
    lengths = tail.lengths
    series = np.repeat(np.arange(tail.n_series), lengths + 1)
    position = np.arange(series.size) - np.repeat(
        tail.offsets[:-1] + np.arange(tail.n_series), lengths + 1
    )
    is_new = position == lengths[series]
    rows = np.where(is_new, tail.frame.height + series, tail.offsets[:-1][series] + position)
    frame = pl.concat([tail.frame, row.select(tail.frame.columns)])[rows]
    return tail.grown(frame, 1)
