"""Estimates of what promotions brought: marked periods against ordinary ones nearby."""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl

from engine_report.reading import Run

REACH = 4
"""Ordinary periods looked for before and after, at the same place of the week."""
LEAST_EPISODES = 10
LEAST_SHARE = 0.25
"""Of the usual units of a date: with less of it unmarked, the date's own factor is not known."""


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


def largest(run: Run) -> Uplift | None:
    """The uplift of the mark with the most periods; None if there is nothing to tell."""
    return next(iter(by_column(marked_rows(run), "marks")), None)


def by_column(rows: pl.DataFrame | None, column: str, most: int | None = None) -> list[Uplift]:
    """Uplift by the values of a column of marked rows, at most of `most`, the most periods first."""
    if rows is None or rows.is_empty():
        return []
    parts = rows.sort(column).partition_by(column, maintain_order=True)
    parts.sort(key=lambda part: -part.height)
    return [u for u in (estimate(str(part[column][0]), part) for part in parts[:most]) if u]


def keys(run: Run) -> list[str]:
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
    places = place_count(run)
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
    place = pl.int_range(pl.len()).over("unique_id") % places
    frame = frame.with_columns(place=place, ordinary=ordinary)
    episode = pl.col("marks").rle_id().over("unique_id").alias("episode")
    frame = frame.with_columns(episode, index=_season_of_the_year(frame))
    frame = frame.with_columns(*_baselines(["unique_id", "place"]))
    series = run.series.select("unique_id", *keys(run))
    return frame.filter(
        pl.col("marks") != "",
        ~pl.col("cut"),
        pl.col("y").is_not_null(),
        pl.col("base").is_not_null(),
    ).join(series, on="unique_id", how="left")


def _baselines(by: list[str]) -> list[pl.Expr]:
    """Means over the ordinary rows among the `REACH` before and after, at one place of the week.

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


def place_count(run: Run) -> int:
    """Places that are told apart: the seven of a week of days; else 1, as a yearly season needs more
    years than most panels have.
    """
    season = run.freq.season
    return season if season <= 7 else 1


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
