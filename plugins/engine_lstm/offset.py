"""A place where forecasts start besides the level: a covariate in units of y, such as last year's value.

What the network says is then a difference from the offset, as in the regression whose coefficient is
pulled to 1 (`engine_ridge.offset`). A season that was seen once or twice is too little to learn that
coefficient from; it is given, and the network learns what to change.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

_USUAL = 2.0  # usual distances from the level up to which an offset may be noise
_PACE = 3.0  # as in `effects`: a linear path may learn faster than a deep one


def from_level(offset: Array, level: Array, scale: Array) -> Array:
    """Offsets (..., 2), values and where there are any, with the values as z: distances from the level.

    level, scale: (...,). An offset of no channels stays one.
    """
    there = offset[..., 1:]
    return jnp.concatenate(
        [there * ((offset[..., :1] - level[..., None]) / scale[..., None]), there], -1
    )


class Offset(nn.Module):
    """What the offset of a target, and recent distances from earlier ones, add to z.

    count: levels of the distance, see `levels.above_offset`. steps: steps that are forecast.
    """

    count: int
    steps: int
    growth: float

    @nn.compact
    def __call__(self, above: Array, offset: Array, static: Array, chosen: Array | None) -> Array:
        """(batch, origins, steps): z of the start of each forecast, 0 (the level) without an offset.

        above: (batch, origins, count), levels of y less its offset. offset: (batch, origins, steps, 2)
        of `from_level`. static: (batch, n). chosen: the steps that `offset` is of; all without it.
        Untrained it is the offset itself. Training learns for each series by its statics how much of an
        offset's distance from the level is noise to be taken back, for each step how much of the recent
        distances goes on. No noise is far: a peak such as Christmas loses no more than a usual date.
        """
        nothing = nn.initializers.zeros
        held_back = _PACE * nn.Dense(1, name="held_back", kernel_init=nothing)(static)
        usual = jnp.clip(offset[..., 0], -_USUAL, _USUAL)
        going_on = _PACE * self.param("going_on", nothing, (self.count, self.steps))
        going_on = going_on.at[-1].add(self.growth)
        moved = above @ (going_on if chosen is None else going_on[:, chosen])
        start = offset[..., 0] - held_back[:, :, None] * usual
        return offset[..., 1] * (start + moved)
