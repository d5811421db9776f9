"""Dates that went badly: the leader's error by the date that was forecast, over all folds."""

from __future__ import annotations

import polars as pl

from engine_report import charts, words
from engine_report.compare import bias, wape
from engine_report.document import Block, Chart, Charts, Column, Prose, Table
from engine_report.numbers import percent, score
from engine_report.reading import Run

LEAST_DATES = 3
MOST_LISTED = 10
MOST_NAMED = 3
FAR_ABOVE = 1.25
"""Times the WAPE of all dates, from which on a date is named."""


def by_date(run: Run) -> pl.DataFrame:
    """`ds, model, value, bias, units, sold, forecast` of the leader and the baseline, in order.

    value: WAPE over all folds and series of a date. units: sum of |error|.
    """
    models = [run.leader, run.baseline]
    return (
        run.rows.filter(pl.col("model").is_in(models))
        .group_by("ds", "model")
        .agg(
            value=wape(),
            bias=bias(),
            units=pl.col("error").abs().sum(),
            sold=pl.col("y").sum(),
            forecast=pl.col("y_hat").sum(),
        )
        .sort("ds", "model")
    )


def blocks(run: Run) -> list[Block]:
    """The worst dates in words, a picture of all dates, and a table; empty with too few of them."""
    found = by_date(run)
    mine = found.filter(pl.col("model") == run.leader).drop_nulls("value")
    if mine.height < LEAST_DATES:
        return []
    name = words.PERIODS.get(run.freq.unit, "period") if run.freq.every == 1 else "period"
    worst = mine.sort("value", "ds", descending=[True, False])
    drawn = found.drop_nulls("value").select("ds", "model", "value")
    svg, wide = (
        charts.over_time(drawn, run.models, "WAPE", width) for width in (charts.WIDTH, charts.WIDE)
    )
    chart = Chart(
        f"WAPE by {name}",
        svg,
        f"WAPE of {run.leader} and {run.baseline} by the {name} that was forecast, over all series",
        "Over all folds and series; gaps between folds are drawn through.",
        wide,
    )
    return [*_said(run, worst, name), Charts([chart]), _table(run, worst, name)]


def _said(run: Run, worst: pl.DataFrame, name: str) -> list[Block]:
    whole = run.rows.filter(pl.col("model") == run.leader).select(wape()).item()
    far = worst.filter(pl.col("value") > FAR_ABOVE * whole).head(MOST_NAMED)
    if far.is_empty():
        return [Prose(f"No {name} stands out by its error.")]
    named = [f"{ds} (WAPE {score(v)}, bias {percent(b)})" for ds, v, b in
             far.select("ds", "value", "bias").iter_rows()]  # fmt: skip
    return [Prose(f"Worst by date: {words.listed(named)}, against {score(whole)} over all.")]


def _table(run: Run, worst: pl.DataFrame, name: str) -> Table:
    shares = worst.with_columns(share=100 * pl.col("units") / pl.col("units").sum())
    shown = shares.head(MOST_LISTED)
    marked = _marked(run)
    if marked is not None:
        shown = shown.join(marked, on="ds", how="left", maintain_order="left")
    picked = ["ds", "value", "bias", "share", "sold", "forecast"]
    columns = [
        Column(name, numeric=False),
        Column(f"WAPE {run.leader}"),
        Column("bias", worst="low"),
        Column("% of error", form="percent"),
        Column("sold", form="units"),
        Column("forecast", form="units"),
    ]
    if marked is not None:
        picked.append("marked")
        what = f"share of series marked {' or '.join(run.flags)}"
        columns.append(Column("promoted %", meaning=what, form="percent"))
    rows = [[str(row[0]), *row[1:]] for row in shown.select(picked).iter_rows()]
    note = f"The {len(rows)} worst of {worst.height:,}." if worst.height > len(rows) else ""
    return Table(f"Worst {name}s", columns, rows, note)


def _marked(run: Run) -> pl.DataFrame | None:
    """Share of the kept series that are promoted, by date, in percent."""
    if run.history is None or not run.flags:
        return None
    on = pl.any_horizontal(pl.col(c).fill_null(0) != 0 for c in run.flags)
    return run.history.group_by("ds").agg(marked=100 * on.mean())
