"""Tables joined to the rows by their keys, and rows of the known future put below them."""

from __future__ import annotations

import polars as pl

from engine.errors import DataError
from engine_files.columns import require
from engine_files.params import JoinParams

_SHOWN = 3


def joined(
    rows: pl.LazyFrame, table: pl.LazyFrame, options: JoinParams, place: str
) -> pl.LazyFrame:
    """The rows with the columns of `table`; never more rows than before.

    Keys of different width or kind of text are cast to the rows' type. DataError: unknown columns,
    keys that cannot be compared, columns that the rows have already, keys that are not unique.
    """
    pairs = options.on if isinstance(options.on, dict) else {key: key for key in options.on}
    schema = rows.collect_schema()
    require(pairs, schema.names(), option="join.on", place="the rows so far")
    names = table.collect_schema().names()
    require(pairs.values(), names, option="join.on", place=place)
    taken = _taken(schema, names, list(pairs.values()), options, place)
    selected = table.select(
        *(pl.col(right).alias(f"key:{left}") for left, right in pairs.items()),
        *(pl.col(c).alias(to) for c, to in taken.items()),
    )
    keys = [f"key:{left}" for left in pairs]
    _check_unique(selected, keys, list(pairs.values()), place)
    dtypes = selected.collect_schema()
    casts = [
        _comparable(key, dtypes[key], schema[left], place)
        for key, left in zip(keys, pairs, strict=True)
    ]
    # Keeping the rows' order keeps a sorted file sorted, and every run the same.
    return rows.join(
        selected.with_columns(casts),
        left_on=list(pairs),
        right_on=keys,
        how=options.how,
        maintain_order="left",
    )


def _taken(
    schema: pl.Schema, names: list[str], keys: list[str], options: JoinParams, place: str
) -> dict[str, str]:
    """Columns to take from the table and what to call them; the rows' own are left out."""
    if options.columns is not None:
        require(options.columns, names, option="join.columns", place=place)
    listed = names if options.columns is None else options.columns
    taken: dict[str, str] = {}
    for column in listed:
        if column in keys:
            continue
        name = f"{column}{options.suffix}" if column in schema else column
        if name not in schema:
            taken[column] = name
        elif options.columns is not None or options.suffix:
            raise DataError(
                f"join.columns: the rows have a column {name!r} already, {place} has it too",
                hint=f"rename it, e.g. rename: {{{column}: {column}_2}}, or set another suffix",
            )
    return taken


def _check_unique(table: pl.LazyFrame, keys: list[str], names: list[str], place: str) -> None:
    repeated = (
        table.filter(pl.all_horizontal(pl.col(keys).is_not_null()))
        .group_by(keys)
        .len("rows")
        .filter(pl.col("rows") > 1)
        .collect(engine="streaming")
    )
    if repeated.is_empty():
        return
    first = repeated.select(pl.col(keys)).sort(keys).head(_SHOWN).rows()
    shown = "; ".join(", ".join(str(v) for v in row) for row in first)
    raise DataError(
        f"join with {place}: {repeated.height} keys ({', '.join(names)}) are not unique and would "
        f"multiply rows, first {shown}",
        hint="add the column that tells them apart to `on`, or pick one with `where`",
    )


def _comparable(key: str, dtype: pl.DataType, target: pl.DataType, place: str) -> pl.Expr:
    """The key in the rows' type; a value that this type cannot hold matches nothing."""
    column = pl.col(key)
    if dtype == target:
        return column
    widened = isinstance(target, pl.Datetime) and (
        dtype == pl.Date or (isinstance(dtype, pl.Datetime) and dtype.time_zone == target.time_zone)
    )
    if widened or (dtype.is_integer() and target.is_integer()) or (_is_text(dtype, target)):
        return column.cast(target, strict=False)
    name = key.removeprefix("key:")
    raise DataError(
        f"join with {place}: key {name!r} has type {target} in the rows and {dtype} in the file",
        hint="give both the same type, e.g. types: {store: int} or formats: {date: '%d.%m.%Y'}",
    )


def _is_text(*dtypes: pl.DataType) -> bool:
    return all(d == pl.String or isinstance(d, pl.Categorical | pl.Enum) for d in dtypes)


def with_future(rows: pl.LazyFrame, future: pl.LazyFrame, place: str) -> pl.LazyFrame:
    """The rows and below them those of the known future; columns these lack become null.

    Columns that only the future has are left out. DataError if it has none of the rows' columns or
    a column of another kind.
    """
    schema, ahead = rows.collect_schema(), future.collect_schema()
    shared = [c for c in ahead if c in schema]
    if not shared:
        raise DataError(
            f"future: {place} has no column of the rows: {', '.join(ahead.names()[:20])}",
            hint=f"rename its columns to those of the rows: {', '.join(schema.names()[:20])}",
        )
    text = [c for c in shared if schema[c] != ahead[c] and _is_text(schema[c], ahead[c])]
    for column in shared:
        if column not in text and not _of_one_kind(schema[column], ahead[column]):
            raise DataError(
                f"future: column {column!r} has type {ahead[column]} in {place} and "
                f"{schema[column]} in the rows",
                hint=f"state it for both, e.g. types: {{{column}: string}}",
            )
    as_category = [pl.col(c).cast(pl.String).cast(pl.Categorical) for c in text]
    return pl.concat(
        [rows.with_columns(as_category), future.select(shared).with_columns(as_category)],
        how="diagonal_relaxed",
    )


def _of_one_kind(one: pl.DataType, other: pl.DataType) -> bool:
    if one == other or pl.Null in (one, other):
        return True
    return (one.is_numeric() and other.is_numeric()) or (one.is_temporal() and other.is_temporal())
