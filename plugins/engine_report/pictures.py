"""Series as pictures, actual against forecast, and what the residuals say."""

from __future__ import annotations

import polars as pl

from engine_report import charts, residuals
from engine_report.compare import wape
from engine_report.document import Block, Chart, Charts, Fold, Gallery, Prose, Section
from engine_report.finder import searched
from engine_report.numbers import percent
from engine_report.reading import Run
from engine_report.views import View, marked_stretches, views


def section(run: Run) -> Section:
    """Pictures of chosen series and checks of the residuals."""
    blocks: list[Block] = []
    chosen = choose(run)
    if run.history is None:
        blocks.append(Prose("This run keeps no history, so only its residuals are shown.", "note"))
    elif chosen:
        total = run.rows["unique_id"].n_unique()
        marks = f" Shaded: {' or '.join(run.flags)}." if run.flags else ""
        level = (
            f" Bands hold {percent(run.interval[2])} by intention; those that reach far are cut."
            if run.interval
            else ""
        )
        found = searched(run, [name for name, _ in _ranked(run)])
        reach = found.count if found else 0
        blocks.append(
            Prose(
                f"{len(chosen)} of {total:,} series are drawn here: those with the most error, the "
                f"lowest WAPE, and others spread over the rest. Type a name to see any of "
                f"{reach:,}{_why_not_all(run, reach, total)}. Forecasts are those of {run.leader}."
                f"{level}{marks}"
            )
        )
        why = dict(chosen)
        drawn = [_picture(run, view, why[view.name]) for view in views(run, list(why))]
        blocks.append(Gallery(drawn, found=found.text if found else "", hint=_hint(run)))
    blocks.append(Fold("For specialists: what the errors say", [Charts(residuals.pictures(run))]))
    return Section("series", "Pictures of series", blocks)


def _why_not_all(run: Run, reach: int, total: int) -> str:
    """Which series can be found."""
    if reach >= total or run.history is None:
        return " series"
    if run.history["unique_id"].n_unique() <= reach:
        return " series whose history is kept"
    return " series, those with the most error, to keep this page small"


def _hint(run: Run) -> str:
    """What a name of a series looks like, for who finds none."""
    return f"{'/'.join(run.keys) or 'a name'}, such as {run.rows['unique_id'][0]}"


def _ranked(run: Run) -> list[tuple[str, float | None]]:
    """(unique_id, WAPE) of the series whose history is kept, the one with the most error first."""
    assert run.history is not None
    kept = run.history.select(pl.col("unique_id").unique())
    mine = run.rows.filter(pl.col("model") == run.leader).join(kept, on="unique_id", how="semi")
    each = (
        mine.group_by("unique_id", maintain_order=True)
        .agg(units=pl.col("error").abs().sum(), wape=wape())
        .sort("units", "unique_id", descending=[True, False])
    )
    return each.select("unique_id", "wape").rows()


def choose(run: Run) -> list[tuple[str, str]]:
    """(unique_id, why) of the series to draw, of those whose history is kept."""
    if run.history is None or run.params.pictures == 0:
        return []
    each = pl.DataFrame(
        _ranked(run), schema={"unique_id": pl.String, "wape": pl.Float64}, orient="row"
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
    return list(chosen.items())[:count]


def _picture(run: Run, view: View, why: str) -> Chart:
    svg = charts.fans(
        view.history.select("ds", "y"),
        view.tested,
        view.ahead,
        marked_stretches(run, view.history),
        None if run.interval is None else run.interval[:2],
    )
    last = view.tested["cutoff"].n_unique()
    said = f"Series {view.name}: actual values, forecasts of {last} folds with their intervals"
    said += ", and the forecast ahead" if view.ahead.height else ""
    return Chart(view.name, svg, said, why)
