"""Rows of any source -> a checked `Panel` on a regular time grid."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl

from engine.data import checks
from engine.data.calendar import Frequency, TimeGrid, local_time
from engine.data.fill import STRICT, Missing, fill_missing
from engine.data.order import changes, in_order, number_series, union
from engine.data.panel import IntArray, Panel, Roles
from engine.errors import DataError


def build_panel(
    rows: pl.LazyFrame | pl.DataFrame,
    *,
    roles: Roles,
    ds: str,
    y: str,
    freq: Frequency,
    missing: Missing = STRICT,
    ahead: int = 0,
    align_end: bool = False,
) -> Panel:
    """Select, check, sort and regularise the rows of a source.

    ahead: known-future rows kept after the panel's end (gap + horizon). The end is the last `ds`
    with an observed `y` in any series. align_end: shift the integer time of every series so that
    all of them end there. Errors (DataError) name column, series, dates and counts:
    missing columns, nulls in keys, NaN or infinite values, duplicates, off-grid timestamps, gaps
    without a policy, statics that vary, future covariates that are not known.
    """
    notes: list[str] = []
    frame, heads = _read(rows, roles, ds, y)
    frame = _without_zone(frame, freq, notes)
    grid = TimeGrid.infer(frame["ds"], freq)
    frame, series = number_series(frame, roles, heads)
    ids = series["unique_id"]
    checks.on_grid(frame, grid, ids)
    frame = frame.with_columns(ordinal=grid.ordinal(pl.col("ds")))
    if align_end:
        frame = _aligned(frame, grid)
    frame, heads = in_order(frame, heads, ids)
    frame, series, starts, end = _span(frame, heads, series, missing, notes)
    ahead = 0 if missing.horizon == "skip" else ahead
    if frame["ordinal"].max() > end + ahead:  # type: ignore[operator]
        frame = frame.filter(pl.col("ordinal") <= end + ahead)
    # A hole on the last days of the history is a hole, not a horizon that is not known yet.
    known = {c: max(_known_until(frame, c), end) for c in roles.future}
    frame, offsets = _regularise(frame, series.height, starts, end + ahead, grid)
    frame = fill_missing(frame, roles, missing, series["unique_id"], end, known, notes)
    enum = pl.Enum(series["unique_id"])
    series = series.with_columns(pl.col("unique_id").cast(enum))
    code = pl.col("series").cat.to(enum).alias("unique_id")
    frame = frame.select(code, "ds", "y", *roles.covariates).rechunk()
    fill = missing.y if missing.y in ("forward_fill", "interpolate") else ""
    return Panel(frame, series, roles, grid, offsets, starts, end, tuple(notes), fill)


def _without_zone(frame: pl.DataFrame, freq: Frequency, notes: list[str]) -> pl.DataFrame:
    dtype = frame.schema["ds"]
    if getattr(dtype, "time_zone", None) is None:
        return frame
    local = frame.with_columns(local_time(pl.col("ds"), dtype, freq))
    if local.schema["ds"] != dtype:
        notes.append(f"ds: local time without its zone ({dtype}), as periods are days or longer")
    return local


def _read(
    rows: pl.LazyFrame | pl.DataFrame, roles: Roles, ds: str, y: str
) -> tuple[pl.DataFrame, IntArray]:
    """The columns that are needed, in their types, and the first of the rows of one key each time."""
    lazy = rows.lazy()
    schema = lazy.collect_schema()
    named = (*roles.keys, ds, y, *roles.covariates, *roles.static)
    checks.columns_exist(named, schema)
    covariates = [pl.col(c) for c in dict.fromkeys((*roles.covariates, *roles.static))]
    frame = lazy.select(
        *(pl.col(k).alias(f"key:{k}") for k in roles.keys),
        pl.col(ds).alias("ds"),
        pl.col(y).alias("y"),
        *(
            c.alias(c.meta.output_name())
            for c in covariates
            if c.meta.output_name() not in ("ds", "y")
        ),
    ).collect()
    if frame.is_empty():
        raise DataError("the source has no rows", hint="check its path and its `where:` filter")
    checks.key_types(frame, roles.keys)
    checks.no_nulls(frame, [*(f"key:{k}" for k in roles.keys), "ds"])
    if not (
        frame["y"].dtype.is_numeric()
        or frame["y"].dtype == pl.Boolean
        or frame["y"].dtype == pl.Null
    ):
        raise DataError(
            f"column {y!r} (the target y) has type {frame['y'].dtype}, not a number",
            hint=f"state its type, e.g. source: {{types: {{{y}: float}}}}",
        )
    numbers = [
        c
        for c in (*roles.covariates, *roles.static)
        if schema[c].is_numeric() or schema[c] == pl.Boolean
    ]
    texts = [c for c in (*roles.covariates, *roles.static) if c not in numbers]
    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
        made = [
            pool.submit(_in_one_piece, frame["ds"], frame.schema["ds"]),
            pool.submit(_in_one_piece, frame["y"], pl.Float64()),
            *(pool.submit(_as_number, frame[c], c in roles.covariates) for c in numbers),
            *(pool.submit(_as_category, frame[c]) for c in texts),
        ]
        changed = [pool.submit(changes, frame[f"key:{k}"]) for k in roles.keys]
        frame = frame.with_columns(column.result() for column in made)
        heads = union([rows.result() for rows in changed], frame.height)
    checks.finite(frame, "y", roles.keys)
    for column in roles.covariates:
        if schema[column].is_float() or schema[column].is_decimal():
            checks.finite(frame, column, roles.keys)
    return frame, heads


def _as_number(values: pl.Series, may_be_flag: bool) -> pl.Series:
    """A Float32; a flag that varies stays one, at a bit a row."""
    if values.dtype == pl.Boolean and may_be_flag:
        return values
    number = _in_one_piece(values, pl.Float32())
    return number if checks.all_finite(number) else number.fill_nan(None)


def _in_one_piece(values: pl.Series, dtype: pl.DataType) -> pl.Series:
    """The values as another type, in one chunk.

    Numbers and what is stored as one are written into memory of numpy, which asks for large pages: several
    times as fast as into fresh memory of Polars.
    """
    kind, stored = values.dtype, values.to_physical()
    plain = kind.is_integer() or kind.is_float() or kind.is_temporal()
    if not plain or kind in (pl.Int128, pl.UInt128) or values.null_count():
        return values.rechunk().cast(dtype)
    if values.n_chunks() == 1 and kind == dtype:
        return values
    physical = dtype if dtype.is_float() else stored.dtype
    whole = np.empty(len(stored), dtype=pl.Series(dtype=physical).to_numpy().dtype)
    first = 0
    with np.errstate(over="ignore"):
        for chunk in stored.get_chunks():
            whole[first : first + len(chunk)] = chunk.to_numpy()
            first += len(chunk)
    return pl.Series(values.name, whole).cast(dtype)


def _as_category(values: pl.Series) -> pl.Series:
    if not isinstance(values.dtype, pl.String | pl.Categorical | pl.Enum):
        if values.dtype.is_temporal():
            return _as_category(values.cast(pl.String))
        if values.dtype == pl.Null:
            return values.cast(pl.Float32)
        raise DataError(
            f"column {values.name!r} has type {values.dtype}: a covariate is a number, a flag or text"
        )
    levels = values.unique().cast(pl.String).drop_nulls().unique().sort()
    return values.cast(pl.String).cast(pl.Enum(levels))


def _aligned(frame: pl.DataFrame, grid: TimeGrid) -> pl.DataFrame:
    """Shift every series in time so that its last observed row is the last of all."""
    if not frame.schema["ds"].is_integer():
        raise DataError(
            "data.series.align: end is for integer time, but ds holds dates",
            hint="leave it out: series of real dates keep their dates",
        )
    last = pl.col("ordinal").filter(pl.col("y").is_not_null()).max()
    shifted = pl.col("ordinal") + last.max() - last.over("series").fill_null(last.max())
    frame = frame.with_columns(ordinal=shifted)
    return frame.with_columns(ds=grid.timestamps(frame["ordinal"]))


def _span(
    frame: pl.DataFrame,
    head: IntArray,
    series: pl.DataFrame,
    missing: Missing,
    notes: list[str],
) -> tuple[pl.DataFrame, pl.DataFrame, IntArray, int]:
    """First observed row of each series and the panel's end; series never observed leave.

    head: the first row of each series.
    """
    begins = pl.col("y").is_not_null()
    if missing.leading_zeros == "drop":
        begins = begins & (pl.col("y") != 0)
    row = _first_rows(frame, head, begins)
    first = frame.select("series", start="ordinal")[row]
    if first.is_empty():
        raise DataError("no series has an observed y", hint="check the target column and filters")
    end = _known_until(frame, "y")
    if first.height < series.height:
        lost = series.height - first.height
        kept = set(first["series"].to_list())
        names = [u for i, u in enumerate(series["unique_id"]) if i not in kept][:3]
        notes.append(f"{lost} series without any observed y were left out: {', '.join(names)}")
    starts = first["start"].to_numpy().astype(np.int64)
    if np.array_equal(head, row):
        return frame, series, starts, end
    if first.height == series.height:
        begun = frame["ordinal"].to_numpy() >= starts[frame["series"].to_numpy()]
        return frame.filter(begun), series, starts, end
    new = pl.int_range(first.height).cast(frame.schema["series"])
    renumber = first.with_columns(new=new)
    frame = (
        frame.join(renumber, on="series", how="inner", maintain_order="left")
        .filter(pl.col("ordinal") >= pl.col("start"))
        .with_columns(series="new")
        .drop("new", "start")
    )
    return frame, series[first["series"]], starts, end


def _first_rows(frame: pl.DataFrame, head: IntArray, begins: pl.Expr) -> IntArray:
    """The first row of each series in which `begins` is true, if there is one; head: its first row."""
    may = frame.select(begins).to_series()
    if may.all():
        return head
    candidates = may.arg_true().to_numpy().astype(np.int64)
    place = np.searchsorted(candidates, head)
    found = place < candidates.size
    row, last = candidates[place[found]], np.append(head[1:], frame.height)[found]
    first: IntArray = row[row < last]
    return first


def _known_until(frame: pl.DataFrame, column: str) -> int:
    ordinal = frame["ordinal"]
    if frame[column].null_count():
        ordinal = ordinal.filter(frame[column].is_not_null())
    known = ordinal.max()
    return int(known) if isinstance(known, int) else -(1 << 60)


def _regularise(
    frame: pl.DataFrame, n_series: int, starts: IntArray, last: int, grid: TimeGrid
) -> tuple[pl.DataFrame, IntArray]:
    """One row for every period from each series' start to `last`; new rows hold nulls."""
    lengths = last - starts + 1
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    if frame.height == offsets[-1]:
        return frame, offsets
    series = frame["series"].to_numpy()
    target = offsets[series] + frame["ordinal"].to_numpy() - starts[series]
    source = np.full(offsets[-1], -1, dtype=np.int64)
    source[target] = np.arange(frame.height)
    rows = pl.Series("row", source)
    rows = rows.set(rows < 0, None)
    ordinal = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
    columns = [c for c in frame.columns if c not in ("series", "ordinal", "ds")]
    out = pl.DataFrame(
        {
            "series": np.repeat(np.arange(n_series, dtype=series.dtype), lengths),
            "ordinal": ordinal,
            "ds": grid.timestamps(pl.Series(ordinal)),
        }
    )
    filled = frame.select(pl.col(columns).gather(rows))
    return out.hstack(filled), offsets
