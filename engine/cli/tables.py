"""Plain tables for a terminal: they wrap on narrow ones and stay greppable in a pipe."""

from __future__ import annotations

import typing
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


def type_name(annotation: Any) -> str:
    """A type as a spec's author would say it."""
    if annotation is None or annotation is type(None):
        return "null"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_name(arguments[0])
    if origin is typing.Literal:
        return " | ".join(str(a) for a in arguments)
    if origin in (list, tuple, dict):
        inner = ", ".join(dict.fromkeys(type_name(a) for a in arguments if a is not Ellipsis))
        return f"{origin.__name__}[{inner}]"
    if arguments:
        return " | ".join(dict.fromkeys(type_name(a) for a in arguments))
    return str(getattr(annotation, "__name__", annotation))
