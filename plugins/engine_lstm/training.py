"""Training as compiled functions: one call an epoch, the random key in the carry, no Python a step.

Compiled functions are kept by `Plan` and by the padded shapes of the data, so that a second fold
of about the same size compiles nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from engine_lstm.network import Forecaster, NetworkShape, losses, quantiles_of
from engine_lstm.sampling import Bounds, DeviceData, Stretch, StretchSize, cut, draw

Weights = Mapping[str, Any]

_VALIDATION_CHUNKS = 64
_MOST_WARM_UP = 50
_LAST_RATE = 0.01  # share of the learning rate that is left at the end


@dataclass(frozen=True)
class Plan:
    """Everything that a compiled training function depends on besides shapes; hashable."""

    network: NetworkShape
    size: StretchSize
    loss: str
    batch: int


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    epochs: at most. batches: training steps of an epoch. learning_rate: the highest.
    """

    epochs: int
    batches: int
    learning_rate: float
    weight_decay: float
    clip: float

    def pace(self) -> Pace:
        """As numbers on the device."""
        total = self.epochs * self.batches
        steps = (self.batches, min(_MOST_WARM_UP, total // 10), total)
        sizes = (self.learning_rate, self.weight_decay, self.clip)
        return Pace(
            *(jnp.asarray(number, jnp.int32) for number in steps),
            *(jnp.asarray(number, jnp.float32) for number in sizes),
        )


class Pace(NamedTuple):
    """A schedule as inputs of compiled functions, so that any schedule uses the same ones.

    batches, rise, total: training steps of an epoch, of the rise of the learning rate, of all
    epochs. rate, decay, clip: the highest learning rate, weight decay, largest gradient.
    """

    batches: Array
    rise: Array
    total: Array
    rate: Array
    decay: Array
    clip: Array


class State(NamedTuple):
    """What an epoch carries on: weights, the optimizer's moments, the random key."""

    weights: Weights
    moments: Any
    key: Array


class Trained(NamedTuple):
    """The best weights, their epoch (counted from 1), and both losses of every epoch."""

    weights: Weights
    best_epoch: int
    train_loss: list[float]
    validation_loss: list[float | None]


def train(
    plan: Plan,
    schedule: Schedule,
    data: DeviceData,
    learn: Bounds,
    check: Bounds | None,
    *,
    seed: int,
    patience: int,
    report: Callable[[str, Mapping[str, Any]], None],
) -> Trained:
    """Train for `schedule.epochs`, or until `patience` epochs bring no better loss on `check`.

    Without `check` the last weights are kept.
    """
    pace = schedule.pace()
    state = start(plan, data, jax.random.key(seed % 2**32), pace)
    best = Trained(state.weights, 0, [], [])
    lowest = float("inf")
    for epoch in range(1, schedule.epochs + 1):
        state, loss = run_epoch(plan, state, data, learn, pace)
        best.train_loss.append(float(loss))
        event: dict[str, Any] = {"epoch": epoch, "of": schedule.epochs, "loss": float(loss)}
        if check is None:
            best.validation_loss.append(None)
            best = best._replace(weights=state.weights, best_epoch=epoch)
        else:
            event["validation_loss"] = float(validation_loss(plan, state.weights, data, check))
            best.validation_loss.append(event["validation_loss"])
            if event["validation_loss"] < lowest:
                lowest = event["validation_loss"]
                best = best._replace(weights=state.weights, best_epoch=epoch)
        report("epoch", event)
        if check is not None and epoch - best.best_epoch >= patience:
            break
    return best


@partial(jax.jit, static_argnames="plan")
def start(plan: Plan, data: DeviceData, key: Array, pace: Pace) -> State:
    """First weights and moments."""
    key, first = jax.random.split(key)
    nothing = jnp.zeros((1,), jnp.int32)
    anywhere = Bounds(*(jnp.zeros((), jnp.int32),) * 3)
    stretch = cut(data, nothing, nothing + plan.size.context, anywhere, plan.size)
    weights = Forecaster(plan.network).init(
        first,
        stretch.own,
        stretch.known,
        stretch.numbers,
        stretch.codes,
        first_origin=plan.size.context - plan.size.origins,
        train=False,
    )
    return State(weights, _optimizer(pace).init(weights), key)


@partial(jax.jit, static_argnames="plan")
def run_epoch(
    plan: Plan, state: State, data: DeviceData, bounds: Bounds, pace: Pace
) -> tuple[State, Array]:
    """Train on `pace.batches` minibatches; returns the new state and the mean loss."""
    optimizer = _optimizer(pace)

    def step(_: Array, carry: tuple[State, Array]) -> tuple[State, Array]:
        state, total = carry
        key, pick, drop = jax.random.split(state.key, 3)
        series, ends = draw(pick, data, bounds.last_origin, plan.batch, plan.size.origins)
        stretch = cut(data, series, ends, bounds, plan.size)
        loss, gradient = jax.value_and_grad(_mean_loss)(state.weights, plan, stretch, drop)
        change, moments = optimizer.update(gradient, state.moments, state.weights)
        return State(optax.apply_updates(state.weights, change), moments, key), total + loss

    # A loop and not a scan: the number of steps is then no part of what was compiled.
    state, total = lax.fori_loop(0, pace.batches, step, (state, jnp.zeros(())))
    return state, total / pace.batches


@partial(jax.jit, static_argnames="plan")
def validation_loss(plan: Plan, weights: Weights, data: DeviceData, bounds: Bounds) -> Array:
    """Mean loss over the cutoffs of `bounds`, of all series or of an even selection of them."""
    n_series = data.begin.shape[0]
    chunks = min(-(-n_series // plan.batch), _VALIDATION_CHUNKS)
    chosen = jnp.linspace(0, n_series - 1, chunks * plan.batch).astype(jnp.int32)

    def chunk(series: Array) -> tuple[Array, Array]:
        ends = jnp.broadcast_to(bounds.last_origin, series.shape)
        stretch = cut(data, series, ends, bounds, plan.size)
        loss = _losses(weights, plan, stretch, None)
        return (loss * stretch.weight).sum(), stretch.weight.sum()

    total, weight = lax.map(chunk, chosen.reshape(chunks, plan.batch))
    return total.sum() / jnp.maximum(weight.sum(), 1.0)


def _optimizer(pace: Pace) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter 2019) with clipped gradients, a short rise and then a cosine."""

    def rate(count: Array) -> Array:
        rising = count / jnp.maximum(pace.rise, 1)
        done = (count - pace.rise) / jnp.maximum(pace.total - pace.rise, 1)
        cosine = 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.clip(done, 0.0, 1.0)))
        falling = _LAST_RATE + (1.0 - _LAST_RATE) * cosine
        return pace.rate * jnp.where(count < pace.rise, rising, falling)

    return optax.chain(
        optax.clip_by_global_norm(pace.clip),
        optax.adamw(rate, weight_decay=pace.decay),
    )


def _mean_loss(weights: Weights, plan: Plan, stretch: Stretch, key: Array) -> Array:
    total = (_losses(weights, plan, stretch, key) * stretch.weight).sum()
    return total / jnp.maximum(stretch.weight.sum(), 1.0)


def _losses(weights: Weights, plan: Plan, stretch: Stretch, key: Array | None) -> Array:
    outputs = Forecaster(plan.network).apply(
        weights,
        stretch.own,
        stretch.known,
        stretch.numbers,
        stretch.codes,
        first_origin=plan.size.context - plan.size.origins,
        train=key is not None,
        rngs=None if key is None else {"dropout": key},
    )
    return losses(outputs, stretch.target, plan.network.quantiles, plan.loss)


class Inputs(NamedTuple):
    """What a forecast is made of; see `Forecaster` for the shapes."""

    own: Any
    known: Any
    numbers: Any
    codes: Any


@partial(jax.jit, static_argnames="shape")
def forecast(shape: NetworkShape, weights: Weights, inputs: Inputs) -> Array:
    """From the last date of the inputs: (series, steps, outputs), ordered quantiles first.

    A last output of its own follows where the network has a point head.
    """
    last = inputs.own.shape[1] - 1
    outputs = Forecaster(shape).apply(weights, *inputs, first_origin=last, train=False)[:, 0]
    ordered = quantiles_of(outputs, shape.quantiles)
    return jnp.concatenate([ordered, outputs[..., len(shape.quantiles) :]], axis=-1)
