"""Training arrays on the device, and the stretches of series that are drawn from them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array

from engine_lstm.data import Arrays
from engine_lstm.heads import Target
from engine_lstm.network import forked
from engine_lstm.offset import from_level

TIME_MULTIPLE = 64
SERIES_MULTIPLE = 64

_OVER_TIME = ("own", "known", "y", "seen", "level", "scale", "offset")
_OVER_SERIES = ("numbers", "codes")

_LARGEST = 50.0  # usual distances from the level; more would let one date rule a squared error


class DeviceData(NamedTuple):
    """A training panel, padded so that panels of about the same size share compiled functions.

    own, known, offset: (series, time, channel); y, seen, level, scale: (series, time); numbers, codes:
    (series, n). The last observed date is at `time - steps - 1`. begin: (series,) first row;
    importance: (series,) weight of a series' losses.
    """

    own: Array
    known: Array
    y: Array
    seen: Array
    level: Array
    scale: Array
    offset: Array
    numbers: Array
    codes: Array
    begin: Array
    importance: Array


class Bounds(NamedTuple):
    """Positions in padded time, both ends included: which cutoffs and targets count.

    fading: log of what a target weighs less for each step that it is older.
    """

    first_origin: Array
    last_origin: Array
    last_target: Array
    fading: Array


class StretchSize(NamedTuple):
    """Dates that the encoder reads, how many of them (the last) are cutoffs, steps of each."""

    context: int
    origins: int
    steps: int


class Stretch(NamedTuple):
    """A minibatch: inputs of the network, and targets with their weights (batch, origins, steps).

    offset: (batch, origins, steps, 2), see `offset.from_level`; no channels without an offset.
    """

    own: Array
    known: Array
    numbers: Array
    codes: Array
    offset: Array
    target: Target
    weight: Array


def padded_periods(periods: int, context: int, steps: int) -> int:
    """Dates of a panel on the device that has so many."""
    return _round_up(context + periods + steps, TIME_MULTIPLE)


def to_device(
    parts: Iterable[Arrays], importance: npt.NDArray[np.float32], context: int, steps: int
) -> DeviceData:
    """Pad with `context` and more dates in front, `steps` behind, and empty series at the end.

    parts: sets of series one after the other, of the same dates.
    """
    n_series = _round_up(importance.size, SERIES_MULTIPLE)
    padded: dict[str, npt.NDArray[Any]] = {}
    first = 0
    for arrays in parts:
        count, time = arrays.y.shape
        total = padded_periods(time, context, steps)
        dates = slice(total - steps - time, total - steps)
        rows = slice(first, first + count)
        if not padded:
            padded = _empty(arrays, n_series, total)
        padded["begin"][rows] = arrays.first + dates.start
        for name in _OVER_TIME:
            padded[name][rows, dates] = getattr(arrays, name)
        for name in _OVER_SERIES:
            padded[name][rows] = getattr(arrays, name)
        first += count
    padded["importance"] = np.pad(importance, (0, n_series - importance.size))
    return DeviceData(**{name: _moved(padded.pop(name)) for name in DeviceData._fields})


def _empty(like: Arrays, n_series: int, time: int) -> dict[str, npt.NDArray[Any]]:
    """Arrays of a panel in which no series begins."""
    made: dict[str, npt.NDArray[Any]] = {"begin": np.full(n_series, time, dtype=np.int32)}
    for name in _OVER_TIME:
        values = getattr(like, name)
        made[name] = np.zeros((n_series, time, *values.shape[2:]), dtype=values.dtype)
    for name in _OVER_SERIES:
        values = getattr(like, name)
        made[name] = np.zeros((n_series, *values.shape[1:]), dtype=values.dtype)
    return made


def _moved(values: npt.NDArray[Any]) -> Array:
    """On the device; compiles nothing, as `jnp.asarray` does for every shape."""
    moved: Array = jax.device_put(values)
    return moved


def draw(bits: Array, data: DeviceData, last_origin: Array, origins: int) -> tuple[Array, Array]:
    """Series and last origins (batch,) of stretches, every origin of the panel about as likely.

    bits: random, uint32 (batch,).

    Ends run past the last origin by half a stretch and are then held back to it: otherwise the
    newest dates, the ones most like the future, would be in few stretches.
    """
    lowest = jnp.minimum(data.begin + origins - 1, last_origin)
    count = jnp.where(data.begin <= last_origin, last_origin + origins // 2 - lowest + 1, 0)
    upto = jnp.cumsum(count)
    pick = (bits % upto[-1].astype(jnp.uint32)).astype(jnp.int32)
    series = jnp.searchsorted(upto, pick, side="right")
    ends = lowest[series] + pick - (upto[series] - count[series])
    return series, jnp.minimum(ends, last_origin)


def draw_apart(
    key: Array, data: DeviceData, last_origin: Array, rate: Array, slots: int, origins: int
) -> tuple[Array, Array, Array]:
    """Every series by itself with the chance `rate`, and the last origin of one stretch of each.

    Returns series, ends and whether a slot is taken, (slots,); what does not fit is left out.
    """
    choose, place = jax.random.split(key)
    lowest = jnp.minimum(data.begin + origins - 1, last_origin)
    alive = data.begin <= last_origin
    chosen = alive & (jax.random.uniform(choose, alive.shape) < rate)
    (series,) = jnp.nonzero(chosen, size=slots, fill_value=chosen.shape[0])
    taken = series < chosen.shape[0]
    series = jnp.where(taken, series, 0)
    # Ends run past the last origin as in `draw`.
    ends = jax.random.randint(place, (slots,), lowest[series], last_origin + origins // 2 + 1)
    return series, jnp.minimum(ends, last_origin), taken


def some_steps(numbers: Array, steps: int) -> Array:
    """Steps (n,) counted from 0, one from each of n equal parts; numbers: uniform in [0, 1), (n,)."""
    count = numbers.shape[0]
    places = (jnp.arange(count) + numbers) * (steps / count)
    return jnp.minimum(places.astype(jnp.int32), steps - 1)


def cut(
    data: DeviceData,
    series: Array,
    ends: Array,
    bounds: Bounds,
    size: StretchSize,
    chosen: Array | None = None,
) -> Stretch:
    """Stretches of dates up to `ends`, with the targets of their last `origins` dates.

    chosen: the steps, counted from 0, of the targets; all without it.
    """
    context, origins, steps = size
    past = ends[:, None] - context + 1 + jnp.arange(context)
    around = ends[:, None] - context + 1 + jnp.arange(context + steps)
    row = series[:, None]
    origin, target = past[:, context - origins :], around[:, context - origins + 1 :]
    scale = data.scale[row, origin]
    usable = (
        (scale > 0)
        & (origin >= data.begin[row])
        & (origin >= bounds.first_origin)
        & (origin <= bounds.last_origin)
    )
    countable = data.seen[row, target] & (target <= bounds.last_target)
    y = forked(data.y[row, target][..., None], origins, steps, chosen)[..., 0]
    ages = (bounds.last_target - target).astype(jnp.float32)
    heavy = countable * jnp.exp(bounds.fading * ages) * data.importance[row]
    weight = forked(heavy[..., None], origins, steps, chosen)[..., 0] * usable[..., None]
    level, safe = data.level[row, origin][..., None], jnp.where(scale > 0, scale, 1.0)[..., None]
    z = jnp.clip((y - level) / safe, -_LARGEST, _LARGEST)
    start = from_level(forked(data.offset[row, target], origins, steps, chosen), level, safe)
    aim = Target(z, y, jnp.broadcast_to(level, y.shape), jnp.broadcast_to(safe, y.shape))
    return Stretch(
        own=data.own[row, past],
        known=data.known[row, around],
        numbers=data.numbers[series],
        codes=data.codes[series],
        offset=jnp.clip(start, -_LARGEST, _LARGEST),
        target=Target(*(jnp.where(weight > 0, value, 1.0) for value in aim)),
        weight=weight,
    )


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
