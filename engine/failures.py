"""Accounts for every forecast that is not there: failed, skipped, or stood in for by a fallback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from engine.backtest import Fold, eligible, not_begun
from engine.data.panel import Panel
from engine.execute import FAILURE_SCHEMA
from engine.spec.model import RunSpec


@dataclass(frozen=True)
class Filled:
    """Forecasts with the fallback's rows where a model had none, and the failures behind them."""

    forecasts: pl.DataFrame
    failures: pl.DataFrame


def fill_from_fallback(
    forecasts: pl.DataFrame,
    failures: pl.DataFrame,
    spec: RunSpec,
    keep: Sequence[str] | None = None,
) -> Filled:
    """Let the fallback's forecast stand in where a model failed; `keep` are the models wanted.

    A failure's `fallback` column names the model whose forecast was used, if there was one.
    """
    fallback = spec.run.fallback
    if keep is not None:
        failures = failures.filter(pl.col("model").is_in([*keep]))
    if fallback is not None and not failures.is_empty():
        spare = forecasts.filter(pl.col("model") == fallback)
        parts = [forecasts]
        for model in failures["model"].unique(maintain_order=True):
            if model == fallback:
                continue
            wanted = failures.filter(model=model).select("cutoff").unique()
            own = forecasts.filter(pl.col("model") == model)
            place = ["unique_id", "cutoff", "step"]
            missing = spare.join(wanted, on="cutoff", how="semi").join(own, on=place, how="anti")
            parts.append(missing.with_columns(pl.lit(model).alias("model")))
        forecasts = pl.concat(parts).sort("model", "cutoff", "unique_id", "step")
        failures = _named(failures, spare, fallback)
    if keep is not None:
        forecasts = forecasts.filter(pl.col("model").is_in([*keep]))
    return Filled(forecasts, failures)


def _named(failures: pl.DataFrame, spare: pl.DataFrame, fallback: str) -> pl.DataFrame:
    """Failures with the fallback's name where it has a forecast: of the series, or of any."""
    has = spare.select("cutoff", pl.col("unique_id").cast(pl.String)).unique()
    has = pl.concat([has, has.select("cutoff").unique()], how="diagonal")
    found = failures.join(
        has.with_columns(found=True),
        on=["cutoff", "unique_id"],
        how="left",
        nulls_equal=True,
        maintain_order="left",
    )
    stood_in = pl.col("found") & (pl.col("model") != fallback)
    return failures.with_columns(
        found.select(pl.when(stood_in).then(pl.lit(fallback)).alias("fallback")).to_series()
    )


def skipped_series(
    panel: Panel, spec: RunSpec, folds: Sequence[Fold], *, beyond: bool = True
) -> pl.DataFrame:
    """Series that no model was asked to forecast at a cutoff, each with the reason.

    beyond: whether a forecast beyond the data was asked for.
    """
    cutoffs = [fold.cutoff for fold in folds if fold.kind == "backtest"]
    if beyond and spec.forecasts_beyond_data:
        cutoffs.append(panel.end)
    rows = []
    for cutoff in cutoffs:
        rows += [
            ("skipped", None, cutoff, uid, reason, None)
            for uid, reason in eligible(panel, cutoff, spec).skipped
        ]
        rows += [
            ("skipped", None, cutoff, uid, "not begun: its first observation is later", None)
            for uid in not_begun(panel, cutoff)
        ]
    return pl.DataFrame(rows, schema=FAILURE_SCHEMA, orient="row")
