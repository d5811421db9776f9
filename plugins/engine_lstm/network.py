"""The network: LSTM encoder, additive decoder, heads whose quantiles cannot cross.

Forking sequences (Wen et al. 2017, "A Multi-Horizon Quantile Recurrent Forecaster"): one pass of
the encoder over a stretch gives a state at every date, and each of them is a cutoff from which the
decoder forecasts all steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax

_MEMORY = 3  # dates of known covariates that bear on one target: its own and the two before it


@dataclass(frozen=True)
class NetworkShape:
    """What fixes the shapes of the weights; hashable, so that compiled functions are kept by it.

    levels: rows of the embedding of each static column; row 0 is that of unknown categories.
    """

    hidden: int
    layers: int
    decoder_hidden: int
    dropout: float
    steps: int
    quantiles: tuple[float, ...]
    has_point: bool
    levels: tuple[int, ...]
    embeddings: tuple[int, ...]


class LstmLayer(nn.Module):
    """An LSTM layer (Hochreiter & Schmidhuber 1997); its input is projected outside of the loop."""

    hidden: int

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """(batch, time, channel) -> states (batch, time, hidden)."""
        projected = nn.Dense(4 * self.hidden, name="input")(inputs)
        recurrent = self.param(
            "recurrent", _orthogonal_gates, (self.hidden, 4 * self.hidden), jnp.float32
        )

        def step(carry: tuple[Array, Array], gates: Array) -> tuple[tuple[Array, Array], Array]:
            state, cell = carry
            enter, forget, candidate, leave = jnp.split(gates + state @ recurrent, 4, axis=-1)
            # A forget gate that starts open keeps gradients alive (Jozefowicz et al. 2015).
            cell = jax.nn.sigmoid(forget + 1.0) * cell + jax.nn.sigmoid(enter) * jnp.tanh(candidate)
            state = jax.nn.sigmoid(leave) * jnp.tanh(cell)
            return (state, cell), state

        empty = jnp.zeros((inputs.shape[0], self.hidden), inputs.dtype)
        _, states = lax.scan(step, (empty, empty), projected.swapaxes(0, 1))
        return states.swapaxes(0, 1)


def _orthogonal_gates(key: Array, shape: tuple[int, int], dtype: Any) -> Array:
    square = nn.initializers.orthogonal()
    keys = jax.random.split(key, 4)
    return jnp.concatenate([square(k, (shape[0], shape[0]), dtype) for k in keys], axis=1)


class Forecaster(nn.Module):
    """Encoder and decoder; see `__call__` for the shapes."""

    shape: NetworkShape

    @nn.compact
    def __call__(
        self,
        own: Array,
        known: Array,
        numbers: Array,
        codes: Array,
        *,
        first_origin: int,
        train: bool,
    ) -> Array:
        """Forecast all steps from every origin of a stretch.

        own: (batch, time, channel), what is seen at each date. known: (batch, time + steps,
        channel), known ahead. numbers: (batch, n) statics; codes: int (batch, m) categories.
        Returns (batch, origins, steps, outputs) with origins `first_origin` .. time - 1.
        """
        still = not train
        time = own.shape[1]
        static = self._static(numbers, codes, train)
        constant = jnp.broadcast_to(static[:, None], (*own.shape[:2], static.shape[-1]))
        seen = jnp.concatenate([own, known[:, :time], constant], axis=-1)
        state = seen
        for layer in range(self.shape.layers):
            if layer:
                state = nn.Dropout(self.shape.dropout)(state, deterministic=still)
            above = LstmLayer(self.shape.hidden, name=f"lstm_{layer}")(state)
            state = state + above if layer else above
        state = nn.Dropout(self.shape.dropout, broadcast_dims=(1,))(state, deterministic=still)
        origin = jnp.concatenate([state, seen], axis=-1)[:, first_origin:]
        return self._decode(origin, known[:, first_origin + 2 - _MEMORY :], still)

    def _static(self, numbers: Array, codes: Array, train: bool) -> Array:
        """Statics as numbers (batch, n); categories are hidden at random so that 0 is learned."""
        if train and self.shape.levels and self.shape.dropout:
            kept = 1.0 - self.shape.dropout
            codes = codes * jax.random.bernoulli(self.make_rng("dropout"), kept, codes.shape)
        parts = [numbers]
        sizes = zip(self.shape.levels, self.shape.embeddings, strict=True)
        for column, (levels, width) in enumerate(sizes):
            parts.append(nn.Embed(levels, width, name=f"embedding_{column}")(codes[:, column]))
        return jnp.concatenate(parts, axis=-1)

    def _decode(self, origin: Array, known: Array, still: bool) -> Array:
        """Origins (batch, origins, n) and the known of the dates around them -> outputs."""
        width, steps = self.shape.decoder_hidden, self.shape.steps
        cutoff = nn.Dense(width, name="cutoff")(origin)[:, :, None]
        # Linear in what is known of each date: computed once a date, then shared by all origins.
        dates = known.shape[1] - _MEMORY + 1
        recent = jnp.concatenate([known[:, i : i + dates] for i in range(_MEMORY)], axis=-1)
        target = nn.Dense(width, use_bias=False, name="target")(recent)
        step = nn.Embed(steps, width, name="step")(jnp.arange(steps))
        hidden = jax.nn.relu(cutoff + fork(target, origin.shape[1], steps) + step)
        # One mask for all steps of an origin: as good a regulariser and far fewer random numbers.
        drop = nn.Dropout(self.shape.dropout, broadcast_dims=(2,))
        hidden = drop(hidden, deterministic=still)
        hidden = jax.nn.relu(nn.Dense(width, name="decoder")(hidden))
        outputs = len(self.shape.quantiles) + self.shape.has_point
        return nn.Dense(outputs, name="head", kernel_init=nn.initializers.normal(0.01))(hidden)


def fork(dates: Array, origins: int, steps: int) -> Array:
    """Windows of the dates that follow each origin, without a gather.

    dates: (batch, origins + steps - 1, n), the first being one step after the first origin.
    Returns (batch, origins, steps, n) with `[b, o, k] = dates[b, o + k]`. The rows are repeated and
    read again with rows one longer, so that each row begins one date later than the one before.
    """
    batch, length, width = dates.shape
    repeated = jnp.broadcast_to(dates[:, None], (batch, origins, length, width))
    flat = repeated.reshape(batch, origins * length, width)
    flat = jnp.pad(flat, ((0, 0), (0, origins), (0, 0)))
    return flat.reshape(batch, origins, length + 1, width)[:, :, :steps]


def quantiles_of(outputs: Array, quantiles: tuple[float, ...]) -> Array:
    """Ordered quantiles (..., quantile) from free outputs: the median and positive distances."""
    middle = quantiles.index(0.5)
    median = outputs[..., middle : middle + 1]
    above = jnp.cumsum(jax.nn.softplus(outputs[..., middle + 1 : len(quantiles)]), axis=-1)
    below = jnp.cumsum(jax.nn.softplus(outputs[..., :middle])[..., ::-1], axis=-1)[..., ::-1]
    return jnp.concatenate([median - below, median, median + above], axis=-1)


def losses(outputs: Array, target: Array, quantiles: tuple[float, ...], loss: str) -> Array:
    """Loss of each target: pinball averaged over quantiles, plus that of the point output.

    Pinball loss: Koenker & Bassett 1978. outputs: (..., outputs); target: (...).
    """
    error = target[..., None] - quantiles_of(outputs, quantiles)
    level = jnp.asarray(quantiles, outputs.dtype)
    total = jnp.maximum(level * error, (level - 1.0) * error).mean(-1)
    if loss == "quantile":
        return total
    point = target - outputs[..., -1]
    return total + (jnp.abs(point) if loss == "mae" else jnp.square(point))
