"""Recurrent cells over whole stretches, with a backward pass that leaves the matrix unit little to wait for.

All cells share one loop over blocks of dates. The input of a block is projected in one matrix
product, then only products with the state are left for its dates; going back, these dates carry only
the gradient of the carry, and the gradients of the weights and of the input are one product a block.
Blocks are as short as fills the matrix unit, so that what a block makes is still in the cache when it
is used: whole stretches at once read and wrote several times what the products themselves need.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

Carry = tuple[Array, ...]
# inputs, weights, the carry before each block, the carries after each date, what the cells kept
Saved = tuple[Array, Array, Array, Carry, Carry, Carry]

_ROWS = 256  # rows of a product that keep a CPU busy
_UNROLLED = 4  # dates that a GPU is given at a time: it waits less for each; 8 and 15 bring no more


@dataclass(frozen=True)
class Cell:
    """A recurrent cell as what happens between the matrix products; all arrays are (batch, n).

    advance: (carry, projected input, projected state) -> carry, and what the way back needs. The
    first of the carry is the state. retreat: (gradient of the new carry, what was kept, old carry,
    new carry) -> gradients of the old carry, of the projected input and of the projected state.
    gates: width of both projections, in units. carried: arrays in the carry. forget: gates (counted
    from 0) whose bias starts at 1, so that gradients live on at first (Jozefowicz et al. 2015).
    added: the projections are only ever added, so that both have one gradient.
    """

    advance: Callable[[Carry, Array, Array], tuple[Carry, Carry]]
    retreat: Callable[[Carry, Carry, Carry, Carry], tuple[Carry, Array, Array]]
    gates: int
    carried: int
    added: bool
    forget: tuple[int, ...] = ()


def _sigmoid(value: Array) -> Array:
    """By the hyperbolic tangent, which costs a CPU less than an exponential and a division."""
    return 0.5 * jnp.tanh(0.5 * value) + 0.5


def _lstm(carry: Carry, projected: Array, lifted: Array) -> tuple[Carry, Carry]:
    """Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000."""
    units = carry[0].shape[-1]
    # One tangent over all gates at once: the half ones are sigmoids.
    half = jnp.full(units, 0.5, projected.dtype)
    slope = jnp.concatenate([half, half, 2.0 * half, half])
    gates = slope * jnp.tanh(slope * (projected + lifted)) + (1.0 - slope)
    enter, forget, candidate, leave = jnp.split(gates, 4, axis=-1)
    cell = forget * carry[1] + enter * candidate
    return (leave * jnp.tanh(cell), cell), (gates,)


def _lstm_back(
    d_after: Carry, kept: Carry, before: Carry, after: Carry
) -> tuple[Carry, Array, Array]:
    enter, forget, candidate, leave = jnp.split(kept[0], 4, axis=-1)
    d_state, level = d_after[0], jnp.tanh(after[1])
    d_cell = d_after[1] + d_state * leave * (1.0 - level * level)
    d_gates = jnp.concatenate(
        [
            d_cell * candidate * enter * (1.0 - enter),
            d_cell * before[1] * forget * (1.0 - forget),
            d_cell * enter * (1.0 - candidate * candidate),
            d_state * level * leave * (1.0 - leave),
        ],
        axis=-1,
    )
    return (jnp.zeros_like(d_state), d_cell * forget), d_gates, d_gates


def _gru(carry: Carry, projected: Array, lifted: Array) -> tuple[Carry, Carry]:
    """Cho et al. 2014; the reset gate acts after the product, so that one product serves all."""
    reset_in, keep_in, candidate_in = jnp.split(projected, 3, axis=-1)
    reset_up, keep_up, candidate_up = jnp.split(lifted, 3, axis=-1)
    reset, keep = _sigmoid(reset_in + reset_up), _sigmoid(keep_in + keep_up)
    candidate = jnp.tanh(candidate_in + reset * candidate_up)
    kept = (reset, keep, candidate, candidate_up)
    return (keep * carry[0] + (1.0 - keep) * candidate,), kept


def _gru_back(
    d_after: Carry, kept: Carry, before: Carry, after: Carry
) -> tuple[Carry, Array, Array]:
    del after
    reset, keep, candidate, candidate_up = kept
    d_keep = d_after[0] * (before[0] - candidate) * keep * (1.0 - keep)
    d_candidate = d_after[0] * (1.0 - keep) * (1.0 - candidate * candidate)
    d_reset = d_candidate * candidate_up * reset * (1.0 - reset)
    d_projected = jnp.concatenate([d_reset, d_keep, d_candidate], axis=-1)
    d_lifted = jnp.concatenate([d_reset, d_keep, d_candidate * reset], axis=-1)
    return (d_after[0] * keep,), d_projected, d_lifted


def _rnn(carry: Carry, projected: Array, lifted: Array) -> tuple[Carry, Carry]:
    """Elman 1990."""
    del carry
    return (jnp.tanh(projected + lifted),), ()


def _rnn_back(
    d_after: Carry, kept: Carry, before: Carry, after: Carry
) -> tuple[Carry, Array, Array]:
    del kept, before
    d_sum = d_after[0] * (1.0 - after[0] * after[0])
    return (jnp.zeros_like(d_sum),), d_sum, d_sum


CELLS = {
    "lstm": Cell(_lstm, _lstm_back, gates=4, carried=2, added=True, forget=(1,)),
    "gru": Cell(_gru, _gru_back, gates=3, carried=1, added=False, forget=(1,)),
    "rnn": Cell(_rnn, _rnn_back, gates=1, carried=1, added=True),
}


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def recur(name: str, inputs: Array, enter: Array, recurrent: Array, bias: Array) -> Array:
    """States (time, batch, n) of a cell that starts from zeros.

    inputs: (time, batch, channel). enter: (channel, gates * n) and recurrent: (n, gates * n);
    products with them are made in their type and summed in that of `inputs`. bias: (gates * n,),
    added to the projected state.
    """
    return _forward(name, inputs, enter, recurrent, bias)[0]


def _forward(
    name: str, inputs: Array, enter: Array, recurrent: Array, bias: Array
) -> tuple[Array, Saved]:
    cell, out = CELLS[name], inputs.dtype
    time, batch, _ = inputs.shape
    length = block_length(time, batch, jax.default_backend())

    def step(carry: Carry, projected: Array) -> tuple[Carry, tuple[Carry, Carry]]:
        lifted = _product(carry[0], recurrent, out) + bias
        after, kept = cell.advance(carry, projected, lifted)
        return after, (after, kept)

    def block(start: Carry, here: Array) -> tuple[Carry, tuple[Carry, tuple[Carry, Carry]]]:
        projected = _product(_rows(here), enter, out).reshape(length, batch, -1)
        after, made = lax.scan(step, start, projected, unroll=unrolled(jax.default_backend()))
        return after, (start, made)

    empty = (jnp.zeros((batch, recurrent.shape[0]), out),) * cell.carried
    _, (starts, (carries, kept)) = lax.scan(block, empty, _blocks(inputs, length))
    states = carries[0].reshape(time, batch, -1)
    return states, (inputs, enter, recurrent, starts, carries, kept)


def _backward(name: str, saved: Saved, d_states: Array) -> tuple[Array, Array, Array, Array]:
    inputs, enter, recurrent, starts, carries, kept = saved
    cell, out = CELLS[name], inputs.dtype
    length = carries[0].shape[1]
    backwards = enter.T, recurrent.T

    def step(
        d_carry: Carry, here: tuple[Array, Carry, Carry, Carry]
    ) -> tuple[Carry, tuple[Array, ...]]:
        d_state, parts, before, after = here
        d_after = (d_carry[0] + d_state, *d_carry[1:])
        d_before, d_projected, d_lifted = cell.retreat(d_after, parts, before, after)
        through = d_before[0] + _product(d_lifted, backwards[1], out)
        found = (d_lifted,) if cell.added else (d_lifted, d_projected)
        return (through, *d_before[1:]), found

    def block(
        carried: tuple[Carry, tuple[Array, ...]], here: tuple[Array, Array, Carry, Carry, Carry]
    ) -> tuple[tuple[Carry, tuple[Array, ...]], Array]:
        d_carry, sums = carried
        enters, d_out, start, after, parts = here
        before = tuple(
            jnp.concatenate([s[None], a[:-1]]) for s, a in zip(start, after, strict=True)
        )
        unroll = unrolled(jax.default_backend())
        d_carry, found = lax.scan(
            step, d_carry, (d_out, parts, before, after), reverse=True, unroll=unroll
        )
        d_lifted, d_projected = _rows(found[0]), _rows(found[-1])
        more = (
            _product(_rows(enters).T, d_projected.astype(enter.dtype), out),
            _product(_rows(before[0]).T, d_lifted.astype(recurrent.dtype), out),
            d_lifted.sum(0),
        )
        d_inputs = _product(d_projected, backwards[0], out).reshape(enters.shape)
        return (d_carry, tuple(s + m for s, m in zip(sums, more, strict=True))), d_inputs

    weights = (enter.shape, recurrent.shape, recurrent.shape[1:])
    nothing = tuple(jnp.zeros_like(s[0]) for s in starts), tuple(jnp.zeros(w, out) for w in weights)
    given = (_blocks(inputs, length), _blocks(d_states, length), starts, carries, kept)
    (_, sums), d_inputs = lax.scan(block, nothing, given, reverse=True)
    d_enter, d_recurrent = sums[0].astype(enter.dtype), sums[1].astype(recurrent.dtype)
    return d_inputs.reshape(inputs.shape), d_enter, d_recurrent, sums[2]


recur.defvjp(_forward, _backward)


def block_length(time: int, batch: int, backend: str) -> int:
    """Dates of a block: the fewest that divide `time` and fill the matrix unit; else all.

    Only a CPU gains by blocks; other devices are best filled by all dates at once.
    """
    fitting = (n for n in range(1, time) if time % n == 0 and n * batch >= _ROWS)
    return next(fitting, time) if backend == "cpu" else time


def unrolled(backend: str) -> int:
    """Dates of a block that follow each other without a loop in between."""
    return 1 if backend == "cpu" else _UNROLLED


def _blocks(values: Array, length: int) -> Array:
    """(time, ...) -> (blocks, length, ...)."""
    return values.reshape(-1, length, *values.shape[1:])


def _rows(values: Array) -> Array:
    """(time, batch, n) -> (time * batch, n)."""
    return values.reshape(-1, values.shape[-1])


def _product(left: Array, right: Array, out: jnp.dtype) -> Array:
    """Matrix product with factors of the type of `right`, summed in `out`."""
    return lax.dot(left.astype(right.dtype), right, preferred_element_type=out)
