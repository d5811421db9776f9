"""Section 4: series as pictures, actual against forecast, and what the residuals say."""

from __future__ import annotations

import polars as pl

from engine_report import charts, residuals
from engine_report.document import Block, Chart, Charts, Gallery, Prose, Section
from engine_report.numbers import percent, score
from engine_report.reading import Run

LEAST_PERIODS, MOST_PERIODS = 40, 160


def section(run: Run) -> Section:
    """Pictures of chosen series and checks of the residuals."""
    blocks: list[Block] = []
    chosen = choose(run)
    if run.history is None:
        blocks.append(Prose("This run keeps no history, so only its residuals are shown.", "note"))
    elif chosen:
        total = run.rows["unique_id"].n_unique()
        marks = f" Shaded: {' or '.join(run.flags)}." if run.flags else ""
        level = f" Bands hold {percent(run.interval[2])} by intention." if run.interval else ""
        blocks.append(
            Prose(
                f"{len(chosen)} of {total:,} series are drawn: those with the most error, the "
                f"lowest WAPE, and others spread over the rest. Forecasts are those of {run.leader}."
                f"{level}{marks}"
            )
        )
        blocks.append(Gallery([_picture(run, name, why) for name, why in chosen]))
    blocks.append(Charts(residuals.pictures(run)))
    return Section("series", "Pictures of series", blocks)


def choose(run: Run) -> list[tuple[str, str]]:
    """(unique_id, why) of the series to draw, of those whose history is kept."""
    if run.history is None or run.params.pictures == 0:
        return []
    kept = run.history.select(pl.col("unique_id").unique())
    mine = run.rows.filter(pl.col("model") == run.leader).join(kept, on="unique_id", how="semi")
    each = (
        mine.group_by("unique_id", maintain_order=True)
        .agg(units=pl.col("error").abs().sum(), size=pl.col("y").abs().sum())
        .with_columns(wape=pl.when(pl.col("size") > 0).then(pl.col("units") / pl.col("size")))
        .sort("units", "unique_id", descending=[True, False])
    )
    count = min(run.params.pictures, each.height)
    third = -(-count // 3)
    chosen = dict.fromkeys(each["unique_id"].head(third).to_list(), "most error")
    best = each.drop_nulls("wape").sort("wape", "unique_id")["unique_id"].head(third).to_list()
    for name in best:
        chosen.setdefault(name, "lowest WAPE")
    rest = each.filter(~pl.col("unique_id").is_in(list(chosen))).sort("unique_id")
    left = count - len(chosen)
    if left > 0 and rest.height:
        for name in rest["unique_id"].gather_every(max(rest.height // left, 1)).to_list()[:left]:
            chosen[name] = "spread over the rest"
    wape = dict(each.select("unique_id", "wape").iter_rows())
    return [
        (name, f"{why}, WAPE {score(wape[name])}") for name, why in list(chosen.items())[:count]
    ]


def _picture(run: Run, name: str, why: str) -> Chart:
    history, tested, ahead = _rows_of(run, name)
    svg = charts.fans(
        history.select("ds", "y"),
        tested,
        ahead,
        _shades(history, run),
        None if run.interval is None else run.interval[:2],
    )
    last = tested["cutoff"].n_unique()
    said = f"Series {name}: actual values, forecasts of {last} folds with their intervals"
    said += ", and the forecast ahead" if ahead.height else ""
    return Chart(name, svg, said, why)


def _rows_of(run: Run, name: str) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The end of a series' history, its back-test and its forecast ahead by the leader."""
    assert run.history is not None
    own = (pl.col("unique_id") == name) & (pl.col("model") == run.leader)
    tested = run.rows.filter(own).sort("cutoff", "ds")
    forecast = run.results.tables.get("forecast")
    ahead = tested.clear() if forecast is None else forecast.filter(own).sort("ds")
    history = run.history.filter(pl.col("unique_id") == name).sort("ds")
    observed = history.filter(pl.col("y").is_not_null())
    since = observed.filter(pl.col("ds") >= tested["ds"].min()).height
    periods = min(max(2 * since, LEAST_PERIODS), MOST_PERIODS)
    start = observed["ds"].tail(periods).min()
    end = max(v for v in (observed["ds"].max(), ahead["ds"].max()) if v is not None)
    shown = history.filter(pl.col("ds").is_between(start, end))
    return shown, tested.filter(pl.col("ds") >= start), ahead


def _shades(history: pl.DataFrame, run: Run) -> pl.DataFrame:
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
