"""Guesses what the columns of a data file mean: keys, time, target, frequency, covariates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from engine.errors import DataError

_TARGET_NAMES = ("y", "target", "sales", "units", "demand", "quantity", "qty", "value", "volume",
                 "menge", "absatz", "umsatz", "verkauf", "ventas", "cantidad", "unidades", "ventes",
                 "quantité", "vendite", "quantità", "aantal", "vendas", "quantidade")  # fmt: skip
_TIME_NAMES = (
    "ds",
    "date",
    "timestamp",
    "time",
    "datetime",
    "week",
    "week_start",
    "month",
    "day",
    "t",
)
_KEY_NAMES = ("unique_id", "id", "series", "item", "item_id", "sku", "product", "store", "store_id",
              "shop", "dept", "brand", "region", "location", "customer",
              "artikel", "filiale", "markt", "producto", "tienda", "produit", "magasin", "articolo",
              "negozio", "produto", "loja", "winkel")  # fmt: skip
_PRICE_NAMES = ("price", "preis", "precio", "prix", "prezzo", "preço", "prijs")
_KNOWN_AHEAD = (*_PRICE_NAMES, "promo", "holiday", "deal", "feat", "discount", "event", "campaign", "open",
                "snap", "aktion", "rabatt", "feiertag", "descuento", "festivo", "remise", "sconto",
                "desconto", "feriado", "actie", "korting")  # fmt: skip

ONE_SERIES = "unique_id"
"""Key of data that hold a single series and no column to name it."""


@dataclass(frozen=True)
class Guess:
    """What a data file is taken to hold.

    keys, ds, y, freq: as in a spec; `ONE_SERIES` for a key that the data lack. gaps: whether series
    lack rows. future, past, static: covariates by role. prices, flags: those of `future` that are
    numbers. incomplete: those of `future` with missing values. longest: rows of the longest series.
    beyond: whether rows after the last observed target say what is known ahead.
    """

    keys: list[str]
    ds: str
    y: str
    freq: str | int
    gaps: bool
    future: list[str]
    past: list[str]
    static: list[str]
    prices: list[str]
    flags: list[str]
    incomplete: list[str]
    longest: int
    beyond: bool


def guess_columns(frame: pl.DataFrame, target: str | None = None) -> Guess:
    """The likeliest meaning of every column; DataError without a time or target column.

    target: the target's column where it is known.
    """
    ds = _time_column(frame)
    y = target or _target_column(frame, ds)
    rest = [c for c in frame.columns if c not in (ds, y)]
    keys = _key_columns(frame, rest, ds)
    if not keys:
        frame, keys = frame.with_columns(pl.lit("all").alias(ONE_SERIES)), [ONE_SERIES]
    rest = [c for c in rest if c not in keys]
    static = [c for c in rest if _constant(frame, c, keys)]
    moving = [c for c in rest if c not in static and not frame[c].dtype.is_temporal()]
    future = [c for c in moving if any(word in c.lower() for word in _KNOWN_AHEAD)]
    past = [c for c in moving if c not in future and frame[c].dtype.is_numeric()]
    freq, gaps, longest = _frequency(frame, keys, ds)
    incomplete = [c for c in future if frame[c].null_count()]
    numbers = [c for c in future if frame[c].dtype.is_numeric() or frame[c].dtype == pl.Boolean]
    prices = [c for c in numbers if any(word in c.lower() for word in _PRICE_NAMES)]
    flags = [c for c in numbers if c not in prices]
    last = frame.filter(pl.col(y).is_not_null())[ds].max()
    beyond = last is not None and bool((frame[ds] > last).any())
    return Guess(
        keys, ds, y, freq, gaps, future, past, static, prices, flags, incomplete, longest, beyond
    )  # fmt: skip


def _time_column(frame: pl.DataFrame) -> str:
    dated = [c for c in frame.columns if frame[c].dtype.is_temporal()]
    named = [c for c in frame.columns if c.lower() in _TIME_NAMES and frame[c].dtype.is_integer()]
    for candidates in (dated, named):
        if candidates:
            ranked = sorted(candidates, key=lambda c: _rank(c, _TIME_NAMES))
            return ranked[0]
    raise DataError(
        f"no time column among {', '.join(frame.columns)}",
        hint="a date column, or an integer column named ds or t, is needed; in a wide file with one "
        "column a period, write the spec by hand with `wide:`, see docs/spec.md",
    )


def _target_column(frame: pl.DataFrame, ds: str) -> str:
    numbers = [c for c in frame.columns if frame[c].dtype.is_numeric() and c != ds]
    named = [c for c in numbers if any(word in c.lower().split("_") for word in _TARGET_NAMES)]
    named = named or [
        c for c in numbers if any(w in c.lower() for w in _TARGET_NAMES if len(w) > 1)
    ]
    if named:
        return sorted(named, key=lambda c: _rank(c, _TARGET_NAMES))[0]
    numbers = [c for c in numbers if _rank(c, _KEY_NAMES) == len(_KEY_NAMES)]
    floats = [c for c in numbers if frame[c].dtype.is_float()] or numbers
    if not floats:
        raise DataError("no numeric column that could be the target")
    return floats[-1]


def _rank(column: str, names: Sequence[str]) -> int:
    parts = (column.lower(), *column.lower().split("_"))
    return min((names.index(p) for p in parts if p in names), default=len(names))


def _key_columns(frame: pl.DataFrame, rest: list[str], ds: str) -> list[str]:
    """The fewest likely columns that make (keys, ds) unique; none for a single series."""
    likely = [
        c
        for c in rest
        if frame[c].dtype.is_integer()
        or isinstance(frame[c].dtype, pl.String | pl.Categorical | pl.Enum)
    ]
    likely.sort(key=lambda c: (_rank(c, _KEY_NAMES), frame.columns.index(c)))
    chosen: list[str] = []
    best = frame[ds].n_unique()
    for column in likely:
        if best == frame.height:
            break
        distinct = frame.select(ds, *chosen, column).unique().height
        if distinct > best:
            chosen.append(column)
            best = distinct
    for column in list(chosen):
        fewer = [c for c in chosen if c != column]
        if fewer and frame.select(ds, *fewer).unique().height == best:
            chosen = fewer
    if best < frame.height and not chosen:
        raise DataError(
            f"several rows have the same time in {ds!r}, and no column tells them apart",
            hint="add a column of whole numbers or text that names the series of each row",
        )
    # A single series may be named by a column all the same.
    return chosen or [c for c in likely if _rank(c, _KEY_NAMES) < len(_KEY_NAMES)][:1]


def _constant(frame: pl.DataFrame, column: str, keys: list[str]) -> bool:
    varying = frame.group_by(keys).agg(pl.col(column).drop_nulls().n_unique())[column]
    return bool((varying <= 1).all())


def _frequency(frame: pl.DataFrame, keys: list[str], ds: str) -> tuple[str | int, bool, int]:
    """Commonest distance between rows of a series, whether there are longer ones, longest series."""
    ordered = frame.select(*keys, ds).sort(*keys, ds)
    steps = ordered.select(pl.col(ds).diff().over(keys)).to_series().drop_nulls()
    longest = int(frame.group_by(keys).len()["len"].max() or 0)  # type: ignore[arg-type]
    steps = steps.filter(steps.cast(pl.Int64) > 0)
    if steps.is_empty():
        raise DataError(
            f"no series has two different times in {ds!r}, so no frequency can be seen",
            hint=f"taken as keys: {', '.join(keys)}",
        )
    if frame[ds].dtype.is_integer():
        step = int(steps.mode().min())  # type: ignore[arg-type]
        return step, bool((steps > step).any()), longest
    seconds = steps.dt.total_seconds()
    commonest = int(seconds.mode().min())  # type: ignore[arg-type]
    days = commonest / 86_400
    table = ((1, "1d"), (7, "1w"), (31, "1mo"), (92, "1q"), (366, "1y"))
    name = next((n for d, n in table if days == d), None)
    name = name or next(
        (
            n
            for low, high, n in ((28, 31, "1mo"), (89, 92, "1q"), (365, 366, "1y"))
            if low <= days <= high
        ),
        None,
    )
    if name is None:
        name = f"{commonest // 3600}h" if commonest % 3600 == 0 else f"{commonest // 60}min"
    tolerance = {"1mo": 31, "1q": 92, "1y": 366}.get(name)
    limit = tolerance * 86_400 if tolerance else commonest
    return name, bool((seconds > limit).any()), longest


def periods(columns: Sequence[str], formats: Sequence[str]) -> list[str]:
    """Columns that are named by times, one a period, as in a wide table; none if fewer than three."""
    for written in formats:
        names = pl.Series(columns, dtype=pl.String)
        found = names.filter(_times(names, written).is_not_null()).to_list()
        if len(found) > 2:
            return found
    return []


def _times(names: pl.Series, written: str) -> pl.Series:
    """Names as dates; a format without a day means the first of the month."""
    if "%d" not in written and written:
        names, written = names + " 01", f"{written} %d"
    return names.str.to_date(written or "%Y-%m-%d", strict=False)
