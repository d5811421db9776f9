"""Design rows from feature values: for training every target once, for a forecast one row a series.

A design row for cutoff t and target u = t + a is `history[t] + aligned[u] + known[u] + static`. In a
bucket of steps k1..k2 every target is used once: cutoffs lie k2 - k1 + 1 periods apart, counted back
from the panel's end, so that the buckets tile time and the newest targets are always used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.contracts import DesignBlock, Prediction
from engine.data.panel import IntArray, Panel
from engine.features import FeaturePlan, Matrix


@dataclass(frozen=True)
class Values:
    """Feature values of a panel's rows, each (features, rows); static (features, n_series)."""

    history: Matrix
    aligned: Matrix
    known: Matrix
    static: Matrix


def training_block(
    panel: Panel,
    values: Values,
    plan: FeaturePlan,
    first: int,
    last: int,
    window: int | None,
    series_offset: int,
) -> DesignBlock:
    """Every observed target of the panel once, with a cutoff `first..last` periods before it."""
    ordinal, index = panel.ordinals, panel.series_index
    y = panel.y()
    width = last - first + 1
    ahead = first + (ordinal - first - panel.end) % width
    target = np.arange(y.size)
    usable = np.isfinite(y) & (target - ahead >= panel.offsets[:-1][index])
    if window is not None:
        usable &= ordinal > panel.end - window
    target, ahead, index = target[usable], ahead[usable], index[usable]
    X = gather(panel, values, plan, index, target - ahead, target, ahead, target)
    return DesignBlock(
        X=X,
        y=y[target],
        series=(index + series_offset).astype(np.int32),
        step=ahead.astype(np.int16),
        age=(panel.end - ordinal[target]).astype(np.int32),
    )


def gather(
    panel: Panel,
    values: Values,
    plan: FeaturePlan,
    index: npt.NDArray[np.integer[Any]],
    origin: IntArray,
    target: IntArray,
    ahead: IntArray,
    known: IntArray,
) -> npt.NDArray[np.float32]:
    """Design rows in the order of the plan, column-major: float32 (rows, features).

    origin, target: rows of `panel` (a target may lie after its series' last row); known: rows of
    the known values.
    """
    X = np.empty((index.size, len(plan.features)), dtype=np.float32, order="F")
    place = {"history": 0, "aligned": 0, "known": 0, "static": 0}
    first_row, last_row = panel.offsets[:-1][index], panel.offsets[1:][index] - 1
    for column, feature in enumerate(plan.features):
        row = place[feature.availability]
        place[feature.availability] += 1
        if feature.availability == "history":
            X[:, column] = values.history[row][origin]
        elif feature.availability == "known":
            X[:, column] = values.known[row][known]
        elif feature.availability == "static":
            X[:, column] = values.static[row][index]
        else:
            back = feature.season * -(-ahead // feature.season)
            source = target - back
            outside = (source < first_row) | (source > last_row)
            X[:, column] = values.aligned[row][np.clip(source, first_row, last_row)]
            X[outside, column] = np.nan
    return X


def complete(block: DesignBlock) -> npt.NDArray[np.bool_]:
    """Rows in which no feature is missing: bool (rows,)."""
    return np.asarray(~np.isnan(block.X).any(axis=1), dtype=np.bool_)


def rows_of(block: DesignBlock, rows: npt.NDArray[np.bool_]) -> DesignBlock:
    """Some rows of a block."""
    y = block.y[rows] if block.y.size else block.y
    return DesignBlock(block.X[rows], y, block.series[rows], block.step[rows], block.age[rows])


def spread_over(made: Prediction, rows: npt.NDArray[np.bool_]) -> Prediction:
    """A prediction of some rows as one of all, NaN elsewhere."""
    y_hat = np.full(rows.size, np.nan)
    y_hat[rows] = made.y_hat
    quantiles = None
    if made.quantiles is not None:
        quantiles = np.full((rows.size, made.quantiles.shape[1]), np.nan)
        quantiles[rows] = made.quantiles
    return Prediction(y_hat, quantiles, made.failures)
