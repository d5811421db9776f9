"""Random numbers of a training step: drawn all at once, then handed out.

A generator is hundreds of operations to compile wherever it is called; so it is called in one place.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax import Array, lax

_UNIT = 2.0**-24


class Chances:
    """Random bits, each of which is handed out once; uint32 (n,)."""

    def __init__(self, bits: Array) -> None:
        self._bits, self._next = bits, 0

    @property
    def left(self) -> int:
        """Numbers that are not handed out yet."""
        return int(self._bits.shape[0]) - self._next

    def bits(self, *shape: int) -> Array:
        """uint32 of a shape; a ValueError if fewer are left."""
        values = math.prod(shape)
        if values > self.left:
            raise ValueError(f"{values} random numbers are asked for and {self.left} are left")
        begin, self._next = self._next, self._next + values
        return self._bits[begin : self._next].reshape(shape)

    def numbers(self, *shape: int) -> Array:
        """float32 of a shape, uniform in [0, 1)."""
        return (self.bits(*shape) >> 8).astype(jnp.float32) * _UNIT

    def kept(self, share: float, *shape: int) -> Array:
        """bool of a shape, true with the chance `share`."""
        return self.numbers(*shape) < share


def drawn(key: Array, count: int) -> tuple[Array, Array]:
    """The next key, and bits uint32 (count,), of a counter-based generator (Salmon et al. 2011).

    key: uint32 (4,).
    """
    after, bits = lax.rng_bit_generator(key, (count,), dtype=jnp.uint32)  # type: ignore[no-untyped-call]
    return after, bits
