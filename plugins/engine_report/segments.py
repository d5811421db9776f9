"""Section 3: where the leader is good and bad, by segments of series and of time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from engine_report import charts
from engine_report.compare import bias, wape
from engine_report.document import Block, Chart, Charts, Column, Prose, Section, Table
from engine_report.reading import Run, step_band

MOST_LEVELS = 25
EXTREMES = 10
FAR_ABOVE = 1.25
"""Times the WAPE of all rows: what is above is named in the verdict."""
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def section(run: Run) -> Section:
    """Segments, and the best and worst series."""
    blocks: list[Block] = []
    tables = [t for t in (segment_table(run, *s) for s in segmentations(run)) if t is not None]
    if run.best is not None and run.best != run.baseline and tables:
        blocks.append(Charts([_picture(run, table) for table in tables[:4]]))
        blocks += _losses(run, tables)
    blocks += tables
    blocks += _extremes(run)
    return Section("segments", "Where it is good and bad", blocks)


def segmentations(run: Run) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """(name, what it means, rows with a column `segment`) of every way to cut the rows."""
    rows = run.rows
    if run.series is not None:
        classes = series_classes(run.series)
        joined = rows.join(classes, on="unique_id", how="left")
        meaning = "A: the series that make up the first 80 % of the volume, B: the next 15 %"
        yield "volume class", meaning, joined.with_columns(segment=pl.col("volume"))
        meaning = "demand class of Syntetos and Boylan (2005)"
        yield "demand pattern", meaning, joined.with_columns(segment=pl.col("pattern"))
        for column in _categories(run.series):
            table = run.series.select("unique_id", segment=pl.col(column).cast(pl.String))
            yield column, "", rows.join(table, on="unique_id", how="left")
    yield from _promotions(run)
    yield "step", "periods ahead", rows.with_columns(segment=step_band(run))
    if rows.schema["ds"].is_temporal() and _daily(rows):
        day = pl.col("ds").dt.weekday().replace_strict(dict(enumerate(WEEKDAYS, start=1)))
        yield "weekday", "", rows.with_columns(segment=day)


_PROFILE = ("first", "rows", "missing", "total", "mean", "std", "max", "zeros", "sales",
            "sales_mean", "sales_std")  # fmt: skip


def series_classes(series: pl.DataFrame) -> pl.DataFrame:
    """`unique_id, volume, pattern` of each series.

    volume: A for the series that make up the first 80 % of the total, B up to 95 %, C the rest.
    pattern: by the mean interval between sales (1.32) and the squared coefficient of variation of
    their size (0.49); Syntetos, Boylan & Croston, On the categorization of demand patterns (2005).
    """
    total = pl.col("total").fill_null(0.0)
    observed = pl.col("rows") - pl.col("missing")
    interval = observed / pl.col("sales")
    variation = (pl.col("sales_std") / pl.col("sales_mean")) ** 2
    rare, rough = interval >= 1.32, variation >= 0.49
    before = total.cum_sum() - total
    share = pl.when(total.sum() > 0).then(before / total.sum()).otherwise(0.0)
    ranked = series.sort("total", descending=True, nulls_last=True)
    return ranked.select(
        "unique_id",
        volume=pl.when(share < 0.8).then(pl.lit("A"))
        .when(share < 0.95).then(pl.lit("B")).otherwise(pl.lit("C")),
        pattern=pl.when(pl.col("sales") == 0).then(pl.lit("no sales"))
        .when(rare & rough).then(pl.lit("lumpy"))
        .when(rare).then(pl.lit("intermittent"))
        .when(rough).then(pl.lit("erratic")).otherwise(pl.lit("smooth")),
    )  # fmt: skip


def weakest(run: Run) -> tuple[list[tuple[str, float]], list[str]]:
    """Groups of series whose WAPE is far above the whole's, and those that the baseline does better.

    Groups are volume classes, demand patterns, keys and static columns, those of at least three
    series; at most three of each kind, the worst first.
    """
    if run.series is None:
        return [], []
    sums = run.rows.filter(pl.col("model").is_in([run.leader, run.baseline])).group_by(
        "unique_id", "model", maintain_order=True
    )
    each = sums.agg(units=pl.col("error").abs().sum(), size=pl.col("y").abs().sum())
    each = each.join(series_classes(run.series), on="unique_id", how="left").join(
        run.series.drop(_PROFILE, strict=False), on="unique_id", how="left"
    )
    groups = {"volume": "volume class", "pattern": "demand pattern"}
    groups |= {c: c for c in _categories(run.series)}
    wape_ = pl.when(pl.col("size").sum() > 0).then(pl.col("units").sum() / pl.col("size").sum())
    whole = each.filter(pl.col("model") == run.leader).select(wape_).item()
    weak: list[tuple[str, float]] = []
    lost: list[tuple[str, float]] = []
    for column, name in groups.items():
        made = each.group_by(column, "model").agg(value=wape_, n=pl.len()).filter(pl.col("n") >= 3)
        base = dict(made.filter(model=run.baseline).select(column, "value").iter_rows())
        for level, value in made.filter(model=run.leader).select(column, "value").iter_rows():
            if value is None or whole is None:
                continue
            label = f"{name} {level}"
            if value > FAR_ABOVE * whole:
                weak.append((label, value))
            if base.get(level) is not None and value > base[level]:
                lost.append((label, value / base[level]))
    weak.sort(key=lambda pair: (-pair[1], pair[0]))
    lost.sort(key=lambda pair: (-pair[1], pair[0]))
    return weak[:3], [label for label, _ in lost[:3]]


def _categories(series: pl.DataFrame) -> list[str]:
    """Key and static columns with few enough levels to be listed."""
    own = [c for c in series.columns if c not in {"unique_id", *_PROFILE}]
    return [c for c in own if 1 < series[c].n_unique() <= MOST_LEVELS]


def _promotions(run: Run) -> Iterator[tuple[str, str, pl.DataFrame]]:
    if run.history is None or not run.flags:
        return
    on = pl.any_horizontal(pl.col(c).fill_null(0) != 0 for c in run.flags)
    marked = run.history.select("unique_id", "ds", on=on)
    rows = run.rows.join(marked, on=["unique_id", "ds"], how="inner")
    label = pl.when(pl.col("on")).then(pl.lit("marked")).otherwise(pl.lit("ordinary"))
    name = "days or weeks with " + " or ".join(run.flags)
    meaning = "" if rows.height == run.rows.height else "of the series whose history is kept"
    yield name, meaning, rows.with_columns(segment=label)


def _daily(rows: pl.DataFrame) -> bool:
    return rows["ds"].dt.weekday().n_unique() == 7


def segment_table(run: Run, name: str, meaning: str, rows: pl.DataFrame) -> Table | None:
    """WAPE of the leader and the baseline in each segment; None where there is only one."""
    models = list(dict.fromkeys([run.leader, run.baseline]))
    rows = rows.filter(pl.col("model").is_in(models))
    made = rows.group_by("segment", "model", maintain_order=True).agg(
        wape=wape(), bias=bias(), rows=pl.len(), first=pl.col("step").min()
    )
    segments = made.filter(pl.col("model") == run.leader).sort("first", "segment", nulls_last=True)
    if segments.height < 2:
        return None
    if name == "weekday":
        order = dict(zip(WEEKDAYS, range(7), strict=True))
        segments = segments.sort(pl.col("segment").replace_strict(order, return_dtype=pl.Int8))
    naive = dict(made.filter(pl.col("model") == run.baseline).select("segment", "wape").iter_rows())
    cells: list[list[Any]] = []
    picked = segments.select("segment", "wape", "bias", "rows")
    for segment, value, lean, count in picked.iter_rows():
        other = naive.get(segment)
        row: list[Any] = ["missing" if segment is None else segment, count, value, lean]
        if len(models) > 1:
            gain = None if not other or value is None else 100 * (1 - value / other)
            row += [other, gain]
        cells.append(row)
    columns = [Column(name, numeric=False), Column("rows")]
    columns += [Column(f"WAPE {run.leader}"), Column("bias")]
    if len(models) > 1:
        columns += [Column(f"WAPE {run.baseline}"), Column("value added %", meaning="of its error")]
    return Table(f"By {name}", columns, cells, meaning)


def _picture(run: Run, table: Table) -> Chart:
    rows = [
        {"model": model, "segment": str(row[0]), "value": row[index]}
        for row in table.rows[:MOST_LEVELS]
        for model, index in ((run.leader, 2), (run.baseline, 4))
    ]
    svg = charts.dots(rows, run.models, "WAPE")
    said = f"WAPE of {run.leader} and {run.baseline} {table.caption.lower()}; the table has the numbers"
    return Chart(table.caption, svg, said)


def _losses(run: Run, tables: list[Table]) -> list[Block]:
    """The segments in which the baseline is better, in words."""
    worse = [
        f"{table.columns[0].name} {row[0]}"
        for table in tables
        for row in table.rows
        if row[5] is not None and row[5] < 0
    ]
    if not worse:
        return [Prose(f"{run.leader} beats {run.baseline} in every segment below.", "good")]
    return [Prose(f"Worse than {run.baseline} in: {'; '.join(worse[:12])}.", "bad")]


def _extremes(run: Run) -> list[Block]:
    """Series with the largest error in units, and those with the smallest share of error."""
    mine = run.rows.filter(pl.col("model") == run.leader)
    if mine["unique_id"].n_unique() < 3:
        return []
    each = mine.group_by("unique_id", maintain_order=True).agg(
        units=pl.col("error").abs().sum(), wape=wape(), bias=bias(), y=pl.col("y").mean()
    )
    columns = [Column("series", numeric=False), Column("mean y"), Column("error in units"),
               Column("WAPE"), Column("bias")]  # fmt: skip
    picked = ("unique_id", "y", "units", "wape", "bias")
    count = min(EXTREMES, each.height // 2)
    worst = each.sort("units", "unique_id", descending=[True, False]).head(count)
    share = float(str(worst["units"].sum())) / max(float(str(each["units"].sum())), 1e-12)
    best = each.drop_nulls("wape").sort("wape", "unique_id").head(count)
    note = f"These {count} make up {100 * share:.0f} % of all absolute error of {run.leader}."
    return [
        Table("Series with the most error", columns, worst.select(picked).rows(), note),
        Table("Series with the lowest WAPE", columns, best.select(picked).rows()),
    ]
