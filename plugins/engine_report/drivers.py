"""What drives the forecasts, as far as the models tell."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import polars as pl

from engine_report import charts
from engine_report.document import Block, Chart, Charts, Column, Fold, Prose, Section, Table
from engine_report.reading import Run

MOST_FEATURES = 20
MOST_ROWS = 15
MOST_WORSE = 2.0
"""WAPE added, and times the WAPE itself, beyond which a bar is not drawn."""
IMPORTANCE = (
    "Permutation importance: how much worse the forecasts get if what is known of a column for the "
    "periods ahead is replaced by that of other periods. It says what a model uses, not what sells: "
    "near 0, the model does not need the column, or another one, such as the price, says the same."
)
BEYOND = "beyond use"
LARGE = 3.0
"""Size of a coefficient of log sales from which on it is no effect by itself: e^3 is 20 times."""
OVERFIT = "Validation that rises while training falls: stop earlier or make the network smaller."


def section(run: Run) -> Section:
    """What the forecasts rest on, then, for specialists, what else each model shows of its fit."""
    blocks: list[Block] = []
    pictures: list[Chart] = []
    tables: list[Block] = []
    special: list[Chart] = []
    rest: list[Block] = []
    has_curve = False
    for model in run.models:
        for name, table in tables_of(run, model).items():
            columns = set(table.columns)
            if name == "importance" and {"covariate", "shuffled"} <= columns:
                pictures.append(_importance(model, table))
                tables.append(_importance_table(model, table))
            elif name == "attribution" and {"covariate", "share", "series"} <= columns:
                special.append(_attribution(model, table))
                rest.append(_attribution_table(model, table))
            elif {"epoch", "train_loss"} <= columns:
                special.append(_curve(model, table))
                has_curve = True
            elif name == "elasticity" and {"feature", "coefficient"} <= columns:
                tables.append(_elasticities(model, table))
            elif name == "privacy" and {"epsilon", "delta"} <= columns:
                tables.append(_privacy(model, table))
            elif {"feature", "standardized"} <= columns:
                special.append(_coefficients(model, table))
            elif {"feature", "standardized_mean"} <= columns:
                table = table.rename({"standardized_mean": "standardized"})
                special.append(_coefficients(model, table))
            elif {"p", "d", "q"} <= columns:
                rest.append(_orders(model, table))
    if not has_curve:
        special += _curves_of_events(run)
    if pictures:
        blocks += [Prose(IMPORTANCE), Charts(pictures)]
    blocks += tables
    if special or rest:
        inside: list[Block] = [Charts(special)] if special else []
        blocks.append(Fold("For specialists: what else the models tell", [*inside, *rest]))
    if not blocks:
        blocks.append(
            Prose("The models kept in this run say nothing about what drives them.", "note")
        )
    return Section("drivers", "What drives it", blocks)


def tables_of(run: Run, model: str) -> dict[str, pl.DataFrame]:
    """What a model shows of itself: of its final fit, and else of its fit in the last fold."""
    home = run.results.folder
    return model_tables(home / "drivers" / model) | model_tables(home / "models" / model)


def model_tables(folder: Path) -> dict[str, pl.DataFrame]:
    """The tables of a kept fit by name; local models' shards put together."""
    found: dict[str, list[pl.DataFrame]] = {}
    for file in [*sorted(folder.glob("*.parquet")), *sorted(folder.glob("shard-*/*.parquet"))]:
        found.setdefault(file.stem, []).append(pl.read_parquet(file))
    return {name: pl.concat(parts, how="vertical_relaxed") for name, parts in found.items()}


def _importance(model: str, table: pl.DataFrame) -> Chart:
    top = _increase(table).head(MOST_FEATURES)
    most = _most(table)
    wild = bool((top["high"] > most).any())
    shown = top.with_columns(pl.exclude("covariate").clip(upper_bound=most))
    svg = charts.bars(shown.to_dicts(), "covariate", "increase", "WAPE added", interval=True)
    said = f"How much worse the WAPE of {model} gets if a covariate of the periods ahead is wrong"
    note = "False values of the periods ahead in the last fold; line: lowest to highest of 3 draws."
    if wild:
        names = ", ".join(top.filter(pl.col("high") > most)["covariate"])
        note += (
            f" {names}: beyond use. Mixed with values with which they never occur, the model "
            f"extrapolates without bounds; bars end at {most:.0f}."
        )
    return Chart(f"Permutation importance for {model}", svg, said, note)


def _most(table: pl.DataFrame) -> float:
    """WAPE added beyond which a number says only that the model extrapolates."""
    return max(MOST_WORSE * float(str(table["wape"].max())), MOST_WORSE)


def _increase(table: pl.DataFrame) -> pl.DataFrame:
    """`covariate, increase, low, high`: WAPE added, the largest first."""
    return table.select(
        "covariate", *(
            (pl.col(c) - pl.col("wape")).alias(name)
            for name, c in (("increase", "shuffled"), ("low", "low"), ("high", "high"))
        )
    ).sort("increase", "covariate", descending=[True, False])  # fmt: skip


