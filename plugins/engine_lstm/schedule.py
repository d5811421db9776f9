"""How long and how fast to train, as inputs of compiled functions: any schedule uses the same ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import optax
from jax import Array

_MOST_WARM_UP = 50
_LAST_RATE = 0.01  # share of the learning rate that is left at the end


@dataclass(frozen=True)
class Schedule:
    """epochs: at most. batches: training steps of an epoch. learning_rate: the highest.

    average: decay of the running mean of weights, 0 for none. noise, series_clip, drawn, expected:
    of differential privacy, see `privacy`: noise, clip, the chance of a series to be drawn
    in a step, and how many are on average.
    """

    epochs: int
    batches: int
    learning_rate: float
    weight_decay: float
    clip: float
    average: float
    noise: float = 0.0
    series_clip: float = 0.0
    drawn: float = 0.0
    expected: float = 0.0

    def pace(self) -> Pace:
        """As numbers on the device."""
        total = self.epochs * self.batches
        steps = (self.batches, min(_MOST_WARM_UP, total // 10), total)
        sizes = (self.learning_rate, self.weight_decay, self.clip, self.average)
        private = (self.noise, self.series_clip, self.drawn, self.expected)
        return Pace(
            *(jnp.asarray(number, jnp.int32) for number in steps),
            *(jnp.asarray(number, jnp.float32) for number in (*sizes, *private)),
        )


class Pace(NamedTuple):
    """A schedule on the device.

    batches, rise, total: training steps of an epoch, of the rise of the learning rate, of all
    epochs. rate, decay, clip: the highest learning rate, weight decay, largest gradient. average:
    decay of the running mean of weights. noise, series_clip, drawn, expected: as in the schedule.
    """

    batches: Array
    rise: Array
    total: Array
    rate: Array
    decay: Array
    clip: Array
    average: Array
    noise: Array
    series_clip: Array
    drawn: Array
    expected: Array


def optimizer(pace: Pace) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter 2019) with clipped gradients, a short rise and then a cosine."""

    def rate(count: Array) -> Array:
        rising = count / jnp.maximum(pace.rise, 1)
        done = (count - pace.rise) / jnp.maximum(pace.total - pace.rise, 1)
        cosine = 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.clip(done, 0.0, 1.0)))
        falling = _LAST_RATE + (1.0 - _LAST_RATE) * cosine
        return pace.rate * jnp.where(count < pace.rise, rising, falling)

    return optax.chain(
        optax.clip_by_global_norm(pace.clip),
        optax.adamw(rate, weight_decay=pace.decay),
    )
