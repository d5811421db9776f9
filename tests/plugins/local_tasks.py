"""Task functions for tests of executors; a spawned process must be able to import them."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.contracts import Report

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
)


class TwoArgumentsError(Exception):
    """An exception that pickle cannot rebuild."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(f"{what} {number}")


def square(folder: Path, task: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The square of `value`, the process that made it, and the folder it was told."""
    value = task["value"]
    return {"name": task["name"], "square": value * value, "pid": os.getpid(), "in": str(folder)}


def loaded(folder: Path, task: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Whether a module was imported before the task, and the process that looked."""
    return {"name": task["name"], "loaded": task["module"] in sys.modules, "pid": os.getpid()}


def registered(folder: Path, task: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Have a file written when the process ends."""
    atexit.register((folder / task["name"]).write_text, "ended")
    return {"name": task["name"]}


def numbers(folder: Path, task: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The exact bits of a sum over a matrix product that depends on the task alone."""
    x = np.random.default_rng(task["value"]).normal(size=(300, 300))
    return {"name": task["name"], "sum": float((x @ x.T @ x).sum()).hex()}


def talk(folder: Path, task: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Report `count` events of about `size` characters."""
    for number in range(task["count"]):
        report("epoch", {"task": task["name"], "epoch": number, "text": "x" * task["size"]})
    return {"name": task["name"]}


def environment(folder: Path, task: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The thread settings of the process and whether it ignores interrupts."""
    return {
        "threads": [os.environ.get(name) for name in THREADS],
        "deaf": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
    }


def fail(folder: Path, task: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Raise for the task named `bad`, return at once for the others."""
    if task["name"] == "bad":
        raise TwoArgumentsError("broken part", 7)
    return {"name": task["name"], "pid": os.getpid()}


def kill(folder: Path, task: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The task `doomed` dies like one that the system kills, after `quick` is done."""
    if task["name"] == "doomed":
        while not (folder / "quick.done").exists():
            time.sleep(0.02)
        time.sleep(0.3)  # the result of `quick` is on its way to the parent
        os.kill(os.getpid(), signal.SIGKILL)
    if task["name"] == "quick":
        (folder / "quick.done").touch()
    return {"name": task["name"], "pid": os.getpid()}


def chatter(folder: Path, task: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The task `endless` reports without end, the others return at once."""
    while task["name"] == "endless":
        report("epoch", {"epoch": 1})
    return {"name": task["name"]}


def orphan(folder: Path, task: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Die, but leave a forked process that holds every open file."""
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    os._exit(5)


def unsendable(folder: Path, task: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """A result that cannot travel between processes."""
    return {"name": task["name"], "function": lambda: None}


def sleep(folder: Path, task: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Report the process, then sleep for `seconds`."""
    report("started", {"task": task["name"], "pid": os.getpid()})
    time.sleep(task["seconds"])
    return {"name": task["name"]}
