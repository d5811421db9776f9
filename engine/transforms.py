"""Transforms of the target before features and models see it, and their inverses.

A transform is computed from the history up to the cutoff alone and holds no state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.data.checks import negative_target
from engine.data.panel import Panel, each_series

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class TargetTransform:
    """y -> (f(y) - location) / factor per series, with f the identity or log1p.

    location, factor: float64, shape (n_series,), in the order of the panel it was made of.
    """

    target: str
    location: npt.NDArray[np.float64]
    factor: npt.NDArray[np.float64]

    def apply(self, panel: Panel) -> Panel:
        """The panel with a transformed target."""
        if self.target == "none" and not self.location.any() and bool((self.factor == 1).all()):
            return panel
        index = panel.series_index
        y = panel.y()
        if self.target == "log1p":
            y = np.log1p(y)
        y = (y - self.location[index]) / self.factor[index]
        column = pl.Series("y", y, nan_to_null=True)
        return panel.with_frame(panel.frame.with_columns(column))

    def invert(self, values: Floats) -> Floats:
        """Back to the units of y; the first axis is the series. Monotone, so quantiles stay ones."""
        shape = (-1,) + (1,) * (values.ndim - 1)
        out = values * self.factor.reshape(shape) + self.location.reshape(shape)
        return np.expm1(np.minimum(out, 700.0)) if self.target == "log1p" else out

    def units(self, values: Floats, series: npt.NDArray[np.integer[Any]]) -> Floats:
        """Back to the units of y, row by row; series: number of each row's series."""
        out: Floats = values * self.factor[series] + self.location[series]
        return np.expm1(np.minimum(out, 700.0)) if self.target == "log1p" else out


def target_transform(history: Panel, target: str, scale: str, model: str) -> TargetTransform:
    """The transform of one model at one cutoff; DataError on negative y under log1p."""
    if target == "log1p":
        negative_target(history.frame["y"], history.frame["unique_id"], model)
    location = np.zeros(history.n_series)
    factor = np.ones(history.n_series)
    if scale != "none":
        y = pl.col("y").log1p() if target == "log1p" else pl.col("y")
        sums = each_series(
            history.frame.select("unique_id", "y"),
            y.mean().alias("mean"),
            y.std().alias("deviation"),
            y.abs().mean().alias("size"),
        )
        if scale == "mean":
            factor = _positive(sums["size"])
        else:
            location = sums["mean"].fill_null(0.0).to_numpy().copy()
            factor = _positive(sums["deviation"]) if scale == "standard" else factor
    return TargetTransform(target, location, factor)


def _positive(values: pl.Series) -> npt.NDArray[np.float64]:
    """Zero-safe divisors: a constant or empty series is left as it is."""
    out = values.fill_null(1.0).to_numpy().astype(np.float64).copy()
    out[~(out > 1e-8)] = 1.0
    return out
