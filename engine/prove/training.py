"""Whether features of the history look past their own row.

The engine cuts the history at the cutoff, so that no forecast can see later rows. But a model is trained
on all rows up to the cutoff: a feature that looks past its own row (a centered mean, a scale or an
encoding from the whole history) shows it the answer there, and has nothing like it when it forecasts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engine.data.panel import IntArray, Panel
from engine.features import evaluate
from engine.prove.lookback import unequal
from engine.prove.snapshot import Owned


@dataclass(frozen=True)
class Past:
    """A feature that reads rows after its own; `steps` is how far, as far as was seen.

    ordinal: of the row whose value moves when later rows are taken away; count: rows that move.
    """

    feature: str
    unique_id: str
    ordinal: int
    steps: int
    was: float
    became: float
    count: int


def look_past(history: Panel, owned: Owned, reach: int) -> Iterator[Past]:
    """The features of a builder whose values change when later rows of the history are taken away.

    reach: gap + horizon; one period, so many, and a third of the history are taken away in turn.
    """
    features = [f for f in owned.features if f.availability in ("history", "aligned")]
    whole = evaluate(history.frame, features)
    found: dict[str, Past] = {}
    for back in sorted({1, reach, int(history.lengths.max()) // 3}):
        short = history.until(history.end - back)
        if back < 1 or not short.n_series:
            continue
        rows = _rows_of(short, history)
        ordinals, index = short.ordinals, short.series_index
        part = evaluate(short.frame, features)
        for number, feature in enumerate(features):
            was, became = whole[number][rows], part[number]
            bad = unequal(was[None, :], became[None, :])[0]
            if not bad.any():
                continue
            row = int(np.flatnonzero(bad)[0])
            steps = int(short.end - ordinals[bad].min()) + 1
            if feature.name not in found or steps > found[feature.name].steps:
                place = short.ids[int(index[row])], int(ordinals[row])
                values = float(was[row]), float(became[row])
                found[feature.name] = Past(feature.name, *place, steps, *values, int(bad.sum()))
    yield from found.values()


def _rows_of(short: Panel, history: Panel) -> IntArray:
    """Rows of `history` that the rows of `short`, its beginning, are."""
    begun = np.flatnonzero(history.starts <= short.end)
    first = history.offsets[:-1][begun]
    position = np.arange(short.frame.height) - np.repeat(short.offsets[:-1], short.lengths)
    rows: IntArray = np.repeat(first, short.lengths) + position
    return rows
