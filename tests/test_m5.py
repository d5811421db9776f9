"""The M5 spec, run as a user would, against WRMSSE recomputed from the official files by hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from engine.registry import Registry
from engine.runner import run
from engine.spec.validate import load_spec

SPEC = Path(__file__).parent.parent / "specs" / "m5.yaml"
DATA = Path(os.environ.get("ENGINE_DATA", "data")) / "m5"
LEVELS = [
    [],
    ["state_id"],
    ["store_id"],
    ["cat_id"],
    ["dept_id"],
    ["state_id", "cat_id"],
    ["state_id", "dept_id"],
    ["store_id", "cat_id"],
    ["store_id", "dept_id"],
]


def official_wrmsse() -> dict[str, float]:
    """Seasonal naive (7) on days 1914..1941, straight from the wide file, level by level."""
    sales = pl.read_parquet(DATA / "sales_train_d1495_d1941.parquet")
    actual = sales.select(f"d_{d}" for d in range(1914, 1942)).to_numpy().astype(float)
    naive = np.tile(sales.select(f"d_{d}" for d in range(1907, 1914)).to_numpy().astype(float), 4)
    weights = pl.read_parquet(DATA / "weights.parquet")
    scales = pl.read_parquet(DATA / "rmsse_scale_levels1_9.parquet")
    found = {}
    for number, keys in enumerate(LEVELS, start=1):
        label = sales.select(
            pl.concat_str(keys, separator="|") if keys else pl.lit("Total")
        ).to_series()
        groups = label.unique().to_list() if keys else ["Total"]
        total = 0.0
        for group in groups:
            inside = (label == group).to_numpy() if keys else np.ones(sales.height, dtype=bool)
            error = (naive[inside] - actual[inside]).sum(axis=0)
            parts = group.split("|")
            own = weights.filter(pl.col("Level_id") == f"Level{number}")
            if keys:
                own = own.filter(pl.col("Agg_Level_1") == parts[0])
            if len(keys) == 2:
                own = own.filter(pl.col("Agg_Level_2") == parts[1])
            scale = scales.filter(pl.col("level") == number)
            for key, part in zip(keys, parts, strict=False):
                scale = scale.filter(pl.col(key) == part)
            assert own.height == 1 and scale.height == 1, (number, group)
            total += own["weight"][0] * np.sqrt(np.mean(error**2)) / scale["scale2"][0]
        found[f"level_{number}"] = (
            total / weights.filter(pl.col("Level_id") == f"Level{number}")["weight"].sum()
        )
    return {**found, "all": float(np.mean(list(found.values())))}


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif(
    not DATA.is_dir() and os.environ.get("CI") != "true", reason="ENGINE_DATA has no folder m5"
)
def test_the_spec_scores_seasonal_naive_as_the_official_files_do(tmp_path, monkeypatch):
    monkeypatch.setenv("ENGINE_DATA", str(DATA.parent.resolve()))
    registry = Registry.discover()
    overrides = [
        "models={snaive: {use: seasonal_naive, season: 7}}",
        "features=[]",
        "quantiles=[]",
        "evaluate.metrics.1=mae",
        "write=[]",
    ]
    text = SPEC.read_text().replace("    - pinball\n    - coverage\n", "")
    spec = tmp_path / "m5.yaml"
    spec.write_text(text)
    loaded = load_spec(spec, registry, overrides)
    outcome = run(loaded, registry, output=tmp_path / "runs", base=tmp_path)
    scores = pl.read_parquet(outcome.folder / "scores.parquet").filter(
        pl.col("metric") == "wrmsse", pl.col("cutoff").is_null()
    )
    found = dict(scores.select("segment", "value").iter_rows())
    assert found == pytest.approx(official_wrmsse(), rel=1e-9)
    backtest = pl.read_parquet(outcome.folder / "backtest.parquet")
    assert backtest["unique_id"].n_unique() == 30_490
