"""What a plugin's code must offer: the protocols of each kind and the values they exchange.

The engine slices every panel at the cutoff before a plugin sees it. Plugins must not change the
frames and arrays that they are given; return new ones.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.data.calendar import Frequency
from engine.data.panel import Future, Panel, Roles
from engine.metric_contracts import (
    MetricColumns as MetricColumns,
    MetricData as MetricData,
    PanelMetric as PanelMetric,
    RowMetric as RowMetric,
)
from engine.transforms import TargetTransform
from engine.windows import Window as Window

Report = Callable[[str, Mapping[str, Any]], None]
"""Called as `report("epoch", {"epoch": 3, "of": 20, "loss": 0.4})`; shows progress, keeps events."""

# --------------------------------------------------------------------------- sources


@dataclass(frozen=True)
class SourceContext:
    """What a source may know: the run's seed, the folder that relative paths start from.

    raw: a source that computes columns passes its rows through this as soon as they are read, so
        that `engine prove` can change later rows and see that earlier ones stay; a run changes
        nothing.
    """

    seed: int
    base: Path
    raw: Callable[[pl.LazyFrame], pl.LazyFrame] = lambda rows: rows


class DataSource(Protocol):
    """Rows of the panel. Rows after a panel's last observed `y`, with a null `y`, are the known future."""

    def scan(self) -> pl.LazyFrame:
        """All rows, lazily; the engine selects columns and filters rows on top of it."""
        ...

    def artifacts(self) -> Mapping[str, pl.DataFrame]:
        """Extra tables to keep beside the run, such as a simulation's truth; usually empty."""
        ...


# -------------------------------------------------------------------------- features

Availability = Literal["known", "history", "aligned", "static"]


@dataclass(frozen=True)
class Feature:
    """One column of the design matrix, as an expression over the rows of one series.

    availability:
        `known`: made of `ds` and future covariates only; read at the target date. The expression
            sees the known future rows as well, so a lead (`shift(-1)`) is allowed.
        `history`: made of `y`, past and future covariates up to a row; read at the cutoff.
        `aligned`: as `history`, but read `season` steps (or the smallest multiple of `season`
            that is known at the cutoff) before the target date.
        `static`: made of keys and static covariates; evaluated once per series.
    lookback: rows before the current one that the expression reads; None for the whole past.
    window: says that the expression is a plain lag or rolling statistic of one column; the engine then
        computes it for all series at once, several times as fast. See `windowed`.
    """

    name: str
    expr: pl.Expr
    availability: Availability
    lookback: int | None = None
    season: int = 0
    window: Window | None = None

    def __post_init__(self) -> None:
        if (window := self.window) is None:
            return
        reads = {window.column}, window.lookback
        if (set(self.expr.meta.root_names()), self.lookback) != reads:
            raise ValueError(f"{self.name}: the window reads something else than the expression")

    @classmethod
    def windowed(
        cls, name: str, window: Window, availability: Availability, season: int = 0
    ) -> Feature:
        """A lag or rolling statistic of one column, with the expression that it stands for."""
        return cls(name, window.expr(), availability, window.lookback, season, window)


@dataclass(frozen=True)
class CrossSection:
    """A new column made across series at the same date, such as a price relative to a store's mean.

    `expr` is evaluated over groups of `by` (key, static or future columns) and `ds` on the whole
    panel first; the result becomes a covariate of the same availability as its inputs (`known` if
    all are known ahead), which features use by `name`. One that reads `y` is evaluated on the history
    of all series up to the cutoff, with `y` as the model sees it: transformed and scaled.
    """

    name: str
    expr: pl.Expr
    by: tuple[str, ...]


@dataclass(frozen=True)
class FeatureSet:
    """What a builder makes: features, and the cross-sectional columns they are made of."""

    features: tuple[Feature, ...]
    cross_sections: tuple[CrossSection, ...] = ()


@dataclass(frozen=True)
class FeatureContext:
    """What a builder may know of the panel: its columns, not its values.

    dtypes: types of `ds`, `y`, covariates, keys and statics. levels: sorted distinct values, as texts,
    of each column of categories (keys, statics, future covariates). first, last: dates of the panel
    including the known future; None for integer time.
    """

    roles: Roles
    freq: Frequency
    horizon: int
    gap: int
    dtypes: Mapping[str, pl.DataType]
    levels: Mapping[str, tuple[str, ...]]
    first: dt.date | None = None
    last: dt.date | None = None


class FeatureFactory(Protocol):
    """Builds features; raise `DataError` naming a column that is not declared."""

    def build(self, context: FeatureContext) -> FeatureSet:
        """Name the features; the engine evaluates all builders' expressions in one pass."""
        ...


# ---------------------------------------------------------------------------- models


