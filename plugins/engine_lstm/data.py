"""Panels as arrays for the network: levels, standardised covariates, flags for what is missing.

Everything at a date is made of that date and earlier ones, so a stretch may be cut anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.data.panel import Future, Panel
from engine.errors import DataError
from engine_lstm.encoding import LIMIT, Columns, Encoding, Float32
from engine_lstm.levels import above_offset, averages, levels_over_time, running_mean

_PART = 1 << 24
"""Values of a part of a panel that is encoded by itself."""


@dataclass(frozen=True)
class Arrays:
    """A panel for the network, aligned at the last row; zeros before a series begins.

    own: (series, time, channel), what is known once a date has passed. known: (series, time,
    channel), known ahead. y, seen, level, scale: (series, time); y is NaN-free, `seen` says where
    it was observed; a forecast z stands for `level + scale * z`. offset: (series, time, 2), the
    offset of y and where there is one, as y in the space of the network; no channels without the
    option. first: (series,) index of the first row. numbers: (series, n); codes: int32 (series, m).
    """

    own: Float32
    known: Float32
    y: Float32
    seen: npt.NDArray[np.bool_]
    level: Float32
    scale: Float32
    offset: Float32
    first: npt.NDArray[np.int32]
    numbers: Float32
    codes: npt.NDArray[np.int32]


def learn_encoding(
    panel: Panel,
    *,
    span: int,
    season: int,
    season_terms: int,
    static_keys: bool,
    effects: tuple[int, ...] | None = None,
    log1p: bool = False,
    robust: bool = False,
    censored: str | None = None,
    offset: str | None = None,
) -> Encoding:
    """Training statistics of a panel; a DataError if it holds no observed y."""
    if censored is not None and censored not in panel.numeric(panel.roles.past):
        raise DataError(
            f"lstm: censored is {censored!r}, which is no numeric past covariate that it is given",
            hint=f"one of: {', '.join(panel.numeric(panel.roles.past)) or 'there are none'}",
        )
    if offset is not None and offset not in panel.numeric(panel.roles.future):
        raise DataError(
            f"lstm: offset is {offset!r}, which is no numeric covariate or feature known ahead that it "
            "is given",
            hint=f"one of: {', '.join(panel.numeric(panel.roles.future)) or 'there are none'}; a feature is "
            "given by the model's `features`, one of a season if that is at least gap + horizon long",
        )
    roles = panel.roles
    future = tuple(c for c in panel.numeric(roles.future) if c != offset)
    past = panel.numeric(roles.past)
    numbers = panel.numeric(roles.static)
    names = [c for c in roles.static if c not in numbers]
    names = [*(roles.keys if static_keys else ()), *names]
    categories = tuple((c, _levels(panel.series[c])) for c in dict.fromkeys(names))
    plain = Encoding(
        span=span,
        season=season,
        season_terms=min(season_terms, season // 2),
        effects=effects,
        log1p=log1p,
        robust=robust,
        censored=censored,
        offset=offset,
        future=Columns.of(future, (_column(panel.frame, c) for c in future)),
        past=Columns.of(past, (_column(panel.frame, c) for c in past)),
        numbers=Columns.of(numbers, (_column(panel.series, c) for c in numbers)),
        categories=categories,
    )
    return _with_units(plain, panel)


def targets(panel: Panel, encoding: Encoding, periods: int = 0) -> Float32:
    """y (series, time) in the space of the network, NaN where it is missing or censored.

    Time runs over the longest series, or over `periods` if that is more.
    """
    y = panel.dense(["y"], periods)[..., 0]
    if encoding.censored is not None:
        hidden = panel.dense([encoding.censored], periods)[..., 0] > 0
        y = np.where(hidden, np.float32(np.nan), y)
    if not encoding.log1p:
        return y
    negative = int((y < 0).sum())
    if negative:
        raise DataError(
            f"lstm: log1p needs y >= 0, but {negative} values are negative",
            hint="set log1p to false, or clean the target",
        )
    return np.log1p(y)


def _with_units(plain: Encoding, panel: Panel) -> Encoding:
    y = targets(panel, plain)
    seen = ~np.isnan(y)
    if not seen.any():
        raise DataError(
            f"lstm: none of the {panel.n_series} series has an observed y up to the cutoff",
            hint="begin the backtest later or check the target column",
        )
    level, size = levels_over_time(y, plain)
    ever = seen.any(1)
    usable = seen & (size > 0)
    distance = np.abs(y - level)[usable] / size[usable]
    unit = float(distance.mean()) if usable.any() else 0.0
    logs = np.log(size[usable], dtype=np.float64) if usable.any() else np.zeros(1)
    return Encoding(
        **{
            **plain.__dict__,
            "unit": unit if unit > 1e-6 else 1.0,
            "level": float(np.median(level[ever, -1])),
            "size": float(np.median(size[ever, -1])),
            "log_size": (float(logs.mean()), float(logs.std()) or 1.0),
        }
    )


def in_parts(
    panel: Panel, encoding: Encoding, series: npt.NDArray[np.int64]
) -> Iterator[npt.NDArray[np.int64]]:
    """Numbers of series, so many at a time that the system has not to give and take memory for each."""
    periods = int(panel.lengths.max(initial=1))
    size = max(_PART // (encoding.width * periods), 1)
    return (series[first : first + size] for first in range(0, series.size, size))


def encode(panel: Panel, encoding: Encoding, periods: int = 0) -> Arrays:
    """Arrays of a history, of at least so many dates; the panel is left as it is.

    Those of a series do not depend on the others: a panel may be encoded in parts.
    """
    y = targets(panel, encoding, periods)
    seen = ~np.isnan(y)
    first = (y.shape[1] - panel.lengths).astype(np.int32)
    began = np.arange(y.shape[1]) >= first[:, None]
    level, size = levels_over_time(y, encoding)
    scale = size * np.float32(encoding.unit)
    safe = np.where(scale > 0, scale, np.float32(1))
    z = np.where(seen & (scale > 0), np.nan_to_num(y - level) / safe, 0.0)
    mean, deviation = encoding.log_size
    log_size = (np.log(np.where(size > 0, size, np.exp(mean))) - mean) / deviation
    age = np.log1p(np.cumsum(seen, axis=1)) / np.log1p(encoding.span)
    ordinals = panel.end - y.shape[1] + 1 + np.arange(y.shape[1])
    known = _known(panel.dense(encoding.future.names, periods), ordinals, encoding)
    past, past_gaps = encoding.past.standardised(panel.dense(encoding.past.names, periods))
    usual = running_mean(known[..., : len(encoding.future.names)], began, encoding.span)
    single = [np.clip(z, -LIMIT, LIMIT), seen, log_size, age]
    own = [np.stack(single, axis=-1, dtype=np.float32), past, past_gaps, usual]
    if encoding.effects is not None:
        own.append(averages(y, (level, safe), known, encoding))
    offset = _offset(panel.dense(_offset_name(encoding), periods), encoding)
    if encoding.offset is not None:
        own.append(above_offset(y, offset, safe, encoding))
    numbers, _ = encoding.numbers.standardised(_table(panel.series, encoding.numbers.names))
    inside = began[..., None]
    channels = np.concatenate(own, axis=-1, dtype=np.float32)
    for array in (channels, known):
        array *= inside
    return Arrays(
        own=channels,
        known=known,
        y=np.nan_to_num(y),
        seen=seen,
        level=level,
        scale=scale,
        offset=offset * inside,
        first=first,
        numbers=numbers,
        codes=_codes(panel.series, encoding),
    )


def read_values(panel: Panel, encoding: Encoding) -> Iterator[npt.NDArray[Any]]:
    """Everything of a panel that `encode` reads, an array at a time."""
    yield np.append(panel.lengths, panel.end)
    yield targets(panel, encoding)
    for name in (*encoding.future.names, *encoding.past.names, *_offset_name(encoding)):
        yield _column(panel.frame, name)
    yield _table(panel.series, encoding.numbers.names)
    yield _codes(panel.series, encoding)


def encode_future(future: Future, end: int, encoding: Encoding) -> tuple[Float32, Float32]:
    """Channels known ahead of the steps after ordinal `end`, (series, gap + horizon, channel).

    The second are the channels of `Arrays.offset`.
    """
    ordinals = end + 1 + np.arange(future.ahead_max)
    known = _known(future.dense(encoding.future.names), ordinals, encoding)
    return known, _offset(future.dense(_offset_name(encoding)), encoding)


def last_dates(values: Float32, context: int) -> Float32:
    """The last `context` dates of (series, time, channel), zeros in front of a short history."""
    recent = values[:, -context:]
    return np.pad(recent, [(0, 0), (context - recent.shape[1], 0), (0, 0)])


def _offset_name(encoding: Encoding) -> tuple[str, ...]:
    return () if encoding.offset is None else (encoding.offset,)


def _offset(values: Float32, encoding: Encoding) -> Float32:
    """The channels of `Arrays.offset`, (series, time, 2), or none; values: of its column, if any."""
    if encoding.log1p:
        values = np.log1p(np.maximum(values, 0.0))
    there = np.isfinite(values)
    return np.concatenate([np.where(there, values, 0.0), there], axis=-1).astype(np.float32)


def _known(values: Float32, ordinals: npt.NDArray[np.int64], encoding: Encoding) -> Float32:
    scaled, gaps = encoding.future.standardised(values)
    turns = (ordinals % encoding.season) / encoding.season
    orders = np.arange(1, encoding.season_terms + 1)
    angle = 2 * np.pi * turns[:, None] * orders
    # The constant marks dates on which the series exists; before them all channels are zero.
    dates = np.concatenate([np.ones((len(ordinals), 1)), np.sin(angle), np.cos(angle)], axis=1)
    shared = np.broadcast_to(dates.astype(np.float32), (len(values), *dates.shape))
    return np.concatenate([scaled, gaps, shared], axis=-1)


def _column(frame: pl.DataFrame, column: str) -> Float32:
    """A column as (rows,) float32, NaN where missing."""
    values: Float32 = frame[column].cast(pl.Float32).fill_null(float("nan")).to_numpy()
    return values


def _table(frame: pl.DataFrame, columns: tuple[str, ...]) -> Float32:
    """Columns as (rows, column) float32, NaN where missing."""
    out = np.empty((frame.height, len(columns)), dtype=np.float32)
    for number, column in enumerate(columns):
        out[:, number] = _column(frame, column)
    return out


def _levels(values: pl.Series) -> tuple[str, ...]:
    return tuple(sorted(values.drop_nulls().cast(pl.String).unique().to_list()))


def _codes(series: pl.DataFrame, encoding: Encoding) -> npt.NDArray[np.int32]:
    out = np.zeros((series.height, len(encoding.categories)), dtype=np.int32)
    for number, (column, levels) in enumerate(encoding.categories):
        code = {level: i + 1 for i, level in enumerate(levels)}
        texts = series[column].cast(pl.String).to_list()
        out[:, number] = [code.get(text, 0) for text in texts]
    return out
