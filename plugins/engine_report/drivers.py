"""Section 5: what drives the forecasts, as far as the kept models tell, and what promotions brought."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from engine_report import charts, uplift
from engine_report.document import Block, Chart, Charts, Column, Prose, Section, Table
from engine_report.reading import Run

MOST_FEATURES = 20
MOST_ROWS = 15


def section(run: Run) -> Section:
    """Promotions, then coefficients, learning curves and orders of the models kept in the run."""
    blocks: list[Block] = uplift.blocks(run)
    drawn = [*_curves_of_events(run)]
    tables: list[Table] = []
    home = run.results.folder / "models"
    for folder in sorted(home.iterdir()) if home.is_dir() else []:
        for name, table in model_tables(folder).items():
            chart = _chart(folder.name, name, table)
            if chart is not None:
                drawn.append(chart)
            elif {"p", "d", "q"} <= set(table.columns):
                tables.append(_orders(folder.name, table))
    if drawn:
        blocks.append(Charts(drawn))
    blocks += tables
    if not blocks:
        blocks.append(
            Prose("The models kept in this run say nothing about what drives them.", "note")
        )
    return Section("drivers", "What drives it", blocks)


def model_tables(folder: Path) -> dict[str, pl.DataFrame]:
    """What a kept model shows of itself, by name; local models' shards put together."""
    found: dict[str, list[pl.DataFrame]] = {}
    for file in [*sorted(folder.glob("*.parquet")), *sorted(folder.glob("shard-*/*.parquet"))]:
        found.setdefault(file.stem, []).append(pl.read_parquet(file))
    return {name: pl.concat(parts, how="vertical_relaxed") for name, parts in found.items()}


def _chart(model: str, name: str, table: pl.DataFrame) -> Chart | None:
    columns = set(table.columns)
    if {"feature", "standardized"} <= columns:
        return _coefficients(model, table)
    return None


def _coefficients(model: str, table: pl.DataFrame) -> Chart:
    """The largest coefficients on standardized features, the mean over buckets of steps."""
    size = pl.col("mean").abs()
    top = (
        table.group_by("feature", maintain_order=True)
        .agg(mean=pl.col("standardized").mean(), low=pl.col("standardized").min(),
             high=pl.col("standardized").max())
        .sort(size, "feature", descending=[True, False])
        .head(MOST_FEATURES)
    )  # fmt: skip
    svg = charts.bars(
        top.to_dicts(), "feature", "mean", "effect of one standard deviation", interval=True
    )
    said = f"The {top.height} largest standardized coefficients of {model}"
    note = "Bar: mean over buckets of steps; line: from the smallest to the largest."
    return Chart(f"Coefficients of {model}", svg, said, note)


def _orders(model: str, table: pl.DataFrame) -> Table:
    names = [c for c in ("p", "d", "q", "P", "D", "Q", "season") if c in table.columns]
    counted = (
        table.group_by(names, maintain_order=True)
        .len()
        .sort("len", *names, descending=[True] + [False] * len(names))
    )
    rows: list[list[Any]] = []
    for row in counted.head(MOST_ROWS).iter_rows(named=True):
        order = f"({row['p']}, {row['d']}, {row['q']})"
        if row.get("season") and {"P", "D", "Q"} <= set(names):
            order += f" ({row['P']}, {row['D']}, {row['Q']}) every {row['season']}"
        rows.append([order, row["len"]])
    columns = [Column("order", numeric=False), Column("series")]
    return Table(f"Orders of {model}", columns, rows, "Of the fit that made the forecast ahead.")


def _curves_of_events(run: Run) -> list[Chart]:
    """Training and validation loss by epoch, the mean over all fits of the run, from its events."""
    file = run.results.folder / "events.jsonl"
    if not file.exists():
        return []
    epochs = [
        event
        for event in map(json.loads, file.read_text(encoding="utf-8").splitlines())
        if event.get("event") == "epoch" and event.get("loss") is not None
    ]
    if not epochs:
        return []
    rows = [
        {"epoch": e["epoch"], "model": name, "value": e[key]}
        for e in epochs
        for key, name in (("loss", "training"), ("validation_loss", "validation"))
        if e.get(key) is not None
    ]
    frame = (
        pl.DataFrame(rows)
        .group_by("epoch", "model", maintain_order=True)
        .agg(pl.col("value").mean())
    )
    frame = frame.sort("model", "epoch")
    kinds = [k for k in ("training", "validation") if k in frame["model"].to_list()]
    svg = charts.lines(frame, "epoch", "value", kinds, ("epoch", "loss"))
    fits = sum(e["epoch"] == 1 for e in epochs)
    note = "Validation that rises while training falls: stop earlier or make the network smaller."
    return [Chart("Learning curves", svg, f"Mean loss of {fits} fits by epoch", note)]
