"""Groups of series that the leader fails on: far more error than the rest, or hardly any forecast."""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl

from engine_report.classes import groupings
from engine_report.compare import bias
from engine_report.numbers import percent, score
from engine_report.reading import Run
from engine_report.words import listed

FAR_ABOVE = 1.25
"""Times the WAPE of all rows: what is above is named in the verdict."""
NOTHING = -0.8
"""Bias below which a forecast holds so little of what is sold that nobody should order from it."""
LEAST_SERIES = 3


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
        made = grouped.agg(value=wape_, n=pl.len()).filter(pl.col("n") >= LEAST_SERIES)
        base = dict(made.filter(model=run.baseline).select("segment", "value").iter_rows())
        for level, value in made.filter(model=run.leader).select("segment", "value").iter_rows():
            if value is None or whole is None:
                continue
            label = f"{name} {'missing' if level is None else level}"
            if value > FAR_ABOVE * whole:
                weak.append((label, value))
            if base.get(level) is not None and value > base[level]:
                lost.append((label, value / base[level] if base[level] else math.inf))
    weak.sort(key=lambda pair: (-pair[1], pair[0]))
    lost.sort(key=lambda pair: (-pair[1], pair[0]))
    return weak[:3], [label for label, _ in lost[:3]]


@dataclass(frozen=True)
class Nothing:
    """Series whose forecast is practically 0 while they sell.

    groups: demand patterns and other groups of which that holds as a whole, with their bias. share:
    of all units sold in the back-test. nearest: the other model that is least off in sum there.
    """

    series: frozenset[str]
    groups: dict[str, float]
    share: float
    nearest: tuple[str, float] | None


def nothing_forecast(run: Run) -> Nothing | None:
    """Where the leader forecasts next to nothing (bias below -0.8); None if nowhere."""
    mine = run.rows.filter(pl.col("model") == run.leader)
    low = mine.group_by("unique_id").agg(value=bias()).filter(pl.col("value") < NOTHING)
    if low.is_empty():
        return None
    groups: dict[str, float] = {}
    for name, _, table in groupings(run):
        grouped = mine.join(table, on="unique_id", how="inner").group_by("segment")
        found = grouped.agg(value=bias(), n=pl.col("unique_id").n_unique()).sort("value")
        wide = found.filter(pl.col("value") < NOTHING, pl.col("n") >= LEAST_SERIES)
        groups |= {f"{name} {level}": v for level, v in wide.select("segment", "value").rows()}
        if groups:
            break  # The first kind that shows it says it best: the demand pattern.
    there = run.rows.join(low, on="unique_id", how="semi")
    sold = float(there.filter(pl.col("model") == run.leader)["y"].sum())
    others = there.filter(pl.col("model") != run.leader).group_by("model").agg(value=bias())
    ranked = others.drop_nulls("value").sort(pl.col("value").abs(), "model").rows()
    nearest = next(((m, v) for m, v in ranked if v > NOTHING), None)
    total = float(mine["y"].sum())
    return Nothing(frozenset(low["unique_id"]), groups, sold / total if total else 0.0, nearest)


def nothing_said(run: Run) -> tuple[str, str] | None:
    """Do not order from it: the series of which next to nothing is forecast."""
    found = nothing_forecast(run)
    if found is None:
        return None
    every = run.rows["unique_id"].n_unique()
    count = f"{len(found.series):,} of {every:,} series ({percent(found.share, 1)} of what is sold)"
    if found.groups:
        names = listed([f"{n} (bias {percent(b)})" for n, b in found.groups.items()])
        text = (
            f"For {names} the forecast is practically 0: do not order from it. So it is for {count}"
        )
    else:
        text = f"For {count} the forecast is practically 0: do not order from it"
    text += ", those with a bias below -80 %; the list in What to order marks them"
    if found.nearest is not None:
        model, value = found.nearest
        text += f". In sum {model} is closest there (bias {percent(value)})"
    return f"{text}.", "bad" if found.groups else "note"


def weak_said(run: Run) -> tuple[str, str] | None:
    """Where it fails: the groups of series with the highest WAPE, and those it should not do."""
    weak, lost = weakest(run)
    none = nothing_forecast(run)
    weak = [pair for pair in weak if none is None or pair[0] not in none.groups]
    if not weak and not lost:
        return None
    text = f"It is weakest for {', '.join(f'{n} (WAPE {score(v)})' for n, v in weak)}"
    if not weak:
        text = "No group of series stands out by its error"
    if lost:
        return f"{text}; it is worse than {run.baseline} for {', '.join(lost)}.", "bad"
    return f"{text}; see Where it is good and bad.", "note" if weak else "plain"
