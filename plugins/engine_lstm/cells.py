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
    """A recurrent cell as what happens after the matrix products.

    advance: (carry, projected input, projected state) -> carry, all (batch, n); the first of the
    carry is the state. gates: width of both projections, in units. carried: arrays in the carry.
    forget: gates (counted from 0) whose bias starts at 1, so that gradients live on at first
    (Jozefowicz et al. 2015).
    """

    advance: Callable[[Carry, Array, Array], Carry]
    gates: int
    carried: int
    forget: tuple[int, ...] = ()


def _lstm(carry: Carry, projected: Array, lifted: Array) -> Carry:
    """Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000."""
    enter, forget, candidate, leave = jnp.split(projected + lifted, 4, axis=-1)
    cell = jax.nn.sigmoid(forget) * carry[1] + jax.nn.sigmoid(enter) * jnp.tanh(candidate)
    return jax.nn.sigmoid(leave) * jnp.tanh(cell), cell


def _gru(carry: Carry, projected: Array, lifted: Array) -> Carry:
    """Cho et al. 2014; the reset gate acts after the product, so that one product serves all."""
    reset_in, keep_in, candidate_in = jnp.split(projected, 3, axis=-1)
    reset_up, keep_up, candidate_up = jnp.split(lifted, 3, axis=-1)
    reset, keep = jax.nn.sigmoid(reset_in + reset_up), jax.nn.sigmoid(keep_in + keep_up)
    candidate = jnp.tanh(candidate_in + reset * candidate_up)
    return (keep * carry[0] + (1.0 - keep) * candidate,)


def _rnn(carry: Carry, projected: Array, lifted: Array) -> Carry:
    """Elman 1990."""
    del carry
    return (jnp.tanh(projected + lifted),)


CELLS = {
    "lstm": Cell(_lstm, gates=4, carried=2, forget=(1,)),
    "gru": Cell(_gru, gates=3, carried=1, forget=(1,)),
    "rnn": Cell(_rnn, gates=1, carried=1),
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
) -> tuple[Array, tuple[Array, ...]]:
    cell = CELLS[name]

    def step(carry: Carry, enters: Array) -> tuple[Carry, tuple[Array, ...]]:
        lifted = _product(carry[0], recurrent, enters.dtype) + bias
        after = cell.advance(carry, enters, lifted)
        return after, (*after, lifted)

    batch, units = projected.shape[1], recurrent.shape[0]
    empty = (jnp.zeros((batch, units), projected.dtype),) * cell.carried
    _, (*carries, lifted) = lax.scan(step, empty, projected)
    return carries[0], (projected, recurrent, lifted, *carries)


def _backward(name: str, kept: tuple[Array, ...], d_states: Array) -> tuple[Array, Array, Array]:
    projected, recurrent, lifted, *carries = kept
    cell = CELLS[name]
    before = tuple(jnp.concatenate([jnp.zeros_like(c[:1]), c[:-1]]) for c in carries)
    transposed = recurrent.T

    def step(d_after: Carry, here: tuple[Array, ...]) -> tuple[Carry, tuple[Array, Array]]:
        d_state, enters, up, *carry = here
        _, pull = jax.vjp(cell.advance, tuple(carry), enters, up)
        d_before, d_enters, d_up = pull((d_after[0] + d_state, *d_after[1:]))
        through = _product(d_up, transposed, d_up.dtype)
        return (d_before[0] + through, *d_before[1:]), (d_enters, d_up)

    nothing = tuple(jnp.zeros_like(c[0]) for c in carries)
    _, (d_projected, d_lifted) = lax.scan(
        step, nothing, (d_states, projected, lifted, *before), reverse=True
    )
    flat = before[0].reshape(-1, recurrent.shape[0]), d_lifted.reshape(-1, recurrent.shape[1])
    d_recurrent = _product(flat[0].T, flat[1].astype(recurrent.dtype), d_lifted.dtype)
    return d_projected, d_recurrent.astype(recurrent.dtype), d_lifted.sum((0, 1))


recur.defvjp(_forward, _backward)


def _product(left: Array, right: Array, out: jnp.dtype) -> Array:
    """Matrix product with factors of the type of `right`, summed in `out`."""
    return lax.dot(left.astype(right.dtype), right, preferred_element_type=out)
