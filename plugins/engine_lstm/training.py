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

from engine_lstm.network import Forecaster, NetworkShape, losses
from engine_lstm.sampling import Bounds, DeviceData, Stretch, StretchSize, cut, draw

Weights = Mapping[str, Any]

_VALIDATION_CHUNKS = 64


@dataclass(frozen=True)
class Plan:
    """Everything that a compiled training function depends on besides shapes; hashable."""

    network: NetworkShape
    size: StretchSize
    loss: str
    batch: int
    batches: int
    epochs: int
    learning_rate: float
    weight_decay: float
    clip: float

    def optimizer(self) -> optax.GradientTransformation:
        """AdamW (Loshchilov & Hutter 2019) with clipped gradients, a short warm-up and a cosine."""
        total = self.batches * self.epochs
        schedule = optax.warmup_cosine_decay_schedule(
            0.0, self.learning_rate, min(50, total // 10), total, self.learning_rate * 0.01
        )
        return optax.chain(
            optax.clip_by_global_norm(self.clip),
            optax.adamw(schedule, weight_decay=self.weight_decay),
        )


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
    data: DeviceData,
    learn: Bounds,
    check: Bounds | None,
    *,
    seed: int,
    patience: int,
    report: Callable[[str, Mapping[str, Any]], None],
) -> Trained:
    """Train for `plan.epochs`, or until `patience` epochs bring no better loss on `check`.

    Without `check` the last weights are kept.
    """
    state = start(plan, data, jax.random.key(seed % 2**32))
    best = Trained(state.weights, 0, [], [])
    lowest = float("inf")
    for epoch in range(1, plan.epochs + 1):
        state, loss = run_epoch(plan, state, data, learn)
        best.train_loss.append(float(loss))
        event: dict[str, Any] = {"epoch": epoch, "of": plan.epochs, "loss": float(loss)}
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
def start(plan: Plan, data: DeviceData, key: Array) -> State:
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
    return State(weights, plan.optimizer().init(weights), key)


@partial(jax.jit, static_argnames="plan")
def run_epoch(plan: Plan, state: State, data: DeviceData, bounds: Bounds) -> tuple[State, Array]:
    """Train on `plan.batches` minibatches; returns the new state and the mean loss."""
    optimizer = plan.optimizer()

    def step(carry: State, _: None) -> tuple[State, Array]:
        key, pick, drop = jax.random.split(carry.key, 3)
        series, ends = draw(pick, data, bounds.last_origin, plan.batch, plan.size.origins)
        stretch = cut(data, series, ends, bounds, plan.size)
        loss, gradient = jax.value_and_grad(_mean_loss)(carry.weights, plan, stretch, drop)
        change, moments = optimizer.update(gradient, carry.moments, carry.weights)
        return State(optax.apply_updates(carry.weights, change), moments, key), loss

    state, loss = lax.scan(step, state, length=plan.batches)
    return state, loss.mean()


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
    """Outputs (series, steps, outputs) from the last date of the inputs."""
    last = inputs.own.shape[1] - 1
    network = Forecaster(shape)
    return network.apply(weights, *inputs, first_origin=last, train=False)[:, 0]
