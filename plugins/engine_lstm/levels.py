"""Running levels of y and of what moves it; a level at a date is made of that date and earlier ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from engine_lstm.encoding import LIMIT, Encoding, Float32


def levels_over_time(y: Float32, encoding: Encoding) -> tuple[Float32, Float32]:
    """Level and size of y so far, as (series, time): means of y and |y|, newer values counting more.

    Exponential averages over the observed values, corrected for their short beginning as in Adam
    (Kingma & Ba 2015), or with `robust` medians of the last `span` steps; before a series' first
    value those of a typical series.
    """
    seen = ~np.isnan(y)
    values = np.nan_to_num(y)
    known = np.logical_or.accumulate(seen, axis=1)
    both = running_mean(np.stack([values, np.abs(values)], axis=-1), seen, encoding.span)
    if encoding.robust:
        middle = running_median(y, encoding.span)
        high = running_median(np.abs(y), encoding.span)
        # Where more than half is zero the median size says nothing.
        both = np.stack([middle, np.where(high > 0, high, both[..., 1])], axis=-1)
    level = np.where(known, both[..., 0], np.float32(encoding.level))
    size = np.where(known, both[..., 1], np.float32(encoding.size))
    return level, size


def averages(
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
    usual = running_mean(known, seen, encoding.span)
    parts = [usual]
    for span in encoding.effects or ():
        recent = running_mean(both, seen, span)
        began = np.logical_or.accumulate(seen, axis=1)
        parts.append(np.where(began, (recent[..., 0] - level) / scale, 0.0)[..., None])
        parts.append(recent[..., 1:] - usual)
    return np.concatenate(parts, axis=-1)


def above_offset(y: Float32, offset: Float32, scale: Float32, encoding: Encoding) -> Float32:
    """Channels (series, time, 2 + n): how far y is above its offset in units of the scale, and where.

    Then running means of that distance over each span of `effects` and over that of the level; they
    are 0 as long as no date had both. offset: as in `Arrays`.
    """
    both = ~np.isnan(y) & (offset[..., 1] > 0)
    distance = np.where(both, np.nan_to_num(y) - offset[..., 0], 0.0)[..., None]
    spans = (*(encoding.effects or ()), encoding.span)
    means = [running_mean(distance, both, span) for span in spans]
    above = np.clip(np.concatenate([distance, *means], axis=-1) / scale[..., None], -LIMIT, LIMIT)
    return np.concatenate([above[..., :1], both[..., None], above[..., 1:]], axis=-1)


def running_median(y: Float32, span: int) -> Float32:
    """Median (series, time) of the observed values of the last `span` steps; 0 without any."""
    table = pl.DataFrame(y.T).fill_nan(None)
    medians = table.select(pl.all().rolling_median(span, min_samples=1).forward_fill())
    return medians.fill_null(0.0).to_numpy().T.astype(np.float32)


def running_mean(values: Float32, seen: npt.NDArray[np.bool_], span: int) -> Float32:
    """Exponential mean (series, time, channel) of the seen values so far; 0 before the first."""
    kept = 1.0 - 2.0 / (span + 1.0)
    total = np.zeros((values.shape[0], values.shape[2]))
    weight = np.zeros((values.shape[0], 1))
    out = np.zeros(values.shape, dtype=np.float32)
    for time in range(values.shape[1]):
        here = seen[:, time, None]
        if here.all():
            total *= kept
            total += values[:, time]
            weight *= kept
            weight += 1.0
        else:
            total = np.where(here, kept * total + values[:, time], total)
            weight = np.where(here, kept * weight + 1.0, weight)
        out[:, time] = total / np.maximum(weight, 1.0)
    return out
