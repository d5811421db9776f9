"""Bias correction of models fitted to log1p(y): one factor by step, from past residuals.

A fit of log1p(y) aims at the center of log demand, which is the median of demand. Another score
wants another point: squared errors the mean, percentage errors the (-1)-median, a lower value
(Gneiting 2011, JASA 106). Forecasts become `c (1 + y_hat) - 1`, where c minimizes the score over
earlier forecasts, so that no distribution is assumed. A forecast made at a cutoff uses only
residuals whose actuals were known by then, as the quantiles do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.calibrate import FEW
from engine.data.panel import Panel

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Correction:
    """Corrected forecasts, and the residuals behind each model and cutoff, for the manifest."""

    forecasts: pl.DataFrame
    records: list[dict[str, Any]] = field(default_factory=list)


def correct(
    forecasts: pl.DataFrame,
    residuals_of: pl.DataFrame,
    actuals: pl.DataFrame,
    panel: Panel,
    aims: Mapping[str, str],
    minimum: float | None,
) -> Correction:
    """Correct `y_hat` of the models named in `aims` (`mean` or `mape`); cutoffs are ordinals.

    residuals_of: uncorrected forecasts of all cutoffs; actuals: `unique_id, ds, y`. Quantiles stay
    as they are: a log1p transform does not bias them. Rows stay as they are where no residual is
    known by their cutoff; `records` says so.
    """
    if not aims or forecasts.is_empty():
        return Correction(forecasts)
    past = (
        residuals_of.filter(pl.col("model").is_in(list(aims)))
        .join(actuals, on=["unique_id", "ds"], how="inner")
        .with_columns(known_at=panel.grid.ordinal(pl.col("ds")))
        .filter(pl.col("y").is_finite() & pl.col("y_hat").is_finite())
    )
    parts, records = [], []
    for (model, cutoff), rows in forecasts.partition_by(
        "model", "cutoff", as_dict=True, maintain_order=True
    ).items():
        if model in aims:
            known = past.filter(
                pl.col("model") == model, pl.col("known_at") <= cutoff, pl.col("cutoff") < cutoff
            )
            factors = step_factors(known, rows["step"].unique().sort().to_list(), aims[str(model)])
            records.append(
                {"model": model, "cutoff": cutoff, "residuals": known.height, "factors": factors}
            )
            rows = _scaled(rows, factors, minimum)
        parts.append(rows)
    return Correction(pl.concat(parts), records)


def step_factors(known: pl.DataFrame, steps: Sequence[int], aim: str) -> dict[int, float]:
    """The factor of each step; all steps are pooled where one has few residuals, 1 without any."""
    everything = best_factor(known["y"].to_numpy(), known["y_hat"].to_numpy(), aim)
    factors = {}
    for step in steps:
        own = known.filter(pl.col("step") == step)
        enough = own.height >= FEW
        factors[step] = (
            best_factor(own["y"].to_numpy(), own["y_hat"].to_numpy(), aim) if enough else everything
        )
    return factors


def best_factor(y: Floats, y_hat: Floats, aim: str) -> float:
    """The c for which `c (1 + y_hat) - 1` is best; 1 if no value says anything.

    mean: smearing, the average of (1 + y) / (1 + y_hat) (Duan 1983, JASA 78). mape: the smallest
    sum of |y - c (1 + y_hat) + 1| / y, a weighted median of the same ratios with weights
    (1 + y_hat) / y; zero demand has no percentage error and does not count.
    """
    usable = (1 + y_hat > 0) & ((y > 0) if aim == "mape" else (y > -1))
    y, y_hat = y[usable], y_hat[usable]
    if not y.size:
        return 1.0
    ratio = (1 + y) / (1 + y_hat)
    if aim == "mean":
        return float(ratio.mean())
    weight = (1 + y_hat) / y
    order = np.argsort(ratio, kind="stable")
    total = np.cumsum(weight[order])
    return float(ratio[order][np.searchsorted(total, total[-1] / 2)])


def _scaled(
    rows: pl.DataFrame, factors: Mapping[int, float], minimum: float | None
) -> pl.DataFrame:
    factor = pl.col("step").replace_strict(
        list(factors), list(factors.values()), return_dtype=pl.Float64
    )
    value = factor * (1 + pl.col("y_hat")) - 1
    return rows.with_columns(y_hat=value if minimum is None else value.clip(lower_bound=minimum))
