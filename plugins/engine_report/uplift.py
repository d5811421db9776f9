"""What promotions brought: units on marked periods against a baseline of ordinary ones nearby."""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl

from engine_report.document import Block, Column, Prose, Table
from engine_report.reading import Run

REACH = 4
"""Seasons looked back and ahead for ordinary periods."""
LEAST_EPISODES = 10
LEAST_SHARE = 0.25
"""Of the usual units of a date: with less of it unmarked, the date's own season is not known."""
MOST_PRODUCTS = 30


@dataclass(frozen=True)
class Ratio:
    """What was sold or taken in, against its baseline.

    share: value over baseline, less 1, with low and high of its 95 % interval.
    """

    baseline: float
    value: float
    share: float
    low: float
    high: float

    @property
    def gain(self) -> float:
        """What came on top of the baseline."""
        return self.value - self.baseline


@dataclass(frozen=True)
class Uplift:
    """Units and revenue on marked periods; revenue is None without prices."""

    name: str
    episodes: int
    periods: int
    units: Ratio
    revenue: Ratio | None


def blocks(run: Run) -> list[Block]:
    """Tables of promotions by their marks and by product, in units and in revenue."""
    rows = marked_rows(run)
    by_mark = _by_mark(rows)
    if rows is None or not by_mark:
        return []
    made: list[Block] = [
        Prose(
            "What marked periods sold against a baseline: the mean of the unmarked periods of the "
            f"same series at the same place of the season, up to {REACH} seasons before and after, "
            "freed of the season of the year that all series share. "
            "It is a comparison, not an experiment: what else was different then counts as well. "
            "Periods without stock are left out."
        ),
        *_tables("by mark", "marks", by_mark),
    ]
    keys = [k for k in _keys(run) if rows[k].n_unique() > 1]
    if keys:
        alone = rows.filter(pl.col("marks") == by_mark[0].name)
        found = [u for u in (estimate(n, part) for n, part in _parts(alone, keys[-1])) if u]
        if found:
            made += _tables(f"of {by_mark[0].name} by {keys[-1]}", keys[-1], found)
    return made


def largest(run: Run) -> Uplift | None:
    """The uplift of the mark with the most periods; None if there is nothing to tell."""
    return next(iter(_by_mark(marked_rows(run))), None)


def _by_mark(rows: pl.DataFrame | None) -> list[Uplift]:
    if rows is None or rows.is_empty():
        return []
    return [u for u in (estimate(name, part) for name, part in _parts(rows, "marks")) if u]


def _keys(run: Run) -> list[str]:
    """Columns of categories in the marked rows: statics, then key columns."""
    static = list((run.spec.get("data", {}).get("covariates") or {}).get("static") or [])
    known = run.series.columns if run.series is not None else []
    return [k for k in [*static, *run.keys] if k in known and k != "unique_id"]


def marked_rows(run: Run) -> pl.DataFrame | None:
    """Marked periods with a baseline: `unique_id, ds, marks, episode, y, base, price, base_price`
    and the category columns; None without history or marks.
    """
    if run.history is None or run.series is None or not run.flags:
        return None
    season = _season(run)
    price = run.column(run.params.price)
    stockout = run.column(run.params.stockout)
    on = [pl.col(c).fill_null(0) != 0 for c in run.flags]
    names = [pl.when(f).then(pl.lit(c)) for f, c in zip(on, run.flags, strict=True)]
    frame = run.history.filter(pl.col("y").is_not_null() | pl.any_horizontal(on)).select(
        "unique_id",
        "ds",
        "y",
        price=pl.lit(None, dtype=pl.Float64) if price is None else pl.col(price).cast(pl.Float64),
        marks=pl.concat_str(names, separator=" + ", ignore_nulls=True),
        cut=pl.lit(False) if stockout is None else pl.col(stockout).fill_null(0) != 0,
    )
    ordinary = (pl.col("marks") == "") & ~pl.col("cut") & pl.col("y").is_not_null()
    place = pl.int_range(pl.len()).over("unique_id") % season
    frame = frame.with_columns(place=place, ordinary=ordinary)
    episode = pl.col("marks").rle_id().over("unique_id").alias("episode")
    frame = frame.with_columns(episode, index=_season_of_the_year(frame))
    frame = frame.with_columns(*_baselines(["unique_id", "place"]))
    series = run.series.select("unique_id", *_keys(run))
    return frame.filter(
        pl.col("marks") != "",
        ~pl.col("cut"),
        pl.col("y").is_not_null(),
        pl.col("base").is_not_null(),
    ).join(series, on="unique_id", how="left")


