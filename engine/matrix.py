"""The design matrix of a spec as one Parquet file, for people and for other programs.

The rows are those that the engine's horizon strategy hands to a model, taken by a model that only
writes them down: what is in the file cannot differ from what models see.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

import engine
from engine.abilities import capabilities_of, masked, plan_for
from engine.backtest import eligible
from engine.components import Capabilities, Model
from engine.contracts import Design, DesignBlock, Prediction, Training
from engine.data.panel import Future, Panel
from engine.design import SHARD_ROWS
from engine.errors import DataError, NotFoundError, UsageError
from engine.features import FeaturePlan, add_cross_sections, availability_table
from engine.future import future_of
from engine.horizon import TabularModel, default_buckets
from engine.ingest import open_source, read_panel
from engine.registry import Registry
from engine.replace import replaced
from engine.spec.model import ModelUse, RunSpec
from engine.transforms import target_transform
from engine.workspace import check_models, plan_of
from engine.wrapped import history_of

COLUMNS = ("cutoff", "ds", "step", "y")
"""Columns between the keys and the features."""


@dataclass(frozen=True)
class Request:
    """What to write.

    model: whose rows; None for the spec's first model of design rows. cutoff: the last known `ds` as
    text; None for the end of the data. forecast: also the rows to forecast, with a null `y`.
    """

    model: str | None = None
    cutoff: str | None = None
    forecast: bool = False


@dataclass(frozen=True)
class Written:
    """What was written: the file, its size, and what its metadata say."""

    path: Path
    rows: int
    features: tuple[str, ...]
    design: Mapping[str, Any]


def write_matrix(
    spec: RunSpec, registry: Registry, base: Path, target: Path, request: Request
) -> Written:
    """Read the spec's data and write the design matrix of one model at one cutoff.

    The file holds the series' keys, `cutoff`, `ds`, `step` (1..horizon), `y` as the model is fitted
    on it (transformed and scaled as the spec says) and a Float32 column a feature, in shards of whole
    series of `run.shard_rows` rows. Its metadata hold `engine.features` (availability, lookback and
    season of each column) and `engine.design` (what the rows are), both JSON. `base`: folder that
    relative paths of the spec start from. EngineError says what is wrong with data, model or cutoff.
    """
    name, use = _model_of(spec, registry, request.model)
    panel = read_panel(spec, open_source(spec, registry, base))
    plan = plan_of(panel, spec, registry)
    check_models(panel, spec, registry)
    component = registry.find("model", use.use).component
    assert isinstance(component, Model)
    able = capabilities_of(component, use)
    chosen = plan_for(able, use, plan, panel.roles)
    panel = add_cross_sections(panel, plan.sections_of_covariates)
    cutoff = panel.end if request.cutoff is None else _ordinal(panel, request.cutoff)
    rows = _Rows(spec, name, use, able, chosen, cutoff, request.forecast)
    _check_names(panel, rows.plan)
    _check_forecast(rows, panel)
    meta = {
        "engine.features": json.dumps(availability_table(rows.plan)),
        "engine.design": json.dumps(rows.described(panel)),
    }
    count = _stream(target, rows, panel, meta)
    return Written(target, count, tuple(rows.plan.names), rows.described(panel))


def _model_of(spec: RunSpec, registry: Registry, name: str | None) -> tuple[str, ModelUse]:
    """The model whose rows are asked for."""
    able = {}
    for own, use in spec.models.items():
        component = registry.find("model", use.use).component
        assert isinstance(component, Model)
        able[own] = component.capabilities.input == "design"
    if name is None:
        name = next((own for own, yes in able.items() if yes), None)
        if name is None:
            raise UsageError(
                "no model of the spec is fitted on rows of features",
                hint="add one to `models`, e.g. ridge: {use: ridge}",
            )
    if name not in able:
        raise NotFoundError(f"the spec has no model {name!r}", hint=f"models: {', '.join(able)}")
    if not able[name]:
        raise UsageError(
            f"model {name!r} is fitted on whole series, not on rows of features",
            hint=f"models of rows: {', '.join(own for own, yes in able.items() if yes) or 'none'}",
        )
    return name, spec.models[name]


def _ordinal(panel: Panel, text: str) -> int:
    """The place of a cutoff on the panel's grid; UsageError if it is no time of the panel."""
    dtype = panel.frame.schema["ds"]
    try:
        value = pl.Series([text]).str.strip_chars()
        parsed = value.cast(pl.Int64) if dtype.is_integer() else value.str.to_datetime(strict=True)
        if isinstance(dtype, pl.Datetime):
            # A cutoff is written as ds is shown: in the time zone of the data.
            parsed = parsed.dt.replace_time_zone(dtype.time_zone)
        place = panel.grid.ordinal_of(parsed.cast(dtype).item())
    except pl.exceptions.PolarsError as error:
        kind = "an integer" if dtype.is_integer() else "a date like 2024-12-31"
        raise UsageError(f"cutoff {text!r} is not {kind}", hint="it is a value of ds") from error
    first = int(panel.starts.min())
    if not first < place <= panel.end:
        raise UsageError(
            f"cutoff {text} is outside of the history",
            hint=f"from {panel.grid.timestamp(first + 1)} to {panel.cutoff}",
        )
    return place


