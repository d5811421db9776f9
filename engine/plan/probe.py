"""The worker's side of a plan: fits one model to ever larger samples and measures it.

It runs wherever the spec's executor runs tasks, with the same threads and the same imports.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.contracts import Report
from engine.machine import peak_memory
from engine.tasks import run_task

FUNCTION = "engine.plan.probe:measure"

ENOUGH_STEPS = 1
"""Steps of a fit's own progress from which the rest can be told."""


class _EnoughError(BaseException):
    """Ends a fit whose remaining time is known; no model's own handler may catch it."""


class Progress:
    """Watches a fit's own progress and tells how long the whole would take.

    A model reports `name, {name: k, "of": n}` as it goes. The time before its first event counts
    once (reading, compiling), the time between events as often as there are steps left.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._started = time.perf_counter()
        self._name = ""
        self._first: tuple[float, int] | None = None
        self.total: float | None = None

    def report(self, event: str, data: Mapping[str, Any]) -> None:
        """Take one event; ends the fit when the limit has passed and the rest is known."""
        step, of = data.get(event), data.get("of")
        if not isinstance(step, int) or not isinstance(of, int):
            return
        now = time.perf_counter() - self._started
        if self._first is None or self._name != event:
            self._name, self._first = event, (now, step)
            return
        began, first = self._first
        if step <= first:
            return
        # Whether an event marks the beginning or the end of a step is the model's choice; one
        # step more than none is the safer guess.
        self.total = began + (now - began) / (step - first) * (of - first + 1)
        if now > self._limit and step - first >= ENOUGH_STEPS and step < of:
            raise _EnoughError


def measure(folder: Path, plain: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Run the tasks of one model in their order until `limit` seconds are spent, at least two.

    A fit that was ended early costs no more on the largest sample: that one is taken next, and it
    is not taken again.

    plain: `name`, `runs` (pairs of a workspace's folder within `folder` and a task as plain data),
    `limit`. The result: `name`, `points` (one a finished task: seconds of the whole task, seconds
    of processors for each second, bytes held at most so far), and `reason` if a task failed.
    """
    points: list[dict[str, Any]] = []
    spent, reason = 0.0, ""
    runs = list(plain["runs"])
    while runs and (len(points) < 2 or spent < plain["limit"]):
        workspace, task = runs.pop(0)
        progress = Progress(plain["limit"])
        began, processors = time.perf_counter(), time.process_time()
        try:
            result = run_task(folder / workspace, task, progress.report)
        except _EnoughError:
            seconds = progress.total or 0.0
            runs = [run for run in runs[-1:] if run[0] != workspace]
        else:
            seconds = result["seconds"]
            if result["status"] == "failed":
                reason = str(result["failures"][0][2])
                break
        wall = max(time.perf_counter() - began, 1e-6)
        busy = time.process_time() - processors
        # Waiting for a busy machine is no reason to try less: what is not measured is guessed.
        spent += min(wall, busy)
        points.append(
            {
                "workspace": workspace,
                "seconds": seconds,
                "wall": wall,
                "processors": busy / wall,
                "memory": peak_memory(),
            }
        )
        report("probed", {"model": plain["name"], "seconds": round(seconds, 3)})
    return {"name": plain["name"], "points": points, "reason": reason}
