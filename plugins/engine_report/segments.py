"""Section 3: where the leader is good and bad, by segments of series and of time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from engine_report import charts
from engine_report.classes import MOST_LEVELS, QUARTERS_OF, groupings
from engine_report.compare import bias, wape
from engine_report.document import Block, Chart, Charts, Column, Prose, Section, Table
from engine_report.numbers import score
from engine_report.reading import Run, step_band

CLASSES = 2
"""Groupings that stand before those of time: volume class and demand pattern."""
MOST_PICTURES = 6
MOST_DRAWN = 12
"""Segments of a picture; what has more is a table only."""
MOST_NAMED = 8
EXTREMES = 10
FAR_ABOVE = 1.25
"""Times the WAPE of all rows: what is above is named in the verdict."""
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def section(run: Run) -> Section:
    """Segments, and the best and worst series."""
    blocks: list[Block] = []
    tables = [t for t in (segment_table(run, *s) for s in segmentations(run)) if t is not None]
    if run.best is not None and run.best != run.baseline and tables:
        few = [table for table in tables if len(table.rows) <= MOST_DRAWN and not table.folded]
        blocks.append(Charts([_picture(run, table) for table in few[:MOST_PICTURES]]))
        blocks += _losses(run, tables)
    blocks += tables
    blocks += _extremes(run)
    return Section("segments", "Where it is good and bad", blocks)


def segmentations(run: Run) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """(name, what it means, rows with a column `segment`) of every way to cut the rows."""
    rows = run.rows
    groups = list(groupings(run))
    for name, meaning, table in groups[:CLASSES]:
        yield name, meaning, rows.join(table, on="unique_id", how="left")
    yield from _promotions(run)
    yield "step", "periods ahead", rows.with_columns(segment=step_band(run))
    if rows.schema["ds"].is_temporal() and run.freq.unit in ("d", "h", "min"):
        day = pl.col("ds").dt.weekday().replace_strict(dict(enumerate(WEEKDAYS, start=1)))
        yield "weekday", "", rows.with_columns(segment=day)
    for name, meaning, table in groups[CLASSES:]:
        yield name, meaning, rows.join(table, on="unique_id", how="left")


def weakest(run: Run) -> tuple[list[tuple[str, float]], list[str]]:
    """Groups of series whose WAPE is far above the whole's, and those that the baseline does better.

    Groups are volume classes, demand patterns, keys and static columns, those of at least three
    series; at most three of each kind, the worst first.
    """
    sums = run.rows.filter(pl.col("model").is_in([run.leader, run.baseline])).group_by(
        "unique_id", "model", maintain_order=True
    )
    each = sums.agg(units=pl.col("error").abs().sum(), size=pl.col("y").abs().sum())
    wape_ = pl.when(pl.col("size").sum() > 0).then(pl.col("units").sum() / pl.col("size").sum())
    whole = each.filter(pl.col("model") == run.leader).select(wape_).item()
    weak: list[tuple[str, float]] = []
    lost: list[tuple[str, float]] = []
    for name, _, table in groupings(run):
        grouped = each.join(table, on="unique_id", how="left").group_by("segment", "model")
        made = grouped.agg(value=wape_, n=pl.len()).filter(pl.col("n") >= 3)
        base = dict(made.filter(model=run.baseline).select("segment", "value").iter_rows())
        for level, value in made.filter(model=run.leader).select("segment", "value").iter_rows():
            if value is None or whole is None:
                continue
            label = f"{name} {'missing' if level is None else level}"
            if value > FAR_ABOVE * whole:
                weak.append((label, value))
            if base.get(level) is not None and value > base[level]:
                lost.append((label, value / base[level]))
    weak.sort(key=lambda pair: (-pair[1], pair[0]))
    lost.sort(key=lambda pair: (-pair[1], pair[0]))
    return weak[:3], [label for label, _ in lost[:3]]


def _promotions(run: Run) -> Iterator[tuple[str, str, pl.DataFrame]]:
    if run.history is None or not run.flags:
        return
    on = pl.any_horizontal(pl.col(c).fill_null(0) != 0 for c in run.flags)
    marked = run.history.select("unique_id", "ds", on=on)
    rows = run.rows.join(marked, on=["unique_id", "ds"], how="inner")
    label = pl.when(pl.col("on")).then(pl.lit("promotion")).otherwise(pl.lit("ordinary"))
    meaning = f"promotion: marked {' or '.join(run.flags)}"
    if rows.height < run.rows.height:
        meaning += "; of the series whose history is kept"
    yield "promotion", meaning, rows.with_columns(segment=label)


def segment_table(run: Run, name: str, meaning: str, rows: pl.DataFrame) -> Table | None:
    """WAPE of the leader and the baseline in each segment; None where there is only one.

    Of many segments those with the most error of the leader are listed.
    """
    models = list(dict.fromkeys([run.leader, run.baseline]))
    rows = rows.filter(pl.col("model").is_in(models))
    made = rows.group_by("segment", "model", maintain_order=True).agg(
        wape=wape(),
        bias=bias(),
        rows=pl.len(),
        first=pl.col("step").min(),
        units=pl.col("error").abs().sum(),
    )
    segments = made.filter(pl.col("model") == run.leader)
    segments = segments.with_columns(share=100 * pl.col("units") / pl.col("units").sum())
    levels = segments.height
    if levels < 2:
        return None
    if levels > MOST_LEVELS:
        segments = segments.sort("units", "segment", descending=[True, False]).head(MOST_LEVELS)
        most = f"{MOST_LEVELS} of {levels:,}: those with the most error of {run.leader}"
        meaning = f"{meaning}; {most}" if meaning else most
    segments = segments.sort(*_order(name), nulls_last=True)
    naive = dict(made.filter(pl.col("model") == run.baseline).select("segment", "wape").iter_rows())
    cells: list[list[Any]] = []
    picked = segments.select("segment", "wape", "bias", "rows", "share")
    for segment, value, lean, count, share in picked.iter_rows():
        other = naive.get(segment)
        row: list[Any] = ["missing" if segment is None else segment, value]
        if len(models) > 1:
            gain = None if not other or value is None else 100 * (1 - value / other)
            row += [other, gain]
        cells.append([*row, lean, share, count])
    columns = [Column(name, numeric=False), Column(f"WAPE {run.leader}")]
    if len(models) > 1:
        added = Column("value added %", meaning="error saved")
        columns += [Column(f"WAPE {run.baseline}"), added]
    columns += [Column("bias"), Column("% of error"), Column("rows")]
    return Table(f"By {name}", columns, cells, meaning, folded=meaning.startswith(QUARTERS_OF))


def _order(name: str) -> list[pl.Expr]:
    """What segments are sorted by: steps and weekdays as time goes, numbers as numbers."""
    segment = pl.col("segment").cast(pl.String)
    if name == "weekday":
        days = dict(zip(WEEKDAYS, range(7), strict=True))
        return [segment.replace_strict(days, return_dtype=pl.Int8)]
    return [pl.col("first"), segment.cast(pl.Float64, strict=False), segment]


def _picture(run: Run, table: Table) -> Chart:
    rows = [
        {"model": model, "segment": str(row[0]), "value": row[index]}
        for row in table.rows[:MOST_LEVELS]
        for model, index in ((run.leader, 1), (run.baseline, 2))
    ]
    svg = charts.dots(rows, run.models, "WAPE")
    said = f"WAPE of {run.leader} and {run.baseline} {table.caption.lower()}; the table has the numbers"
    return Chart(table.caption, svg, said)


def _losses(run: Run, tables: list[Table]) -> list[Block]:
    """The segments in which the baseline is better, in words."""
    worse = [
        f"{table.columns[0].name} {row[0]} ({score(row[5])} % of its error)"
        for table in tables
        for row in table.rows
        if row[3] is not None and row[3] < 0
    ]
    if not worse:
        return [Prose(f"{run.leader} beats {run.baseline} in every segment below.", "good")]
    shown = "; ".join(worse[:MOST_NAMED])
    more = f"; and {len(worse) - MOST_NAMED} more" if len(worse) > MOST_NAMED else ""
    return [Prose(f"Worse than {run.baseline} in: {shown}{more}.", "bad")]


def _extremes(run: Run) -> list[Block]:
    """Series with the largest error in units, and those with the smallest share of error."""
    mine = run.rows.filter(pl.col("model") == run.leader)
    if mine["unique_id"].n_unique() < 3:
        return []
    base = run.rows.filter(pl.col("model") == run.baseline).group_by("unique_id").agg(base=wape())
    each = (
        mine.group_by("unique_id", maintain_order=True)
        .agg(units=pl.col("error").abs().sum(), wape=wape(), bias=bias(), y=pl.col("y").mean())
        .join(base, on="unique_id", how="left")
    )
    columns = [Column("series", numeric=False), Column("mean y"), Column("error in units"),
               Column("WAPE"), Column("bias")]  # fmt: skip
    picked = ["unique_id", "y", "units", "wape", "bias"]
    if run.leader != run.baseline:
        columns.append(Column(f"WAPE {run.baseline}"))
        picked.append("base")
    count = min(EXTREMES, each.height // 2)
    worst = each.sort("units", "unique_id", descending=[True, False]).head(count)
    share = float(str(worst["units"].sum())) / max(float(str(each["units"].sum())), 1e-12)
    best = each.drop_nulls("wape").sort("wape", "unique_id").head(count)
    note = f"These {count} make up {100 * share:.0f} % of all absolute error of {run.leader}."
    return [
        Table("Series with the most error", columns, worst.select(picked).rows(), note),
        Table("Series with the lowest WAPE", columns, best.select(picked).rows()),
    ]
