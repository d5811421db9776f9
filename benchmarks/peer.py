"""The peers' side: mlforecast, and mlforecast with scikit-learn's Ridge, in an environment of their own.

The same rows, lags, windows, parts of the date and price as `ours.py`; nothing of the engine is imported.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from measure import peak_mb, tell, timed
from mlforecast import MLForecast
from mlforecast.lag_transforms import RollingMean, RollingStd

LAGS = (1, 2, 3, 7, 14, 21, 28)
WINDOWS = (7, 28)
TARGET = {"id_col": "unique_id", "time_col": "ds", "target_col": "y"}


def forecaster(models: list[Any], threads: int) -> MLForecast:
    """7 lags, 4 rolling statistics, 3 parts of the date; the price is a column of the rows."""
    rolling: list[Any] = [RollingMean(window, min_samples=7) for window in WINDOWS]
    rolling += [RollingStd(window, min_samples=7) for window in WINDOWS]
    return MLForecast(
        models=models,
        freq="1d",
        lags=list(LAGS),
        lag_transforms={1: rolling},
        date_features=["weekday", "day", "month"],
        num_threads=threads,
    )


def features(arguments: argparse.Namespace) -> None:
    """From rows in memory to the frame with every feature."""
    frame = pl.read_parquet(arguments.file)
    before = peak_mb()
    maker = forecaster([], arguments.threads)
    done = timed(lambda: maker.preprocess(frame, **TARGET, static_features=[], dropna=False))
    made = done.result
    sums = []
    if arguments.check:
        # The engine has no row for the first value of a series, which nothing precedes.
        later = made.filter(pl.col("lag1").is_not_null() & pl.col("lag1").is_not_nan())
        order = [f"lag{lag}" for lag in LAGS]
        order += [c for c in later.columns if c.startswith("rolling")]
        order += ["weekday", "day", "month", "price"]
        wide = later.select(pl.col(c).cast(pl.Float64).fill_nan(None).sum() for c in order)
        sums = list(wide.row(0))
    tell(
        seconds=done.seconds,
        features_seconds=done.seconds,
        cpu_seconds=done.cpu_seconds,
        rows=made.height,
        sums=sums,
        data_mb=before,
    )


def fit_and_predict(arguments: argparse.Namespace) -> None:
    """Fit on all but the last days, forecast those with their prices."""
    from sklearn.linear_model import Ridge

    frame = pl.read_parquet(arguments.file)
    steps = arguments.horizon

    def work() -> tuple[float, Any]:
        last = frame["ds"].max()
        early = pl.col("ds") <= pl.lit(last).dt.offset_by(f"-{steps}d")
        maker = forecaster([Ridge(alpha=1.0)], arguments.threads)
        history = frame.filter(early)
        fit = timed(lambda: maker.fit(history, **TARGET, static_features=[]))
        ahead = frame.filter(~early).select("unique_id", "ds", "price")
        return fit.seconds, maker.predict(steps, X_df=ahead)

    done = timed(work)
    fit_seconds, made = done.result
    if arguments.keep:
        tidy = made.sort("unique_id", "ds")["Ridge"].to_numpy().reshape(-1, steps)
        np.save(arguments.keep, tidy, allow_pickle=False)
    tell(seconds=done.seconds, fit_seconds=fit_seconds, cpu_seconds=done.cpu_seconds)


def main() -> None:
    """Parse the arguments of a worker and run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("features", "global"))
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--horizon", type=int, default=28)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    {"features": features, "global": fit_and_predict}[arguments.what](arguments)


if __name__ == "__main__":
    main()
