"""Price elasticities and promotion lifts that a ridge finds in simulated demand, against the truth.

Every seed is a panel of its own. For each scope: the mean over series of the estimate divided by the mean
of the truth, weighted by how well a series is known (`ratio`) and over those that sell every day
(`regular`), and the share of all series whose interval of 90 % holds their true effect.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import NormalDist
from typing import Any

import polars as pl

from engine.backtest import final_tasks
from engine.ingest import open_source, read_panel
from engine.registry import Registry
from engine.runner import capabilities
from engine.spec.model import RunSpec
from engine.tasks import run_task, saved_at
from engine.workspace import prepare

EFFECTS = {"promo_price_log": "elasticity", "promo_promo": "lift"}
LEVEL = 0.9


def spec_of(seed: int, source: dict[str, Any], ridge: dict[str, Any]) -> RunSpec:
    """A spec of one ridge that tells what prices and promotions do."""
    return RunSpec.model_validate(
        {
            "version": 1,
            "name": "effects",
            "seed": seed,
            "data": {
                "source": {"use": "simulate", "country": "US", **source},
                "columns": {"unique_id": ["store", "item"], "ds": "ds", "y": "units"},
                "freq": "1d",
                "covariates": {
                    "future": ["price", "promo", "holiday"],
                    "past": ["stockout"],
                    "static": ["category"],
                },
            },
            "horizon": 28,
            "features": [
                {
                    "use": "calendar",
                    "one_hot": ["weekday"],
                    "trend": True,
                    "fourier": {"period": 365.25, "order": 2},
                },
                {"use": "promo", "price": "price", "flags": ["promo", "holiday"]},
            ],
            "models": {
                "ridge": {
                    "use": "ridge",
                    "target": "log1p",
                    "mask": ["stockout"],
                    "buckets": [28],
                    "elasticity": list(EFFECTS),
                    **ridge,
                }
            },
            "evaluate": {"metrics": ["wape"]},
        }
    )


def effects(seed: int, source: dict[str, Any], ridge: dict[str, Any]) -> pl.DataFrame:
    """`unique_id, effect, regular, true, demand, demand_error` of the series of one simulation."""
    spec, registry = spec_of(seed, source, ridge), Registry.discover()
    data = open_source(spec, registry, Path())
    panel = read_panel(spec, data)
    truth = data.artifacts()["truth"].with_columns(
        pl.concat_str("store", "item", separator="/").alias("unique_id"),
        lift=pl.col("promotion_lift").log(),
    )
    with tempfile.TemporaryDirectory() as name:
        work = prepare(Path(name), panel, spec, registry)
        (task,) = final_tasks(work.panel, spec, ["ridge"], capabilities(spec, registry))
        result = run_task(work.folder, task.plain(), lambda event, data: None)
        assert result["status"] == "ok", result
        found = pl.read_parquet(saved_at(work.folder, task) / "elasticity.parquet")
    true = truth.unpivot(
        ["elasticity", "lift"], index="unique_id", variable_name="effect", value_name="true"
    )
    found = found.with_columns(effect=pl.col("feature").replace_strict(EFFECTS))
    regular = truth.select("unique_id", regular=pl.col("occurrence") == 1)
    return (
        found.join(true, on=["unique_id", "effect"])
        .join(regular, on="unique_id")
        .select("unique_id", "effect", "regular", "true", "demand", "demand_error")
    )


def summary(table: pl.DataFrame) -> pl.DataFrame:
    """By effect: series, mean estimate through mean truth, share of the series that are covered."""
    reach = NormalDist().inv_cdf((1 + LEVEL) / 2)
    error, weight = pl.col("demand") - pl.col("true"), pl.col("demand_error") ** -2
    every_day = pl.col("regular")
    return (
        table.group_by("effect")
        .agg(
            pl.len().alias("series"),
            ratio=(weight * pl.col("demand")).sum() / (weight * pl.col("true")).sum(),
            regular=pl.col("demand").filter(every_day).mean()
            / pl.col("true").filter(every_day).mean(),
            rmse=(error**2).mean().sqrt(),
            standard_error=pl.col("demand_error").mean(),
            coverage=(error.abs() <= reach * pl.col("demand_error")).mean(),
        )
        .sort("effect")
    )


def main() -> None:
    """Print one table a scope."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--series", type=int, default=60)
    parser.add_argument("--periods", type=int, default=730)
    parser.add_argument("--scopes", nargs="+", default=["local", "partial"])
    asked = parser.parse_args()
    source = {"series": asked.series, "periods": asked.periods}
    for scope in asked.scopes:
        started = time.process_time()
        tables = [effects(seed, source, {"scope": scope}) for seed in range(asked.seeds)]
        print(f"scope {scope}: {time.process_time() - started:.1f} processor seconds")
        print(summary(pl.concat(tables)))


if __name__ == "__main__":
    main()
