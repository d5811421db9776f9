"""One series as it is drawn: the end of its history, its back-test and the forecast ahead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from engine_report.reading import Run

LEAST_PERIODS, MOST_PERIODS = 40, 160
ROOM = 0.3
"""Of the height of actual values and forecasts: how far a band is drawn beyond them."""


@dataclass(frozen=True)
class View:
    """Rows of one series in the stretch that is drawn, in order of time.

    history: `ds, y` and covariates. tested, ahead: `ds, cutoff, y_hat` and quantiles of the leader.
    """

    name: str
    history: pl.DataFrame
    tested: pl.DataFrame
    ahead: pl.DataFrame


def views(run: Run, names: Sequence[str]) -> Iterator[View]:
    """Series by their names, in this order; those without history or back-test are left out."""
    if run.history is None:
        return
    mine = pl.col("model") == run.leader
    forecast = run.results.tables.get("forecast", run.rows.clear())
    chosen = pl.DataFrame({"unique_id": list(names)}, schema={"unique_id": pl.String})
    history, tested, ahead = (
        table.join(chosen, on="unique_id", how="semi").partition_by(
            "unique_id", as_dict=True, include_key=False
        )
        for table in (run.history, run.rows.filter(mine), forecast.filter(mine))
    )
    none = forecast.clear()
    for name in names:
        key = (name,)
        if key in history and key in tested:
            rows = ahead.get(key, none).sort("ds")
            known = history[key].sort("ds")
            yield View(name, *cut(known, tested[key].sort("cutoff", "ds"), rows))


def cut(
    history: pl.DataFrame, tested: pl.DataFrame, ahead: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The stretch that is drawn: all of the back-test and as much before it, within limits."""
    observed = history.filter(pl.col("y").is_not_null())
    since = observed.filter(pl.col("ds") >= tested["ds"].min()).height
    periods = min(max(2 * since, LEAST_PERIODS), MOST_PERIODS)
    start = observed["ds"].tail(periods).min()
    end = max(v for v in (observed["ds"].max(), ahead["ds"].max()) if v is not None)
    shown = history.filter(pl.col("ds").is_between(start, end))
    return shown, tested.filter(pl.col("ds") >= start), ahead


def marked_stretches(run: Run, history: pl.DataFrame) -> pl.DataFrame:
    """Stretches of marked periods: `start`, `end`, the end being the period after."""
    if not run.flags or history.height < 2:
        return pl.DataFrame({"start": [], "end": []})
    on = pl.any_horizontal(pl.col(c).fill_null(0) != 0 for c in run.flags)
    gap = history["ds"].diff().drop_nulls().min()
    after = pl.col("ds").shift(-1).fill_null(pl.col("ds") + gap)
    marked = history.select("ds", on=on, after=after).with_columns(group=pl.col("on").rle_id())
    return (
        marked.filter(pl.col("on"))
        .group_by("group", maintain_order=True)
        .agg(start=pl.col("ds").min(), end=pl.col("after").max())
        .select("start", "end")
    )
