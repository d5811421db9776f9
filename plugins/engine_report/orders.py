"""The list of orders: every series with its sums and its errors, packed for the page to search."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import polars as pl

from engine_report.compare import bias, wape
from engine_report.document import embedded
from engine_report.reading import Run

MOST_SHOWN = 12
MOST_BYTES = 600_000
"""Of the packed list; the page has to stay small."""
NOTHING = "practically 0, do not order from it"
NAMES = ("unique_id", "ahead", "enough", "before", "wape", "bias", "first", "caution")
_ENOUGH = NAMES.index("enough")


@dataclass(frozen=True)
class Orders:
    """rows: the columns `NAMES`, the largest forecast first, all digits; what the page shows first is
    `first`, what it knows are `kept` of them.
    """

    rows: list[list[Any]]
    kept: int
    enough: bool

    @property
    def first(self) -> list[list[Any]]:
        """The rows that stand on the page from the start."""
        return self._picked(self.rows[:MOST_SHOWN])

    def text(self) -> str:
        """JSON of the rows that are kept."""
        rounded = [
            [_short(v) if isinstance(v, float) else v for v in row]
            for row in self._picked(self.rows[: self.kept])
        ]
        return embedded(rounded)

    def _picked(self, rows: list[list[Any]]) -> list[list[Any]]:
        if self.enough:
            return rows
        return [[*row[:_ENOUGH], *row[_ENOUGH + 1 :]] for row in rows]


def _short(value: float) -> float:
    """As many digits as the page may write: whole units stay exact, however large."""
    return round(value, 3) if abs(value) >= 1000 else float(f"{value:.6g}")


def listed(run: Run, each: pl.DataFrame, nothing: Collection[str], *, enough: bool) -> Orders:
    """The sums `each` of `ahead.sums` with the leader's errors; nothing: series not to order from."""
    mine = run.rows.filter(pl.col("model") == run.leader)
    errors = mine.group_by("unique_id").agg(wape=wape(), bias=bias())
    caution = (
        pl.when(pl.col("unique_id").is_in(list(nothing)))
        .then(pl.lit(NOTHING))
        .otherwise(pl.lit(""))
    )
    made = each.join(errors, on="unique_id", how="left", maintain_order="left")
    rows = [list(row) for row in made.with_columns(caution=caution).select(NAMES).iter_rows()]
    length = 12 * len(NAMES) + max((len(str(row[0])) for row in rows), default=0)
    return Orders(rows, min(len(rows), MOST_BYTES // length), enough)
