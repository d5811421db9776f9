"""Cuts the known future of a cutoff out of a panel: no `y`, no past covariates."""

from __future__ import annotations

import numpy as np
import polars as pl

from engine.data.panel import Future, Panel


def future_of(panel: Panel, cutoff: int, gap: int, horizon: int) -> Future:
    """Future covariates of the `gap + horizon` periods after ordinal `cutoff`.

    Only series that have begun by the cutoff are in it, in panel order, like `panel.until(cutoff)`.
    The panel must reach `cutoff + gap + horizon`.
    """
    ahead = gap + horizon
    begun = panel.starts <= cutoff
    first = panel.offsets[:-1][begun] + (cutoff + 1 - panel.starts[begun])
    rows = (first[:, None] + np.arange(ahead)[None, :]).ravel()
    frame = panel.frame.select("unique_id", "ds", *panel.roles.future)[rows]
    steps = np.tile(np.arange(1, ahead + 1, dtype=np.int32), int(begun.sum()))
    frame = frame.with_columns(pl.Series("ahead", steps))
    return Future(
        frame.select("unique_id", "ds", "ahead", *panel.roles.future),
        int(begun.sum()),
        gap,
        horizon,
    )
