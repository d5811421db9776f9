"""What drives each model: its own tables, and what false news of the days ahead costs it.

Both are of the last fold's fit, so that they exist for every model and not only for the chosen one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.backtest import Task
from engine.data.panel import Future, Panel

FOLDER = "drivers"
MOST_SERIES = 256
REPEATS = 3

Floats = npt.NDArray[np.floating[Any]]
Predict = Callable[[Panel, Future], Floats]
"""Point forecasts in the units of y, shape (n_series, gap + horizon)."""


@dataclass(frozen=True)
class Fold:
    """What a model got at a cutoff, and what then came.

    features: names of the features among the covariates. actual: (n_series, gap + horizon), NaN in
    the gap and where nothing was observed.
    """

    history: Panel
    future: Future
    features: Sequence[str]
    actual: Floats


def keep(folder: Path, task: Task, tables: Mapping[str, pl.DataFrame]) -> None:
    """Write tables of the last fold's fit under `drivers/<model>`, a folder a shard."""
    part = "" if task.series is None else f"shard-{task.series[0]}"
    target = folder / FOLDER / task.model / part
    for name, table in tables.items():
        if table.height:
            target.mkdir(parents=True, exist_ok=True)
            table.write_parquet(target / f"{name}.parquet")


def importance(fold: Fold, predict: Predict, seed: int) -> pl.DataFrame:
    """`covariate, wape, shuffled, low, high, series`: permutation importance of what is known ahead.

    A covariate's values on the days ahead are replaced by those of other days of the same series,
    drawn at random, so that it keeps its usual size and says nothing any more; `shuffled` is the
    mean WAPE of `REPEATS` such forecasts, low and high their extremes (Breiman, Random forests,
    2001; Fisher, Rudin & Dominici, 2019). Columns made of one covariate are not shuffled with it,
    but the features of one builder are shuffled together. Empty without a known covariate or an
    actual value. At most `MOST_SERIES` series, evenly spread.
    """
    groups = _groups(fold)
    sample = _sampled(fold)
    observed = np.isfinite(sample.actual)
    size = float(np.abs(sample.actual[observed]).sum())
    if not groups or size <= 0:
        return pl.DataFrame()

    def wape(future: Future) -> float:
        error = np.abs(predict(sample.history, future) - sample.actual)[observed]
        return float(np.nansum(error)) / size

    rng = np.random.default_rng(seed)
    truth = wape(sample.future)
    rows = []
    for name, columns in groups.items():
        losses = [wape(_shuffled(sample, columns, rng)) for _ in range(REPEATS)]
        rows.append(
            {
                "covariate": name,
                "wape": truth,
                "shuffled": sum(losses) / REPEATS,
                "low": min(losses),
                "high": max(losses),
                "series": sample.history.n_series,
            }
        )
    return pl.DataFrame(rows)


def _groups(fold: Fold) -> dict[str, list[str]]:
    """Covariates one by one, features by the builder that their name begins with."""
    known = [c for c in fold.history.roles.future if c in fold.future.frame.columns]
    groups: dict[str, list[str]] = {}
    for column in known:
        made = column in fold.features
        groups.setdefault(f"{column.split('_')[0]} features" if made else column, []).append(column)
    return groups


def _sampled(fold: Fold) -> Fold:
    n_series, ahead = fold.history.n_series, fold.future.ahead_max
    if n_series <= MOST_SERIES:
        return fold
    index = np.unique(np.linspace(0, n_series - 1, MOST_SERIES).astype(np.int64))
    rows = (index[:, None] * ahead + np.arange(ahead)).ravel()
    future = replace(fold.future, frame=fold.future.frame[rows], n_series=index.size)
    return replace(
        fold, history=fold.history.select(index), future=future, actual=fold.actual[index]
    )


def _shuffled(fold: Fold, columns: Sequence[str], rng: np.random.Generator) -> Future:
    """The future with columns of other days of the same series, one day for all of them."""
    history, future = fold.history, fold.future
    shape = (history.n_series, future.ahead_max)
    drawn = (rng.random(shape) * history.lengths[:, None]).astype(np.int64)
    rows = (history.offsets[:-1, None] + drawn).ravel()
    types = {c: future.frame.schema[c] for c in columns}
    other = history.frame.select(columns)[rows].cast(types)  # type: ignore[arg-type]
    return replace(future, frame=future.frame.with_columns(other.get_columns()))


def actual_of(panel: Panel, history: Panel, cutoff: int, gap: int, horizon: int) -> Floats:
    """Observed y of the series of `history` after a cutoff, NaN in the gap: (n_series, gap + horizon)."""
    number = {name: i for i, name in enumerate(panel.ids)}
    mine = np.array([number[name] for name in history.ids], dtype=np.int64)
    place = cutoff + 1 + np.arange(gap + horizon) - panel.starts[mine, None]
    lengths = panel.lengths[mine, None]
    inside = (place >= 0) & (place < lengths) & (np.arange(gap + horizon) >= gap)
    rows = panel.offsets[:-1][mine, None] + np.clip(place, 0, lengths - 1)
    return np.where(inside, panel.y()[rows], np.nan)
