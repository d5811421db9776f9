"""Plain tables for a terminal: they wrap on narrow ones and stay greppable in a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

WIDE = 400
"""Columns assumed when the output is not a terminal, so that no row is wrapped."""


def console() -> Console:
    """The console for results on stdout."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=WIDE)


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = ()
) -> None:
    """Print a table without borders; `numeric` columns are right-aligned."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number in numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*[_escaped(cell) for cell in row])
    console().print(table)


def _escaped(text: str) -> Any:
    from rich.text import Text

    return Text(text)
