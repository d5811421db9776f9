"""Progress on stderr: a live view on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer

from engine.cli.tally import failed_of, inner_text
from engine.observers import Listener, SilentListener

EVERY = 10.0
"""Seconds between two plain lines of one kind of inner progress."""

SHORT = 1.0
"""Seconds; of shorter tasks only every tenth has a plain line."""

CANNOT_MOVE = ("dumb", "unknown")
"""Kinds of terminals on which a view that is drawn again and again would be noise."""


@contextmanager
def progress_for(*, quiet: bool) -> Iterator[Listener]:
    """The progress display that fits the place it is shown in."""
    if quiet:
        yield SilentListener()
    elif sys.stderr.isatty() and os.environ.get("TERM") not in CANNOT_MOVE:
        from engine.cli.live import LiveView

        with LiveView() as view:
            yield view
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
        from engine.footprint import memory_warning

        if event == "stage":
            self._say(f"{data['stage']}: {data['detail']}")
        elif event == "tasks":
            self._done, self._of = 0, data["count"]
        elif event == "task_end":
            self._done += 1
            failed = data["status"] != "ok"
            if data["seconds"] < SHORT and not failed and self._done % 10 and self._done < self._of:
                return
            status = f" {data['status']}, {failed_of(data)}" if failed else ""
            self._say(f"  [{self._done}/{self._of}] {data['name']} {data['seconds']:.1f}s{status}")
        elif event == "observer_failed":
            self._say(f"  warning: {data['reason']}")
        elif event == "memory":
            warning = memory_warning(data["needed"], data["available"])
            if warning:
                self._say(f"  warning: {warning}")
        elif "of" in data:
            self._inner(event, data)

    def _inner(self, event: str, data: Mapping[str, Any]) -> None:
        now = time.perf_counter()
        if now - self._last.get(event, self._started) >= EVERY:
            self._last[event] = now
            self._say("    " + inner_text(event, data))

    def _say(self, text: str) -> None:
        typer.echo(f"{time.perf_counter() - self._started:7.1f}s {text}", err=True)
