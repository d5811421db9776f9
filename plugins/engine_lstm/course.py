"""What is learned and what is checked: bounds of time, and the panel's way to the device."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import polars as pl

from engine.data.panel import Panel
from engine.errors import DataError
from engine_lstm.data import encode, in_parts
from engine_lstm.encoding import Encoding
from engine_lstm.sampling import (
    SERIES_MULTIPLE,
    Bounds,
    DeviceData,
    StretchSize,
    padded_periods,
    to_device,
)
from engine_lstm.training import Lessons

MOST_BYTES = 2 << 30
"""Of the arrays of a panel, from which on an epoch learns from a sample of its series.

Not what the device has: forecasts are not to depend on that.
"""

_HEAVIEST = 30.0  # times the mean; one giant would else be all that is learned


@dataclass(frozen=True)
class Course:
    """A training panel and how it is divided.

    held: newest cutoffs kept for validation. fading: log of what a target weighs less for each step
    that it is older. at_once: series on the device, another sample in each epoch; None: all.
    Only what is on the device is encoded: arrays of all series would need several times the panel.
    """

    panel: Panel
    encoding: Encoding
    importance: npt.NDArray[np.float32]
    size: StretchSize
    held: int
    fading: float
    at_once: int | None
    seed: int

    def lessons(self) -> tuple[Lessons, Lessons]:
        """Those checked by the cutoffs held out, and those from all targets, checked by none.

        Without held out cutoffs both are the latter.
        """
        feed = _Feed(self)
        steps = self.size.steps
        last = int(feed.watched.y.shape[1]) - steps - 1
        everything = Lessons(feed, self._bounds(0, last - 1, last), feed.watched, None)
        if not self.held:
            return everything, everything
        first = last - steps - self.held + 1
        check = self._bounds(first, last - steps, last)
        return Lessons(feed, self._bounds(0, first - 1, first), feed.watched, check), everything

    def _bounds(self, first_origin: int, last_origin: int, last_target: int) -> Bounds:
        first, last, target = (
            jnp.asarray(v, jnp.int32) for v in (first_origin, last_origin, last_target)
        )
        return Bounds(first, last, target, jnp.asarray(self.fading, jnp.float32))


class _Feed:
    """The panel of an epoch: the same, or a sample of series where not all fit at once."""

    def __init__(self, course: Course) -> None:
        self._course = course
        count = len(course.importance)
        self._size = min(count, course.at_once or count)
        # Validation always looks at the same series, evenly spread over all.
        even = np.linspace(0, count - 1, self._size)
        self.watched = self._of(even.astype(np.int64))

    def __call__(self, epoch: int) -> DeviceData:
        count = len(self._course.importance)
        if self._size == count:
            return self.watched
        random = np.random.default_rng([self._course.seed % 2**32, epoch])
        return self._of(np.sort(random.choice(count, self._size, replace=False)))

    def _of(self, series: npt.NDArray[np.int64]) -> DeviceData:
        course, panel = self._course, self._course.panel
        periods = int(panel.lengths.max(initial=0))
        parts = (
            encode(panel.select(part), course.encoding, periods)
            for part in in_parts(panel, course.encoding, series)
        )
        return to_device(parts, course.importance[series], course.size.context, course.size.steps)


def most_at_once(encoding: Encoding, periods: int, size: StretchSize) -> int:
    """Series of so many dates of which `MOST_BYTES` hold the arrays, in full sets of `SERIES_MULTIPLE`."""
    fitting = MOST_BYTES // (4 * encoding.width * padded_periods(periods, size.context, size.steps))
    return max(fitting // SERIES_MULTIPLE, 1) * SERIES_MULTIPLE


def held_out(seen: npt.NDArray[np.bool_], steps: int, asked: int) -> int:
    """Cutoffs kept for validation: fewer, or none, if less than half of the dates would be left.

    None as well if nothing was observed after them to choose an epoch by, or before to learn from.
    """
    time = seen.shape[1]
    held = max(min(asked, time // 2 - steps), 0)
    first_target = time - steps - held + 1
    enough = seen[:, first_target:].any() and seen[:, 1:first_target].any()
    return held if enough else 0


def importance(panel: Panel, weight: str | None) -> npt.NDArray[np.float32]:
    """What the losses of each series count, (series,), 1 on average."""
    if weight is None:
        return np.ones(panel.n_series, np.float32)
    if weight == "size":
        size = np.nanmean(np.abs(panel.dense(["y"])[..., 0]), axis=1)
    elif weight in panel.numeric(panel.roles.static):
        size = panel.series[weight].cast(pl.Float32).to_numpy()
    else:
        raise DataError(
            f"lstm: weight is {weight!r}, which is no numeric static column that it is given",
            hint="`size`, a numeric static column, or no weight",
        )
    size = np.clip(np.nan_to_num(size), 0, None)
    if not size.any():
        raise DataError(f"lstm: every series has the weight 0 by {weight!r}", hint="leave it out")
    even: npt.NDArray[np.float32] = np.minimum(size / size.mean(), _HEAVIEST).astype(np.float32)
    return even
