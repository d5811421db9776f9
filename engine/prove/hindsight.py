"""Columns that could only be computed in hindsight, seen in the data themselves.

A source that reads columns computed elsewhere cannot be asked to compute them again from another
future. Three marks give such columns away: they are a linear function of earlier and later targets
and not of earlier ones alone (a centered rolling mean); they equal the mean target of all rows with
their value (target encoding); or the target itself has mean 0 or 1 in every series (scaling).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.data.panel import Panel
from engine.prove.compare import shown
from engine.prove.proof import Check, Finding
from engine.prove.rows import Sample
from engine.spec.model import RunSpec

EXACT = 1e-7
"""Share of the variance that is left where a column is computed from what explains it."""
LOOSE = 1e-3
"""Share that must be left without later targets before a column counts as looking ahead."""
WIDEST = 14
FEWEST_GROUPS = 3
FEWEST_ROWS = 10
PER_TERM = 4
"""Rows for each term of a fit, so that nothing is explained by chance."""


def hindsight(sample: Sample, panel: Panel, spec: RunSpec) -> Iterator[Check]:
    """One check of the source's columns; it reads values only, and changes nothing."""
    source = f"source {spec.data.source.use}"
    found = [*_linear(panel, source), *_encoded(sample, panel, spec, source)]
    found += _scaled(panel, spec, source)
    columns = len(panel.roles.covariates) + len(panel.roles.static) + 1
    yield Check(
        "hindsight",
        source,
        str(panel.cutoff),
        "leaks" if found else "holds",
        3,
        columns * panel.frame.height,
        findings=tuple(found),
    )


def _linear(panel: Panel, source: str) -> Iterator[Finding]:
    """Covariates that are linear in later targets: names the farthest one that is needed."""
    width = min(WIDEST, int(panel.lengths.min()) // 5)
    windows = _windows(panel, width)
    for column in panel.numeric(panel.roles.covariates):
        values = panel.frame[column].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        usable = np.isfinite(windows).all(axis=1) & np.isfinite(values)
        if width < 1 or usable.sum() < PER_TERM * (2 * width + 2):
            continue
        X, c = _centered(panel, windows, usable), _centered(panel, values[:, None], usable)[:, 0]
        total = float(c @ c)
        if total <= EXACT * max(float(values[usable] @ values[usable]), 1e-12):
            continue
        if _left(X, c) > EXACT * total or _left(X[:, : width + 1], c) < LOOSE * total:
            continue
        ahead = next(
            k for k in range(1, width + 1) if _left(X[:, : width + 1 + k], c) <= EXACT * total
        )
        row = int(np.flatnonzero(usable)[0])
        yield Finding(
            source,
            column,
            panel.ids[int(panel.series_index[row])],
            str(panel.frame["ds"][row]),
            ahead,
            shown(float(values[row])),
            "the same from later y",
            "it is a linear function of earlier and later targets, not of earlier ones",
            int(usable.sum()),
        )


def _windows(panel: Panel, width: int) -> npt.NDArray[np.float64]:
    """Targets at, before and after each row: columns 0, -1..-width, 1..width; NaN outside."""
    y = pl.col("y")
    shifts = [*range(width + 1), *(-k for k in range(1, width + 1))]
    frame = panel.frame.select(
        y.shift(s).over("unique_id").fill_null(float("nan")).alias(str(s)) for s in shifts
    )
    return frame.to_numpy()


def _centered(
    panel: Panel, values: npt.NDArray[np.float64], usable: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Usable rows less their series' mean: a level of its own for every series."""
    index = panel.series_index[usable]
    rows = values[usable]
    counts = np.maximum(np.bincount(index, minlength=panel.n_series), 1)
    sums = np.zeros((panel.n_series, rows.shape[1]))
    np.add.at(sums, index, rows)
    return rows - (sums / counts[:, None])[index]


def _left(X: npt.NDArray[np.float64], c: npt.NDArray[np.float64]) -> float:
    """Sum of squares of `c` that a least-squares fit on `X` leaves."""
    solution = np.linalg.lstsq(X, c, rcond=None)[0]
    rest = c - X @ solution
    return float(rest @ rest)


def _encoded(sample: Sample, panel: Panel, spec: RunSpec, source: str) -> Iterator[Finding]:
    """Columns whose every value is the mean target of all rows that hold it, the latest included."""
    columns = spec.data.columns
    for column in (*spec.data.covariates.static, *spec.data.covariates.future):
        if not sample.schema[column].is_float():
            continue
        groups = sample.means_by(column)
        if groups.height < FEWEST_GROUPS or groups["rows"].min() < FEWEST_ROWS:  # type: ignore[operator]
            continue
        near = (pl.col("mean") - pl.col(column)).abs() <= 1e-5 * pl.col("mean").abs() + 1e-12
        if not groups.select(near.all()).item():
            continue
        key = " and ".join(columns.keys)
        yield Finding(
            source,
            column,
            f"all ({key})",
            str(panel.cutoff),
            None,
            shown(float(groups[column][0])),
            "the mean of y over all dates",
            "every value of it is the mean target of its rows, the last ones included",
            groups.height,
        )


def _scaled(panel: Panel, spec: RunSpec, source: str) -> Iterator[Finding]:
    """A target whose whole series have mean 0 or 1, or a deviation of 1, was scaled by its future."""
    y = pl.col("y")
    rows = panel.frame.filter(y.is_not_null()).group_by("unique_id", maintain_order=True)
    stats = rows.agg(n=pl.len(), mean=y.mean(), deviation=y.std(), wide=y.n_unique())
    stats = stats.filter(pl.col("n") >= FEWEST_ROWS, pl.col("wide") > 2)
    if stats.height < FEWEST_GROUPS:
        return
    spread = stats["deviation"].to_numpy()
    marks = {
        "mean 0": np.abs(stats["mean"].to_numpy()) <= 1e-6 * spread,
        "mean 1": np.abs(stats["mean"].to_numpy() - 1) <= 1e-6,
        "deviation 1": np.abs(spread - 1) <= 1e-6,
    }
    said = [name for name, holds in marks.items() if holds.all()]
    if said:
        yield Finding(
            source,
            spec.data.columns.y,
            str(stats["unique_id"][0]),
            str(panel.cutoff),
            None,
            " and ".join(said),
            "of every whole series",
            "y was scaled with values from the whole series; use `scale:` of the models instead",
            stats.height,
        )
