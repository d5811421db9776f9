"""What moved between two snapshots: by plugin and column, with the place and how far it looked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from engine.prove.snapshot import PLACE, Snapshot, Table


@dataclass(frozen=True)
class Moved:
    """A column that is not the same in two snapshots.

    unique_id, ahead, was, became: the first value that moved (`ahead` counts periods after the
    cutoff; zero or less is history). oldest: the earliest period at which any series moved.
    count: values that moved.
    """

    kind: str
    owner: str
    column: str
    unique_id: str
    ahead: int
    was: str
    became: str
    oldest: int
    count: int


def moved(before: Snapshot, after: Snapshot, tolerance: float = 0.0) -> list[Moved]:
    """Every column of `before` that has other values in `after`, in the order of the tables.

    tolerance: relative difference that still counts as the same; 0 asks for the same bits.
    """
    found: list[Moved] = []
    for table in before.tables:
        others = [
            t
            for t in after.of(table.kind)
            if t.owner == table.owner and set(t.frame.columns) & set(_values(table))
        ]
        found += _moved(table, others, tolerance)
    return found


def _values(table: Table) -> list[str]:
    return [c for c in table.frame.columns if c not in PLACE]


def _moved(table: Table, others: list[Table], tolerance: float) -> Iterator[Moved]:
    for column in _values(table):
        here = table.frame.select(*PLACE, was=column)
        holder = next((t.frame for t in others if column in t.frame.columns), None)
        if holder is None:
            there = here.clear().rename({"was": "became"})
        else:
            there = holder.select(*PLACE, became=column)
        both = here.join(there, on=list(PLACE), how="full", coalesce=True)
        differs = both.filter(_differs(both.schema["was"], tolerance)).sort(*PLACE)
        if differs.is_empty():
            continue
        uid, ahead, was, became = differs.sort("ahead", "unique_id", descending=[True, False]).row(
            0
        )
        oldest = differs["ahead"].min()
        assert isinstance(oldest, int)
        yield Moved(
            table.kind,
            table.owner,
            column,
            uid,
            ahead,
            shown(was),
            shown(became),
            oldest,
            differs.height,
        )


def _differs(dtype: pl.DataType, tolerance: float) -> pl.Expr:
    was, became = pl.col("was"), pl.col("became")
    other = was.ne_missing(became)
    if not dtype.is_numeric() or not tolerance:
        return other
    size = pl.max_horizontal(was.abs(), became.abs(), pl.lit(1e-6))
    near = ((was - became).abs() <= tolerance * size).fill_null(False)
    return other & ~near


def shown(value: object) -> str:
    """A value in a message: six significant digits."""
    return (
        f"{value:.6g}" if isinstance(value, float) else "missing" if value is None else str(value)
    )
