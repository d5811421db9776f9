"""Panels as arrays for the network: levels, standardised covariates, flags for what is missing.

Everything at a date is made of that date and earlier ones, so a stretch may be cut anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.data.panel import Future, Panel
from engine.errors import DataError

Float32 = npt.NDArray[np.float32]

_CONSTANT = 1e30  # deviation of a column that never changed
_LIMIT = 10.0  # standard deviations beyond which a covariate says no more


@dataclass(frozen=True)
class Columns:
    """Numeric columns and their training statistics, as parallel tuples.

    gaps: True for a column with missing values in training; it gets a channel of its own for them.
    """

    names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    gaps: tuple[bool, ...] = ()

    @classmethod
    def of(cls, names: tuple[str, ...], values: Float32) -> Columns:
        """Statistics of values (rows, column), ignoring NaN.

        What was constant in training has taught nothing: it reads as 0 whatever it does later.
        """
        present = ~np.isnan(values)
        count = np.maximum(present.sum(0), 1)
        mean = np.where(present, values, 0).sum(0, dtype=np.float64) / count
        squares = np.where(present, values - mean, 0.0) ** 2
        deviation = np.sqrt(squares.sum(0) / count)
        deviation = np.where(deviation > 1e-6 * np.abs(mean) + 1e-12, deviation, _CONSTANT)
        gaps = tuple(bool(g) for g in ~present.all(0))
        return cls(names, tuple(map(float, mean)), tuple(map(float, deviation)), gaps)

    def standardised(self, values: Float32) -> tuple[Float32, Float32]:
        """Values (..., column) in deviations with 0 where missing, and the channels of gaps."""
        missing = np.isnan(values)
        scaled = (values - np.array(self.mean)) / np.array(self.deviation)
        scaled = np.where(missing, 0.0, np.clip(scaled, -_LIMIT, _LIMIT))
        flags = missing[..., np.array(self.gaps, dtype=bool)]
        return scaled.astype(np.float32), flags.astype(np.float32)


@dataclass(frozen=True)
class Encoding:
    """What was learned from the training panel about turning panels into arrays.

    span: steps over which levels are averaged. season, season_terms: Fourier terms of the date.
    log1p, robust, censored: as in the options. categories: for each static column of categories its
    name and its levels (code 0 = unknown). unit: usual distance of y from its level, as a share of
    its size. level, size: those of a typical series, for one that was never observed. log_size: mean
    and deviation of log size.
    """

    span: int
    season: int
    season_terms: int
    effects: tuple[int, ...] | None
    log1p: bool
    robust: bool
    censored: str | None
    future: Columns
    past: Columns
    numbers: Columns
    categories: tuple[tuple[str, tuple[str, ...]], ...]
    unit: float = 1.0
    level: float = 0.0
    size: float = 1.0
    log_size: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Arrays:
    """A panel for the network, aligned at the last row; zeros before a series begins.

    own: (series, time, channel), what is known once a date has passed. known: (series, time,
    channel), known ahead. y, seen, level, scale: (series, time); y is NaN-free, `seen` says where
    it was observed; a forecast z stands for `level + scale * z`. first: (series,) index of the
    first row. numbers: (series, n); codes: int32 (series, m).
    """

    own: Float32
    known: Float32
    y: Float32
    seen: npt.NDArray[np.bool_]
    level: Float32
    scale: Float32
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
) -> Encoding:
    """Training statistics of a panel; a DataError if it holds no observed y."""
    if censored is not None and censored not in panel.numeric(panel.roles.past):
        raise DataError(
            f"lstm: censored is {censored!r}, which is no numeric past covariate that it is given",
            hint=f"one of: {', '.join(panel.numeric(panel.roles.past)) or 'there are none'}",
        )
    roles = panel.roles
    future, past = panel.numeric(roles.future), panel.numeric(roles.past)
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
        future=Columns.of(future, _table(panel.frame, future)),
        past=Columns.of(past, _table(panel.frame, past)),
        numbers=Columns.of(numbers, _table(panel.series, numbers)),
        categories=categories,
    )
    return _with_units(plain, panel)


def _targets(panel: Panel, encoding: Encoding) -> Float32:
    """y (series, time) in the space of the network, NaN where it is missing or censored."""
    y = panel.dense(["y"])[..., 0]
    if encoding.censored is not None:
        hidden = panel.dense([encoding.censored])[..., 0] > 0
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
    y = _targets(panel, plain)
    seen = ~np.isnan(y)
    if not seen.any():
        raise DataError(
            f"lstm: none of the {panel.n_series} series has an observed y up to the cutoff",
            hint="begin the backtest later or check the target column",
        )
    level, size = _levels_over_time(y, plain)
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


def encode(panel: Panel, encoding: Encoding) -> Arrays:
    """Arrays of a history; the panel is left as it is."""
    y = _targets(panel, encoding)
    seen = ~np.isnan(y)
    first = (y.shape[1] - panel.lengths).astype(np.int32)
    began = np.arange(y.shape[1]) >= first[:, None]
    level, size = _levels_over_time(y, encoding)
    scale = size * np.float32(encoding.unit)
    safe = np.where(scale > 0, scale, np.float32(1))
    z = np.where(seen & (scale > 0), np.nan_to_num(y - level) / safe, 0.0)
    mean, deviation = encoding.log_size
    log_size = (np.log(np.where(size > 0, size, np.exp(mean))) - mean) / deviation
    age = np.log1p(np.cumsum(seen, axis=1)) / np.log1p(encoding.span)
    ordinals = panel.end - y.shape[1] + 1 + np.arange(y.shape[1])
    known = _known(panel.dense(encoding.future.names), ordinals, encoding)
    past, past_gaps = encoding.past.standardised(panel.dense(encoding.past.names))
    usual = _running_mean(known[..., : len(encoding.future.names)], began, encoding.span)
    single = [np.clip(z, -_LIMIT, _LIMIT), seen, log_size, age]
    own = [np.stack(single, axis=-1), past, past_gaps, usual]
    if encoding.effects is not None:
        own.append(_averages(y, (level, safe), known, encoding))
    numbers, _ = encoding.numbers.standardised(_table(panel.series, encoding.numbers.names))
    inside = began[..., None]
    return Arrays(
        own=(np.concatenate(own, axis=-1) * inside).astype(np.float32),
        known=known * inside,
        y=np.nan_to_num(y),
        seen=seen,
        level=level,
        scale=scale,
        first=first,
        numbers=numbers,
        codes=_codes(panel.series, encoding),
    )


def encode_future(future: Future, end: int, encoding: Encoding) -> Float32:
    """Channels known ahead (series, gap + horizon, channel) of the steps after ordinal `end`."""
    ordinals = end + 1 + np.arange(future.ahead_max)
    return _known(future.dense(encoding.future.names), ordinals, encoding)


def _known(values: Float32, ordinals: npt.NDArray[np.int64], encoding: Encoding) -> Float32:
    scaled, gaps = encoding.future.standardised(values)
    turns = (ordinals % encoding.season) / encoding.season
    orders = np.arange(1, encoding.season_terms + 1)
    angle = 2 * np.pi * turns[:, None] * orders
    # The constant marks dates on which the series exists; before them all channels are zero.
    dates = np.concatenate([np.ones((len(ordinals), 1)), np.sin(angle), np.cos(angle)], axis=1)
    shared = np.broadcast_to(dates.astype(np.float32), (len(values), *dates.shape))
    return np.concatenate([scaled, gaps, shared], axis=-1)


def _levels_over_time(y: Float32, encoding: Encoding) -> tuple[Float32, Float32]:
    """Level and size of y so far, as (series, time): means of y and |y|, newer values counting more.

    Exponential averages over the observed values, corrected for their short beginning as in Adam
    (Kingma & Ba 2015), or with `robust` medians of the last `span` steps; before a series' first
    value those of a typical series.
    """
    seen = ~np.isnan(y)
    values = np.nan_to_num(y)
    known = np.logical_or.accumulate(seen, axis=1)
    both = _running_mean(np.stack([values, np.abs(values)], axis=-1), seen, encoding.span)
    if encoding.robust:
        middle = _running_median(y, encoding.span)
        high = _running_median(np.abs(y), encoding.span)
        # Where more than half is zero the median size says nothing.
        both = np.stack([middle, np.where(high > 0, high, both[..., 1])], axis=-1)
    level = np.where(known, both[..., 0], np.float32(encoding.level))
    size = np.where(known, both[..., 1], np.float32(encoding.size))
    return level, size


def _averages(
    y: Float32, stand: tuple[Float32, Float32], known: Float32, encoding: Encoding
) -> Float32:
    """Channels (series, time, n) from which the network frees levels of covariate effects.

    First the running means of `known` over the dates on which y was seen, as the level is of y. Then,
    for each span of `effects`, how far a level over that span is from the level, in units of the
    scale, and how far the same means of `known` are from the first ones. stand: level and scale.
    """
    level, scale = stand
    seen = ~np.isnan(y)
    both = np.concatenate([np.nan_to_num(y)[..., None], known], axis=-1)
    usual = _running_mean(known, seen, encoding.span)
    parts = [usual]
    for span in encoding.effects or ():
        recent = _running_mean(both, seen, span)
        began = np.logical_or.accumulate(seen, axis=1)
        parts.append(np.where(began, (recent[..., 0] - level) / scale, 0.0)[..., None])
        parts.append(recent[..., 1:] - usual)
    return np.concatenate(parts, axis=-1)


def _running_median(y: Float32, span: int) -> Float32:
    """Median (series, time) of the observed values of the last `span` steps; 0 without any."""
    table = pl.DataFrame(y.T).fill_nan(None)
    medians = table.select(pl.all().rolling_median(span, min_samples=1).forward_fill())
    return medians.fill_null(0.0).to_numpy().T.astype(np.float32)


def _running_mean(values: Float32, seen: npt.NDArray[np.bool_], span: int) -> Float32:
    """Exponential mean (series, time, channel) of the seen values so far; 0 before the first."""
    kept = 1.0 - 2.0 / (span + 1.0)
    total = np.zeros((values.shape[0], values.shape[2]))
    weight = np.zeros((values.shape[0], 1))
    out = np.zeros(values.shape, dtype=np.float32)
    for time in range(values.shape[1]):
        here = seen[:, time, None]
        total = np.where(here, kept * total + values[:, time], total)
        weight = np.where(here, kept * weight + 1.0, weight)
        out[:, time] = total / np.maximum(weight, 1.0)
    return out


def _table(frame: pl.DataFrame, columns: tuple[str, ...]) -> Float32:
    """Columns as (rows, column) float32, NaN where missing."""
    out = np.empty((frame.height, len(columns)), dtype=np.float32)
    for number, column in enumerate(columns):
        out[:, number] = frame[column].cast(pl.Float32).fill_null(float("nan")).to_numpy()
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


def encoding_from_json(data: dict[str, Any]) -> Encoding:
    """The encoding from what `dataclasses.asdict` and JSON made of it."""
    columns = {
        role: Columns(**{name: tuple(values) for name, values in data[role].items()})
        for role in ("future", "past", "numbers")
    }
    categories = tuple((name, tuple(levels)) for name, levels in data["categories"])
    log_size = (float(data["log_size"][0]), float(data["log_size"][1]))
    effects = None if data["effects"] is None else tuple(data["effects"])
    made = {"categories": categories, "log_size": log_size, "effects": effects}
    return Encoding(**{**data, **columns, **made})
