"""Where the leader is good and bad, by segments of series, by dates, and by series."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from engine_report import charts, periods
from engine_report.classes import QUARTERS_OF, groupings
from engine_report.compare import bias, wape
from engine_report.document import (
    Block,
    Chart,
    Charts,
    Column,
    Fold,
    Prose,
    Section,
    Table,
    embedded,
)
from engine_report.failing import nothing_forecast
from engine_report.numbers import points
from engine_report.reading import Run

CLASSES = 2
"""Groupings that stand before those of time: volume class and demand pattern."""
MOST_PICTURES = 6
MOST_DRAWN = 12
"""Segments of a picture, and of a table before it is searched for more."""
MOST_KNOWN = 1000
"""Segments of a table that the page knows, the worst ones."""
MOST_NAMED = 8
EXTREMES = 10
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True)
class Segments:
    """The leader and the baseline by the levels of one grouping, all of them.

    rows: level, WAPE, and where there is a baseline its WAPE and the error saved in percent, then
    bias, percent of the leader's error, and forecasts.
    """

    name: str
    meaning: str
    columns: list[Column]
    rows: list[list[Any]]

    @property
    def is_quarters(self) -> bool:
        """Whether the levels are quarters of a column of numbers."""
        return self.meaning.startswith(QUARTERS_OF)

    def table(self) -> Table:
        """All levels, or the first of them with the others for the page to search."""
        title, some = f"By {self.name}", self.rows[:MOST_DRAWN]
        if len(self.rows) <= MOST_DRAWN:
            return Table(title, self.columns, self.rows, self.meaning, folded=self.is_quarters)
        known = self.rows[:MOST_KNOWN]
        note = f"The {MOST_DRAWN} worst of {len(self.rows):,}"
        if len(known) < len(self.rows):
            note += f", {len(known):,} can be searched"
        note = f"{self.meaning}. {note}" if self.meaning else note
        return Table(title, self.columns, some, f"{note}.", every=embedded(known))


def section(run: Run) -> Section:
    """Segments, bad dates, and the best and worst series."""
    blocks: list[Block] = []
    found = [s for s in (segments(run, *cut) for cut in segmentations(run)) if s is not None]
    plain = [s for s in found if not s.is_quarters]
    drawn: list[Segments] = []
    if run.best is not None and run.best != run.baseline and found:
        drawn = [s for s in plain if len(s.rows) <= MOST_DRAWN][:MOST_PICTURES]
        blocks.append(Charts([_picture(run, s) for s in drawn]))
        blocks += _losses(run, found)
        if drawn:
            blocks.append(_fold("In numbers", drawn))
    blocks += [s.table() for s in plain if s not in drawn]
    quarters = [s for s in found if s.is_quarters]
    if quarters:
        blocks.append(_fold("By quarters of the columns of numbers", quarters))
    blocks += periods.blocks(run)
    blocks += _extremes(run)
    return Section("segments", "Where it is good and bad", blocks)


def _fold(title: str, found: list[Segments]) -> Fold:
    return Fold(f"{title}: {', '.join(s.name for s in found)}", [s.table() for s in found])


def segmentations(run: Run) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """(name, what it means, rows with a column `segment`) of every way to cut the rows."""
    rows = run.rows
    groups = list(groupings(run))
    for name, meaning, table in groups[:CLASSES]:
        yield name, meaning, rows.join(table, on="unique_id", how="left")
    yield from _promotions(run)
    if rows.schema["ds"].is_temporal() and run.freq.unit in ("d", "h", "min"):
        day = pl.col("ds").dt.weekday().replace_strict(dict(enumerate(WEEKDAYS, start=1)))
        yield "weekday", "", rows.with_columns(segment=day)
    for name, meaning, table in groups[CLASSES:]:
        yield name, meaning, rows.join(table, on="unique_id", how="left")


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


def segments(run: Run, name: str, meaning: str, rows: pl.DataFrame) -> Segments | None:
    """WAPE of the leader and the baseline in each segment; None where there is only one."""
    models = list(dict.fromkeys([run.leader, run.baseline]))
    made = (
        rows.filter(pl.col("model").is_in(models))
        .group_by("segment", "model", maintain_order=True)
        .agg(wape=wape(), bias=bias(), rows=pl.len(), units=pl.col("error").abs().sum())
    )
    mine = made.filter(pl.col("model") == run.leader)
    if mine.height < 2:
        return None
    mine = _sorted(mine.with_columns(share=100 * pl.col("units") / pl.col("units").sum()), name)
    naive = dict(made.filter(pl.col("model") == run.baseline).select("segment", "wape").iter_rows())
    cells: list[list[Any]] = []
    picked = mine.select("segment", "wape", "bias", "rows", "share")
    for segment, value, lean, count, share in picked.iter_rows():
        other = naive.get(segment)
        row: list[Any] = ["missing" if segment is None else str(segment), value]
        if len(models) > 1:
            gain = None if not other or value is None else 100 * (1 - value / other)
            row += [other, gain]
        cells.append([*row, lean, share, count])
    columns = [Column(name, numeric=False), Column(f"WAPE {run.leader}")]
    if len(models) > 1:
        added = Column("value added %", meaning="error saved", form="percent", worst="low")
        columns += [Column(f"WAPE {run.baseline}"), added]
    columns += [
        Column("bias", worst="low"),
        Column("% of error", form="percent"),
        Column("forecasts", meaning="single ones compared"),
    ]
    return Segments(name, meaning, columns, cells)


def _sorted(segments: pl.DataFrame, name: str) -> pl.DataFrame:
    """Weekdays as time goes, volume classes and quarters by name, all others the worst first."""
    segment = pl.col("segment").cast(pl.String)
    if name == "weekday":
        days = dict(zip(WEEKDAYS, range(7), strict=True))
        return segments.sort(segment.replace_strict(days, return_dtype=pl.Int8))
    if name == "volume class" or segments["segment"].cast(pl.String).str.starts_with("Q1: ").any():
        return segments.sort(segment, nulls_last=True)
    return segments.sort("wape", segment, descending=[True, False], nulls_last=True)


def _picture(run: Run, found: Segments) -> Chart:
    rows = [
        {"model": model, "segment": row[0], "value": row[index]}
        for row in found.rows
        for model, index in ((run.leader, 1), (run.baseline, 2))
    ]
    svg = charts.dots(rows, run.models, "WAPE")
    title = f"By {found.name}"
    said = f"WAPE of {run.leader} and {run.baseline} by {found.name}; the table has the numbers"
    return Chart(title, svg, said)


def _losses(run: Run, found: list[Segments]) -> list[Block]:
    """The segments in which the baseline is better, in words."""
    worse = [
        f"{one.name} {row[0]} ({points(row[5])} % of its error)"
        for one in found
        for row in one.rows
        if row[3] is not None and row[3] < 0
    ]
    if not worse:
        text = (
            f"{run.leader} has a lower WAPE than {run.baseline} in every group of the tables here"
        )
        return [
            Prose(f"{text}{_single(run)}.", "good" if nothing_forecast(run) is None else "plain")
        ]
    shown = "; ".join(worse[:MOST_NAMED])
    more = f"; and {len(worse) - MOST_NAMED} more" if len(worse) > MOST_NAMED else ""
    return [Prose(f"Worse than {run.baseline} in: {shown}{more}.", "bad")]


def _single(run: Run) -> str:
    """Of how many series the baseline is better, though not of any group."""
    both = run.rows.filter(pl.col("model").is_in([run.leader, run.baseline]))
    each = both.group_by("unique_id", "model").agg(value=wape()).drop_nulls()
    wide = each.pivot("model", index="unique_id", values="value").drop_nulls()
    if wide.width < 3:
        return ""
    lost = wide.filter(pl.col(run.baseline) < pl.col(run.leader)).height
    return (
        f"; of {wide.height:,} series by themselves {run.baseline} has the lower WAPE in {lost:,}"
    )


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
    columns = [Column("series", numeric=False), Column("WAPE"), Column("bias", worst="low"),
               Column("error in units", form="units"),
               Column("usual sales", meaning="mean of a period", form="units")]  # fmt: skip
    picked = ["unique_id", "wape", "bias", "units", "y"]
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
        Table("Series with the lowest WAPE", columns, best.select(picked).rows(), folded=True),
    ]
