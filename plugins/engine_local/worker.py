"""The child's side of the executor `process`: deaf to Ctrl-C, sends progress to the parent."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

from engine.contracts import Report
from engine_local.call import Outcome, outcome_of

_state: dict[str, Report] = {}


def begin(events: SimpleQueue[tuple[str, dict[str, Any]]]) -> None:
    """Prepare a fresh process; `events` is the way back to the parent.

    A put is complete when it returns, so a task's events are on their way before its result is.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def report(name: str, fields: Mapping[str, Any]) -> None:
        events.put((name, dict(fields)))

    _state["report"] = report


def run(function: str, folder: Path, task: Mapping[str, Any]) -> Outcome:
    """Run one task to its result or to the text of its error."""
    return outcome_of(function, folder, task, _state["report"])
