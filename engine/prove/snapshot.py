"""What is known and forecast at a cutoff: history, feature values and forecasts, as plain tables."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from engine.backtest import Fold, Task, backtest_tasks
from engine.components import Capabilities
from engine.contracts import Feature
from engine.data.forecast import quantiles_of
from engine.data.panel import Future, Panel
from engine.features import (
    add_cross_sections,
    evaluate,
    evaluate_static,
    feature_context,
    known_rows,
)
from engine.registry import Registry, build
from engine.spec.model import RunSpec
from engine.tasks import run_task
from engine.workspace import Workspace, prepare
from engine.wrapped import cut

PLACE = ("unique_id", "ahead")


@dataclass(frozen=True)
class Table:
    """Values by series and period: `unique_id`, `ahead` (after the cutoff) and further columns.

    kind, owner: whose values they are, e.g. `features`, `lags`.
    """

    kind: str
    owner: str
    frame: pl.DataFrame


@dataclass(frozen=True)
class Snapshot:
    """Everything that a run knows or says at one cutoff.

    failures: reasons why a model made no forecast, by the model's name.
    """

    cutoff: int
    tables: tuple[Table, ...]
    failures: Mapping[str, str] = field(default_factory=dict)

    def of(self, kind: str) -> list[Table]:
        """The tables of a kind."""
        return [table for table in self.tables if table.kind == kind]


@dataclass(frozen=True)
class Owned:
    """The features of one builder of the spec."""

    builder: str
    features: tuple[Feature, ...]


def take(
    panel: Panel,
    spec: RunSpec,
    registry: Registry,
    able: Mapping[str, Capabilities],
    cutoff: int,
    models: Sequence[str] | None = None,
) -> Snapshot:
    """Features and forecasts at a cutoff, made exactly as a backtest makes them.

    models: those to fit; None for all.
    """
    with tempfile.TemporaryDirectory(prefix="engine-prove-") as name:
        work = prepare(Path(name), panel, spec, registry)
        history, future = cut(work.panel, spec, cutoff, None)
        tables = [_known(history, future, work, cutoff)]
        history = add_cross_sections(history, work.plan.sections_of_y)
        tables += _feature_tables(history, future, work)
        wanted = list(spec.models) if models is None else list(models)
        failures: dict[str, str] = {}
        for task in backtest_tasks(work.panel, spec, [Fold(cutoff, "backtest")], dict(able)):
            if task.model in wanted:
                tables += _forecast(work, task, failures)
    return Snapshot(cutoff, tuple(_joined(tables)), failures)


def owned_features(panel: Panel, spec: RunSpec, registry: Registry) -> Iterator[Owned]:
    """The features of each builder, in the order of the spec."""
    context = feature_context(panel, spec.horizon, spec.gap)
    for use in spec.features:
        component = registry.find("features", use.use).component
        made = build(component, use.options).build(context)
        yield Owned(use.use, tuple(made.features))


def _known(history: Panel, future: Future, work: Workspace, cutoff: int) -> Table:
    """Target, covariates and statics up to the cutoff, and the covariates known ahead."""
    internal = {section.name for section in work.plan.cross_sections}
    columns = [c for c in history.roles.covariates if c not in internal]
    rows = history.frame.select("unique_id", "y", *(_plain(history.frame, c) for c in columns))
    rows = rows.with_columns(ahead=pl.Series(history.ordinals - cutoff))
    coming = [c for c in columns if c in history.roles.future]
    ahead = future.frame.select(
        "unique_id", pl.col("ahead").cast(pl.Int64), *(_plain(future.frame, c) for c in coming)
    )
    table = pl.concat([_text_ids(rows), _text_ids(ahead)], how="diagonal")
    statics = history.series.select("unique_id", *history.roles.static)
    statics = _text_ids(statics.with_columns(_plain(statics, c) for c in history.roles.static))
    return Table(
        "source", work.spec.data.source.use, table.join(statics, on="unique_id", how="left")
    )


def _plain(frame: pl.DataFrame, column: str) -> pl.Expr:
    """Numbers as they are, categories as text: their codes may depend on rows left out."""
    numeric = frame.schema[column].is_numeric() or frame.schema[column] == pl.Boolean
    return pl.col(column).cast(pl.Float64 if numeric else pl.String)


def _feature_tables(history: Panel, future: Future, work: Workspace) -> Iterator[Table]:
    known, first_future = known_rows(history, future, None)
    place_past = history.frame.select("unique_id", ahead=pl.Series(history.ordinals - history.end))
    ends = np.repeat(first_future, history.lengths + future.ahead_max)
    place_known = known.select(
        "unique_id", ahead=pl.Series(np.arange(known.height, dtype=np.int64) - ends + 1)
    )
    place_static = history.series.select("unique_id", ahead=pl.lit(0, dtype=pl.Int64))
    for owned in owned_features(_declared(work), work.spec, work.registry):
        for place, frame, availability in (
            (place_past, history.frame, ("history", "aligned")),
            (place_known, known, ("known",)),
            (place_static, history.series, ("static",)),
        ):
            features = [f for f in owned.features if f.availability in availability]
            if not features:
                continue
            of_series = availability == ("static",)
            values = evaluate_static(frame, features) if of_series else evaluate(frame, features)
            columns = [
                pl.Series(f.name, v, nan_to_null=True)
                for f, v in zip(features, values, strict=True)
            ]
            yield Table("features", owned.builder, _text_ids(place.with_columns(columns)))


def _declared(work: Workspace) -> Panel:
    """The panel with the roles of the spec: builders do not see the cross-sections of others."""
    internal = {section.name for section in work.plan.cross_sections}
    roles = work.panel.roles
    declared = type(roles)(
        roles.keys,
        tuple(c for c in roles.future if c not in internal),
        tuple(c for c in roles.past if c not in internal),
        roles.static,
    )
    return work.panel.with_frame(work.panel.frame, declared)


def _forecast(work: Workspace, task: Task, failures: dict[str, str]) -> list[Table]:
    result = run_task(work.folder, task.plain(), lambda event, fields: None)
    if result["failures"]:
        failures.setdefault(task.model, str(result["failures"][0][2]))
    if not result["path"]:
        return []
    frame = work.kept_forecasts([result["path"]])
    values = ["y_hat", *quantiles_of(frame.columns).values()]
    place = frame.select("unique_id", pl.col("step").cast(pl.Int64).alias("ahead"), *values)
    gap = work.spec.gap
    return [Table("model", task.model, _text_ids(place.with_columns(pl.col("ahead") + gap)))]


def _text_ids(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("unique_id").cast(pl.String))


def _joined(tables: Sequence[Table]) -> Iterator[Table]:
    """One table a model; its tasks made one a shard."""
    shards: dict[str, list[pl.DataFrame]] = {}
    for table in tables:
        if table.kind == "model":
            shards.setdefault(table.owner, []).append(table.frame)
        else:
            yield table
    for owner, frames in shards.items():
        yield Table("model", owner, pl.concat(frames))
