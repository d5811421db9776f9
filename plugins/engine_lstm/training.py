"""Training as compiled functions: one call an epoch, the random key in the carry, no Python a step.

Compiled functions are kept by `Plan` and by the padded shapes of the data, so that a second fold
of about the same size compiles nothing. Everything that is trained has a leading axis of members:
the networks of an ensemble, which share the data and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from engine_lstm.chances import Chances, drawn
from engine_lstm.checkpoint import Keeper
from engine_lstm.compiled import compiled, each, processor
from engine_lstm.heads import described, free_outputs, head_loss, point_loss
from engine_lstm.network import Forecaster, NetworkShape, Weights
from engine_lstm.privacy import aggregated
from engine_lstm.sampling import (
    Bounds,
    DeviceData,
    Stretch,
    StretchSize,
    cut,
    draw,
    draw_apart,
    some_steps,
)
from engine_lstm.schedule import Pace, Schedule, optimizer

_VALIDATION_CHUNKS = 64
_TINY = 1e-9
_RUN_ONCE = {"xla_backend_optimization_level": 0}  # compiling would take longer than it saves
_RANDOM = "rbg"  # Philox: on a CPU far cheaper than threefry, and one batch needs many bits


@dataclass(frozen=True)
class Plan:
    """Everything that a compiled training function depends on besides shapes; hashable.

    loss: that of the point output, or None. members: networks of the ensemble. learned_steps: steps
    ahead that a minibatch is of, another sample each time. private: series are drawn each by itself,
    their gradients are clipped and made noisy; `batch` are then slots.
    """

    network: NetworkShape
    size: StretchSize
    loss: str | None
    log1p: bool
    batch: int
    members: int
    learned_steps: int
    private: bool = False


class State(NamedTuple):
    """What an epoch carries on: weights, their running mean, the optimizer's moments, random keys.

    Within an epoch both are one row. steps: minibatches learned from so far.
    """

    weights: Any
    average: Any
    moments: Any
    key: Array
    steps: Array


class Best(NamedTuple):
    """The weights of each member that were best so far, their validation loss and epoch (members,)."""

    weights: Weights
    loss: Array
    epoch: Array


class Trained(NamedTuple):
    """The best weights, their epochs (counted from 1), and both losses of every epoch.

    Losses are means over the members.
    """

    weights: Weights
    best_epochs: tuple[int, ...]
    train_loss: list[float]
    validation_loss: list[float | None]


@dataclass(frozen=True)
class Lessons:
    """What to learn from and what to check by.

    data: the panel of an epoch, counted from 1. watched, check: panel and cutoffs of the validation
    loss; None to keep the last weights.
    """

    data: Callable[[int], DeviceData]
    learn: Bounds
    watched: DeviceData
    check: Bounds | None


def train(
    plan: Plan,
    schedule: Schedule,
    lessons: Lessons,
    *,
    seed: int,
    patience: int,
    report: Callable[[str, Mapping[str, Any]], None],
    keeper: Keeper | None = None,
) -> Trained:
    """Train for `schedule.epochs`, or until `patience` epochs bring no member a better loss.

    With a `keeper` training goes on from its last checkpoint, to the same end.
    """
    pace = schedule.pace()
    first = jax.random.key(seed % 2**32, impl=_RANDOM)
    keys = jax.random.key_data(jax.random.split(first, plan.members))
    state = start(plan, lessons.watched, keys, pace)
    untrained = copied(state.weights)
    nothing = jnp.full((plan.members,), jnp.inf)
    best = Best(untrained, nothing, jnp.zeros((plan.members,), jnp.int32))
    curve: dict[str, list[Any]] = {"train": [], "validation": []}
    if keeper is not None and (kept := keeper.restore((state, best))) is not None:
        (state, best), curve = kept
    for epoch in range(len(curve["train"]) + 1, schedule.epochs + 1):
        state, losses = run_epoch(plan, state, lessons.data(epoch), lessons.learn, pace)
        loss = float(losses.mean())
        event: dict[str, Any] = {"epoch": epoch, "of": schedule.epochs, "loss": loss}
        if lessons.check is None:
            best = Best(state.average, losses, best.epoch * 0 + epoch)
        else:
            found = validation_loss(plan, state.average, lessons.watched, lessons.check)
            event["validation_loss"] = float(found.mean())
            best = better(best, state.average, found, jnp.asarray(epoch, jnp.int32))
        curve["train"].append(loss)
        curve["validation"].append(event.get("validation_loss"))
        report("epoch", event)
        if lessons.check is not None and epoch - int(best.epoch.max()) >= patience:
            break
        if keeper is not None and keeper.due(epoch):
            keeper.save((state, best), curve)
    epochs = tuple(int(e) for e in best.epoch)
    return Trained(best.weights, epochs, curve["train"], curve["validation"])


def start(plan: Plan, data: DeviceData, keys: Array, pace: Pace) -> State:
    """First weights and moments of each member; keys: uint32 (members, n).

    Made by the processor, whatever trains them: so they are the same everywhere, and a GPU would take
    longer to compile it than for all of the training.
    """
    one, anywhere = np.zeros(1, np.int32), Bounds(*np.zeros((4,), np.int32))
    stretch = jax.eval_shape(partial(cut, size=plan.size), data, one, one, anywhere)
    with jax.default_device(processor()):
        states: State = first_states(plan, stretch, *jax.device_get((keys, pace)))
    return states if jax.default_backend() == "cpu" else jax.device_put(jax.device_get(states))


@partial(jax.jit, static_argnames=("plan", "stretch"), compiler_options=_RUN_ONCE)
def first_states(plan: Plan, stretch: Stretch, keys: Array, pace: Pace) -> State:
    """What `start` makes; stretch: shapes and types alone."""

    def member(key: Array) -> State:
        carried, first = jax.random.split(_key(key))
        weights = Forecaster(plan.network).lazy_init(
            first,
            stretch.own,
            stretch.known,
            stretch.numbers,
            stretch.codes,
            stretch.offset,
            first_origin=plan.size.context - plan.size.origins,
        )
        moments = optimizer(pace).init(ravel_pytree(weights)[0])
        return State(weights, weights, moments, jax.random.key_data(carried), jnp.zeros(()))

    # Not vmap, which would make batches of the decompositions in `_orthogonal_gates`.
    states: State = lax.map(member, keys)
    return states


@partial(jax.jit, compiler_options=_RUN_ONCE)
def copied(weights: Weights) -> Weights:
    """The same in memory of its own."""
    made: Weights = jax.tree.map(jnp.copy, weights)
    return made


@compiled(static_argnames="plan", donate_argnames="state")
def run_epoch(
    plan: Plan, state: State, data: DeviceData, bounds: Bounds, pace: Pace
) -> tuple[State, Array]:
    """Train on `pace.batches` minibatches; returns the new state and the mean losses (members,)."""
    update = optimizer(pace).update
    learn = _privately if plan.private else _openly

    def member(state: State) -> tuple[State, Array]:
        # All weights in one row: an operation for each of their arrays would be dozens to compile.
        first, arrays = ravel_pytree(state.weights)

        def step(_: Array, carry: tuple[State, Array]) -> tuple[State, Array]:
            state, total = carry
            found = learn(arrays(state.weights), plan, data, bounds, pace, state.key)
            loss, gradient, key = found
            change, moments = update(ravel_pytree(gradient)[0], state.moments, state.weights)
            weights = state.weights + change
            # Early on the mean is over few steps, so that it does not remember the first weights.
            kept = jnp.minimum(pace.average, state.steps / (state.steps + 10.0))
            average = kept * state.average + (1.0 - kept) * weights
            return State(weights, average, moments, key, state.steps + 1.0), total + loss

        flat = state._replace(weights=first, average=ravel_pytree(state.average)[0])
        # A loop and not a scan: the number of steps is then no part of what was compiled.
        flat, total = lax.fori_loop(0, pace.batches, step, (flat, jnp.zeros(())))
        after = flat._replace(weights=arrays(flat.weights), average=arrays(flat.average))
        return after, total

    state, total = each(member, state)
    return state, total / pace.batches


@compiled(static_argnames="plan")
def validation_loss(plan: Plan, weights: Weights, data: DeviceData, bounds: Bounds) -> Array:
    """Mean loss (members,) over the cutoffs of `bounds`, of all series or of an even selection."""
    n_series = data.begin.shape[0]
    chunks = min(-(-n_series // plan.batch), _VALIDATION_CHUNKS)
    chosen = jnp.linspace(0, n_series - 1, chunks * plan.batch).astype(jnp.int32)

    def member(weights: Weights) -> Array:
        def chunk(series: Array) -> tuple[Array, Array]:
            ends = jnp.broadcast_to(bounds.last_origin, series.shape)
            stretch = cut(data, series, ends, bounds, plan.size)
            loss = _losses(weights, plan, stretch, None)
            return (loss * stretch.weight).sum(), stretch.weight.sum()

        total: Array
        weight: Array
        total, weight = lax.map(chunk, chosen.reshape(chunks, plan.batch))
        return total.sum() / jnp.maximum(weight.sum(), _TINY)

    losses: Array = each(member, weights)
    return losses


@partial(jax.jit, compiler_options=_RUN_ONCE)
def better(best: Best, weights: Weights, loss: Array, epoch: Array) -> Best:
    """The better of both for each member."""
    improved = loss < best.loss

    def chosen(new: Array, old: Array) -> Array:
        return jnp.where(improved.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    kept = jax.tree.map(chosen, weights, best.weights)
    return Best(kept, jnp.where(improved, loss, best.loss), jnp.where(improved, epoch, best.epoch))


def _key(data: Array) -> Array:
    key: Array = jax.random.wrap_key_data(data, impl=_RANDOM)
    return key


def _openly(
    weights: Weights, plan: Plan, data: DeviceData, bounds: Bounds, pace: Pace, key: Array
) -> tuple[Array, Weights, Array]:
    """Loss and gradient of a minibatch of stretches, and the next key."""
    del pace
    some = _some(plan)
    key, bits = drawn(key, plan.batch + some + _masks(plan, data, plan.batch))
    chances = Chances(bits)
    series, ends = draw(chances.bits(plan.batch), data, bounds.last_origin, plan.size.origins)
    chosen = some_steps(chances.numbers(some), plan.size.steps) if some else None
    stretch = cut(data, series, ends, bounds, plan.size, chosen)
    rest = chances.bits(chances.left)
    loss, gradient = jax.value_and_grad(_mean_loss)(weights, plan, stretch, rest, chosen)
    return loss, gradient, key


def _privately(
    weights: Weights, plan: Plan, data: DeviceData, bounds: Bounds, pace: Pace, key: Array
) -> tuple[Array, Weights, Array]:
    """The same of a sample of series, each with its own loss and gradient; see `privacy`."""
    carried, pick, blur, rest = jax.random.split(_key(key), 4)
    series, ends, taken = draw_apart(
        pick, data, bounds.last_origin, pace.drawn, plan.batch, plan.size.origins
    )
    some, alone = _some(plan), _masks(plan, data, 1)
    chances = Chances(drawn(jax.random.key_data(rest), some + plan.batch * alone)[1])
    chosen = some_steps(chances.numbers(some), plan.size.steps) if some else None
    stretch = cut(data, series, ends, bounds, plan.size, chosen)
    stretch = stretch._replace(weight=stretch.weight * taken[:, None, None])
    bits = chances.bits(plan.batch, alone)
    losses, gradients = each_series(weights, plan, stretch, bits, chosen)
    gradient = aggregated(gradients, pace.series_clip, pace.noise, pace.expected, blur)
    return losses.sum() / jnp.maximum(taken.sum(), 1), gradient, jax.random.key_data(carried)


def _some(plan: Plan) -> int:
    """Steps that a minibatch is of, 0 for all of them."""
    return plan.learned_steps if plan.learned_steps < plan.size.steps else 0


def _masks(plan: Plan, data: DeviceData, batch: int) -> int:
    """Random numbers that the network takes for a minibatch."""
    return plan.network.chances(batch, plan.size.origins, data.codes.shape[1], data.known.shape[2])


def each_series(
    weights: Weights, plan: Plan, stretch: Stretch, bits: Array, chosen: Array | None = None
) -> tuple[Array, Weights]:
    """Losses (batch,) of single stretches and their gradients, with a leading axis of stretches.

    bits: random, uint32 (batch, n) with n as `NetworkShape.chances` says of one stretch.
    """
    single = jax.tree.map(lambda leaf: leaf[:, None], stretch)

    def one(stretch: Stretch, bits: Array) -> tuple[Array, Weights]:
        return jax.value_and_grad(_mean_loss)(weights, plan, stretch, bits, chosen)

    return jax.vmap(one)(single, bits)


def _mean_loss(
    weights: Weights, plan: Plan, stretch: Stretch, bits: Array, chosen: Array | None = None
) -> Array:
    total = (_losses(weights, plan, stretch, bits, chosen) * stretch.weight).sum()
    return total / jnp.maximum(stretch.weight.sum(), _TINY)


def _losses(
    weights: Weights, plan: Plan, stretch: Stretch, bits: Array | None, chosen: Array | None = None
) -> Array:
    shape, target = plan.network, stretch.target
    made = Forecaster(shape).apply(
        weights,
        stretch.own,
        stretch.known,
        stretch.numbers,
        stretch.codes,
        stretch.offset,
        first_origin=plan.size.context - plan.size.origins,
        chances=None if bits is None else Chances(bits),
        chosen=chosen,
    )
    outputs = cast(Array, made)
    free = outputs[..., : free_outputs(shape.head, shape.quantiles)]
    meaning = described(shape.head, free, target.level, target.scale, shape.quantiles)
    loss = head_loss(shape.head, meaning, target, shape.quantiles)
    if plan.loss is None:
        return loss
    return loss + point_loss(plan.loss, outputs[..., -1], target, plan.log1p)
