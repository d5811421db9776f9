"""The model `drift`: a random walk with drift (Hyndman & Athanasopoulos, Forecasting, 5.2)."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from engine.contracts import Prediction, Training
from engine.data.panel import Future, Panel
from engine_shop.params import DriftParams


class FittedDrift:
    """Forecasts `last + step * slope`; nothing is kept but the damping."""

    def __init__(self, damping: float) -> None:
        self._damping = damping

    def predict(self, history: Panel, future: Future) -> Prediction:
        """All steps of all series, shape (n_series, gap + horizon)."""
        steps = np.arange(1, future.ahead_max + 1)
        y_hat = np.full((history.n_series, future.ahead_max), np.nan)
        failures = {}
        y = history.y()
        for i in range(history.n_series):
            own = y[history.offsets[i] : history.offsets[i + 1]]
            seen = np.flatnonzero(np.isfinite(own))
            if seen.size == 0:
                failures[i] = "no observed value"
                continue
            first, last = own[seen[0]], own[seen[-1]]
            slope = (last - first) / max(seen[-1] - seen[0], 1) * self._damping
            late = own.size - 1 - seen[-1]
            y_hat[i] = last + slope * (steps + late)
        return Prediction(y_hat, failures=failures)

    def save(self, folder: Path) -> None:
        """Write what `load` needs."""
        (folder / "drift.json").write_text(json.dumps({"damping": self._damping}))

    def tables(self) -> Mapping[str, pl.DataFrame]:
        """Nothing to show."""
        return {}


class Drift:
    """A random walk with drift; quantiles are calibrated by the engine."""

    def __init__(self, params: DriftParams) -> None:
        self._params = params

    def fit(self, train: Training) -> FittedDrift:
        """The slope is read from whatever history is predicted from."""
        return FittedDrift(self._params.damping)

    @staticmethod
    def load(folder: Path) -> FittedDrift:
        """Read what `save` wrote."""
        return FittedDrift(json.loads((folder / "drift.json").read_text())["damping"])
