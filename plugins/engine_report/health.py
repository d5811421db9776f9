"""The data that everything rests on: gaps, zeros, outliers, short series, what was filled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from engine_report.classes import series_classes
from engine_report.document import Block, Column, Figure, Figures, Prose, Section, Table
from engine_report.numbers import percent
from engine_report.reading import Run

SHORT_SEASONS = 2
OUTLIER = 6.0


def section(run: Run) -> Section:
    """Data health, as far as the run keeps it."""
    blocks: list[Block] = []
    if run.series is not None:
        blocks.append(Figures(_figures(run, run.series)))
        blocks.append(_classes(run.series))
    if run.history is not None:
        blocks += _covariates(run, run.history)
    notes = (run.manifest.get("data") or {}).get("notes") or []
    if notes:
        columns = [Column("columns", numeric=False), Column("what was done", numeric=False)]
        rows = [[", ".join(named), what] for what, named in _done(notes).items()]
        blocks.append(Table("What was filled, dropped or assumed", columns, rows))
    elif run.manifest.get("data"):
        blocks.append(Prose("Nothing was filled, dropped or assumed.", "good"))
    return Section("health", "Data health", blocks)


def _done(notes: Sequence[str]) -> dict[str, list[str]]:
    """What was done -> the columns that it was done to."""
    found: dict[str, list[str]] = {}
    for note in notes:
        column, colon, what = note.partition(": ")
        if not colon or " " in column:
            column, what = "", note
        found.setdefault(what, []).append(column)
    return found


def _figures(run: Run, series: pl.DataFrame) -> list[Figure]:
    rows, missing = int(series["rows"].sum()), int(series["missing"].sum())
    observed = max(rows - missing, 1)
    zeros = int(series["zeros"].sum())
    horizon = int(run.spec.get("horizon") or 1)
    short = series.filter(pl.col("rows") - pl.col("missing") < SHORT_SEASONS * horizon).height
    silent = series.filter(pl.col("sales") == 0).height
    late = series.filter(pl.col("first") > series["first"].min()).height
    items = [
        Figure("missing values of y", percent(missing / max(rows, 1), 1), f"{missing:,} of {rows:,} past rows"),
        Figure("zeros", percent(zeros / observed, 1), f"{zeros:,} of the {observed:,} with a value"),
        Figure("series with gaps", f"{series.filter(pl.col('missing') > 0).height:,}",
               f"of {series.height:,}"),
        Figure("short series", f"{short:,}", f"fewer than {SHORT_SEASONS} horizons observed"),
        Figure("series that begin later", f"{late:,}", f"than {series['first'].min()!s}"),
        Figure("series without a sale", f"{silent:,}"),
    ]  # fmt: skip
    if run.history is not None:
        items.append(_outliers(run.history))
        stockout = run.column(run.params.stockout)
        if stockout is not None:
            share = run.history.select((pl.col(stockout) != 0).mean()).item()
            items.append(
                Figure(
                    "periods with a stockout",
                    percent(share or 0.0, 1),
                    f"of the periods {_kept(run)}",
                )
            )
    return items


def _kept(run: Run) -> str:
    """How much of the panel the kept history is."""
    assert run.history is not None
    kept, all_ = run.history["unique_id"].n_unique(), run.manifest.get("data", {}).get("series")
    return "of all series" if kept == all_ else f"of {kept:,} series of which history is kept"


def _outliers(history: pl.DataFrame) -> Figure:
    """Values far from their own series: log(1 + y) more than 6 robust deviations from the median.

    The robust deviation is 1.4826 times the median absolute deviation (Rousseeuw & Croux, 1993).
    """
    observed = history.filter(pl.col("y") > 0).select("unique_id", v=pl.col("y").log1p())
    centered = observed.with_columns(d=(pl.col("v") - pl.col("v").median().over("unique_id")).abs())
    spread = 1.4826 * pl.col("d").median().over("unique_id")
    far = centered.select(((pl.col("d") > OUTLIER * spread) & (spread > 0)).sum()).item()
    return Figure(
        "outliers", f"{far:,}", f"{OUTLIER:g} robust deviations from their series' median"
    )


def _classes(series: pl.DataFrame) -> Table:
    joined = series.join(series_classes(series), on="unique_id")
    total = max(float(series["total"].sum() or 0.0), 1e-12)
    made = joined.group_by("pattern", maintain_order=True).agg(
        pl.len(), share=100 * pl.col("total").sum() / total
    )
    rows: list[list[Any]] = [list(row) for row in made.sort("len", descending=True).rows()]
    columns = [
        Column("demand pattern", numeric=False),
        Column("series"),
        Column("% of volume", form="percent"),
    ]
    note = "smooth and erratic series sell in most periods; intermittent and lumpy ones do not."
    return Table("Demand patterns (Syntetos and Boylan, 2005)", columns, rows, note)


def _covariates(run: Run, history: pl.DataFrame) -> list[Block]:
    names = [c for c in history.columns if c not in ("unique_id", "ds", "y")]
    if not names:
        return []
    rows: list[list[Any]] = []
    known = history.filter(pl.col("y").is_not_null())
    for name in names:
        values = known[name]
        numbers = values.dtype.is_numeric()
        low, high, mean = (values.min(), values.max(), values.mean()) if numbers else (None,) * 3
        filled = 100 * (1 - values.null_count() / max(len(values), 1))
        rows.append([name, filled, values.n_unique(), low, mean, high])
    columns = [Column("covariate", numeric=False), Column("% present"), Column("values"),
               Column("lowest"), Column("mean"), Column("highest")]  # fmt: skip
    note = f"After filling, on the rows with an observed y, {_kept(run)}."
    return [Table("Covariates", columns, rows, note, folded=True)]
