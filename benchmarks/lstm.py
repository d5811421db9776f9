"""The LSTM side by side: its kernel against PyTorch, its training against neuralforecast's LSTM.

    python benchmarks/lstm.py kernel --peer-python PEERS/bin/python
    python benchmarks/lstm.py library --peer-python PEERS/bin/python
    python benchmarks/lstm.py accuracy --peer-python PEERS/bin/python --data-folder DATA
    python benchmarks/lstm.py inference --series 30490

kernel: seconds of a training step of 2 x 100 units over 60 steps. library: forecast origins trained
per second on 500 series x 1,826 days, start-up and compilation included; once with all 28 steps of
an origin in each training step, once with a sample of 7. accuracy: seconds until the
WAPE is reached that neuralforecast reaches at its best, on weekly data; each number of training steps
is a fit of its own. inference: seconds to forecast all series, once compiled. Competitors run in
turns, each in a fresh process; tables show medians.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from measure import Worker, in_turns, median, show
from sales import sales_file

BATCHES = (32, 256, 1024)
OUR_EPOCHS = (1, 2, 4, 8, 15)
PEER_STEPS = (50, 100, 200, 400, 800, 1600)
RACES: tuple[tuple[str, int, list[str], list[list[str]]], ...] = (
    # Chosen for both sides on data that end 16 weeks earlier.
    (
        "orange_juice",
        3,
        ["--log1p"],
        [["--learning-rate", "0.02"], ["--learning-rate", "0.006"]],
    ),
    (
        "walmart",
        8,
        [],
        [
            [
                "--learning-rate",
                "0.02",
                "--hidden",
                "32",
                "--learned-steps",
                "3",
                "--weight",
                "size",
            ],
            ["--learning-rate", "0.006"],
        ],
    ),
)
"""Data set, horizon, what both sides are told, and what each is."""


class Point(NamedTuple):
    """A fit of a curve: its epochs or steps, wall and processor seconds, and its WAPE."""

    steps: int
    seconds: float
    cpu_seconds: float
    wape: float


def pair(arguments: argparse.Namespace, *command: str) -> list[Worker]:
    """Both sides with the same arguments; without an environment for the peer only the engine."""
    command = (*command, "--device", arguments.device)
    ours = Worker("engine", sys.executable, "lstm_ours.py", command)
    if not arguments.peer_python:
        return [ours]
    name = "torch" if command[0] == "kernel" else "neuralforecast"
    return [ours, Worker(name, arguments.peer_python, "lstm_peer.py", command)]


def kernel(arguments: argparse.Namespace) -> None:
    """A table for each batch size."""
    for batch in BATCHES:
        steps = str(max(5 if arguments.device == "cpu" else 50, 640 // batch))
        workers = pair(arguments, "kernel", "--batch", str(batch), "--steps", steps)
        made = in_turns(workers, arguments.repeat, arguments.threads)
        show(f"training step, batch {batch}", made, ["seconds", "cpu_seconds", "gflops"])


def library(arguments: argparse.Namespace) -> None:
    """One table: seconds of the whole fit, and origins per second."""
    file = sales_file(arguments.data, arguments.series, 1826)
    common = ("library", "--file", str(file), "--horizon", "28", "--context", "60")
    common = (*common, "--steps", str(arguments.steps))
    workers = pair(arguments, *common)
    sampled = (*workers[0].arguments, "--learned-steps", "7")
    workers.insert(1, Worker("engine, 7 steps", sys.executable, "lstm_ours.py", sampled))
    if arguments.peer_python:
        # Several origins a window, as far as neuralforecast can share them.
        forked = (*workers[-1].arguments, "--h-train", "30")
        name = "neuralforecast, h_train 30"
        workers.append(Worker(name, arguments.peer_python, "lstm_peer.py", forked))
    made = in_turns(workers, arguments.repeat, arguments.threads)
    show(
        f"{arguments.series} series x 1,826 days",
        made,
        ["seconds", "cpu_seconds", "origins_per_second"],
    )


def accuracy(arguments: argparse.Namespace) -> None:
    """For each data set the curve of both sides, and the seconds to the peer's best WAPE."""
    for name, horizon, told, settings in RACES:
        file = _weekly(arguments, name)
        common = ["accuracy", "--file", str(file), "--horizon", str(horizon), "--context", "52"]
        common += ["--held", str(horizon + 8), *told]
        curves: dict[str, list[Point]] = {}
        sides = zip(pair(arguments, *common), (OUR_EPOCHS, PEER_STEPS), settings, strict=False)
        for worker, grid, own in sides:
            for steps in grid:
                one = Worker(
                    worker.name,
                    worker.python,
                    worker.script,
                    (*worker.arguments, *own, "--steps", str(steps)),
                )
                runs = in_turns([one], arguments.repeat, arguments.threads)[one.name]
                numbers = (median(runs, key) for key in ("seconds", "cpu_seconds", "wape"))
                curves.setdefault(one.name, []).append(Point(steps, *numbers))
        _tell(name, curves)


