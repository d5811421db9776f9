"""Groups of series: by volume, by demand pattern, by keys and by static columns."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from engine_report.reading import Run

MOST_LEVELS = 25
"""Levels of a column; numbers with more of them are cut into quarters."""
QUARTERS = 4
QUARTERS_OF = "quarters of the series"
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


def groupings(run: Run) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """(name, what it means, `unique_id, segment`) of every way to group the series.

    Keys and static columns follow the two classes. A column that is another one for every series
    is no grouping.
    """
    series = run.series
    if series is None:
        return
    classes = series_classes(series)
    meaning = (
        "A: the series that make up the first 80 % of the volume, B: the next 15 %, C: the rest"
    )
    yield "volume class", meaning, classes.select("unique_id", segment="volume")
    meaning = "demand class of Syntetos and Boylan (2005); Data health says which are which"
    yield "demand pattern", meaning, classes.select("unique_id", segment="pattern")
    own = [c for c in series.columns if c not in {"unique_id", *_PROFILE}]
    for column in own:
        levels = series[column].drop_nulls().n_unique()
        if levels > MOST_LEVELS and column not in run.keys and series[column].dtype.is_numeric():
            table = _quarters(series, column)
            meaning = f"{QUARTERS_OF}, lowest values first"
        elif 1 < levels < series.height:
            table, meaning = series.select("unique_id", segment=pl.col(column).cast(pl.String)), ""
        else:
            continue
        yield column, meaning, table


def _quarters(series: pl.DataFrame, column: str) -> pl.DataFrame:
    """Series by the quarter that their value lies in, named by its lowest and highest value."""
    value = pl.col(column)
    rank = (value.rank("average") - 0.5) / value.count()
    part = (rank * QUARTERS).floor().clip(0, QUARTERS - 1).cast(pl.Int8)
    cut = series.select("unique_id", column, part=part)
    label = pl.format("Q{}: {} to {}", pl.col("part") + 1, *(
        end.over("part").round_sig_figs(3) for end in (value.min(), value.max())
    ))  # fmt: skip
    return cut.select("unique_id", segment=label)
