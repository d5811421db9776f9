"""Fits at later cutoffs from the sums of earlier ones: only the rows between the two are read.

A model that keeps nothing of its rows but sums (`engine.design.SharedModel`) is so fitted to every fold of a
backtest for little more than the price of the first. The rows of a fit are cut at its own cutoff, as ever;
what is older comes from sums that were cut earlier still.

Sums at a cutoff are defined as those at the one before it in the chain, merged with those of the rows
between. Whether a task finds them in the workspace or makes them itself is a matter of time alone: the bits
are the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.backtest import Task, eligible
from engine.columns import Column, Rows
from engine.contracts import Feature, Training
from engine.data.panel import Panel
from engine.design import known_columns, lookback_of
from engine.features import FeaturePlan, columns_of
from engine.horizon import Sums, TabularModel
from engine.workspace import Workspace

SAMPLE = 50
"""Series whose features are looked at for values that change when rows are added."""

MOST_BYTES = 1 << 29
"""Sums larger than this are not kept: writing and reading them would cost what they save."""


def sums_at(
    work: Workspace,
    task: Task,
    model: TabularModel,
    train: Training,
    training: Callable[[int], Training],
) -> Sums:
    """The sums that a task's fit needs; train: what it is given, training: the same at a cutoff."""
    chain = _chain(work, task, model, train.panel)
    sums: Sums | None = None
    start = 0
    for number in reversed(range(len(chain) - 1)):
        sums = _kept(_file(work, task, chain[number]), chain[number])
        if sums is not None:
            start = number + 1
            break
    for cutoff in chain[start:]:
        sums = model.sums(train if cutoff == chain[-1] else training(cutoff), sums)
        _keep(_file(work, task, cutoff), sums)
    assert sums is not None
    return sums


def _chain(work: Workspace, task: Task, model: TabularModel, panel: Panel) -> list[int]:
    """Cutoffs up to the task's own, in whose fits the older rows are the same; panel: of the last."""
    chain = [task.fit_cutoff]
    series = np.linspace(0, panel.n_series - 1, min(panel.n_series, SAMPLE)).astype(np.int64)
    sample = panel.select(series)
    for cutoff in reversed(task.after):
        near = chain[0]
        if not model.reaches(near - cutoff, work.spec.gap):
            break
        then, now = (eligible(work.panel, at, work.spec).index for at in (cutoff, near))
        if not np.array_equal(then, now):
            break
        if not _settled(model.plan, sample.until(near), cutoff):
            break
        chain.insert(0, cutoff)
    return chain


def _settled(plan: FeaturePlan, panel: Panel, cutoff: int) -> bool:
    """Whether features of the row at a cutoff are the same with and without the rows that follow.

    A promotion of the next day, known as it is, is missing at the end of a history.
    """
    features = plan.of("history", "aligned", "known")
    reach = lookback_of(features, 1 + panel.end - cutoff)
    later = panel if reach is None else panel.tail(reach)
    earlier = later.until(cutoff)
    last = earlier.offsets[1:] - 1
    place = later.offsets[:-1] + earlier.lengths - 1
    series = np.arange(later.n_series, dtype=np.int32)
    for kind in ("history", "aligned", "known"):
        features = plan.of(kind)
        made = known_columns if kind == "known" else _columns
        before = Rows(last, series).matrix(made(earlier, features))
        after = Rows(place, series).matrix(made(later, features))
        if not np.allclose(before, after, rtol=1e-5, equal_nan=True):
            return False
    return True


def _columns(panel: Panel, features: Sequence[Feature]) -> tuple[Column, ...]:
    return columns_of(panel.frame, features)


def _file(work: Workspace, task: Task, cutoff: int) -> Path:
    return work.folder / "sums" / task.model / f"{cutoff}.npz"


def _keep(file: Path, sums: Sums) -> None:
    """Write sums for later tasks, in one step: another worker may be writing the same."""
    if sum(v.nbytes for part in sums.parts if part for v in part.values()) > MOST_BYTES:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {
        f"{number}/{name}": values
        for number, part in enumerate(sums.parts)
        for name, values in (part or {}).items()
    }
    own = file.with_suffix(f".{os.getpid()}")
    with own.open("wb") as out:
        np.savez(out, count=np.array(len(sums.parts)), **arrays)
    own.replace(file)


def _kept(file: Path, end: int) -> Sums | None:
    if not file.exists():
        return None
    with np.load(file, allow_pickle=False) as arrays:
        parts: list[dict[str, np.ndarray]] = [{} for _ in range(int(arrays["count"]))]
        for key in arrays.files:
            number, _, name = key.partition("/")
            if name:
                parts[int(number)][name] = arrays[key]
    return Sums(end, tuple(part or None for part in parts))
