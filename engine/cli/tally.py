"""Counts what a run has done, from its events, and tells how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

MOST_INNER = 3
"""Models whose own progress is shown at a time."""

ENOUGH_MODELS = 2
"""Models with a finished task from which the time of the others may be guessed."""

FRESH = 60.0
"""Seconds after its last event that a model's own progress is still shown."""


class Tally:
    """Tasks done and left of the present stage, and the models' own progress.

    `clock` is in seconds. Tasks of one model take alike, those of two models do not: the time that
    is left is told from the work done in each model, as soon as each has done some.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._inner: dict[str, tuple[float, Mapping[str, Any]]] = {}
        self.stage = ""
        self.done, self.of = 0, 0
        self._fits = 0
        self._spent: dict[str, list[float]] = {}
        self._waiting: dict[str, int] = {}
        self._step = 0.0

    def take(self, event: str, data: Mapping[str, Any]) -> None:
        """Count one event."""
        if event == "stage":
            self.stage, self._began = str(data["stage"]), self._clock()
            self._start({})
        elif event == "tasks":
            self._began = self._clock()
            self._start(data.get("by_model") or {"": data["count"]})
        elif event == "task_end":
            self._finish(data)
        elif event in data and "of" in data:
            self._inner[event] = (self._clock(), data)
            whole = data["of"] or 1
            self._step = data[event] / whole if isinstance(data[event], int) else 0.0

    def _start(self, waiting: Mapping[str, int]) -> None:
        self._waiting = dict(waiting)
        self.of, self.done, self._fits = sum(waiting.values()), 0, 0
        self._spent, self._inner, self._step = {}, {}, 0.0

    def _finish(self, data: Mapping[str, Any]) -> None:
        self.done += 1
        self._fits += int(data.get("fits", 1))
        self._step = 0.0
        model = str(data.get("model", ""))
        self._spent.setdefault(model, []).append(float(data["seconds"]))
        key = model if model in self._waiting else ""
        self._waiting[key] = max(self._waiting.get(key, 0) - 1, 0)
        self._inner = {}

    def elapsed(self) -> float:
        """Seconds since the stage, or its fits, began."""
        return self._clock() - self._began

    def rate(self) -> float | None:
        """Fits a second; None before the first task is done."""
        elapsed = self.elapsed()
        return self._fits / elapsed if self._fits and elapsed > 0 else None

    def seconds_left(self) -> float | None:
        """Wall seconds until the last task; None while nothing is known.

        The work of a model's waiting tasks is its mean so far; a model that has finished none
        counts as the mean of all, once two models are known. Work goes on as fast as so far.
        """
        spent = [seconds for each in self._spent.values() for seconds in each]
        unknown = [m for m, count in self._waiting.items() if count and m and m not in self._spent]
        if not spent or not self.of or (unknown and len(self._spent) < ENOUGH_MODELS):
            return None
        mean = sum(spent) / len(spent)
        left = 0.0
        for model, count in self._waiting.items():
            own = self._spent.get(model)
            left += count * (sum(own) / len(own) if own else mean)
        speed = sum(spent) / max(self.elapsed(), 1e-6)
        left = max(left - self._step * mean, 0.0)
        return left / speed if speed > 0 else None

    def inner_lines(self) -> list[str]:
        """The models' own progress, the newest last."""
        now = self._clock()
        fresh = [(at, name, d) for name, (at, d) in self._inner.items() if now - at < FRESH]
        return [inner_text(name, d) for _, name, d in sorted(fresh, key=lambda f: f[0])][
            -MOST_INNER:
        ]


def failed_of(data: Mapping[str, Any]) -> str:
    """How many failures a task had, and the first one's reason."""
    count = data["failures"]
    reason = f": {data['reason']}" if data.get("reason") else ""
    return f"{count} failure{'s' if count != 1 else ''}{reason}"


def inner_text(event: str, data: Mapping[str, Any]) -> str:
    """A model's own progress as one short line, such as `epoch 3/20 validation_loss 0.41`."""
    numbers = [
        f"{key} {value:.4g}"
        for key, value in data.items()
        if key not in ("of", event) and isinstance(value, float)
    ]
    return " ".join([f"{event} {data.get(event, '')}/{data['of']}", *numbers])