@dataclass(frozen=True)
class Prediction:
    """Forecasts as arrays, in the order of what was asked: no join can mis-align them.

    y_hat: float (n_series, gap + horizon) for panel models, (rows,) for design models; NaN where
        there is none. quantiles: the same shape with a last axis over the asked quantiles, or None.
    failures: series number -> reason, for series without a forecast.
    """

    y_hat: npt.NDArray[np.floating[Any]]
    quantiles: npt.NDArray[np.floating[Any]] | None = None
    failures: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """Everything a panel model is fitted on: `panel` ends at the cutoff.

    season: steps of the frequency's usual season. seed: of the run's seed and the task's name.
    report: progress, see `Report`. transform: what was done to y, per series of the panel; None for
    nothing. future: what is known ahead at the cutoff, None if it is not given.
    """

    panel: Panel
    horizon: int
    gap: int
    quantiles: tuple[float, ...]
    season: int
    seed: int
    report: Report
    transform: TargetTransform | None = None
    future: Future | None = None


class FittedPanelModel(Protocol):
    """A fitted model of whole series."""

    def predict(self, history: Panel, future: Future) -> Prediction:
        """Forecast every row of `future`: shapes (n_series, gap + horizon[, quantile]).

        `history` may be longer than the training panel (a model that is not refitted).
        """
        ...

    def save(self, folder: Path) -> None:
        """Write everything `load` needs as JSON, Parquet or safetensors; never pickle."""
        ...

    def tables(self) -> Mapping[str, pl.DataFrame]:
        """What can be learned from the fit (learning curve, coefficients, orders); may be empty."""
        ...


@runtime_checkable
class ExplainedModel(Protocol):
    """What a fitted model of whole series may offer besides: what its forecasts are made of."""

    def explain(self, history: Panel, future: Future) -> Mapping[str, pl.DataFrame]:
        """Tables by name, such as `attribution` (`covariate, share`), of the last fold's forecast.

        Called once, after `predict` with the same arguments; they are kept beside `tables()`.
        """
        ...


class PanelModel(Protocol):
    """A model that makes all steps itself. Its class also has `load(folder) -> fitted`."""

    def fit(self, train: Training) -> FittedPanelModel:
        """Fit on `train.panel` and return a new object."""
        ...


@dataclass(frozen=True)
class DesignBlock:
    """Rows of a design matrix.

    X: float32 (rows, features), NaN where a feature is missing. y: float64 (rows,), never NaN in
    training, empty when predicting. series: int32 (rows,) number of the series in training, -1 for one
    that was not there (a model that is not refitted). step: int16 (rows,) periods between the cutoff
    and the target. age: int32 (rows,) periods between the target and the newest one of the design.
    """

    X: npt.NDArray[np.float32]
    y: npt.NDArray[np.float64]
    series: npt.NDArray[np.int32]
    step: npt.NDArray[np.int16]
    age: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Design:
    """A training design matrix in blocks of whole series; `blocks()` may be called again and again.

    `series` holds one row a series (`unique_id`, keys, statics), in the order of `block.series`, as
    `transform` does, what was done to y (None for nothing).
    """

    features: tuple[str, ...]
    series: pl.DataFrame
    quantiles: tuple[float, ...]
    seed: int
    blocks: Callable[[], Iterator[DesignBlock]]
    report: Report
    transform: TargetTransform | None = None


class FittedDesignModel(Protocol):
    """A fitted model of design rows; `failures` name series as the block does."""

    def predict(self, block: DesignBlock) -> Prediction:
        """Forecast each row, of which a series may have several: shapes (rows,) and (rows, quantile)."""
        ...

    def save(self, folder: Path) -> None:
        """Write everything `load` needs; never pickle."""
        ...

    def tables(self) -> Mapping[str, pl.DataFrame]:
        """What can be learned from the fit, such as coefficients; may be empty."""
        ...


class DesignModel(Protocol):
    """A model of design rows. Its class also has `load(folder) -> fitted`."""

    def fit(self, design: Design) -> FittedDesignModel:
        """Fit on the design and return a new object."""
        ...


# ------------------------------------------------------------------ feature selection


@dataclass(frozen=True)
class Selection:
    """The features that a model is fitted on, and why.

    features: at least one of the design's. table: one row a feature of the design with `feature`,
    `kept`, `reason` and whatever else is known of it; it is saved with the model.
    """

    features: tuple[str, ...]
    table: pl.DataFrame


class FeatureSelector(Protocol):
    """Leaves features out of a design before a model is fitted on it."""

    def select(self, design: Design) -> Selection:
        """Choose from the training rows alone; the engine narrows what is fitted and forecast."""
        ...


# ---------------------------------------------------------------- writers, executors


@dataclass(frozen=True)
class Results:
    """The tables of a finished run, for writers: forecast, backtest, scores, series_scores, failures,
    series (a profile of each) and history (rows of a sample of series, see `engine.history`).

    folder: the run's (still under its temporary name, or published and written again). base: where
    relative paths start from. manifest: the run's record. A run of an older version may lack tables.
    """

    tables: Mapping[str, pl.DataFrame]
    name: str
    folder: Path
    base: Path
    manifest: Mapping[str, Any] = field(default_factory=dict)


class ResultWriter(Protocol):
    """Writes results for other programs."""

    def write(self, results: Results) -> list[Path]:
        """Write and return the paths of the files."""
        ...
