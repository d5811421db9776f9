"""Raises in one hook, whichever is asked for."""

from __future__ import annotations

import types
from typing import Any

from engine import hookimpl

OFFERS = (
    "engine_sources",
    "engine_features",
    "engine_models",
    "engine_metrics",
    "engine_writers",
    "engine_executors",
)
WATCHES = (
    "engine_run_start",
    "engine_panel_ready",
    "engine_task_start",
    "engine_task_end",
    "engine_run_end",
)


def raising(hook: str) -> Any:
    """A plugin whose only hook raises."""

    def implementation() -> Any:
        raise RuntimeError(f"{hook} is out of order")

    return types.SimpleNamespace(**{hook: hookimpl(implementation)})