def _baselines(by: list[str]) -> list[pl.Expr]:
    """Means over the ordinary rows among the `REACH` before and after, at one place of the season.

    Units are compared after division by the shared `index` of their date.
    """
    width = 2 * REACH + 1

    def mean(values: pl.Expr) -> pl.Expr:
        value = pl.when(pl.col("ordinary")).then(values)
        return value.rolling_mean(width, min_samples=2, center=True).over(by)

    level = mean(pl.col("y") / pl.col("index"))
    return [(level * pl.col("index")).alias("base"), mean(pl.col("price")).alias("base_price")]


def _season_of_the_year(frame: pl.DataFrame) -> pl.Series:
    """What the ordinary rows of each date sold against the usual of their series, over all series.

    A mark that follows the calendar stands at the same place of the year each time: at a peak the
    periods before and after are all lower, and their plain mean is no baseline for the peak. Dates
    on which most series are marked take the value between their neighbors. One factor a row.
    """
    usual = pl.col("y").filter(pl.col("ordinary")).mean().over("unique_id", "place")
    counted = pl.col("ordinary") & (usual > 0)
    sums = (
        frame.with_columns(usual=usual)
        .group_by("ds")
        .agg(
            sold=pl.col("y").filter(counted).sum(),
            usual=pl.col("usual").filter(counted).sum(),
            whole=pl.col("usual").sum(),
        )
        .sort("ds")
    )
    enough = (pl.col("usual") >= LEAST_SHARE * pl.col("whole")) & (pl.col("sold") > 0)
    index = pl.when(enough).then(pl.col("sold") / pl.col("usual")).interpolate()
    index = index.forward_fill().backward_fill().fill_null(1.0)
    yearly = sums.select("ds", index=index)
    return frame.select("ds").join(yearly, on="ds", how="left", maintain_order="left")["index"]


def _season(run: Run) -> int:
    """Seven for days; else 1: a yearly season needs more years than most panels have."""
    season = run.freq.season
    return season if season <= 7 else 1


def _parts(rows: pl.DataFrame, column: str) -> list[tuple[str, pl.DataFrame]]:
    parts = rows.sort(column).partition_by(column, maintain_order=True)
    parts.sort(key=lambda part: -part.height)
    return [(str(part[column][0]), part) for part in parts[:MOST_PRODUCTS]]


def estimate(name: str, rows: pl.DataFrame) -> Uplift | None:
    """Uplift of marked rows; None if there are too few episodes to tell.

    Revenue is units times price against baseline units times the usual price.
    """
    worth = pl.col("y") * pl.col("price"), pl.col("base") * pl.col("base_price")
    sums = (
        rows.with_columns(money=worth[0], base_money=worth[1])
        .group_by("unique_id", "episode", maintain_order=True)
        .agg(pl.col("y", "base", "money", "base_money").sum())
    )
    if sums.height < LEAST_EPISODES or float(sums["base"].sum()) <= 0:
        return None
    priced = rows["price"].null_count() == 0 and rows["base_price"].null_count() == 0
    revenue = None
    if priced and float(sums["base_money"].sum()) > 0:
        revenue = _ratio(sums["money"], sums["base_money"])
    return Uplift(name, sums.height, rows.height, _ratio(sums["y"], sums["base"]), revenue)


def _ratio(values: pl.Series, base: pl.Series) -> Ratio:
    """A ratio of sums, its error taken over episodes (stretches of one series with the same marks):
    the ratio estimator of Cochran, Sampling Techniques (1977), 6.4.
    """
    n, whole = values.len(), float(base.sum())
    ratio = float(values.sum()) / whole
    residual = values - ratio * base
    error = math.sqrt(n / (n - 1) * float((residual**2).sum())) / whole
    return Ratio(
        whole, float(values.sum()), ratio - 1, ratio - 1 - 1.96 * error, ratio - 1 + 1.96 * error
    )


NOTE = "low, high: 95 % interval of the uplift, over episodes."


def _tables(what: str, name: str, found: list[Uplift]) -> list[Block]:
    """One table of units, and one of revenue if prices are known."""
    ends = [Column(name, numeric=False), Column("uplift %"), Column("low"), Column("high")]
    units = [Column("extra units"), Column("units sold"), Column("baseline units")]
    counts = [Column("periods"), Column("episodes")]
    rows = [[u.name, *_cells(u.units), u.periods, u.episodes] for u in found]
    made: list[Block] = [Table(f"Promotion uplift {what}", [*ends, *units, *counts], rows, NOTE)]
    priced = [[u.name, *_cells(u.revenue)] for u in found if u.revenue is not None]
    if priced:
        money = [Column("extra revenue"), Column("revenue"), Column("baseline revenue")]
        note = (
            f"Units times price, against baseline units times the usual price; before cost. {NOTE}"
        )
        made.append(Table(f"Revenue uplift {what}", [*ends, *money], priced, note))
    return made


def _cells(ratio: Ratio) -> list[float]:
    shares = [100 * ratio.share, 100 * ratio.low, 100 * ratio.high]
    return [*shares, ratio.gain, ratio.value, ratio.baseline]
