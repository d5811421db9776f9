"""What a run keeps of its data: whole series of a sample, and a profile of every series."""

from __future__ import annotations

import polars as pl

from engine.history import history_sample, series_profile
from engine.registry import Registry
from engine.spec.validate import validate_text
from tests.panels import panel, rows

SPEC = """version: 1
name: tiny
data:
  source: {use: simulate}
  columns: {unique_id: store, ds: ds, y: y}
  freq: 1d
  covariates: {future: [promo, price], past: [temperature], static: [kind]}
horizon: 7
models:
  snaive: {use: seasonal_naive, season: 7}
evaluate: {metrics: [mae]}
"""
LOADED = validate_text(SPEC, "tiny.yaml", Registry.discover()).spec


def test_a_large_panel_keeps_whole_series_spread_over_it():
    made = panel(rows(n_series=6, periods=60, future=7))
    kept = history_sample(made, LOADED, most_rows=2 * 67)
    assert kept["unique_id"].unique().sort().to_list() == ["1", "4"]
    assert kept.group_by("unique_id").len()["len"].to_list() == [67, 67]
    assert kept.columns == ["unique_id", "ds", "y", "promo", "price", "temperature"]


def test_a_profile_counts_zeros_gaps_and_sales_of_the_history_alone():
    frame = rows(n_series=1, periods=10, future=7)
    y = [0.0, None, 2.0, 0.0, 4.0, 0.0, 0.0, 0.0, 0.0, 6.0, *([None] * 7)]
    made = panel(frame.with_columns(y=pl.Series(y)))
    row = series_profile(made, LOADED).row(0, named=True)
    assert (row["rows"], row["missing"], row["zeros"], row["sales"]) == (10, 1, 6, 3)
    assert (row["total"], row["sales_mean"], row["kind"]) == (12.0, 4.0, "big")
