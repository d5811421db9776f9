"""`engine show`: a series in the terminal, or which series were forecast best and worst."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.complete import run_names

if TYPE_CHECKING:
    import polars as pl

    from engine.contracts import Results


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("show")(show)


def show(
    run: Annotated[
        str,
        typer.Argument(
            help="A run's folder, id, or name (its newest run).", autocompletion=run_names
        ),
    ],
    series: Annotated[
        str | None, typer.Option(help="Identifier of the series to draw; default: list some.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Default: the run's best model.")] = None,
    periods: Annotated[
        int, typer.Option(min=1, help="Periods of history before the first forecast.")
    ] = 60,
    top: Annotated[int, typer.Option(min=1, help="Best and worst series that are listed.")] = 5,
    output: Annotated[Path, typer.Option(help="Folder that holds all runs.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Draw a series: actual, forecasts, interval; without --series list the best and the worst."""
    from engine.cli.found import found_run
    from engine.outputs import read_results

    results = read_results(found_run(output, run), Path.cwd())
    chosen = _model_of(results, model)
    if series is None:
        _list(results, chosen, top, as_json)
        return
    actual, forecast = _rows_of(results, series, chosen, periods)
    if as_json:
        document = {"series": series, "model": chosen, "actual": actual.to_dicts()}
        typer.echo(json.dumps({**document, "forecast": forecast.to_dicts()}, default=str))
        return
    from engine.cli.series_plot import draw

    for line in draw(f"{series} by {chosen}", actual, forecast):
        typer.echo(line)


def _model_of(results: Results, model: str | None) -> str:
    from engine.errors import NotFoundError

    known = results.tables["scores"]["model"].unique(maintain_order=True).to_list()
    if model is None:
        best = (results.manifest.get("best") or {}).get("model")
        return str(best or known[0])
    if model not in known:
        raise NotFoundError(f"the run has no model {model!r}", hint=f"models: {', '.join(known)}")
    return model


def _rows_of(
    results: Results, series: str, model: str, periods: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Actuals (`ds, y`) and forecasts (`ds, cutoff, y_hat, quantiles`) of one series."""
    import polars as pl

    from engine.data.forecast import quantiles_of

    tables, mine = results.tables, pl.col("unique_id") == series
    parts = [tables[name] for name in ("backtest", "forecast") if name in tables]
    made = [part.filter(mine, pl.col("model") == model) for part in parts]
    columns = ["ds", "cutoff", "y_hat", *quantiles_of(parts[0].columns).values()]
    forecast = pl.concat([part.select(columns) for part in made]).sort("cutoff", "ds")
    _known(series, tables, forecast.height)
    kept = tables["history"].filter(mine) if "history" in tables else parts[0].clear()
    # A run of many series keeps the history of some; the backtest has its own actuals.
    seen = [part.select("ds", "y") for part in (kept, made[0])]
    actual = pl.concat(seen).drop_nulls("y").unique("ds").sort("ds")
    before = actual.filter(pl.col("ds") <= forecast["cutoff"].min()) if forecast.height else actual
    after = actual.filter(pl.col("ds") > forecast["cutoff"].min()) if forecast.height else None
    before = before.tail(periods)
    return (before if after is None else pl.concat([before, after])), forecast


def _known(series: str, tables: Any, found: int) -> None:
    """NotFoundError with the nearest identifiers if the run does not have this series."""
    import difflib

    from engine.errors import NotFoundError

    if found:
        return
    source = tables["series"] if "series" in tables else tables["backtest"]
    known = source["unique_id"].unique(maintain_order=True).to_list()
    if series in known:
        return
    near = [name for name in known if series in name][:5]
    near = near or difflib.get_close_matches(series, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "list some: engine show RUN"
    raise NotFoundError(f"the run has no series {series!r}", hint=hint)


def _list(results: Results, model: str, top: int, as_json: bool) -> None:
    """Print the series with the lowest and the highest error of a model."""
    import polars as pl

    from engine.cli.report_table import number
    from engine.cli.tables import print_table

    metric = str((results.manifest.get("best") or {}).get("metric") or "")
    scores = results.tables.get("series_scores", pl.DataFrame())
    if scores.height:
        scores = scores.filter(pl.col("model") == model, pl.col("value").is_finite())
        if metric not in scores["metric"].to_list():
            metric = str(scores["metric"][0]) if scores.height else metric
        scores = scores.filter(pl.col("metric") == metric)
    if not scores.height:
        typer.echo(f"no scores per series of {model}")
        return
    ranked = scores.sort("value", "unique_id").select("unique_id", "value")
    half = min(top, max(ranked.height // 2, 1))
    parts = {"lowest": ranked.head(half), "highest": ranked.tail(half).reverse()}
    if as_json:
        document = {word: part.to_dicts() for word, part in parts.items()}
        typer.echo(json.dumps({"model": model, "metric": metric, **document}, default=str))
        return
    typer.echo(f"{ranked.height:,} series by {metric} of {model}")
    rows = [[word, uid, number(v)] for word, part in parts.items() for uid, v in part.iter_rows()]
    print_table(["", "series", metric], rows, numeric=(2,))
    typer.echo(f"next: engine show {results.name} --series {rows[-1][1]}")
