"""From one column a period to one row a period, lazily."""

from __future__ import annotations

from collections.abc import Container

import polars as pl

from engine.errors import DataError
from engine_files.columns import matching, spelled_out
from engine_files.params import WideParams


def unpivoted(
    frame: pl.LazyFrame, wide: WideParams, text: Container[str], place: str
) -> pl.LazyFrame:
    """One row for each kept row and period, periods without values (`extend`) included.

    Text columns become Enums, which takes a fraction of the memory once they are repeated for
    every period; those in `text` stay text. A period of `extend` that the file has by now is read.
    """
    schema = frame.collect_schema()
    names = schema.names()
    periods = matching(wide.columns, names, option="wide.columns", place=place)
    if wide.id is None:
        kept = [c for c in names if c not in set(periods)]
    else:
        kept = matching(wide.id, names, option="wide.id", place=place)
    both = [c for c in kept if c in set(periods)]
    clash = [c for c in (wide.name, wide.value) if c in kept]
    if both or clash:
        raise DataError(
            f"wide: column {(both + clash)[0]!r} of {place} is "
            f"{'kept and turned into rows' if both else 'kept and also a new name'}",
            hint="narrow wide.columns or wide.id" if both else "choose another name or value",
        )
    added = [c for c in dict.fromkeys(spelled_out(wide.extend)) if c not in names]
    empty = pl.lit(None, dtype=schema[periods[0]])
    every = [*periods, *added]
    encoded = _as_enums(frame, [c for c in kept if schema[c] == pl.String and c not in text])
    rows = encoded.with_columns(empty.alias(c) for c in added).unpivot(
        every, index=kept, variable_name=wide.name, value_name=wide.value
    )
    if wide.name in text:
        return rows
    return rows.with_columns(pl.col(wide.name).cast(pl.Enum(every)))


def _as_enums(frame: pl.LazyFrame, columns: list[str]) -> pl.LazyFrame:
    if not columns:
        return frame
    levels = frame.select(pl.col(columns).drop_nulls().unique().sort().implode()).collect()
    return frame.with_columns(pl.col(c).cast(pl.Enum(levels[c].item())) for c in columns)
