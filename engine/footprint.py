"""A quick guess of the memory that a run takes, from the size of its panel alone."""

from __future__ import annotations

from engine.data.panel import Panel
from engine.execute import workers_of
from engine.features import FeaturePlan
from engine.machine import available_memory, memory_text
from engine.registry import Registry
from engine.spec.model import RunSpec

CELL = 8
"""Bytes of one value."""

COPIES = 3
"""Of the panel, while it is read, checked and scored."""

PROCESS = 150 * 2**20
"""Bytes of a process before it holds any data."""


def needed_memory(
    panel: Panel, features: FeaturePlan, spec: RunSpec, registry: Registry
) -> dict[str, int | None]:
    """Bytes that a run needs, at a guess, and bytes that are `available`; None if unknown.

    Every worker is taken to hold the whole panel with its features once, as a global model does:
    on the shipped specs that is within a factor of two. `engine plan` measures it.
    """
    rows, width = panel.frame.height, panel.frame.width
    worker = rows * (width + len(features.names)) * CELL
    own = COPIES * rows * width * CELL
    models, folds = len(spec.models), spec.backtest.folds
    workers = workers_of(spec, registry, models * folds)
    needed = PROCESS + own + workers * (PROCESS + worker)
    return {"needed": needed, "available": available_memory()}


def memory_warning(needed: int | None, available: int | None) -> str:
    """What to tell if the memory will not do; empty if it will, or if nobody knows."""
    if needed is None or available is None or needed <= available:
        return ""
    return (
        f"this needs about {memory_text(needed)} of memory and {memory_text(available)} are free: "
        "use fewer --workers or series; `engine plan` tells more"
    )
