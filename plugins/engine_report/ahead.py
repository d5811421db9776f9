"""What is ahead: forecasts summed over the horizon, and how much is enough, for those who order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from engine_report import charts
from engine_report.classes import series_classes
from engine_report.document import Block, Chart, Charts, Column, Prose, Table
from engine_report.numbers import percent, score
from engine_report.reading import Run
from engine_report.views import cut

MOST_SERIES = 12
LEAST_SUMS = 20
"""Sums of the back-test from which on a quantile of their errors is told."""
WHOLE = 0.8
"""Share of the horizon that must be observed for a sum of the back-test to count."""


@dataclass(frozen=True)
class Spread:
    """How far sums over the horizon were off in the back-test.

    level: the highest quantile of the run. factors: `volume, factor`, by volume class: that quantile
    of (sum of y - sum of y_hat) / size, where size is the mean of |sum of y_hat| and the usual sum of
    the series. sums: how many were seen.
    """

    level: float
    factors: pl.DataFrame
    sums: int


def blocks(run: Run) -> list[Block]:
    """A sentence, the sums of the largest series and a picture of all; empty without a forecast."""
    forecast = run.results.tables.get("forecast")
    mine = None if forecast is None else forecast.filter(pl.col("model") == run.leader)
    if mine is None or mine.is_empty():
        return []
    spread = spread_of(run)
    each = sums(run, mine, spread)
    said = (
        f"What to order: {run.leader} forecasts {score(round(float(mine['y_hat'].sum())))} units in sum "
        f"for {mine['ds'].min()} to {mine['ds'].max()}. "
    )
    if spread is not None:
        said += (
            f"The column 'enough' would have lasted for the whole time in {percent(spread.level)} of "
            f"the cases, by the errors of {spread.sums:,} such sums in the back-test, of series of "
            "the same volume class: order it, less what is in stock, where running out costs more "
            "than what is left over. "
        )
    said += "Every series and period is in forecast.parquet."
    made: list[Block] = [Prose(said), _table(each, spread, mine)]
    picture = _picture(run, mine)
    return [*made, Charts([picture])] if picture is not None else made


def spread_of(run: Run) -> Spread | None:
    """Errors of sums over the horizon; None without quantiles or with too few sums."""
    if not run.quantiles or run.series is None:
        return None
    level = max(run.quantiles)
    steps = int(str(run.rows["step"].max()))
    tested = run.rows.filter(pl.col("model") == run.leader)
    usual = run.series.select("unique_id", "mean").join(series_classes(run.series), on="unique_id")
    found = (
        tested.group_by("unique_id", "cutoff")
        .agg(pl.len(), pl.col("y").sum(), pl.col("y_hat").sum())
        .filter(pl.col("len") >= WHOLE * steps)
        .join(usual, on="unique_id", how="inner")
        .with_columns(size=_size(pl.col("y_hat"), pl.col("mean") * pl.col("len")))
        .filter(pl.col("size") > 0)
        .select("volume", error=(pl.col("y") - pl.col("y_hat")) / pl.col("size"))
    )
    if found.height < LEAST_SUMS:
        return None
    # Small series are off by more of their size than large ones; a class of few has too few errors.
    rows = [
        (volume, _quantile(own if own.height >= LEAST_SUMS else found, level))
        for volume in ("A", "B", "C")
        for own in [found.filter(volume=volume)]
    ]
    factors = pl.DataFrame(rows, schema={"volume": pl.String, "factor": pl.Float64}, orient="row")
    return Spread(level, factors, found.height)


def _quantile(found: pl.DataFrame, level: float) -> float:
    """With the finite-sample rank of split conformal prediction, as the engine's own quantiles."""
    rank = min(level * (found.height + 1) / found.height, 1.0)
    return float(str(found["error"].quantile(rank, interpolation="higher")))


def _size(forecast: pl.Expr, usual: pl.Expr) -> pl.Expr:
    return (forecast.abs() + usual.abs()) / 2


def sums(run: Run, mine: pl.DataFrame, spread: Spread | None) -> pl.DataFrame:
    """`unique_id, ahead, first, enough, before` of each series, the largest forecast first.

    ahead: sum of the forecast. first: forecast of the first period. before: sum of y over as many
    periods before. enough: null without a spread.
    """
    each = mine.sort("ds").group_by("unique_id", maintain_order=True)
    made = each.agg(pl.len(), ahead=pl.col("y_hat").sum(), first=pl.col("y_hat").first())
    enough = pl.lit(None, dtype=pl.Float64)
    if spread is not None and run.series is not None:
        known = run.series.select("unique_id", "mean").join(
            series_classes(run.series).join(spread.factors, on="volume"), on="unique_id"
        )
        made = made.join(known, on="unique_id", how="left")
        usual = (pl.col("mean") * pl.col("len")).fill_null(0.0)
        enough = pl.col("ahead") + pl.col("factor") * _size(pl.col("ahead"), usual)
        lowest = run.spec.get("minimum")
        enough = enough if lowest is None else pl.max_horizontal(enough, pl.lit(float(lowest)))
    made = made.with_columns(enough=enough)
    before = pl.DataFrame(schema={"unique_id": pl.String, "before": pl.Float64})
    if run.history is not None:
        known = run.history.filter(pl.col("y").is_not_null(), pl.col("ds") < mine["ds"].min())
        steps = mine["ds"].n_unique()
        last = known.group_by("unique_id").agg(before=pl.col("y").sort_by("ds").tail(steps).sum())
        before = last.with_columns(pl.col("before").cast(pl.Float64))
    return made.join(before, on="unique_id", how="left").sort(
        "ahead", "unique_id", descending=[True, False]
    )


def _table(each: pl.DataFrame, spread: Spread | None, mine: pl.DataFrame) -> Table:
    top = each.head(MOST_SERIES)
    names = ["unique_id", "ahead", *(["enough"] if spread else []), "before", "first"]
    rows: list[list[Any]] = [list(row) for row in top.select(names).rows()]
    periods = mine["ds"].n_unique()
    columns = [Column("series", numeric=False), Column("forecast", meaning=f"{periods} periods")]
    if spread is not None:
        columns.append(Column("enough", meaning=f"in {percent(spread.level)} of the cases"))
    columns += [Column("sold before", meaning="in as many periods"),
                Column("first period", meaning=f"{mine['ds'].min()}")]  # fmt: skip
    note = (
        f"The {top.height} largest of {each.height:,} series." if each.height > top.height else ""
    )
    return Table("What is ahead", columns, rows, note)


def _picture(run: Run, mine: pl.DataFrame) -> Chart | None:
    """All series in sum: actual, each fold's forecast, and the forecast ahead."""
    if run.history is None:
        return None
    kept = run.history.select(pl.col("unique_id").unique())
    total = run.rows["unique_id"].n_unique()
    tested = run.rows.filter(pl.col("model") == run.leader)
    forecasts = [
        part.join(kept, on="unique_id", how="semi")
        .group_by("ds", "cutoff")
        .agg(pl.col("y_hat").sum())
        .sort("cutoff", "ds")
        for part in (tested, mine)
    ]
    actual = run.history.group_by("ds").agg(
        y=pl.when(pl.col("y").is_not_null().any()).then(pl.col("y").sum())
    )
    shown = cut(actual.sort("ds"), *forecasts)
    svg = charts.fans(*shown, pl.DataFrame({"start": [], "end": []}), None)
    what = "All series in sum" if kept.height >= total else f"{kept.height:,} series in sum"
    said = f"{what}: actual values, forecasts of each fold, and the forecast ahead"
    return Chart(what, svg, said, f"Actual values and forecasts of {run.leader}.")
