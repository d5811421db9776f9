"""A model with one fault, chosen by its option."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from engine import hookimpl
from engine.components import Capabilities, Model, Params
from engine.contracts import Prediction, Training
from engine.data.panel import Future, Panel

Fault = Literal[
    "factory",
    "fit",
    "predict",
    "save",
    "no_memory",
    "hangs",
    "exits",
    "hangs_saving",
    "returns_none",
    "rows_missing",
    "steps_missing",
    "transposed",
    "quantile_missing",
    "no_quantiles",
    "nan",
    "infinite",
    "nan_quantile",
    "crossed",
]


class BadParams(Params):
    fault: Fault


class Bad:
    """Forecasts 1 and does one thing wrong."""

    def __init__(self, params: BadParams) -> None:
        self.fault = params.fault
        self.quantiles = 0
        if self.fault == "factory":
            raise RuntimeError("broken in factory")

    def fit(self, train: Training) -> Bad:
        if self.fault == "fit":
            raise RuntimeError("broken in fit")
        if self.fault == "no_memory":
            raise MemoryError("no memory left")
        if self.fault == "hangs":
            time.sleep(600)
        if self.fault == "exits":
            os._exit(3)
        self.quantiles = len(train.quantiles)
        return self

    def predict(self, history: Panel, future: Future) -> Prediction:
        if self.fault == "predict":
            raise RuntimeError("broken in predict")
        if self.fault == "returns_none":
            return None  # type: ignore[return-value]
        y_hat = np.ones((history.n_series, future.ahead_max))
        quantiles = np.ones((*y_hat.shape, self.quantiles)) * np.arange(self.quantiles)
        if self.fault == "rows_missing":
            y_hat = y_hat[1:]
        elif self.fault == "steps_missing":
            y_hat = y_hat[:, 1:]
        elif self.fault == "transposed":
            y_hat = y_hat.T
        elif self.fault == "quantile_missing":
            quantiles = quantiles[..., 1:]
        elif self.fault == "no_quantiles":
            return Prediction(y_hat)
        elif self.fault == "nan":
            y_hat[:] = np.nan
        elif self.fault == "infinite":
            y_hat[:] = np.inf
        elif self.fault == "nan_quantile":
            quantiles[..., 0] = np.nan
        elif self.fault == "crossed":
            quantiles = quantiles[..., ::-1]
        return Prediction(y_hat, quantiles)

    def save(self, folder: Path) -> None:
        if self.fault == "save":
            raise RuntimeError("broken in save")
        if self.fault == "hangs_saving":
            (folder / "half.txt").write_text("half of it")
            time.sleep(600)

    def tables(self) -> Mapping[str, pl.DataFrame]:
        return {}


@hookimpl
def engine_models() -> list[Model]:
    able = Capabilities(scope="global", quantiles=True)
    return [Model("bad", "tests.broken_plugins.bad_models:Bad", BadParams, capabilities=able)]
