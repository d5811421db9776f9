"""Ridge regression side by side, and how close its sums come to what the processor can do.

    python benchmarks/regression.py --peer-python PEERS/bin/python
    python benchmarks/regression.py --peer-python PEERS/bin/python --series 3049 --days 1941 \
        --local-series 30490

Three parts: fit and 28-day forecast of one global ridge, end to end, against mlforecast with
scikit-learn's Ridge; one ridge for each series; GFLOP/s of the accumulation of X'X.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from measure import Worker, in_turns, show
from sales import sales_file


def fit_and_predict(arguments: argparse.Namespace, series: int) -> None:
    """Global ridge, recursive in both; the engine's direct strategy as well."""
    file = sales_file(arguments.data, series, arguments.days)
    with tempfile.TemporaryDirectory() as folder:
        common = ("global", "--file", str(file))
        shards = ("--shard-rows", str(arguments.shard_rows))

        def ours(name: str, strategy: str) -> Worker:
            keep = ("--strategy", strategy, "--keep", f"{folder}/{name}.npy")
            return Worker(name, sys.executable, "ours.py", (*common, *shards, *keep))

        workers = [ours("engine", "recursive")]
        if arguments.peer_python:
            keep = ("--threads", str(arguments.threads), "--keep", f"{folder}/mlforecast.npy")
            workers.append(Worker("mlforecast", arguments.peer_python, "peer.py", (*common, *keep)))
        workers.append(ours("engine, direct", "direct"))
        made = in_turns(workers, arguments.repeat, arguments.threads)
        rows = series * arguments.days / 1e6
        title = f"Global ridge, fit and 28 days, {series:,} series, {rows:.1f} M rows"
        show(title, made, ["seconds", "fit_seconds", "cpu_seconds", "peak_mb"])
        if arguments.peer_python:
            first, second = (
                np.load(f"{folder}/{name}.npy", allow_pickle=False)
                for name in ("engine", "mlforecast")
            )
            apart = np.abs(first - second).sum() / np.abs(second).sum()
            print(f"The two recursive forecasts differ by {apart:.2%} of their sum.")


def local(arguments: argparse.Namespace) -> None:
    """One ridge a series, from rows of features to coefficients."""
    size = ("--series", str(arguments.local_series), "--days", str(arguments.days))
    width = ("--width", str(arguments.width))
    worker = Worker("engine", sys.executable, "ours.py", ("local", *size, *width))
    made = in_turns([worker], arguments.repeat, arguments.threads)
    rows = arguments.local_series * arguments.days / 1e6
    title = (
        f"Ridge of each series, {arguments.local_series:,} series x {arguments.width} features, "
        f"{rows:.1f} M rows"
    )
    show(title, made, ["seconds", "accumulate_seconds", "solve_seconds", "peak_mb"])


def flops(arguments: argparse.Namespace) -> None:
    """The accumulation of a global ridge against BLAS on this machine, in GFLOP/s."""
    size = ("--series", str(arguments.flops_series), "--days", str(arguments.days))
    width = ("--width", str(arguments.width))
    worker = Worker("engine", sys.executable, "ours.py", ("flops", *size, *width))
    made = in_turns([worker], arguments.repeat, arguments.threads)
    title = f"GFLOP/s, {arguments.width} features, {arguments.threads} threads"
    show(title, made, ["accumulation", "ssyrk", "dsyrk", "sgemm_peak", "dgemm_peak"])
    print("`ssyrk`, `dsyrk`: numpy's X'X of the same columns; peaks: square products of 2,048.")


def main() -> None:
    """Parse the arguments and measure the parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="interpreter of the environment with the peers")
    parser.add_argument("--series", type=int, nargs="+", default=[200])
    parser.add_argument("--days", type=int, default=1941)
    parser.add_argument("--local-series", type=int, default=1000)
    parser.add_argument("--flops-series", type=int, default=1000)
    parser.add_argument("--width", type=int, default=30)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shard-rows", type=int, default=250_000)
    parser.add_argument("--data", type=Path, default=Path("runs/benchmark-data"))
    parser.add_argument(
        "--only", choices=("global", "local", "flops"), nargs="+", default=[], help="parts to run"
    )
    arguments = parser.parse_args()
    chosen = arguments.only or ["global", "local", "flops"]
    if "global" in chosen:
        for series in arguments.series:
            fit_and_predict(arguments, series)
    if "local" in chosen:
        local(arguments)
    if "flops" in chosen:
        flops(arguments)


if __name__ == "__main__":
    main()
