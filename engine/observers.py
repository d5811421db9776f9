"""Tells everyone who watches a run what happens: the progress display, the event log, the plugins.

An observer that raises is recorded and never ends a run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from engine.errors import first_line
from engine.registry import Registry


class Listener(Protocol):
    """Shows progress; `event` is one of `stage`, `tasks`, `task_start`, `task_end`, or a model's own."""

    def on_event(self, event: str, data: Mapping[str, Any]) -> None:
        """Show one event."""
        ...


class SilentListener:
    """Shows nothing."""

    def on_event(self, event: str, data: Mapping[str, Any]) -> None:
        """Ignore the event."""


class Observers:
    """Fans events out; `faults` holds what observers themselves raised."""

    def __init__(self, registry: Registry, listener: Listener | None = None) -> None:
        self._registry = registry
        self._listener = listener or SilentListener()
        self._lines: list[str] = []
        self._file: Path | None = None
        self.faults: list[str] = []

    def write_to(self, path: Path) -> None:
        """Keep the event log in a file from now on, with what happened before."""
        self._file = path
        path.write_text("".join(self._lines))

    def event(self, event: str, data: Mapping[str, Any] | None = None) -> None:
        """Record and show an event; also the `report` function handed to models."""
        data = dict(data or {})
        line = json.dumps({"at": round(time.time(), 3), "event": event, **data}, default=str) + "\n"
        self._lines.append(line)
        # A published run has moved away and is not changed any more.
        if self._file is not None and self._file.exists():
            with self._file.open("a") as file:
                file.write(line)
        self._listener.on_event(event, data)

    def stage(self, name: str, detail: str = "") -> None:
        """A stage of the pipeline begins."""
        self.event("stage", {"stage": name, "detail": detail})

    def hook(self, hook: str, /, **arguments: Any) -> None:
        """Call an observer hook of every plugin, each on its own."""
        for implementation in getattr(self._registry.manager.hook, hook).get_hookimpls():
            wanted = {key: arguments[key] for key in implementation.argnames}
            try:
                implementation.function(**wanted)
            except Exception as error:  # noqa: BLE001 - observers may raise anything
                fault = f"{hook} of plugin {implementation.plugin_name}: {first_line(error)}"
                self.faults.append(fault)
                self.event("observer_failed", {"reason": fault})
