"""Whether features read no further back than they declare.

A forecast is made from the end of a long history, as many rows as the features say they read. A
feature that reads more would be trained on one value and forecast with another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.contracts import Feature
from engine.data.panel import Future, Panel
from engine.features import evaluate, known_rows
from engine.prove.snapshot import Owned

NEAR = 1e-3
"""Relative difference that running sums may leave: a rolling mean carries its rounding along."""


@dataclass(frozen=True)
class Short:
    """A feature that needs more rows than it declares; `needed` is the smallest that is enough."""

    builder: str
    feature: str
    unique_id: str
    declared: int
    needed: int
    was: float
    became: float


def too_short(history: Panel, future: Future, owned: Owned) -> Iterator[Short]:
    """The features of a builder whose values depend on rows before their declared lookback."""
    for feature in owned.features:
        if feature.lookback is None or feature.availability == "static":
            continue
        read = _reader(history, future, feature)
        whole = read(None)
        bad = unequal(whole, read(feature.lookback))
        if not bad.any():
            continue
        series = int(np.flatnonzero(bad.any(axis=1))[0])
        step = int(np.flatnonzero(bad[series])[0])
        enough = _smallest(read, whole, feature.lookback, int(history.lengths.max()))
        yield Short(
            builder=owned.builder,
            feature=feature.name,
            unique_id=history.ids[series],
            declared=feature.lookback,
            needed=enough,
            was=float(whole[series, step]),
            became=float(read(feature.lookback)[series, step]),
        )


Values = npt.NDArray[np.float64]
Reader = Callable[[int | None], Values]


def _reader(history: Panel, future: Future, feature: Feature) -> Reader:
    """Values that forecasts read, shape (n_series, rows read), from so many rows back."""

    def of_history(lookback: int | None) -> Values:
        reach = max(feature.season, 1)
        tail = history if lookback is None else history.tail(lookback + reach)
        values = evaluate(tail.frame, [feature])[0].astype(np.float64)
        back = np.arange(min(reach, int(tail.lengths.min())))
        read: Values = values[tail.offsets[1:, None] - 1 - back[None, :]]
        return read

    def of_known(lookback: int | None) -> Values:
        rows, first = known_rows(history, future, lookback)
        values = evaluate(rows, [feature])[0].astype(np.float64)
        read: Values = values[first[:, None] + np.arange(future.ahead_max)[None, :]]
        return read

    return of_known if feature.availability == "known" else of_history


def unequal(
    a: npt.NDArray[np.floating[Any]], b: npt.NDArray[np.floating[Any]]
) -> npt.NDArray[np.bool_]:
    """Where values differ by more than the rounding of running sums; rows x values."""
    width = min(a.shape[1], b.shape[1])
    a, b = a[:, :width], b[:, :width]
    scale = np.nanmax(np.abs(a), initial=0.0) if np.isfinite(a).any() else 0.0
    near = np.abs(a - b) <= NEAR * np.maximum(np.abs(a), np.abs(b)) + 1e-2 * NEAR * scale
    out: npt.NDArray[np.bool_] = ~(near | (np.isnan(a) & np.isnan(b)))
    return out


def _smallest(read: Reader, whole: Values, low: int, high: int) -> int:
    """The smallest lookback in (low, high] that is enough, by halving."""
    while high - low > 1:
        middle = (low + high) // 2
        if unequal(whole, read(middle)).any():
            low = middle
        else:
            high = middle
    return high