def inference(arguments: argparse.Namespace) -> None:
    """Seconds of forecasts of many series; the engine only."""
    file = sales_file(arguments.data, arguments.series, 120)
    workers = pair(arguments, "inference", "--file", str(file), "--horizon", "28")[:1]
    made = in_turns(workers, arguments.repeat, arguments.threads)
    show(f"28 days of {arguments.series} series", made, ["seconds", "cpu_seconds"])


def _tell(name: str, curves: Mapping[str, Sequence[Point]]) -> None:
    print(f"\n### {name}: seconds of fitting and WAPE\n")
    print("| who | epochs or steps | seconds | processor seconds | WAPE |\n|---|---|---|---|---|")
    for who, points in curves.items():
        for one in points:
            numbers = f"{one.seconds:.1f} | {one.cpu_seconds:.1f} | {one.wape:.4f}"
            print(f"| {who} | {one.steps} | {numbers} |")
    ours, *others = curves.values()
    if others:
        best = min(others[0], key=lambda point: (point.wape, point.seconds))
        reached = next((point for point in ours if point.wape <= best.wape), None)
        told = "not reached"
        if reached is not None:
            wall, cpu = reached.seconds / best.seconds, reached.cpu_seconds / best.cpu_seconds
            told = f"{wall:.2f} of its seconds, {cpu:.2f} of its processor seconds"
        print(
            f"\nthe peer's best WAPE {best.wape:.4f} after {best.seconds:.1f} s; the engine: {told}"
        )


def _weekly(arguments: argparse.Namespace, name: str) -> Path:
    """Rows of a public data set as unique_id, ds, y and covariates that are known ahead."""
    target: Path = arguments.data / f"weekly-{name}.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        return target
    source = arguments.data_folder
    if name == "orange_juice":
        rows = pl.scan_parquet(source / "orange_juice.parquet").filter(pl.col("week") <= 135)
        keys, ds, y, known = ["store", "brand"], "week_start", "units", ["price", "deal", "feat"]
    else:
        rows = pl.scan_parquet(source / "walmart_sales.parquet").with_columns(
            holiday=pl.col("IsHoliday").cast(pl.Float64)
        )
        keys, ds, y, known = ["Store", "Dept"], "Date", "Weekly_Sales", ["holiday"]
    picked: list[Any] = [
        pl.concat_str(keys, separator="/").alias("unique_id"),
        pl.col(ds).cast(pl.Date).alias("ds"),
        pl.col(y).cast(pl.Float64).alias("y"),
        *(pl.col(c).cast(pl.Float64) for c in known),
    ]
    made = rows.select(picked).collect()
    long = made.group_by("unique_id").len().filter(pl.col("len") >= 90)
    made.join(long.select("unique_id"), on="unique_id").sort("unique_id", "ds").write_parquet(
        target
    )
    return target


def main() -> None:
    """Parse the arguments and measure one thing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("kernel", "library", "accuracy", "inference"))
    parser.add_argument("--peer-python", help="interpreter of the environment with the peers")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--series", type=int, default=500)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--data", type=Path, default=Path("runs/benchmark-data"))
    parser.add_argument("--data-folder", type=Path, help="folder of the public data sets")
    arguments = parser.parse_args()
    if arguments.what == "accuracy" and arguments.data_folder is None:
        parser.error("accuracy needs --data-folder")
    measurements = {
        "kernel": kernel,
        "library": library,
        "accuracy": accuracy,
        "inference": inference,
    }
    measurements[arguments.what](arguments)


if __name__ == "__main__":
    main()
