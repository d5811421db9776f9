"""Forecast tables: long by model, wide by quantile; the one place that names quantile columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from engine.contracts import Prediction
from engine.data.panel import Future


def quantile_column(quantile: float) -> str:
    """Name of a quantile's column: 0.1 -> `q0.1`."""
    return f"q{float(quantile)!r}"


def quantiles_of(columns: Iterable[str]) -> dict[float, str]:
    """Quantile -> column name, of those `columns` that hold quantiles, in increasing order."""
    found: dict[float, str] = {}
    for column in columns:
        if column.startswith("q"):
            try:
                quantile = float(column[1:])
            except ValueError:
                continue
            if 0.0 < quantile < 1.0 and quantile_column(quantile) == column:
                found[quantile] = column
    return dict(sorted(found.items()))


def forecast_frame(
    future: Future, prediction: Prediction, quantiles: Sequence[float], model: str, cutoff: int
) -> pl.DataFrame:
    """Rows of a prediction after the gap, for series that have one.

    Columns `unique_id, ds, cutoff (ordinal), step (1..horizon), model, y_hat, q...`; quantile
    columns are null where the model has none of its own.
    """
    columns = {
        quantile_column(q): (
            prediction.quantiles[..., i].ravel().astype(np.float64)
            if prediction.quantiles is not None
            else np.full(prediction.y_hat.size, np.nan)
        )
        for i, q in enumerate(quantiles)
    }
    failed = np.zeros(future.n_series, dtype=bool)
    failed[list(prediction.failures)] = True
    frame = future.frame.select("unique_id", "ds", "ahead").with_columns(
        pl.lit(cutoff, dtype=pl.Int64).alias("cutoff"),
        pl.lit(model).alias("model"),
        pl.Series("y_hat", prediction.y_hat.ravel().astype(np.float64)),
        *(pl.Series(name, values, nan_to_null=True) for name, values in columns.items()),
        pl.Series("failed", np.repeat(failed, future.ahead_max)),
    )
    return (
        frame.filter(~pl.col("failed"), pl.col("ahead") > future.gap)
        .with_columns(step=(pl.col("ahead") - future.gap).cast(pl.Int32))
        .select("unique_id", "ds", "cutoff", "step", "model", "y_hat", *columns)
    )


def ordered_quantiles(frame: pl.DataFrame) -> pl.DataFrame:
    """Rearrange each row's quantiles in increasing order, so that they never cross.

    Monotone rearrangement, which never worsens the pinball loss (Chernozhukov, Fernandez-Val &
    Galichon 2010).
    """
    names = list(quantiles_of(frame.columns).values())
    if len(names) < 2:
        return frame
    values = np.sort(frame.select(names).to_numpy(), axis=1)
    return frame.with_columns(
        pl.Series(name, values[:, i], nan_to_null=True) for i, name in enumerate(names)
    )
