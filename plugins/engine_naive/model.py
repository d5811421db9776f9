"""Seasonal naive forecasts of all series at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.contracts import Prediction, Training
from engine.data.panel import Future, Panel
from engine.errors import DataError, NotFoundError
from engine_naive.params import SeasonalNaiveParams

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_FILE = "seasonal_naive.json"


@dataclass(frozen=True, slots=True)
class FittedSeasonalNaive:
    """A seasonal naive forecast of a stated season: nothing is estimated.

    season: steps of the season. seasons: observed values of the same season that are averaged.
    """

    season: int
    seasons: int

    def predict(self, history: Panel, future: Future) -> Prediction:
        """Forecast every row of `future`: float64 (n_series, gap + horizon), no quantiles.

        A step takes the mean of the latest `seasons` observed values at its place in the season
        (Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 5.2); missing ones are
        skipped, back to the start of the series. Where none is observed, the last observed value
        of the series stands in; a series without any is a failure.
        """
        if history.n_series != future.n_series:
            raise DataError(
                f"the history has {history.n_series} series, the future has {future.n_series}",
                hint="cut both at the same cutoff",
            )
        y = history.y()
        ahead = future.ahead_max
        places = _same_season(
            y, history.offsets, self.season, self.seasons, min(self.season, ahead)
        )
        last = _last_observed(y, history.offsets)
        y_hat = places[:, np.arange(ahead) % self.season]
        y_hat = np.where(np.isnan(y_hat), last[:, None], y_hat)
        empty = np.flatnonzero(np.isnan(last))
        reasons = {int(i): "the series has no observed y up to the cutoff" for i in empty}
        return Prediction(y_hat, failures=reasons)

    def save(self, folder: Path) -> None:
        """Write season and seasons as JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _FILE).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> FittedSeasonalNaive:
        """Read what `save` wrote; NotFoundError if it is not there."""
        path = folder / _FILE
        if not path.is_file():
            raise NotFoundError(
                f"{folder} holds no saved seasonal_naive model", hint=f"{_FILE} is missing there"
            )
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return cls(season=int(stored["season"]), seasons=int(stored["seasons"]))

    def tables(self) -> Mapping[str, pl.DataFrame]:
        """Nothing is learned, so there is no table."""
        return {}


@dataclass(frozen=True, slots=True)
class SeasonalNaive:
    """The model `seasonal_naive`: local, without covariates or quantiles of its own."""

    params: SeasonalNaiveParams

    def fit(self, train: Training) -> FittedSeasonalNaive:
        """Settle the season: the stated one, or the usual one of the frequency."""
        return FittedSeasonalNaive(self.params.season or train.season, self.params.seasons)

    @staticmethod
    def load(folder: Path) -> FittedSeasonalNaive:
        """Read a saved model."""
        return FittedSeasonalNaive.load(folder)


def _same_season(
    y: FloatArray, offsets: IntArray, season: int, seasons: int, places: int
) -> FloatArray:
    """Mean of the latest observed values at each of the first `places` places after the end.

    Shape (n_series, places), NaN where nothing was observed. It walks back one season at a time
    with the places that still want values, so that a regular panel takes `seasons` passes.
    """
    lengths = np.diff(offsets)
    shape = (lengths.size, places)
    series, place = (index.ravel() for index in np.indices(shape))
    back = season - 1 - place
    total = np.zeros(series.size)
    count = np.zeros(series.size, dtype=np.int64)
    open_ = np.flatnonzero(back < lengths[series])
    while open_.size:
        value = y[offsets[series[open_] + 1] - 1 - back[open_]]
        seen = ~np.isnan(value)
        total[open_[seen]] += value[seen]
        count[open_[seen]] += 1
        back[open_] += season
        open_ = open_[(count[open_] < seasons) & (back[open_] < lengths[series[open_]])]
    mean = np.full(series.size, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean.reshape(shape)


def _last_observed(y: FloatArray, offsets: IntArray) -> FloatArray:
    """The latest observed value of each series, shape (n_series,), NaN where there is none."""
    if offsets.size < 2 or not y.size:
        return np.full(max(offsets.size - 1, 0), np.nan)
    row = np.where(np.isnan(y), -1, np.arange(y.size))
    latest = np.maximum.accumulate(row)[offsets[1:] - 1]
    inside = latest >= offsets[:-1]
    return np.where(inside, y[np.maximum(latest, 0)], np.nan)
