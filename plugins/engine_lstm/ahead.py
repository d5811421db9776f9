"""Forecasts of a trained network from the last date of what it is given."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import jax.numpy as jnp
from jax import Array

from engine_lstm.compiled import compiled, each
from engine_lstm.heads import described, free_outputs
from engine_lstm.network import Forecaster, NetworkShape, Weights


class Inputs(NamedTuple):
    """What a forecast is made of; see `Forecaster` for the shapes. level, scale: (series,).

    offset: (series, 1, steps, 2 or none), from one origin.
    """

    own: Any
    known: Any
    numbers: Any
    codes: Any
    offset: Any
    level: Any
    scale: Any


def outputs_ahead(shape: NetworkShape, weights: Weights, inputs: Inputs) -> Array:
    """From the last date of the inputs: (members, series, steps, n), what `heads.described` says.

    A last number of its own follows where the network has a point output.
    """
    *seen, level, scale = inputs
    last = inputs.own.shape[1] - 1
    free = free_outputs(shape.head, shape.quantiles)
    stand = level[:, None], jnp.where(scale > 0, scale, 1.0)[:, None]

    def member(weights: Weights) -> Array:
        outputs = cast(Array, Forecaster(shape).apply(weights, *seen, first_origin=last))[:, 0]
        meaning = described(shape.head, outputs[..., :free], *stand, shape.quantiles)
        return jnp.concatenate([meaning, outputs[..., free:]], axis=-1)

    outputs: Array = each(member, weights)
    return outputs


forecast = compiled(static_argnames="shape")(outputs_ahead)
"""`outputs_ahead`, compiled."""
