"""Changes of a source's rows: another future after a cutoff, or the same rows presented otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import polars as pl

from engine.data.calendar import Frequency, TimeGrid, local_time
from engine.spec.model import RunSpec

Change = Callable[[pl.LazyFrame], pl.LazyFrame]

FAR = 1 << 40
"""Later than any period."""


@dataclass(frozen=True)
class Cutoff:
    """A cutoff in a source's own rows: which of them are after it, before a panel is built.

    ordinal: the cutoff on `grid`. reach: periods for which future covariates are known.
    """

    spec: RunSpec
    grid: TimeGrid
    ordinal: int

    @property
    def reach(self) -> int:
        """Periods after the cutoff for which future covariates are known: gap + horizon."""
        return self.spec.gap + self.spec.horizon

    def ahead(self, schema: pl.Schema) -> pl.Expr:
        """Periods of each row after the cutoff; zero or less up to it."""
        data = self.spec.data
        time = pl.col(data.columns.ds)
        place = self.grid.ordinal(local_time(time, schema[data.columns.ds], self.grid.freq))
        if data.series.align == "end":
            last = place.filter(pl.col(data.columns.y).is_not_null())
            place = place + last.max() - last.max().over(data.columns.keys)
        return place - self.ordinal

    def readable(self, schema: pl.Schema) -> bool:
        """Whether rows with this schema can be placed in time: raw rows may lack `ds` or keys."""
        columns = self.spec.data.columns
        needed = (*columns.keys, columns.ds, columns.y)
        if not all(c in schema for c in needed):
            return False
        time = local_time(pl.col(columns.ds), schema[columns.ds], self.grid.freq)
        empty = pl.DataFrame(schema={columns.ds: schema[columns.ds]})
        return empty.select(time).schema[columns.ds] == self.grid.dtype


@dataclass(frozen=True)
class Disturbance:
    """Another future. `kind`: `noise`, `extreme` (a thousand times the spread) or `missing`."""

    kind: str
    seed: int

    def change(self, cutoff: Cutoff, first: int = 1, last: int = FAR) -> Change:
        """The change of rows `first..last` periods after the cutoff.

        The target and past covariates change there, future covariates only beyond what is known.
        """
        return partial(_disturbed, disturbance=self, cutoff=cutoff, first=first, last=last)


def as_of(cutoff: Cutoff) -> Change:
    """The rows as they were at the cutoff: no target and no past covariate is known after it."""

    def change(rows: pl.LazyFrame) -> pl.LazyFrame:
        schema = rows.collect_schema()
        if not cutoff.readable(schema):
            return rows
        data = cutoff.spec.data
        hidden = [c for c in (data.columns.y, *data.covariates.past) if c in schema]
        return rows.with_columns(
            pl.when(cutoff.ahead(schema) <= 0).then(pl.col(c)).alias(c) for c in hidden
        )

    return change


def _disturbed(
    rows: pl.LazyFrame, disturbance: Disturbance, cutoff: Cutoff, first: int, last: int
) -> pl.LazyFrame:
    schema = rows.collect_schema()
    if not cutoff.readable(schema):
        return rows
    data, ahead = cutoff.spec.data, cutoff.ahead(schema)
    observed = ahead.is_between(first, last)
    unknown = observed & (ahead > cutoff.reach)
    place = pl.struct(*data.columns.keys, data.columns.ds)
    changed = []
    for number, column in enumerate((data.columns.y, *data.covariates.past)):
        if column in schema:
            changed.append(_changed(column, schema[column], observed, place, disturbance, number))
    for number, column in enumerate(data.covariates.future, start=100):
        if column in schema and disturbance.kind != "missing":
            changed.append(_changed(column, schema[column], unknown, place, disturbance, number))
    return rows.with_columns(changed)


def _changed(
    column: str,
    dtype: pl.DataType,
    where: pl.Expr,
    place: pl.Expr,
    disturbance: Disturbance,
    number: int,
) -> pl.Expr:
    """A column with other values, of its own type, sign and set of categories, in some rows.

    Nulls stay, so that every series begins and the panel ends where it did.
    """
    value = pl.col(column)
    seed = disturbance.seed * 1_000 + number
    draw = (place.hash(seed) % 1_000_003).cast(pl.Float64) / 1_000_003
    where = where & value.is_not_null()
    if disturbance.kind == "missing":
        return pl.when(where & (draw < 0.3)).then(None).otherwise(value).alias(column)
    if not (dtype.is_numeric() or dtype == pl.Boolean):
        other = value.sort_by(draw).over(where)
    elif dtype == pl.Boolean:
        other = draw < 0.5
    else:
        number_ = value.cast(pl.Float64)
        spread = pl.max_horizontal(number_.max() - number_.min(), pl.lit(1.0))
        scale = 1_000.0 if disturbance.kind == "extreme" else 1.0
        other = number_.min() + draw * scale * spread
        if dtype.is_integer():
            other = other.round()
        # A value that the type cannot hold would be an error of the prover, not of a plugin.
        other = other.cast(dtype, strict=False).fill_null(value)
    return pl.when(where).then(other).otherwise(value).alias(column)


def shuffled(seed: int) -> Change:
    """The rows in another order."""
    return lambda rows: rows.collect().sample(fraction=1.0, shuffle=True, seed=seed).lazy()


def reversed_series(keys: Sequence[str]) -> Change:
    """The series in opposite order, the rows of each as they were."""
    return lambda rows: rows.sort(keys, descending=True, maintain_order=True)


def with_strangers(spec: RunSpec, seed: int) -> Change:
    """The rows and as many series again that have nothing to do with them, last in order."""
    columns = spec.data.columns

    def change(rows: pl.LazyFrame) -> pl.LazyFrame:
        key, dtype = columns.keys[0], rows.collect_schema()[columns.keys[0]]
        if dtype.is_integer():
            renamed = pl.col(key) + pl.col(key).max() - pl.col(key).min() + 1
        else:
            rows = rows.with_columns(pl.col(key).cast(pl.String))
            renamed = pl.lit("~") + pl.col(key)
        place = pl.struct(*columns.keys, columns.ds)
        noise = 0.5 + (place.hash(seed) % 1_009).cast(pl.Float64) / 1_009
        others = rows.with_columns(
            renamed.alias(key),
            (pl.col(columns.y).cast(pl.Float64) * noise).alias(columns.y),
        )
        first = rows.with_columns(pl.col(columns.y).cast(pl.Float64))
        return pl.concat([first, others])

    return change


def retyped(spec: RunSpec, schema: pl.Schema) -> dict[str, Change]:
    """The same values in other types, by a name for each; only those that lose nothing."""
    columns, covariates, out = spec.data.columns, spec.data.covariates, _times(spec, schema)
    texts = [c for c in columns.keys if schema[c] in (pl.Categorical, pl.Enum, pl.String)]
    if texts:
        out["keys as categories"] = _cast(pl.col(texts).cast(pl.String).cast(pl.Categorical))
    whole = [c for c in columns.keys if schema[c].is_integer()]
    if whole:
        out["keys in 64 bits"] = _cast(pl.col(whole).cast(pl.Int64))
    others = [*covariates.future, *covariates.past, *covariates.static]
    words = [c for c in others if schema[c] in (pl.Categorical, pl.Enum, pl.String)]
    if words:
        out["words as categories"] = _cast(pl.col(words).cast(pl.String).cast(pl.Categorical))
    flags = [c for c in others if schema[c] == pl.Boolean and c not in covariates.static]
    if flags:
        out["flags as numbers"] = _cast(pl.col(flags).cast(pl.Int8))
    numbers = [c for c in others if schema[c].is_numeric() and c not in covariates.static]
    out["numbers as floats"] = _cast(pl.col(columns.y, *numbers).cast(pl.Float64))
    return out


def _times(spec: RunSpec, schema: pl.Schema) -> dict[str, Change]:
    """The same times as datetimes, in time zones, in other units, in other integers."""
    ds = spec.data.columns.ds
    time, dtype, out = pl.col(ds), schema[ds], dict[str, Change]()
    if dtype.is_integer():
        return {"ds in 64 bits": _cast(time.cast(pl.Int64))}
    long = Frequency.parse(spec.data.freq).unit not in ("h", "min")
    stamps = time.cast(pl.Datetime("us")) if dtype == pl.Date else time
    if dtype == pl.Date:
        out["ds as datetime"] = _cast(stamps)
    else:
        out["ds in nanoseconds"] = _cast(time.dt.cast_time_unit("ns"))
    if dtype == pl.Date or dtype.time_zone is None:  # type: ignore[attr-defined]
        # Hours that a zone skips or repeats are other times; days are the same everywhere.
        zones = ("UTC", "America/New_York", "Asia/Kolkata") if long else ("UTC",)
        for zone in zones:
            here = stamps.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="raise")
            out[f"ds in the time zone {zone}"] = _cast(here)
    elif long:
        out["ds without its time zone"] = _cast(time.dt.replace_time_zone(None))
    return out


def _cast(expr: pl.Expr) -> Change:
    return lambda rows: rows.with_columns(expr)