def _check_names(panel: Panel, plan: FeaturePlan) -> None:
    keys = {"unique_id", *panel.roles.keys, *COLUMNS}
    twice = [name for name in plan.names if name in keys]
    if twice:
        raise DataError(
            f"features are named like other columns of the matrix: {', '.join(twice)}",
            hint="give their builder other options, so that the names differ",
        )
    if not plan.features:
        raise DataError("the model has no features", hint="add some under `features:`")


def _check_forecast(rows: _Rows, panel: Panel) -> None:
    """Rows to forecast need known covariates, and no forecasts of their own."""
    if not rows.forecast:
        return
    if rows.use.strategy == "recursive":
        raise UsageError(
            f"model {rows.name!r} is recursive: its rows to forecast hold its own forecasts",
            hint="leave --forecast-rows out, or use strategy: direct",
        )
    if not rows.is_known(panel):
        raise UsageError(
            "the covariates of the steps after the data are not known (data.missing.horizon: skip)",
            hint=f"give a cutoff of {rows.spec.gap + rows.spec.horizon} periods before the end",
        )


@dataclass
class _Recorder:
    """A design model that keeps the designs it is to be fitted on and the rows it is asked for."""

    designs: list[Design] = field(default_factory=list)
    asked: list[DesignBlock] = field(default_factory=list)

    def fit(self, design: Design) -> _Recorder:
        self.designs.append(design)
        return self

    def predict(self, block: DesignBlock) -> Prediction:
        self.asked.append(block)
        return Prediction(np.full(block.X.shape[0], np.nan))

    def save(self, folder: Path) -> None:
        raise AssertionError("rows are written to a file, not saved as a model")

    def tables(self) -> Mapping[str, pl.DataFrame]:
        return {}


