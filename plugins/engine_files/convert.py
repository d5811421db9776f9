"""Types of columns: strict conversions that say which values do not convert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from engine.errors import DataError
from engine_files.columns import require

_TRUE = ("true", "t", "yes", "y", "1", "ja", "oui", "si", "sí", "sim")
_FALSE = ("false", "f", "no", "n", "0", "nein", "non", "não")
_SHOWN = 3
_TIME_PARTS = ("%H", "%I", "%T", "%R", "%X", "%c", "%s", "%p", "%k", "%l", "%r")
_DAY_PARTS = ("%d", "%e", "%j", "%D", "%F", "%x", "%v", "%c", "%s", "%U", "%W", "%V", "%G")
_MONTH_PARTS = ("%m", "%b", "%B", "%h")


@dataclass(frozen=True, slots=True)
class _Conversion:
    column: str
    to: str
    expr: pl.Expr
    failed: pl.Expr
    hint: str


@dataclass(frozen=True, slots=True)
class _Moment:
    """`date` or `datetime`, and the format of its text; None for ISO 8601."""

    to: str
    format: str | None


def convert(
    frame: pl.LazyFrame, types: Mapping[str, str], formats: Mapping[str, str], place: str
) -> pl.LazyFrame:
    """Columns in the stated types; the other columns are left as they are.

    Conversions that can fail are checked on those columns alone, at once; a DataError gives the
    number of values that do not convert and the first of them.
    """
    wanted = dict.fromkeys(formats, "") | dict(types)
    if not wanted:
        return frame
    schema = frame.collect_schema()
    require(wanted, schema.names(), option="types/formats", place=place)
    found = [
        _conversion(column, schema[column], to, formats.get(column), place)
        for column, to in wanted.items()
    ]
    conversions = [c for c in found if c is not None]
    if not conversions:
        return frame
    _check(frame, [c for c in conversions if schema[c.column] != pl.Null], place)
    return frame.with_columns(c.expr.alias(c.column) for c in conversions)


def _check(frame: pl.LazyFrame, conversions: Sequence[_Conversion], place: str) -> None:
    if not conversions:
        return
    counts = frame.select(c.failed.sum().alias(c.column) for c in conversions).collect()
    for conversion in conversions:
        count = counts[conversion.column].item()
        if not count:
            continue
        column = pl.col(conversion.column)
        distinct = column.filter(conversion.failed).unique(maintain_order=True).head(_SHOWN)
        first = frame.select(distinct).collect().to_series().to_list()
        raise DataError(
            f"column {conversion.column!r} of {place}: {count} values are not of type "
            f"{conversion.to}, first {', '.join(repr(v) for v in first)}",
            hint=conversion.hint,
        )


def _conversion(
    column: str, dtype: pl.DataType, to: str, format: str | None, place: str
) -> _Conversion | None:
    """The conversion of one column; None if it has the type already."""
    to = to or ("datetime" if _has_time(format or "") else "date")
    source = pl.col(column)
    if isinstance(dtype, pl.Categorical | pl.Enum):
        source, dtype = source.cast(pl.String), pl.String()
    if to in ("date", "datetime"):
        return _dates(column, source, dtype, _Moment(to, format), place)
    is_text = dtype == pl.String
    text = source.str.strip_chars() if is_text else source
    null_values = "name them: csv: {null_values: [...]}, or leave them out with `where`"
    if to == "string":
        return None if is_text else _Conversion(column, to, source.cast(pl.String), _none(), "")
    if to == "category":
        return _Conversion(column, to, source.cast(pl.String).cast(pl.Categorical), _none(), "")
    if to == "bool" and is_text:
        lower = text.str.to_lowercase()
        flag: pl.Expr = pl.when(lower.is_in(_TRUE)).then(True).when(lower.is_in(_FALSE)).then(False)
        hint = "flags are written true/false, yes/no, ja/nein, ... or 1/0; derive others with a CASE expression"
        return _Conversion(column, to, flag, _lost(source, flag), hint)
    target = {"int": pl.Int64, "float": pl.Float64, "bool": pl.Boolean}[to]
    if not (is_text or dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
        raise DataError(
            f"column {column!r} of {place} has type {dtype}, which cannot become {to}",
            hint='derive what you need from it, e.g. derive: {month: "EXTRACT(MONTH FROM ds)"}',
        )
    new = text.cast(target, strict=False)
    failed = _lost(source, new)
    if to == "int" and dtype.is_float():
        failed = failed | (source != source.floor())
    hint = null_values if is_text else "use type float, or round the column with `derive`"
    return _Conversion(column, to, new, failed, hint)


def _dates(
    column: str, source: pl.Expr, dtype: pl.DataType, moment: _Moment, place: str
) -> _Conversion | None:
    to, format = moment.to, moment.format
    if isinstance(dtype, pl.Datetime) or dtype in (pl.Date, pl.Null):
        target: pl.DataType = pl.Date() if to == "date" else pl.Datetime("us")
        has = dtype == pl.Date if to == "date" else isinstance(dtype, pl.Datetime)
        return None if has else _Conversion(column, to, source.cast(target), _none(), "")
    if dtype != pl.String and format is None:
        raise DataError(
            f"column {column!r} of {place} has type {dtype}, which is not text to read a {to} from",
            hint=f"state its format, e.g. formats: {{{column}: '%Y%m%d'}}",
        )
    text = source.cast(pl.String).str.strip_chars()
    if format is not None:
        new = _parsed(text, format, to)
        hint = f"correct the format {format!r}: formats: {{{column}: ...}}"
    else:
        new = _iso(text, to)
        hint = f"they are not ISO 8601; state the format, e.g. formats: {{{column}: '%d.%m.%Y'}}"
    return _Conversion(column, to, new, _lost(source, new), hint)


def _parsed(text: pl.Expr, format: str, to: str) -> pl.Expr:
    """Dates in a chrono format; what it leaves out is the first month, the first day."""
    if not any(part in format for part in _DAY_PARTS):
        missing = [] if any(part in format for part in _MONTH_PARTS) else ["%m"]
        missing.append("%d")
        text = pl.concat_str(text, pl.lit(" " + " ".join("01" for _ in missing)))
        format = f"{format} {' '.join(missing)}"
    if not _has_time(format):
        new = text.str.to_date(format, strict=False)
        return new if to == "date" else new.cast(pl.Datetime("us"))
    moment = text.str.to_datetime(format, time_unit="us", strict=False)
    return moment if to == "datetime" else moment.dt.date()


def _iso(text: pl.Expr, to: str) -> pl.Expr:
    if to == "date":
        return text.str.to_date("%Y-%m-%d", strict=False)
    spaced = text.str.replace("T", " ", literal=True)
    written = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M")
    moments = [spaced.str.to_datetime(f, time_unit="us", strict=False) for f in written]
    whole_day = spaced.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
    return pl.coalesce(*moments, whole_day)


def _has_time(format: str) -> bool:
    return any(part in format for part in _TIME_PARTS)


def _lost(source: pl.Expr, new: pl.Expr) -> pl.Expr:
    return source.is_not_null() & new.is_null()


def _none() -> pl.Expr:
    return pl.lit(False)
