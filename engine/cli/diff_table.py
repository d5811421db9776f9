"""What `engine diff` shows: changed inputs, score differences with their test, largest movers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from engine.cli.report_table import number
from engine.cli.tables import print_table
from engine.compare.changes import Change
from engine.compare.runs import Comparison, Delta, Mover
from engine.evaluate import ALL

LONGEST = 60


def show_comparison(comparison: Comparison, before: Path, after: Path) -> None:
    """Print everything that differs; what is equal is left out, and said to be so."""
    typer.echo(f"before: {before}\nafter:  {after}\n")
    _show_changes(comparison.changes)
    for word, models in (("only before", comparison.gone), ("only after", comparison.added)):
        if models:
            typer.echo(f"models {word}: {', '.join(models)}")
    _show_deltas(comparison.deltas)
    _show_movers(comparison.movers)


def _show_changes(changes: Sequence[Change]) -> None:
    if not changes:
        typer.echo("spec, data and versions are the same\n")
        return
    rows = [[c.what, c.key, _short(c.before), _short(c.after)] for c in changes]
    print_table(["changed", "key", "before", "after"], rows)
    typer.echo()


def _show_deltas(deltas: Sequence[Delta]) -> None:
    """Headline scores, and the segments in which something is worse or better beyond chance."""
    moved = [d for d in deltas if d.before != d.after]
    if not moved:
        typer.echo("all scores are the same")
        return
    rows = [
        [
            d.metric,
            d.segment,
            d.model,
            number(d.before),
            number(d.after),
            _percent(d),
            "" if d.p is None else f"{d.p:.3f}",
            "" if d.test is None else str(d.test.series),
            d.verdict + (" (not tested)" if d.p is None else ""),
        ]
        for d in moved
        if d.segment == ALL or (d.p is not None and d.verdict in ("worse", "better"))
    ]
    columns = ["metric", "segment", "model", "before", "after", "change", "p", "series", ""]
    print_table(columns, rows, numeric=range(3, 8))
    typer.echo("p: paired bootstrap over series, adjusted for the number of models (Holm)\n")


def _percent(delta: Delta) -> str:
    if delta.before is None or delta.after is None or delta.before == 0:
        return "-"
    return f"{100 * (delta.after - delta.before) / abs(delta.before):+.2f} %"


def _show_movers(movers: Sequence[Mover]) -> None:
    if not movers:
        return
    rows = [
        [m.model, m.unique_id, number(m.before), number(m.after), f"{m.after - m.before:+.4g}"]
        for m in movers
    ]
    typer.echo("largest movers, total absolute error over the backtest:")
    print_table(["model", "series", "before", "after", "change"], rows, numeric=[2, 3, 4])


def _short(value: Any) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
