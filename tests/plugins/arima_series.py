"""Series and forecasts for the tests of ARIMA."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from engine.contracts import Prediction, Training
from engine.data.panel import Future, Panel
from engine_arima.model import Arima, FittedArima
from engine_arima.params import ArimaParams
from tests.panels import START, history_and_future, panel

QUANTILES = (0.1, 0.5, 0.9)
HOLE = math.nan
RANDOM_WALK = {"order": [0, 1, 0], "season": 1}
REGRESSION = {"order": [0, 0, 0], "season": 1}


def cut(
    *series: Sequence[float], horizon: int = 4, gap: int = 0, **columns
) -> tuple[Panel, Future]:
    """Daily series of one length; `columns` are future covariates, one list for all series.

    NaN in `y` becomes missing after the panel is made, so that it may stand at either end.
    """
    n, ahead = len(series[0]), gap + horizon
    days = [START + dt.timedelta(days=t) for t in range(n + ahead)]
    frames = [
        pl.DataFrame({"store": i, "ds": days, "y": [1.0] * n + [None] * ahead, **columns})
        for i in range(len(series))
    ]
    whole = panel(pl.concat(frames), future=tuple(columns), past=(), static=(), ahead=ahead)
    history, future = history_and_future(whole, gap, horizon)
    y = pl.Series("y", np.concatenate([np.asarray(y, dtype=float) for y in series])).fill_nan(None)
    return history.with_frame(history.frame.with_columns(y)), future


def fit(history: Panel, quantiles=QUANTILES, report=None, usual=7, **options) -> FittedArima:
    silent = report or (lambda event, fields: None)
    train = Training(history, 4, 0, tuple(quantiles), usual, 0, silent)
    return Arima(ArimaParams(**options)).fit(train)


def forecast(data: tuple[Panel, Future], quantiles=QUANTILES, **options) -> Prediction:
    history, future = data
    return fit(history, quantiles, **options).predict(history, future)


def orders(fitted: FittedArima) -> list[tuple]:
    return fitted.tables()["orders"].select("p", "d", "q", "P", "D", "Q", "season").rows()


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n)


def autoregressive(n: int = 150, seed: int = 0, phi: float = 0.7) -> np.ndarray:
    y = [0.0]
    for shock in noise(n, seed)[1:]:
        y.append(phi * y[-1] + shock)
    return np.array(y) + 20.0
