"""Numbers the series of rows and puts the rows in order; what is in order already is not copied."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.data import checks
from engine.data.panel import IntArray, Roles
from engine.errors import DataError

_ROW = pl.Series(dtype=pl.get_index_type()).to_numpy().dtype

_SPARSE = 4
"""Periods a row beyond which sorting takes less memory than a place for every period."""


def changes(column: pl.Series) -> IntArray:
    """Numbers of the rows that differ from the one before, the first row among them; without nulls."""
    found, row, last = [], 0, None
    # Chunk by chunk, where the rows are: nothing is copied.
    for chunk in column.get_chunks():
        if not len(chunk):
            continue
        if last is None or chunk[0] != last:
            found.append(np.array([row]))
        found.append(np.flatnonzero(_differs(chunk)) + (row + 1))
        row, last = row + len(chunk), chunk[-1]
    return np.concatenate(found).astype(np.int64)


def union(rows: Sequence[IntArray], height: int) -> IntArray:
    """Row numbers that are in any of some increasing lists."""
    if len(rows) == 1:
        return rows[0]
    found = np.zeros(height, dtype=bool)
    for some in rows:
        found[some] = True
    return np.flatnonzero(found)


def number_series(
    frame: pl.DataFrame, roles: Roles, first: IntArray
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Add `series` (a number in order of the keys) and split keys and statics off into a table.

    first: rows whose key differs from that of the row before; only they are looked up.
    """
    keys = [f"key:{k}" for k in roles.keys]
    lengths = np.diff(first, append=frame.height)
    heads = pl.DataFrame([_at(frame[k], first) for k in keys])
    found = heads.unique()
    texts = [pl.col(k).cast(pl.String) for k in keys if found[k].dtype in (pl.Categorical, pl.Enum)]
    coded = [pl.col(k).alias(f"head:{k}") for k in keys]
    # Categories are ordered as the texts that they are, and looked up as the codes that they have.
    series = found.select(*coded, *keys).with_columns(texts).sort(keys)
    names = pl.concat_str([pl.col(k).cast(pl.String) for k in keys], separator="/")
    series = series.with_columns(unique_id=names)
    if series["unique_id"].n_unique() != series.height:
        twice = series.filter(pl.col("unique_id").is_duplicated())["unique_id"][0]
        raise DataError(
            f"different keys {list(roles.keys)} give the same unique_id {twice!r} when joined by '/'",
            hint="rename key values so that they hold no '/'",
        )
    # As wide as the codes of the identifiers, which these numbers will be.
    code = pl.Series(dtype=pl.Enum(series["unique_id"])).to_physical().dtype
    series = series.with_columns(series=pl.int_range(series.height).cast(code))
    numbers = heads.join(
        series,
        left_on=keys,
        right_on=[f"head:{k}" for k in keys],
        how="left",
        maintain_order="left",
    )
    number = pl.Series("series", np.repeat(numbers["series"].to_numpy(), lengths))
    # Not `drop`: it would first put the chunks of the keys into one piece.
    frame = pl.DataFrame([frame[c] for c in frame.columns if c not in keys]).with_columns(number)
    if roles.static:
        checks.constant(frame, roles.static, series["unique_id"])
        statics = frame.group_by("series").agg(pl.col(c).drop_nulls().first() for c in roles.static)
        series = series.join(statics, on="series", how="left", maintain_order="left")
        frame = frame.drop(roles.static)
    tidy = {f"key:{k}": k for k in roles.keys if k != "unique_id"}
    columns = [pl.col(k).alias(name) for k, name in tidy.items()]
    return frame, series.select("unique_id", *columns, *roles.static)


def in_order(frame: pl.DataFrame, heads: IntArray, ids: pl.Series) -> tuple[pl.DataFrame, IntArray]:
    """Rows by series and time, and the first row of each series; DataError for two of one time.

    heads: rows whose series differs from that of the row before.
    """
    series, ordinal = frame["series"].to_numpy(), frame["ordinal"].to_numpy()
    numbers = series[heads]
    back = np.flatnonzero(ordinal[1:] <= ordinal[:-1])
    if (series[back + 1] != series[back]).all():
        if (numbers[1:] > numbers[:-1]).all():
            return frame, heads
        if numbers.size == len(ids):
            return _whole_series(frame, heads, np.argsort(numbers))
    frame = _sorted(frame)
    checks.no_duplicates(frame, ids)
    return frame, np.append(0, np.flatnonzero(_differs(frame["series"])) + 1)


def _whole_series(
    frame: pl.DataFrame, heads: IntArray, order: IntArray
) -> tuple[pl.DataFrame, IntArray]:
    """Series whose rows lie together and in order, put into another order."""
    lengths = np.diff(heads, append=frame.height)[order]
    starts = np.cumsum(lengths) - lengths
    # Numbers of rows as Polars has them, which are taken as they are; differences may wrap around.
    row = np.repeat((heads[order] - starts).astype(_ROW), lengths)
    row += np.arange(frame.height, dtype=_ROW)
    return frame[row], starts


def _sorted(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows by series and time: on a grid their places are counted, which is far cheaper than sorting."""
    spans = frame.group_by("series").agg(
        low=pl.col("ordinal").min().cast(pl.Int64), last=pl.col("ordinal").max().cast(pl.Int64)
    )
    spans = spans.with_columns(periods=pl.col("last") - pl.col("low") + 1)
    spans = spans.sort("series")
    ends = spans["periods"].cum_sum()
    if ends[-1] <= _SPARSE * frame.height:
        begins = (ends - spans["periods"] - spans["low"]).to_numpy()
        place = frame["ordinal"].to_numpy() + begins[frame["series"].to_numpy()]
        row = np.full(ends[-1], -1, dtype=np.int64)
        row[place] = np.arange(frame.height)
        row = row[row >= 0]
        if row.size == frame.height:  # otherwise two rows have one place
            return frame[row]
    return frame.sort("series", "ordinal")


def _differs(chunk: pl.Series) -> npt.NDArray[np.bool_]:
    """Whether each row but the first differs from the one before; numbers are compared as stored."""
    stored = chunk.to_physical()
    if stored.dtype.is_integer() and stored.dtype not in (pl.Int128, pl.UInt128):
        values = stored.to_numpy()
        changed: npt.NDArray[np.bool_] = values[1:] != values[:-1]
        return changed
    return (chunk[1:] != chunk[:-1]).to_numpy()


def _at(column: pl.Series, rows: IntArray) -> pl.Series:
    """The values of increasing row numbers; Polars would put the chunks into one piece first."""
    chunks = column.get_chunks()
    ends = np.cumsum([len(chunk) for chunk in chunks])
    split = np.searchsorted(rows, ends[:-1])
    parts = zip(chunks, np.split(rows, split), ends, strict=True)
    found: list[pl.Series] = [chunk[own - (end - len(chunk))] for chunk, own, end in parts]
    return pl.concat(found, rechunk=True)
