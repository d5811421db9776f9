"""The engine's side of `lstm.py`: one worker a call, the result as JSON on the last line."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import polars as pl
from jax import lax
from measure import since_start, tell, tell_origins

from engine.contracts import Training
from engine.data.build import build_panel
from engine.data.calendar import Frequency
from engine.data.fill import Missing
from engine.data.panel import Panel, Roles
from engine.future import future_of
from engine_lstm.cells import recur
from engine_lstm.compiled import compiled
from engine_lstm.model import Lstm
from engine_lstm.params import LstmParams


def kernel(arguments: argparse.Namespace) -> None:
    """Median seconds of a training step (Adam) of layers x hidden units on random inputs."""
    hidden, layers, steps, batch = 100, 2, 60, arguments.batch
    channels = arguments.channels
    rng = np.random.default_rng(1)

    def weight(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(0, 0.1, shape), jnp.float32)

    widths = [channels, *[hidden] * (layers - 1)]
    weights = [
        (weight(n, 4 * hidden), weight(hidden, 4 * hidden), weight(4 * hidden)) for n in widths
    ]
    inputs = weight(steps, batch, channels)
    adam = optax.adam(1e-3)

    def loss(weights: Any, inputs: jax.Array) -> Any:
        states = inputs
        for enter, recurrent, bias in weights:
            states = recur("lstm", states, enter, recurrent, bias)
        return jnp.square(states).mean()

    def step(_: int, state: Any) -> Any:
        weights, moments = state
        gradient = jax.grad(loss)(weights, inputs)
        change, moments = adam.update(gradient, moments, weights)
        return optax.apply_updates(weights, change), moments

    # As in training: the steps are a loop inside of one call, compiled as the engine does.
    @compiled()
    def some(state: Any) -> Any:
        return lax.fori_loop(0, arguments.steps, step, state)

    state = jax.block_until_ready(some((weights, adam.init(weights))))
    taken = []
    for _ in range(3):
        began, cpu = time.perf_counter(), time.process_time()
        state = jax.block_until_ready(some(state))
        taken.append((time.perf_counter() - began, time.process_time() - cpu))
    seconds, cpu_seconds = (float(v) for v in np.median(taken, axis=0) / arguments.steps)
    # 2 operations a product, forward once and backward twice.
    work = 6.0 * steps * batch * 4 * hidden * sum(n + hidden for n in widths)
    gflops = work / seconds / 1e9
    tell(seconds=seconds, cpu_seconds=cpu_seconds, gflops=gflops, peak_gflops=_peak())


def _peak() -> float:
    """GFLOP/s of a large float32 product on this device, the best of a few."""
    size = 2048 if jax.default_backend() == "cpu" else 8192
    left = jnp.asarray(np.random.default_rng(2).normal(size=(size, size)), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(left))
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        jax.block_until_ready(product(left))
        taken.append(time.perf_counter() - began)
    return 2.0 * size**3 / min(taken) / 1e9


def library(arguments: argparse.Namespace) -> None:
    """Forecast origins trained per second, from rows in memory, start-up and compilation included."""
    frame = pl.read_parquet(arguments.file)
    panel = _panel(frame, "1d", ("price",))
    params = LstmParams(
        hidden=100,
        layers=2,
        context=arguments.context,
        warm_up=arguments.context // 2,
        batch=32,
        epochs=1,
        batches_per_epoch=arguments.steps,
        validation=0,
        loss="mae",
        learned_steps=arguments.learned_steps,
    )
    Lstm(params).fit(_training(panel, arguments.horizon, 0))
    tell_origins(arguments.steps * 32 * (arguments.context - arguments.context // 2))


def accuracy(arguments: argparse.Namespace) -> None:
    """Seconds of fitting, and WAPE over the origins of the last weeks, which were not fitted."""
    frame = pl.read_parquet(arguments.file)
    covariates = tuple(c for c in frame.columns if c not in ("unique_id", "ds", "y"))
    panel = _panel(frame, "1w", covariates)
    cutoff = panel.end - arguments.held
    params = LstmParams(
        hidden=arguments.hidden,
        context=52,
        log1p=arguments.log1p,
        epochs=arguments.steps,
        learning_rate=arguments.learning_rate,
        weight=arguments.weight,
        learned_steps=arguments.learned_steps,
        loss="mae",
    )
    fitted = Lstm(params).fit(_training(panel.until(cutoff), arguments.horizon, 0))
    done = since_start()
    error = total = 0.0
    for end in range(cutoff, panel.end - arguments.horizon + 1):
        history = panel.until(end)
        future = future_of(panel.select(_numbers(panel, history)), end, 0, arguments.horizon)
        y_hat = fitted.predict(history, future).y_hat
        y = _actuals(panel, history, end, arguments.horizon)
        seen = ~np.isnan(y)
        error += float(np.abs(y - y_hat)[seen].sum())
        total += float(np.abs(y[seen]).sum())
    tell(seconds=done.seconds, cpu_seconds=done.cpu_seconds, wape=error / total)


def inference(arguments: argparse.Namespace) -> None:
    """Seconds to forecast every series after compilation, from a panel in memory."""
    frame = pl.read_parquet(arguments.file)
    panel = _panel(frame, "1d", ("price",))
    history = panel.until(panel.end - arguments.horizon)
    future = future_of(panel, history.end, 0, arguments.horizon)
    params = LstmParams(context=arguments.context, epochs=1, batches_per_epoch=2, validation=0)
    fitted = Lstm(params).fit(_training(history, arguments.horizon, 0))
    fitted.predict(history, future)
    began, cpu = time.perf_counter(), time.process_time()
    fitted.predict(history, future)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    tell(seconds=seconds, cpu_seconds=cpu_seconds, series=history.n_series)


def _numbers(panel: Panel, history: Panel) -> list[int]:
    """Numbers in the panel of the series of a history."""
    place = {name: number for number, name in enumerate(panel.ids)}
    return [place[name] for name in history.ids]


def _actuals(panel: Panel, history: Panel, end: int, horizon: int) -> np.ndarray:
    y = panel.dense(["y"])[_numbers(panel, history), :, 0]
    first = y.shape[1] - (panel.end - end)
    return y[:, first : first + horizon]


def _panel(frame: pl.DataFrame, freq: str, covariates: tuple[str, ...]) -> Panel:
    filled = dict.fromkeys(covariates, "forward_fill")
    missing = Missing(y="drop", columns=filled, horizon="forward_fill")
    roles = Roles(("unique_id",), covariates)
    return build_panel(
        frame, roles=roles, ds="ds", y="y", freq=Frequency.parse(freq), missing=missing
    )


def _training(panel: Panel, horizon: int, gap: int) -> Training:
    season = panel.grid.freq.season
    return Training(panel, horizon, gap, (0.1, 0.5, 0.9), season, 7, lambda event, fields: None)


def main() -> None:
    """Parse the arguments of a worker and run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("kernel", "library", "accuracy", "inference"))
    parser.add_argument("--file", type=Path)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--context", type=int, default=60)
    parser.add_argument("--horizon", type=int, default=28)
    parser.add_argument("--held", type=int, default=12)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--log1p", action="store_true")
    parser.add_argument("--learned-steps", type=int)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--weight")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    arguments = parser.parse_args()
    jax.config.update("jax_platforms", "cuda" if arguments.device == "gpu" else "cpu")
    workers = {
        "kernel": kernel,
        "library": library,
        "accuracy": accuracy,
        "inference": inference,
    }
    workers[arguments.what](arguments)


if __name__ == "__main__":
    main()
