"""Quantiles for models that have none of their own: split-conformal, by step, from past residuals.

Scores are (y - y_hat) / s, with s = (|y_hat| + mean |y| of the history) / 2, so that series of all
sizes share one set of scores per step (Vovk, Gammerman & Shafer 2005; locally weighted scores as in
Lei et al. 2018). A forecast made at a cutoff uses only residuals whose actuals were known by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.data.forecast import quantile_column
from engine.data.panel import Panel, each_series

FEW = 40
"""With fewer residuals than this, the residuals of all steps are used for one."""

_TINY = 1e-9


@dataclass
class Calibration:
    """Forecasts with quantiles, and what was done per model and cutoff, for the manifest."""

    forecasts: pl.DataFrame
    records: list[dict[str, Any]] = field(default_factory=list)


def calibrate(
    forecasts: pl.DataFrame,
    residuals_of: pl.DataFrame,
    actuals: pl.DataFrame,
    panel: Panel,
    quantiles: Sequence[float],
    minimum: float | None,
) -> Calibration:
    """Fill the null quantiles of `forecasts` (cutoffs as ordinals).

    residuals_of: forecasts to take residuals from, all cutoffs; actuals: `unique_id, ds, y`.
    Rows stay null where no residual is known by their cutoff; `records` says so.
    """
    if not quantiles or forecasts.is_empty():
        return Calibration(forecasts)
    first = quantile_column(quantiles[0])
    own = forecasts.filter(pl.col(first).is_not_null())
    bare = forecasts.filter(pl.col(first).is_null())
    if bare.is_empty():
        return Calibration(forecasts)
    bare_models = bare["model"].unique().to_list()
    past = residuals_of.filter(pl.col("model").is_in(bare_models))
    cutoffs = sorted({*bare["cutoff"].unique().to_list(), *past["cutoff"].unique().to_list()})
    sizes = history_size(panel, cutoffs)
    known = _scores(past, actuals, sizes, panel)
    parts, records = [own], []
    for (model, cutoff), rows in bare.partition_by(
        "model", "cutoff", as_dict=True, maintain_order=True
    ).items():
        scores = known.filter(
            pl.col("model") == model, pl.col("known_at") <= cutoff, pl.col("cutoff") < cutoff
        )
        records.append({"model": model, "cutoff": cutoff, "residuals": scores.height})
        parts.append(_with_quantiles(rows, scores, sizes, quantiles, minimum))
    done = pl.concat(parts).sort("model", "cutoff", "unique_id", "step")
    return Calibration(done, records)


def history_size(panel: Panel, cutoffs: Sequence[int]) -> pl.DataFrame:
    """Mean |y| of each series up to each cutoff: `unique_id, cutoff, size`."""
    rows, size = panel.frame.select("unique_id", "ds", "y"), pl.col("y").abs().mean()
    frames = []
    for cutoff in cutoffs:
        # Rows after the end hold no y.
        upto = rows
        if cutoff < panel.end:
            upto = rows.filter(pl.col("ds") <= panel.grid.timestamp(cutoff))
        sizes = each_series(upto, size.fill_null(0.0).alias("size"))
        frames.append(sizes.with_columns(cutoff=pl.lit(cutoff, dtype=pl.Int64)))
    return pl.concat(frames)


def _scores(
    past: pl.DataFrame, actuals: pl.DataFrame, sizes: pl.DataFrame, panel: Panel
) -> pl.DataFrame:
    joined = past.join(actuals, on=["unique_id", "ds"], how="inner").join(
        sizes, on=["unique_id", "cutoff"], how="left"
    )
    return joined.select(
        "model",
        "cutoff",
        "step",
        known_at=panel.grid.ordinal(pl.col("ds")),
        score=(pl.col("y") - pl.col("y_hat")) / _spread(),
    )


def _spread() -> pl.Expr:
    return ((pl.col("y_hat").abs() + pl.col("size")) / 2).clip(lower_bound=_TINY)


def _with_quantiles(
    rows: pl.DataFrame,
    scores: pl.DataFrame,
    sizes: pl.DataFrame,
    quantiles: Sequence[float],
    minimum: float | None,
) -> pl.DataFrame:
    if scores.is_empty():
        return rows
    names = [quantile_column(q) for q in quantiles]
    everything = scores["score"].to_numpy()
    by_step = {
        step[0]: frame["score"].to_numpy()
        for step, frame in scores.partition_by("step", as_dict=True).items()
    }
    table = []
    for step in rows["step"].unique().sort().to_list():
        own = by_step.get(step, np.empty(0))
        chosen = own if own.size >= FEW else everything
        table.append((step, *conformal_quantiles(chosen, quantiles)))
    offsets = pl.DataFrame(
        table, schema={"step": pl.Int32, **{f"r:{n}": pl.Float64 for n in names}}, orient="row"
    )
    lower = float("-inf") if minimum is None else minimum
    return (
        rows.join(offsets, on="step", how="left", maintain_order="left")
        .join(sizes, on=["unique_id", "cutoff"], how="left", maintain_order="left")
        .with_columns(
            (pl.col("y_hat") + pl.col(f"r:{n}") * _spread()).clip(lower_bound=lower).alias(n)
            for n in names
        )
        .select(rows.columns)
    )


def conformal_quantiles(
    scores: npt.NDArray[np.floating[Any]], quantiles: Sequence[float]
) -> list[float]:
    """Order statistics with the finite-sample correction: the ceil((n + 1) q)-th smallest score.

    Below the median the rank is the mirror image, floor((n + 1) q), so that both tails are
    conservative; ranks beyond the sample are its smallest and largest score.
    """
    ordered = np.sort(scores)
    n = ordered.size
    ranks = [
        np.ceil((n + 1) * q - 1e-9) if q >= 0.5 else np.floor((n + 1) * q + 1e-9) for q in quantiles
    ]
    return [float(ordered[int(np.clip(r, 1, n)) - 1]) for r in ranks]
