"""Progress on stderr: bars on a terminal, plain lines elsewhere (CI, logs), nothing when quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from engine.observers import Listener, SilentListener

EVERY = 10.0
"""Seconds between two plain lines of one kind of inner progress."""

SHORT = 1.0
"""Seconds; of shorter tasks only every tenth has a plain line."""


@contextmanager
def progress_for(*, quiet: bool) -> Iterator[Listener]:
    """The progress display that fits the place it is shown in."""
    if quiet:
        yield SilentListener()
    elif sys.stderr.isatty():
        with _Bars() as bars:
            yield bars
    else:
        yield _Lines()


class _Lines:
    """One line a stage and a finished task; epochs now and then."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._last: dict[str, float] = {}
        self._done, self._of = 0, 0

    def on_event(self, event: str, data: Mapping[str, Any]) -> None:
        """Print one event."""
        if event == "stage":
            self._say(f"{data['stage']}: {data['detail']}")
        elif event == "tasks":
            self._done, self._of = 0, data["count"]
        elif event == "task_end":
            self._done += 1
            failed = data["status"] != "ok"
            if data["seconds"] < SHORT and not failed and self._done % 10 and self._done < self._of:
                return
            status = f" {data['status']}, {data['failures']} failures" if failed else ""
            self._say(f"  [{self._done}/{self._of}] {data['name']} {data['seconds']:.1f}s{status}")
        elif event == "observer_failed":
            self._say(f"  warning: {data['reason']}")
        elif "of" in data:
            self._inner(event, data)

    def _inner(self, event: str, data: Mapping[str, Any]) -> None:
        now = time.perf_counter()
        if now - self._last.get(event, self._started) >= EVERY:
            self._last[event] = now
            self._say("    " + inner_text(event, data))

    def _say(self, text: str) -> None:
        typer.echo(f"{time.perf_counter() - self._started:7.1f}s {text}", err=True)


class _Bars:
    """A line a stage, a bar for its tasks, and a bar for a model's own epochs or buckets."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._tasks: TaskID | None = None
        self._inner: TaskID | None = None

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def on_event(self, event: str, data: Mapping[str, Any]) -> None:
        """Move the bars."""
        if event == "stage":
            self._drop()
            self._progress.console.print(f"{data['stage']:>9}  {data['detail']}", style="dim")
        elif event == "tasks":
            self._drop()
            self._tasks = self._progress.add_task("fits and forecasts", total=data["count"])
        elif event == "task_end" and self._tasks is not None:
            self._progress.update(self._tasks, advance=1, description=data["name"])
            if data["status"] != "ok":
                self._progress.console.print(
                    f"           {data['name']}: {data['failures']} failures", style="yellow"
                )
        elif event == "observer_failed":
            self._progress.console.print(f"           {data['reason']}", style="yellow")
        elif "of" in data:
            if self._inner is None:
                self._inner = self._progress.add_task(event, total=data["of"])
            self._progress.update(
                self._inner,
                total=data["of"],
                completed=data.get(event, 0),
                description=inner_text(event, data),
            )

    def _drop(self) -> None:
        for task in (self._tasks, self._inner):
            if task is not None:
                self._progress.remove_task(task)
        self._tasks = self._inner = None


def inner_text(event: str, data: Mapping[str, Any]) -> str:
    """A model's own progress as one short line, such as `epoch 3/20 validation_loss 0.41`."""
    numbers = [
        f"{key} {value:.4g}"
        for key, value in data.items()
        if key not in ("of", event) and isinstance(value, float)
    ]
    return " ".join([f"{event} {data.get(event, '')}/{data['of']}", *numbers])
