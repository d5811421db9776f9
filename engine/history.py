"""What a run keeps of its data, so that a report can be made from its folder alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from engine.data.panel import Panel, each_series
from engine.ingest import declared_roles
from engine.spec.model import RunSpec

MOST_ROWS = 400_000
"""Rows of history kept in a run: whole series, evenly spread over the panel."""


def series_profile(panel: Panel, spec: RunSpec) -> pl.DataFrame:
    """One row a series: `unique_id`, keys, statics, and what its observed history looks like.

    first: first `ds`. rows: rows of history; missing: those without `y`. total, mean, std, max: of
    the observed `y`. zeros: observed values that are 0. sales: those that are not. sales_mean,
    sales_std: mean and population standard deviation of those (for the demand classes of Syntetos
    and Boylan, 2005).
    """
    roles = declared_roles(spec)
    y, sold = pl.col("y"), pl.col("y").filter(pl.col("y") != 0)
    narrow = replace(panel, fill="", frame=panel.frame.select("unique_id", "ds", "y"))
    stats = each_series(
        narrow.until(panel.end).frame,
        pl.col("ds").min().alias("first"),
        pl.len().alias("rows"),
        y.null_count().alias("missing"),
        y.sum().alias("total"),
        y.mean().alias("mean"),
        y.std().alias("std"),
        y.max().alias("max"),
        (y == 0).sum().alias("zeros"),
        sold.count().alias("sales"),
        sold.mean().alias("sales_mean"),
        sold.std(ddof=0).alias("sales_std"),
    )
    keys = [c for c in roles.keys if c != "unique_id"]
    columns = dict.fromkeys(["unique_id", *keys, *roles.static])
    named = panel.series.select(*columns)
    joined = named.join(stats, on="unique_id", how="left", maintain_order="left")
    return joined.with_columns(pl.col("unique_id").cast(pl.String))


def history_sample(panel: Panel, spec: RunSpec, most_rows: int = MOST_ROWS) -> pl.DataFrame:
    """Rows `unique_id, ds, y` and declared covariates of whole series, known future rows included.

    All series if they have no more than `most_rows` rows, else every k-th one.
    """
    every = max(-(-panel.frame.height // most_rows), 1)
    sample = panel if every == 1 else panel.select(np.arange(0, panel.n_series, every))
    columns = ["unique_id", "ds", "y", *declared_roles(spec).covariates]
    return sample.frame.select(columns).with_columns(pl.col("unique_id").cast(pl.String))
