"""A quick guess of the memory that a run takes, from the size of its panel alone."""

from __future__ import annotations

from collections.abc import Mapping

from engine.components import Capabilities
from engine.data.panel import Panel
from engine.design import SHARD_ROWS
from engine.features import FeaturePlan
from engine.machine import available_memory, memory_text
from engine.spec.model import RunSpec

CELL = 8
"""Bytes of one value of a feature while it is made."""

COPIES = 3
"""Of the panel, while it is read, checked and scored."""

PROCESS = 150 * 2**20
"""Bytes of a process before it holds any data."""


SHARDS = 2
"""Shards whose features a mergeable model holds: one that is read, one that is being made."""


def streamed_rows(spec: RunSpec) -> int:
    """Rows whose features a mergeable model holds at a time, however many there are."""
    return SHARDS * (spec.run.shard_rows or SHARD_ROWS)


def needed_memory(
    panel: Panel,
    features: FeaturePlan,
    spec: RunSpec,
    able: Mapping[str, Capabilities],
    workers: int,
) -> dict[str, int | None]:
    """Bytes that a run needs, at a guess, and bytes that are `available`; None if unknown.

    Every worker is taken to hold the panel once more with its features: a mergeable model those of
    a few shards of rows, any other all of them. What a model needs beside its data, as a network
    does, is not known here; `engine plan` measures it.
    """
    size, rows = int(panel.frame.estimated_size()), panel.frame.height
    streamed = all(
        can.mergeable or (can.input == "panel" and not spec.models[name].features)
        for name, can in able.items()
    )
    made = CELL * len(features.names) * (min(rows, streamed_rows(spec)) if streamed else rows)
    needed = PROCESS + COPIES * size + workers * (PROCESS + size + made)
    return {"needed": needed, "available": available_memory()}


def memory_warning(needed: int | None, available: int | None) -> str:
    """What to tell if the memory will not do; empty if it will, or if nobody knows."""
    if needed is None or available is None or needed <= available:
        return ""
    return (
        f"this needs about {memory_text(needed)} of memory and {memory_text(available)} are free: "
        "use fewer --workers or series; `engine plan` tells more"
    )
