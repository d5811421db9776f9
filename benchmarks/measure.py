"""Runs workers in fresh processes, in turns, and sets their medians side by side."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_STARTED = "ENGINE_BENCHMARK_STARTED"
_IMPORTED = time.time()


@dataclass(frozen=True)
class Worker:
    """A process to measure: who it is, its interpreter, its script in this folder, its arguments."""

    name: str
    python: str
    script: str
    arguments: tuple[str, ...]


def environment(threads: int) -> dict[str, str]:
    """The same number of threads for everything that has its own setting."""
    names = ("OPENBLAS", "OMP", "MKL", "NUMBA")
    limits = {f"{name}_NUM_THREADS": str(threads) for name in names}
    # Nothing that was compiled in an earlier run: compiling is in the seconds.
    fresh = {"JAX_ENABLE_COMPILATION_CACHE": "0"}
    return {**os.environ, **limits, **fresh, "POLARS_MAX_THREADS": str(threads)}


def run_once(worker: Worker, threads: int) -> dict[str, Any]:
    """One run in a fresh process: what it printed last, and its peak memory in MB."""
    command = [worker.python, str(HERE / worker.script), *worker.arguments]
    told = {**environment(threads), _STARTED: str(time.time())}
    done = subprocess.run(command, env=told, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{worker.name} failed: {' '.join(command)}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def in_turns(workers: Sequence[Worker], repeat: int, threads: int) -> dict[str, list[Any]]:
    """Results of each worker, run one after the other `repeat` times."""
    results: dict[str, list[Any]] = {worker.name: [] for worker in workers}
    for number in range(repeat):
        for worker in workers:
            result = run_once(worker, threads)
            results[worker.name].append(result)
            told = {k: v for k, v in result.items() if isinstance(v, float)}
            text = ", ".join(f"{k} {v:.2f}" for k, v in told.items())
            print(f"  run {number + 1}: {worker.name}: {text}", file=sys.stderr, flush=True)
    return results


def median(results: Sequence[Mapping[str, Any]], key: str) -> float:
    """Median of one number of several runs."""
    return statistics.median(float(result[key]) for result in results)


def show(
    title: str, results: Mapping[str, Sequence[Mapping[str, Any]]], keys: Sequence[str]
) -> None:
    """A table of medians, and every worker's ratio to the first one."""
    ours = next(iter(results))
    print(f"\n### {title}\n")
    print(f"| who | {' | '.join(keys)} | {' | '.join(f'{k}, ratio' for k in keys)} |")
    print("|" + "---|" * (1 + 2 * len(keys)))
    for name, runs in results.items():
        values = [median(runs, key) for key in keys]
        ratios = [v / median(results[ours], k) for v, k in zip(values, keys, strict=True)]
        cells = [f"{v:.3g}" for v in values] + [f"{r:.2f}" for r in ratios]
        print(f"| {name} | {' | '.join(cells)} |")
    print(flush=True)


def peak_mb() -> float:
    """Largest resident memory of this process so far, in MB."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / 1e6 if sys.platform == "darwin" else used / 1e3


@dataclass(frozen=True)
class Timed:
    """What a call returned, its seconds, and the processor's over all threads."""

    result: Any
    seconds: float
    cpu_seconds: float


def since_start() -> Timed:
    """Seconds since this worker was started, and the processor's: interpreter and imports too."""
    began = float(os.environ.get(_STARTED, _IMPORTED))
    return Timed(None, time.time() - began, time.process_time())


def tell_origins(origins: int) -> None:
    """Print the result of a worker that has trained on so many forecast origins since its start."""
    done = since_start()
    tell(
        seconds=done.seconds,
        cpu_seconds=done.cpu_seconds,
        origins=origins,
        origins_per_second=origins / done.seconds,
    )


def timed(work: Callable[[], Any]) -> Timed:
    """Call and measure."""
    began, cpu = time.perf_counter(), time.process_time()
    result = work()
    return Timed(result, time.perf_counter() - began, time.process_time() - cpu)


def tell(**values: Any) -> None:
    """Print a worker's result, with its peak memory, as the last line."""
    print(json.dumps({**values, "peak_mb": peak_mb()}))