def _importance_table(model: str, table: pl.DataFrame) -> Table:
    most = _most(table)
    rows = [
        [name, *(v if v <= most else BEYOND for v in values)]
        for name, *values in _increase(table).iter_rows()
    ]
    columns = [Column("covariate", numeric=False), Column("WAPE added"), Column("low"),
               Column("high")]  # fmt: skip
    first = table.row(0, named=True)
    note = (
        f"The last fold, {first['series']} series, WAPE {first['wape']:.4f}: what is known of the "
        "periods ahead is replaced by values of other periods of the same series, one covariate at a "
        "time."
    )
    return Table(
        f"Permutation importance for {model}, in numbers", columns, rows, note, folded=True
    )


def _attribution(model: str, table: pl.DataFrame) -> Chart:
    top = table.sort("share", "covariate", descending=[True, False]).head(MOST_FEATURES)
    svg = charts.bars(top.to_dicts(), "covariate", "share", "share of what moves the forecasts")
    said = f"How far each covariate of the periods ahead moves the forecasts of {model}"
    note = "By integrated gradients, from average periods to those of the last fold."
    return Chart(f"Integrated gradients of {model}", svg, said, note)


def _attribution_table(model: str, table: pl.DataFrame) -> Table:
    ordered = table.sort("share", "covariate", descending=[True, False])
    rows = [list(row) for row in ordered.select("covariate", "share").iter_rows()]
    note = (
        f"The last fold, {table['series'][0]} series: mean size of the integrated gradient of the "
        "forecasts by a covariate, over that of all covariates (Sundararajan et al., 2017). It says "
        "what the forecasts are made of, not whether that makes them better."
    )
    columns = [Column("covariate", numeric=False), Column("share")]
    return Table(f"Integrated gradients of {model}, in numbers", columns, rows, note, folded=True)


def _curve(model: str, table: pl.DataFrame) -> Chart:
    """Training and validation loss of one fit."""
    names = {"train_loss": "training", "validation_loss": "validation"}
    kinds = [c for c in names if c in table.columns and table[c].null_count() < table.height]
    frame = table.unpivot(kinds, index="epoch", variable_name="model").drop_nulls()
    frame = frame.with_columns(pl.col("model").replace(names))
    shown = [names[c] for c in kinds]
    svg = charts.lines(frame, "epoch", "value", shown, ("epoch", "loss"))
    return Chart(f"Learning curve of {model}", svg, f"Loss of {model} by epoch", OVERFIT)


def _elasticities(model: str, table: pl.DataFrame) -> Table:
    """Coefficients of prices: their mean over series and parts, and how they spread."""
    value = pl.col("coefficient")
    if "demand" in table.columns:
        value = pl.coalesce("demand", value)
    made = (
        table.group_by("feature", maintain_order=True)
        .agg(pl.col("unique_id").n_unique(), mean=value.mean(), low=value.quantile(0.1),
             high=value.quantile(0.9))
    )  # fmt: skip
    rows = [[name, _effect(name, mean), mean, low, high, fits]
            for name, fits, mean, low, high in made.iter_rows()]  # fmt: skip
    columns = [Column("feature", numeric=False), Column("in words", numeric=False), Column("mean"),
               Column("low", meaning="a tenth lie below"), Column("high", meaning="a tenth lie above"),
               Column("series")]  # fmt: skip
    note = (
        "Coefficients of log sales, over series, where each has its own, and steps ahead. One of a log "
        "price is the elasticity: by how many percent sales change with 1 % more price. One of a mark "
        "is no elasticity: where the mark is 1, sales are those without it times e to its power. All "
        "if the target is log1p (of expected demand where the run tells it, else of 1 + sales)."
    )
    return Table(f"Effects of prices and marks in {model}", columns, rows, note)


def _effect(feature: str, value: float | None) -> str:
    """A coefficient of log sales in words."""
    if value is None:
        return ""
    if abs(value) > LARGE:
        return "no effect by itself: other features of the model take most of it back"
    if "price" in feature:
        return f"1 % more: {value:+.1f} % sales"
    return f"where 1, at the same price: {100 * math.expm1(value):+.0f} % sales"


def _privacy(model: str, table: pl.DataFrame) -> Table:
    names = [
        c for c in ("epsilon", "delta", "noise", "clip", "steps", "unit") if c in table.columns
    ]
    columns = [Column(name, numeric=name != "unit") for name in names]
    rows = [list(row) for row in table.select(names).iter_rows()]
    note = (
        "What the weights can tell of a series is bounded by epsilon, but for a chance of delta. "
        "Levels, means of covariates and the losses shown here are outside of it."
    )
    return Table(f"Differential privacy of {model}", columns, rows, note)


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
    one = (top["low"] == top["high"]).all()
    note = "" if one else "Bar: mean over fits; line: from the smallest to the largest."
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
    return Table(f"Orders of {model}", columns, rows, "Of the latest fit that was kept.")


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
    return [Chart("Learning curves", svg, f"Mean loss of {fits} fits by epoch", OVERFIT)]
