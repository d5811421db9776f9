"""Recurrent cells over whole stretches, with a backward pass that leaves the matrix unit little to wait for.

All cells share one loop. What does not depend on the previous state is projected for all times at
once before it; going back, the loop carries only the gradient of the carry, and the gradient of
the recurrent weights is one matrix product over all times after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

Carry = tuple[Array, ...]


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
def recur(name: str, projected: Array, recurrent: Array, bias: Array) -> Array:
    """States (time, batch, n) of a cell that starts from zeros.

    projected: (time, batch, gates * n). recurrent: (n, gates * n); products with it are made in its
    type and summed in that of `projected`. bias: (gates * n,), added to the projected state.
    """
    return _forward(name, projected, recurrent, bias)[0]


def _forward(
    name: str, projected: Array, recurrent: Array, bias: Array
) -> tuple[Array, tuple[Array, Carry, Carry]]:
    cell = CELLS[name]

    def step(carry: Carry, enters: Array) -> tuple[Carry, tuple[Carry, Carry]]:
        lifted = _product(carry[0], recurrent, enters.dtype) + bias
        after, kept = cell.advance(carry, enters, lifted)
        return after, (after, kept)

    batch, units = projected.shape[1], recurrent.shape[0]
    empty = (jnp.zeros((batch, units), projected.dtype),) * cell.carried
    _, (carries, kept) = lax.scan(step, empty, projected)
    return carries[0], (recurrent, carries, kept)


def _backward(
    name: str, saved: tuple[Array, Carry, Carry], d_states: Array
) -> tuple[Array, Array, Array]:
    recurrent, carries, kept = saved
    cell, transposed = CELLS[name], recurrent.T
    earlier = tuple(jnp.concatenate([jnp.zeros_like(c[:1]), c[:-1]]) for c in carries)

    def step(
        d_carry: Carry, here: tuple[Array, Carry, Carry, Carry]
    ) -> tuple[Carry, tuple[Array, ...]]:
        d_state, parts, before, after = here
        d_after = (d_carry[0] + d_state, *d_carry[1:])
        d_before, d_enters, d_lifted = cell.retreat(d_after, parts, before, after)
        through = d_before[0] + _product(d_lifted, transposed, d_lifted.dtype)
        found = (d_lifted,) if cell.added else (d_lifted, d_enters)
        return (through, *d_before[1:]), found

    nothing = tuple(jnp.zeros_like(c[0]) for c in carries)
    _, found = lax.scan(step, nothing, (d_states, kept, earlier, carries), reverse=True)
    d_lifted, d_projected = found[0], found[-1]
    flat = earlier[0].reshape(-1, recurrent.shape[0]), d_lifted.reshape(-1, recurrent.shape[1])
    d_recurrent = _product(flat[0].T, flat[1].astype(recurrent.dtype), d_lifted.dtype)
    return d_projected, d_recurrent.astype(recurrent.dtype), d_lifted.sum((0, 1))


recur.defvjp(_forward, _backward)


def _product(left: Array, right: Array, out: jnp.dtype) -> Array:
    """Matrix product with factors of the type of `right`, summed in `out`."""
    return lax.dot(left.astype(right.dtype), right, preferred_element_type=out)
