"""Features as covariates of models of whole series, and the covariates that such a model sees."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.contracts import Feature
from engine.data.panel import Future, Panel, Roles
from engine.features import FeaturePlan, Matrix, evaluate, evaluate_static, known_rows


def panel_with_features(history: Panel, future: Future, plan: FeaturePlan) -> tuple[Panel, Future]:
    """Add features as covariates for a model of whole series.

    Known ones go to both, history ones to the past only. Aligned features whose season is at least
    gap + horizon go to both as well: at every row they hold what was `season` rows before, which is
    known at any cutoff that the row can be a target of. Shorter seasons have no single value a row
    and are left to models of design rows.
    """
    aligned = tuple(f for f in plan.of("aligned") if f.season >= future.ahead_max)
    known, past, static = plan.of("known"), plan.of("history"), plan.of("static")
    frame, series, roles = history.frame, history.series, history.roles
    if known:
        rows, first_future = known_rows(history, future, None)
        values = evaluate(rows, known)
        index = (first_future[:, None] + np.arange(future.ahead_max)).ravel()
        is_past = np.ones(rows.height, dtype=bool)
        is_past[index] = False
        frame = frame.with_columns(_columns(known, (row[is_past] for row in values)))
        ahead = future.frame.with_columns(_columns(known, (row[index] for row in values)))
        future = replace(future, frame=ahead)
    if aligned:
        values = evaluate(history.frame, aligned)
        frame = frame.with_columns(_columns(aligned, _a_season_before(history, aligned, values)))
        future = replace(
            future,
            frame=future.frame.with_columns(
                _columns(aligned, _ahead_of_a_season(history, future, aligned, values))
            ),
        )
    if past:
        frame = frame.with_columns(_columns(past, evaluate(history.frame, past)))
    if static:
        series = series.with_columns(_columns(static, evaluate_static(series, static)))
    roles = replace(
        roles,
        future=(*roles.future, *(f.name for f in (*known, *aligned))),
        past=(*roles.past, *(f.name for f in past)),
        static=(*roles.static, *(f.name for f in static)),
    )
    return replace(history, frame=frame, series=series, roles=roles), future


def _a_season_before(panel: Panel, features: Sequence[Feature], values: Matrix) -> Matrix:
    """For every row of a panel what each feature was `season` rows before, NaN before the start."""
    first = np.repeat(panel.offsets[:-1], panel.lengths)
    row = np.arange(panel.frame.height)
    return _read(features, values, row, first)


def _ahead_of_a_season(
    history: Panel, future: Future, features: Sequence[Feature], values: Matrix
) -> Matrix:
    """The same for the future rows; `season` reaches back into the history from all of them."""
    ahead = np.tile(np.arange(1, future.ahead_max + 1), history.n_series)
    last = np.repeat(history.offsets[1:] - 1, future.ahead_max)
    first = np.repeat(history.offsets[:-1], future.ahead_max)
    return _read(features, values, last + ahead, first)


def _read(
    features: Sequence[Feature],
    values: Matrix,
    row: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
) -> Matrix:
    out = np.empty((len(features), row.size), dtype=np.float32)
    for number, feature in enumerate(features):
        source = row - feature.season
        out[number] = values[number][np.maximum(source, first)]
        out[number][source < first] = np.nan
    return out


def _columns(
    features: Sequence[Feature], values: Matrix | Iterator[npt.NDArray[np.float32]]
) -> list[pl.Series]:
    return [pl.Series(f.name, v, nan_to_null=True) for f, v in zip(features, values, strict=True)]


def with_covariates(panel: Panel, future: Future, names: Collection[str]) -> tuple[Panel, Future]:
    """Only the covariates with these names."""

    def kept(columns: Sequence[str]) -> tuple[str, ...]:
        return tuple(column for column in columns if column in names)

    old = panel.roles
    roles = Roles(old.keys, kept(old.future), kept(old.past), kept(old.static))
    frame = panel.frame.select("unique_id", "ds", "y", *roles.covariates)
    ahead = future.frame.select("unique_id", "ds", "ahead", *roles.future)
    series = panel.series.drop(c for c in old.static if c not in roles.static)
    return replace(panel, frame=frame, series=series, roles=roles), replace(future, frame=ahead)