@dataclass(frozen=True)
class _Rows:
    """The rows of one model at one cutoff, shard by shard."""

    spec: RunSpec
    name: str
    use: ModelUse
    able: Capabilities
    plan: FeaturePlan
    cutoff: int
    forecast: bool

    def frames(self, panel: Panel) -> Iterator[pl.DataFrame]:
        """Rows of a few whole series at a time; no more than one shard's features are held."""
        panel = panel.select(eligible(panel, self.cutoff, self.spec).index)
        history = masked(history_of(panel, self.spec, self.cutoff), self.use.mask)
        transform = target_transform(history, self.use.target, self.use.scale, self.name)
        history = add_cross_sections(transform.apply(history), self.plan.sections_of_y)
        first = 0
        for shard in history.shards(self.spec.run.shard_rows or SHARD_ROWS):
            known = panel.select(np.arange(first, first + shard.n_series))
            yield from self._of_shard(shard, known)
            first += shard.n_series

    def _of_shard(self, history: Panel, shard: Panel) -> Iterator[pl.DataFrame]:
        spec, use = self.spec, self.use
        buckets = use.buckets or default_buckets(spec.horizon)
        recorder = _Recorder()
        direct = buckets if self._is_direct else None
        rows = history.frame.height
        model = TabularModel(recorder, self.plan, direct, use.window, rows, self.able)
        season = history.grid.freq.season
        # Known features of the last rows may look ahead, as far as it is known in a run.
        future = self._future(shard) if self.is_known(shard) else None
        training = Training(
            history, spec.horizon, spec.gap, (), season, spec.seed, lambda event, fields: None,
            future=future,
        )  # fmt: skip
        fitted = model.fit(training)
        for design in recorder.designs:
            for block in design.blocks():
                yield self._frame(block, history, history.end - block.age)
        if self.forecast:
            fitted.predict(history, self._future(shard))
            for block in recorder.asked:
                yield self._frame(block, history, history.end + block.step.astype(np.int64))

    def is_known(self, panel: Panel) -> bool:
        """Whether the covariates of all steps to forecast are."""
        reach = self.cutoff + self.spec.gap + self.spec.horizon
        return reach <= panel.end or self.spec.forecasts_beyond_data

    @property
    def _is_direct(self) -> bool:
        return self.use.strategy == "direct"

    def _future(self, shard: Panel) -> Future:
        return future_of(shard, self.cutoff, self.spec.gap, self.spec.horizon)

    def _frame(self, block: DesignBlock, history: Panel, target: Any) -> pl.DataFrame:
        """A block with its keys; target: ordinal of each row."""
        step = block.step.astype(np.int64)
        own = [k for k in history.roles.keys if k != "unique_id"]
        keys = history.series.select(pl.col("unique_id").cast(pl.String), *own)
        first = int(history.starts.min())
        times = history.grid.timestamps(
            pl.Series(np.arange(first, history.end + self.spec.gap + self.spec.horizon + 1))
        )
        y = block.y if block.y.size else np.full(step.size, np.nan)
        # A recursive model makes one step from the cutoff, whatever the gap.
        skipped = self.spec.gap if self._is_direct else 0
        return keys[block.series].with_columns(
            times.gather(target - step - first).alias("cutoff"),
            times.gather(target - first).alias("ds"),
            pl.Series("step", step - skipped, dtype=pl.Int32),
            pl.Series("y", y, dtype=pl.Float64, nan_to_null=True),
            *(
                pl.Series(name, block.X[:, i], nan_to_null=True)
                for i, name in enumerate(self.plan.names)
            ),
        )

    def described(self, panel: Panel) -> dict[str, Any]:
        """What the rows are, as plain data for the file's metadata."""
        return {
            "engine": engine.__version__,
            "spec": self.spec.name,
            "model": self.name,
            "cutoff": str(panel.grid.timestamp(self.cutoff)),
            "horizon": self.spec.horizon,
            "gap": self.spec.gap,
            "strategy": self.use.strategy,
            "buckets": self.use.buckets or default_buckets(self.spec.horizon),
            "window": self.use.window,
            "target": self.use.target,
            "scale": self.use.scale,
            "forecast_rows": self.forecast,
        }


def _stream(target: Path, rows: _Rows, panel: Panel, meta: dict[str, str]) -> int:
    """Write frames as they are made; the file appears whole or not at all. Returns the rows."""
    frames = rows.frames(panel)
    first = next(frames, None)
    if first is None:
        raise DataError(
            "the design has no rows",
            hint="give more history than the longest lag, a later cutoff, or fewer lags",
        )
    counts = [first.height]

    def batches(*_: Any) -> Iterator[pl.DataFrame]:
        yield first
        for frame in frames:
            counts.append(frame.height)
            yield frame

    with replaced(target) as file:
        register_io_source(batches, schema=first.schema).sink_parquet(file, metadata=meta)
    return sum(counts)
