"""The peers' side of `lstm.py`: raw PyTorch and neuralforecast, the result as JSON on the last line."""

from __future__ import annotations

import argparse
import logging
import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from measure import since_start, tell, tell_origins


def kernel(arguments: argparse.Namespace) -> None:
    """Median seconds of a training step (Adam) of `torch.nn.LSTM` on random inputs."""
    hidden, layers, steps, batch = 100, 2, 60, arguments.batch
    channels = arguments.channels
    device = "cuda" if arguments.device == "gpu" else "cpu"
    torch.manual_seed(1)
    network = torch.nn.LSTM(channels, hidden, layers).to(device)
    adam = torch.optim.Adam(network.parameters(), 1e-3)
    inputs = torch.randn(steps, batch, channels, device=device)

    def some(count: int) -> None:
        for _ in range(count):
            adam.zero_grad()
            network(inputs)[0].square().mean().backward()
            adam.step()
        _wait(device)

    some(2)
    taken = []
    for _ in range(3):
        began, cpu = time.perf_counter(), time.process_time()
        some(arguments.steps)
        taken.append((time.perf_counter() - began, time.process_time() - cpu))
    seconds, cpu_seconds = (float(v) for v in np.median(taken, axis=0) / arguments.steps)
    widths = [channels, *[hidden] * (layers - 1)]
    work = 6.0 * steps * batch * 4 * hidden * sum(n + hidden for n in widths)
    gflops = work / seconds / 1e9
    tell(seconds=seconds, cpu_seconds=cpu_seconds, gflops=gflops, peak_gflops=_peak(device))


def _wait(device: str) -> None:
    """Until a device has done what it was given: a CPU has, when a call returns."""
    if device == "cuda":
        torch.cuda.synchronize()


def _peak(device: str) -> float:
    size = 2048 if device == "cpu" else 8192
    left = torch.randn(size, size, device=device)
    taken = []
    for _ in range(6):
        _wait(device)
        began = time.perf_counter()
        left @ left
        _wait(device)
        taken.append(time.perf_counter() - began)
    return 2.0 * size**3 / min(taken) / 1e9


def library(arguments: argparse.Namespace) -> None:
    """Forecast origins that neuralforecast's LSTM trains per second, start-up included."""
    frame = pl.read_parquet(arguments.file).to_pandas()
    forecaster = _forecaster(arguments, arguments.steps, ["price"], "D")
    forecaster.fit(frame)
    tell_origins(arguments.steps * arguments.windows * arguments.h_train)


def accuracy(arguments: argparse.Namespace) -> None:
    """Seconds of fitting, and WAPE over the origins of the last weeks, which were not fitted."""
    frame = pl.read_parquet(arguments.file)
    covariates = [c for c in frame.columns if c not in ("unique_id", "ds", "y")]
    dates = frame["ds"].unique().sort()
    table = frame.with_columns(y=pl.col("y").log1p()) if arguments.log1p else frame
    history = _until(table, dates[-arguments.held - 1])
    forecaster = _forecaster(arguments, arguments.steps, covariates, "7D")
    forecaster.fit(history)
    done = since_start()
    error = total = 0.0
    for number in range(arguments.held - arguments.horizon + 1):
        end = dates[-arguments.held - 1 + number]
        past = _until(table, end)
        names = past["unique_id"].unique().tolist()
        later = table.filter(pl.col("ds") > end, pl.col("unique_id").is_in(names))
        ahead = forecaster.make_future_dataframe(past)
        ahead = ahead.merge(later.drop("y").to_pandas(), on=["unique_id", "ds"], how="left")
        ahead[covariates] = ahead.groupby("unique_id")[covariates].ffill().fillna(0.0)
        made = pl.from_pandas(forecaster.predict(df=past, futr_df=ahead))
        made = made.with_columns(pl.col("ds").cast(frame.schema["ds"]))
        column = next(c for c in made.columns if c.startswith("LSTM"))
        value = pl.col(column).exp() - 1 if arguments.log1p else pl.col(column)
        both = frame.drop_nulls("y").join(made, on=["unique_id", "ds"]).with_columns(y_hat=value)
        error += float((both["y"] - both["y_hat"]).abs().sum())
        total += float(both["y"].abs().sum())
    tell(seconds=done.seconds, cpu_seconds=done.cpu_seconds, wape=error / total)


def _until(table: pl.DataFrame, end: Any) -> Any:
    """Rows up to a date without holes, as neuralforecast wants them."""
    early = table.filter(pl.col("ds") <= end)
    filled = (
        early.sort("unique_id", "ds")
        .upsample("ds", every="1w", group_by="unique_id", maintain_order=True)
        .with_columns(pl.col("unique_id").forward_fill())
        .with_columns(pl.exclude("unique_id", "ds").forward_fill().over("unique_id"))
    )
    # A series without a value in the last week cannot be forecast beside the others.
    lasting = filled.group_by("unique_id").agg(pl.col("ds").max()).filter(pl.col("ds") == end)
    return filled.join(lasting.select("unique_id"), on="unique_id").to_pandas()


def _forecaster(arguments: argparse.Namespace, steps: int, covariates: list[str], freq: str) -> Any:
    from neuralforecast import NeuralForecast
    from neuralforecast.losses.pytorch import MAE
    from neuralforecast.models import LSTM

    model = LSTM(
        h=arguments.horizon,
        h_train=arguments.h_train,
        input_size=arguments.context,
        encoder_n_layers=2 if arguments.what == "library" else 1,
        encoder_hidden_size=100 if arguments.what == "library" else 64,
        decoder_hidden_size=64,
        futr_exog_list=covariates,
        loss=MAE(),
        max_steps=steps,
        batch_size=32,
        windows_batch_size=arguments.windows,
        scaler_type="standard",
        learning_rate=arguments.learning_rate,
        start_padding_enabled=True,
        random_seed=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        logger=False,
        accelerator=arguments.device,
    )
    return NeuralForecast([model], freq=freq)


def main() -> None:
    """Parse the arguments of a worker and run it."""
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    os.environ["NIXTLA_ID_AS_COL"] = "1"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("kernel", "library", "accuracy"))
    parser.add_argument("--file", type=Path)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--context", type=int, default=60)
    parser.add_argument("--horizon", type=int, default=28)
    parser.add_argument("--held", type=int, default=12)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--windows", type=int, default=128)
    parser.add_argument("--h-train", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--log1p", action="store_true")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    arguments = parser.parse_args()
    {"kernel": kernel, "library": library, "accuracy": accuracy}[arguments.what](arguments)


if __name__ == "__main__":
    main()
