from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("jax")

import jax
import jax.numpy as jnp
from jax import Array, lax

from engine_lstm.cells import CELLS, block_length, recur

TIME, BATCH, CHANNELS, UNITS = 6, 3, 4, 5


def inputs(
    name: str, dtype: str, batch: int = BATCH, time: int = TIME
) -> tuple[Array, Array, Array, Array]:
    rng = np.random.default_rng(3)
    width = CELLS[name].gates * UNITS
    shapes = ((time, batch, CHANNELS), (CHANNELS, width), (UNITS, width), (width,))
    return tuple(jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes)


def plain(name: str, inputs: Array, enter: Array, recurrent: Array, bias: Array) -> Array:
    """The same cell as JAX differentiates it by itself."""
    cell = CELLS[name]
    carry = (jnp.zeros((inputs.shape[1], UNITS), inputs.dtype),) * cell.carried

    def step(carry, here):
        after, _ = cell.advance(carry, here @ enter, carry[0] @ recurrent + bias)
        return after, after[0]

    return lax.scan(step, carry, inputs)[1]


@pytest.mark.parametrize("batch, length", [(3, TIME), (100, 3), (256, 1)])
@pytest.mark.parametrize("name", sorted(CELLS))
def test_gradients_are_those_of_automatic_differentiation(
    name: str, batch: int, length: int
) -> None:
    assert block_length(TIME, batch, "cpu") == length
    with jax.enable_x64(True):
        values = inputs(name, "float64", batch)
        weight = jnp.asarray(np.random.default_rng(4).normal(size=(TIME, batch, UNITS)))

        def total(function):
            return jax.grad(lambda *v: (function(name, *v) * weight).sum(), (0, 1, 2, 3))(*values)

        for own, automatic in zip(total(recur), total(plain), strict=True):
            np.testing.assert_allclose(own, automatic, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "time, batch, backend, length", [(59, 32, "cpu", 59), (60, 32, "cpu", 10), (60, 32, "gpu", 60)]
)
def test_blocks_divide_the_stretch(time: int, batch: int, backend: str, length: int) -> None:
    assert block_length(time, batch, backend) == length


def test_the_lstm_is_the_published_one() -> None:
    # One unit and two steps by hand; gates in the order input, forget, candidate, output.
    projected = np.array([[0.1, 0.2, 0.3, 0.4], [-0.5, 0.6, 0.7, -0.8]])
    recurrent, bias = np.array([[0.9, -0.3, 0.2, 0.5]]), np.array([0.0, 1.0, 0.0, 0.0])

    def sigmoid(value: float) -> float:
        return 1 / (1 + np.exp(-value))

    state, cell, expected = 0.0, 0.0, []
    for row in projected:
        i, f, g, o = row + state * recurrent[0] + bias
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        state = sigmoid(o) * np.tanh(cell)
        expected.append(state)
    values = (jnp.asarray(v, jnp.float32) for v in (projected[:, None], np.eye(4), recurrent, bias))
    np.testing.assert_allclose(recur("lstm", *values)[:, 0, 0], expected, rtol=1e-6)


def test_a_gru_that_keeps_everything_stays_at_its_start() -> None:
    given, enter, recurrent, _ = inputs("gru", "float32")
    bias = jnp.concatenate([jnp.zeros(UNITS), jnp.full(UNITS, 100.0), jnp.zeros(UNITS)])
    assert np.abs(recur("gru", given, enter, recurrent, bias)).max() == 0.0


@pytest.mark.parametrize("name", sorted(CELLS))
def test_products_in_bfloat16_stay_near_those_in_float32(name: str) -> None:
    given, enter, recurrent, bias = inputs(name, "float32")
    rough = recur(name, given, enter.astype(jnp.bfloat16), recurrent.astype(jnp.bfloat16), bias)
    assert rough.dtype == jnp.float32
    exact = recur(name, given, enter, recurrent, bias)
    assert 0 < np.abs(rough - exact).max() < 0.1
