"""What of the days ahead a forecast of the network is made of: integrated gradients.

Permutation importance says what a model loses without a covariate; this says how far the covariate
moves the forecasts, also where two covariates stand in for each other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import polars as pl
from jax import Array, lax

from engine_lstm.ahead import Inputs, outputs_ahead
from engine_lstm.compiled import compiled
from engine_lstm.heads import free_outputs
from engine_lstm.network import NetworkShape, Weights

STEPS = 32

Floats = npt.NDArray[np.floating[Any]]


def attribution(
    shape: NetworkShape, weights: Weights, inputs: Inputs, covariates: tuple[str, ...]
) -> pl.DataFrame:
    """`covariate, share, series`: mean absolute integrated gradient, as a share of all; largest first.

    inputs: as for `outputs_ahead`, the first channels of `known` being the standardised covariates in
    the order of `covariates`; an offset is the last of them. share: over the series and the dates
    ahead; sums to 1 unless no covariate moves any forecast. Empty without covariates.
    """
    if not covariates:
        return pl.DataFrame()
    channels = len(covariates) - (shape.offset is not None)
    moved = np.abs(integrated(shape, weights, inputs, channels)).mean(axis=(0, 1))
    total = float(moved.sum())
    share = moved / total if total > 0 else moved
    table = pl.DataFrame({"covariate": covariates, "share": share.astype(np.float64)})
    table = table.with_columns(series=pl.lit(len(inputs.own)))
    return table.sort("share", "covariate", descending=[True, False])


def integrated(
    shape: NetworkShape, weights: Weights, inputs: Inputs, channels: int, steps: int = STEPS
) -> Floats:
    """Integrated gradients (series, steps, channels) of the sum of a series' forecasts over all steps.

    The path leads from covariates that are average on all dates ahead (0 after standardisation) to
    those of `inputs`; what came before, the date and the gaps stay as they are. With an offset there is
    one more channel, its way from the level. The gradients are
    taken in the middle of `steps` equal parts. Their sum over steps and channels is the difference
    of the sums of both forecasts, up to the error of that rule (Sundararajan, Taly & Yan, Axiomatic
    attribution for deep networks, 2017). In the network's unit, y less its level over its scale, so
    that large series do not count more.
    """
    return np.asarray(_integrated(shape, weights, inputs, channels, steps))


@compiled(static_argnames=("shape", "channels", "steps"))
def _integrated(
    shape: NetworkShape, weights: Weights, inputs: Inputs, channels: int, steps: int
) -> Array:
    known = jnp.asarray(inputs.known)
    begin = known.shape[1] - shape.steps
    offset = jnp.asarray(inputs.offset)
    ahead = jnp.concatenate([known[:, begin:, :channels], offset[:, 0, :, :1]], axis=-1)
    inputs = inputs._replace(known=known, offset=offset)
    gradient: Callable[[Array], Array] = jax.grad(partial(_total, shape, weights, inputs, channels))

    def part(number: Array) -> Array:
        return gradient(ahead * (number + 0.5) / steps)

    parts: Array = lax.map(part, jnp.arange(steps, dtype=jnp.float32))
    return ahead * parts.mean(axis=0)


def _total(
    shape: NetworkShape, weights: Weights, inputs: Inputs, channels: int, ahead: Array
) -> Array:
    """Sum of the point forecasts of all series and steps, given the covariates and offsets ahead."""
    begin = inputs.known.shape[1] - shape.steps
    known = inputs.known.at[:, begin:, :channels].set(ahead[..., :channels])
    offset = inputs.offset.at[:, 0, :, :1].set(ahead[..., channels:])
    changed = inputs._replace(known=known, offset=offset)
    outputs = outputs_ahead(shape, weights, changed).mean(axis=0)
    return points(shape, outputs, jnp.asarray(inputs.scale)).sum()


def points(shape: NetworkShape, outputs: Array, scale: Array) -> Array:
    """Point forecasts (series, steps) in the network's unit from the outputs of `outputs_ahead`."""
    if shape.has_point:
        return outputs[..., -1]
    meaning = outputs[..., : free_outputs(shape.head, shape.quantiles)]
    if shape.head == "negative_binomial":
        return meaning[..., 0] / jnp.where(scale > 0, scale, 1.0)[:, None]
    return meaning[..., shape.quantiles.index(0.5) if shape.head == "quantile" else 0]
