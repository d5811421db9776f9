"""Linear effects of covariates known ahead, and levels freed of them.

A wide path beside the deep one (Cheng et al. 2016, "Wide & Deep Learning"): what a covariate does to
its own date is linear, with coefficients for each series, so that a price never seen is answered by an
elasticity and not by a saturated unit. What the effects leave unexplained is what the encoder reads.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

_PACE = 3.0  # a linear path may learn faster than a deep one: its coefficients begin at zero


class Effects(nn.Module):
    """Effects of a date's covariates relative to what was usual; see `levels.averages` for the channels.

    count: levels over short spans. steps: steps that are forecast.
    """

    count: int
    steps: int

    @nn.compact
    def __call__(
        self, own: Array, known: Array, static: Array
    ) -> tuple[Array, Callable[[int, Array | None], tuple[Array, Array]]]:
        """(own, shift): the inputs of the encoder, and what effects and levels add to z.

        own: (batch, time, channel), the averages last. known: (batch, time + steps, channel).
        `shift(first, chosen)` is what covariates and what levels add, both (batch, origins, steps), for
        the origins from date `first` on and the chosen steps, or all for None.
        """
        channels = known.shape[-1]
        time = own.shape[1]
        inputs = own.shape[-1] - channels - self.count * (1 + channels)
        seen, averages = own[..., :inputs], own[..., inputs:]
        nothing = nn.initializers.zeros
        coefficient = _PACE * nn.Dense(channels, name="coefficient", kernel_init=nothing)(static)
        moved = jnp.einsum("btc,bc->bt", known, coefficient)
        usual = jnp.einsum("btc,bc->bt", averages[..., :channels], coefficient)
        levels = []
        for number in range(self.count):
            begin = channels + number * (1 + channels)
            distance, means = averages[..., begin], averages[..., begin + 1 :][..., :channels]
            levels.append(distance - jnp.einsum("btc,bc->bt", means, coefficient))
        # The first channels of `own` are the distance of y from its level and whether y was seen.
        left = seen[..., :1] - ((moved[:, :time] - usual) * seen[..., 1])[..., None]
        free = jnp.stack(levels, axis=-1) if levels else seen[..., :0]
        share = _PACE * self.param("share", nothing, (self.count, self.steps))

        def shift(first: int, chosen: Array | None) -> tuple[Array, Array]:
            origins = time - first
            ahead = jnp.stack(
                [moved[:, first + 1 + k : first + 1 + k + origins] for k in range(self.steps)], -1
            )
            both = ahead - usual[:, first:, None], free[:, first:] @ share
            return both if chosen is None else (both[0][..., chosen], both[1][..., chosen])

        return jnp.concatenate([left, seen, free], axis=-1), shift
