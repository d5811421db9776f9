"""Combinations: the mean or the median of several models' forecasts, row by row.

Equal weights, because weights learned from few folds lose more than they gain (Smith & Wallis 2009,
Oxford Bulletin of Economics and Statistics 71); quantiles are combined quantile by quantile
(Lichtendahl et al. 2013, Management Science 59), which leaves them in order.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from engine.data.forecast import quantiles_of
from engine.spec.model import Combination

_PLACE = ("unique_id", "ds", "cutoff", "step")


def combined(forecasts: pl.DataFrame, combinations: Mapping[str, Combination]) -> pl.DataFrame:
    """Forecast rows with those of the combinations, sorted by model, cutoff, series and step.

    A combination has the rows that all of its models have, and null where one of them has null.
    """
    if not combinations or forecasts.is_empty():
        return forecasts
    values = ["y_hat", *quantiles_of(forecasts.columns).values()]
    parts = [forecasts]
    for name, use in combinations.items():
        # In one order, so that sums do not depend on the order in which tasks have ended.
        rows = forecasts.filter(pl.col("model").is_in(use.models)).sort(*_PLACE, "model")
        whole = rows.group_by(_PLACE, maintain_order=True).agg(
            pl.len().alias("n"), *(_of(value, use.by) for value in values)
        )
        made = whole.filter(pl.col("n") == len(use.models)).with_columns(model=pl.lit(name))
        parts.append(made.select(forecasts.columns))
    return pl.concat(parts).sort("model", "cutoff", "unique_id", "step")


def _of(column: str, by: str) -> pl.Expr:
    value = pl.col(column)
    summary = value.mean() if by == "mean" else value.median()
    return pl.when(value.null_count() == 0).then(summary).alias(column)


def combined_failures(
    failures: pl.DataFrame, combinations: Mapping[str, Combination]
) -> pl.DataFrame:
    """Failures with those of the combinations: where a model fails, so do those made of it."""
    parts = [failures]
    for name, use in combinations.items():
        reason = pl.format("{}: {}", "model", "reason")
        lost = failures.filter(pl.col("model").is_in(use.models)).with_columns(reason=reason)
        once = lost.unique(["cutoff", "unique_id"], keep="first", maintain_order=True)
        parts.append(once.with_columns(model=pl.lit(name)))
    return pl.concat(parts)


def combined_costs(
    seconds: Mapping[str, float],
    megabytes: Mapping[str, float],
    combinations: Mapping[str, Combination],
) -> tuple[dict[str, float], dict[str, float]]:
    """Both with those of the combinations: the seconds of all models, the memory of the largest."""
    time, memory = dict(seconds), dict(megabytes)
    for name, use in combinations.items():
        time[name] = sum(seconds.get(model, 0.0) for model in use.models)
        if all(model in megabytes for model in use.models):
            memory[name] = max(megabytes[model] for model in use.models)
    return time, memory
