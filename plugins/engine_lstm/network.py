"""The network: recurrent encoder and additive decoder.

Forking sequences (Wen et al. 2017, "A Multi-Horizon Quantile Recurrent Forecaster"): one pass of
the encoder over a stretch gives a state at every date, and each of them is a cutoff from which the
decoder forecasts all steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax

from engine_lstm.cells import CELLS, recur
from engine_lstm.chances import Chances
from engine_lstm.effects import Effects
from engine_lstm.heads import free_outputs
from engine_lstm.offset import Offset

Weights = Mapping[str, Any]
"""Of a `Forecaster`, in folders by layer."""

_MEMORY = 3  # dates of known covariates that bear on one target: its own and the two before it


@dataclass(frozen=True)
class NetworkShape:
    """What fixes the shapes of the weights; hashable, so that compiled functions are kept by it.

    effects: levels freed of linear effects, see `effects`; None without linear effects. levels: rows
    of the embedding of each static column; row 0 is that of unknown categories. offset: levels of the
    distance from an offset, see `offset`; None without one. growth: share of the last of them at first.
    """

    cell: str
    hidden: tuple[int, ...]
    norm: str
    residual: bool
    decoder_hidden: int
    dropout: float
    hide: float
    steps: int
    head: str
    quantiles: tuple[float, ...]
    has_point: bool
    effects: int | None
    levels: tuple[int, ...]
    embeddings: tuple[int, ...]
    precision: str
    offset: int | None = None
    growth: float = 0.0

    @property
    def outputs(self) -> int:
        """Outputs for one target: those of the head, then the point where there is one."""
        return free_outputs(self.head, self.quantiles) + self.has_point

    def chances(self, batch: int, origins: int, codes: int, known: int) -> int:
        """Random numbers that a training pass takes; codes, known: statics and covariates of a series."""
        hidden = batch * known if self.hide else 0
        if not self.dropout:
            return hidden
        return hidden + batch * (codes + sum(self.hidden) + origins * self.decoder_hidden)


class Kernel(nn.Module):
    """The weights (channels, width) of a linear map."""

    width: int

    @nn.compact
    def __call__(self, channels: int) -> Array:
        """For inputs of so many channels."""
        return self.param("kernel", nn.initializers.lecun_normal(), (channels, self.width))


class RecurrentLayer(nn.Module):
    """A recurrent layer over all dates, see `cells`."""

    cell: str
    hidden: int
    norm: str
    dtype: Any

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """(time, batch, channel) -> states (time, batch, hidden)."""
        cell = CELLS[self.cell]
        width = cell.gates * self.hidden
        enter = Kernel(width, name="input")(inputs.shape[-1])
        recurrent = self.param("recurrent", _orthogonal_gates, (self.hidden, width), jnp.float32)
        bias = self.param("bias", _open_gates(cell.forget, self.hidden), (width,), jnp.float32)
        factors = enter.astype(self.dtype), recurrent.astype(self.dtype)
        states = recur(self.cell, inputs.astype(jnp.float32), *factors, bias)
        return nn.LayerNorm(name="norm")(states) if self.norm == "layer" else states


def _open_gates(forget: tuple[int, ...], hidden: int) -> Any:
    """Biases of zero, and of one where a gate keeps the memory (Jozefowicz et al. 2015)."""

    def initial(key: Array, shape: tuple[int], dtype: Any) -> Array:
        del key
        gates = jnp.arange(shape[0]) // hidden
        return jnp.isin(gates, jnp.asarray(forget, jnp.int32)).astype(dtype)

    return initial


def _orthogonal_gates(key: Array, shape: tuple[int, int], dtype: Any) -> Array:
    # One by one: jaxlib decomposes a batch of matrices on the threads that wait for it, and two such
    # batches at once wait for ever. In a loop, so that it is compiled once.
    square = nn.initializers.orthogonal()
    keys = jax.random.split(key, shape[1] // shape[0])
    gates: Array = lax.map(lambda k: square(k, (shape[0], shape[0]), dtype), keys)
    return gates.swapaxes(0, 1).reshape(shape)


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
        offset: Array,
        *,
        first_origin: int,
        chances: Chances | None = None,
        chosen: Array | None = None,
    ) -> Array:
        """Forecast all steps from every origin of a stretch.

        own: (batch, time, channel), what is seen at each date. known: (batch, time + steps,
        channel), known ahead. numbers: (batch, n) statics; codes: int (batch, m) categories. offset:
        (batch, origins, steps, 2), see `offset.from_level`; not looked at without an offset.
        chances: of what is switched off in training, see `NetworkShape.chances`; None for forecasts.
        chosen: int (n,), steps counted from 0 that alone are forecast; all without it.
        Returns (batch, origins, steps, outputs) with origins `first_origin` .. time - 1.
        """
        time = own.shape[1]
        static = self._static(numbers, codes, chances)
        effects, above, steps = self.shape.effects, self.shape.offset, self.shape.steps
        moved: list[Array] = []
        if above is not None:
            # The last channels of `own`, see `levels.above_offset`.
            own, distance = own[..., : -2 - above], own[..., -2 - above :]
            recent = distance[:, first_origin:, 2:]
            start = Offset(above, steps, self.shape.growth, name="offset")
            moved.append(start(recent, offset, static, chosen))
        if effects is not None:
            own, shift = Effects(effects, steps, name="effects")(own, known, static)
            by_covariates, by_levels = shift(first_origin, chosen)
            moved.append(by_covariates)
            # A forecast that starts from an offset does not start from a level.
            moved.append(by_levels if above is None else by_levels * (1.0 - offset[..., 1]))
        if above is not None:
            own = jnp.concatenate([own, distance], axis=-1)
        if chances is not None and self.shape.hide:
            known = self._hidden(known, chances)
        constant = jnp.broadcast_to(static[:, None], (*own.shape[:2], static.shape[-1]))
        seen = jnp.concatenate([own, known[:, :time], constant], axis=-1)
        state = self._encode(seen.swapaxes(0, 1), chances)[first_origin:].swapaxes(0, 1)
        origin = jnp.concatenate([state, seen[:, first_origin:]], axis=-1)
        dates = known[:, first_origin + 2 - _MEMORY :]
        outputs = self._decode(origin, dates, offset, chances, chosen)
        if not moved:
            return outputs
        return outputs + cast(Array, sum(moved))[..., None] * _centers(self.shape)

    def _encode(self, state: Array, chances: Chances | None) -> Array:
        """(time, batch, channel) -> states of the last layer (time, batch, hidden).

        A dropped unit is dropped on all dates of a stretch (Gal & Ghahramani 2016).
        """
        shape = self.shape
        for layer, hidden in enumerate(shape.hidden):
            recurrent = RecurrentLayer(
                shape.cell, hidden, shape.norm, shape.precision, name=f"{shape.cell}_{layer}"
            )
            above = recurrent(state)
            together = layer and shape.residual and state.shape[-1] == hidden
            state = state + above if together else above
            if chances is not None and shape.dropout:
                kept = 1.0 - shape.dropout
                state = state * (chances.kept(kept, 1, *state.shape[1:]) / kept)
        return state

    def _static(self, numbers: Array, codes: Array, chances: Chances | None) -> Array:
        """Statics as numbers (batch, n); categories are hidden at random so that 0 is learned."""
        if chances is not None and self.shape.dropout:
            codes = codes * chances.kept(1.0 - self.shape.dropout, *codes.shape)
        parts = [numbers]
        sizes = zip(self.shape.levels, self.shape.embeddings, strict=True)
        for column, (levels, width) in enumerate(sizes):
            parts.append(nn.Embed(levels, width, name=f"embedding_{column}")(codes[:, column]))
        return jnp.concatenate(parts, axis=-1)

    def _hidden(self, known: Array, chances: Chances) -> Array:
        """Known covariates (batch, dates, channel), some of them hidden from a whole stretch at random.

        Together they tell one date from all others, and so what befell every series on it.
        """
        kept = 1.0 - self.shape.hide
        return known * (chances.kept(kept, known.shape[0], 1, known.shape[2]) / kept)

    def _decode(
        self,
        origin: Array,
        known: Array,
        offset: Array,
        chances: Chances | None,
        chosen: Array | None,
    ) -> Array:
        """Origins (batch, origins, n), the known of the dates around them, offsets -> outputs."""
        width, steps = self.shape.decoder_hidden, self.shape.steps
        dense = partial(nn.Dense, dtype=self.shape.precision)
        cutoff = dense(width, name="cutoff")(origin)[:, :, None]
        # Linear in what is known of each date: computed once a date, then shared by all origins.
        dates = known.shape[1] - _MEMORY + 1
        recent = jnp.concatenate([known[:, i : i + dates] for i in range(_MEMORY)], axis=-1)
        target = dense(width, use_bias=False, name="target")(recent)
        step = nn.Embed(steps, width, name="step")(jnp.arange(steps) if chosen is None else chosen)
        entering = cutoff + forked(target, origin.shape[1], steps, chosen) + step
        if self.shape.offset is not None:
            entering += dense(width, use_bias=False, name="from_level")(1.0 - offset[..., 1:])
        hidden = jax.nn.relu(entering)
        # One mask for all steps of an origin: as good a regulariser and far fewer random numbers.
        if chances is not None and self.shape.dropout:
            kept = 1.0 - self.shape.dropout
            mask = chances.kept(kept, *origin.shape[:2], 1, width)
            hidden = hidden * (mask / kept).astype(hidden.dtype)
        hidden = jax.nn.relu(dense(width, name="decoder")(hidden)).astype(jnp.float32)
        small = nn.initializers.normal(0.01)
        return nn.Dense(self.shape.outputs, name="head", kernel_init=small)(hidden)


def _centers(shape: NetworkShape) -> Array:
    """1 for the outputs that say where a target is, 0 for those that say how far it may be from there."""
    middle = shape.quantiles.index(0.5) if shape.head == "quantile" else 0
    numbers = jnp.arange(shape.outputs)
    last = (numbers == shape.outputs - 1) & shape.has_point
    return ((numbers == middle) | last).astype(jnp.float32)


def forked(dates: Array, origins: int, steps: int, chosen: Array | None) -> Array:
    """As `fork`, for all steps or only for the chosen ones (n,), counted from 0."""
    if chosen is None:
        return fork(dates, origins, steps)
    windows = [lax.dynamic_slice_in_dim(dates, step, origins, axis=1) for step in chosen]
    return jnp.stack(windows, axis=2)


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
