"""The model `croston`: the same forecast for every step, demand per period."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from engine.contracts import Prediction, Training
from engine.data.panel import Future, Panel
from engine_croston import smoothing
from engine_croston.params import CrostonParams

_RATES = {
    "croston": smoothing.interval_rate,
    "sba": smoothing.bias_corrected_rate,
    "tsb": smoothing.probability_rate,
}
_FILE = "croston.json"


@dataclass(frozen=True)
class FittedCroston:
    """A method and its smoothing factors; the states are computed from the history each time."""

    variant: str
    alpha: float
    beta: float

    def predict(self, history: Panel, future: Future) -> Prediction:
        """All steps of all series: float64 (n_series, gap + horizon), no quantiles.

        A series without an observed value, or with a negative one, has NaN and a reason.
        """
        y = np.full((history.n_series, int(history.lengths.max(initial=0))), np.nan)
        position = np.arange(history.frame.height) - np.repeat(history.offsets[1:], history.lengths)
        y[history.series_index, y.shape[1] + position] = history.y()
        failures = {int(i): "no observed value" for i in np.flatnonzero(np.isnan(y).all(axis=1))}
        negative = np.flatnonzero((y < 0).any(axis=1))
        failures |= {int(i): "negative demand: croston needs y >= 0" for i in negative}
        rate = _RATES[self.variant](y, self.alpha, self.beta)
        rate[list(failures)] = np.nan
        return Prediction(np.repeat(rate[:, None], future.ahead_max, axis=1), failures=failures)

    def save(self, folder: Path) -> None:
        """Write method and factors as JSON."""
        (folder / _FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")

    def tables(self) -> Mapping[str, pl.DataFrame]:
        """Nothing is learned that is worth a table."""
        return {}


class Croston:
    """Croston's method and its two successors; the engine calibrates quantiles."""

    def __init__(self, params: CrostonParams) -> None:
        self._params = params

    def fit(self, train: Training) -> FittedCroston:
        """Settle method and factors; nothing else is estimated."""
        params = self._params
        return FittedCroston(params.variant, params.alpha, params.beta or params.alpha)

    @staticmethod
    def load(folder: Path) -> FittedCroston:
        """Read what `save` wrote."""
        return FittedCroston(**json.loads((folder / _FILE).read_text(encoding="utf-8")))
