"""A run as the report reads it: its tables, its spec, and which models are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl
import yaml

from engine.contracts import Results
from engine.data.calendar import Frequency
from engine.data.forecast import quantiles_of
from engine.errors import DataError
from engine_report.params import ReportParams

ALL = "all"
MOST_MARKED = 0.5
"""Share of the observed periods from which on a mark is no longer something special."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    spec: the resolved spec. models, metrics: in the order of the spec. best: the chosen model, or
    None. baseline: the model that the others must beat. rows: back-test rows with an actual, and
    `error` (y_hat - y).
    """

    results: Results
    params: ReportParams
    spec: Mapping[str, Any]
    models: tuple[str, ...]
    metrics: tuple[str, ...]
    best: str | None
    baseline: str
    rows: pl.DataFrame

    @property
    def manifest(self) -> Mapping[str, Any]:
        """The run's own record."""
        return self.results.manifest

    @cached_property
    def scores(self) -> pl.DataFrame:
        """Scores as the run made them."""
        return self.results.tables["scores"]

    @cached_property
    def headline(self) -> Mapping[tuple[str, str], float | None]:
        """(model, metric) -> score over all folds and rows."""
        rows = self.scores.filter(pl.col("segment") == ALL, pl.col("cutoff").is_null())
        return {(m, k): v for m, k, v in rows.select("model", "metric", "value").iter_rows()}

    @cached_property
    def better(self) -> Mapping[str, str]:
        """Metric -> lower, higher or none."""
        return dict(self.scores.select("metric", "better").iter_rows())

    @cached_property
    def units(self) -> Mapping[str, str]:
        """Metric -> unit."""
        return dict(self.scores.select("metric", "unit").iter_rows())

    @property
    def metric(self) -> str:
        """The metric that decided."""
        chosen = (self.manifest.get("best") or {}).get("metric")
        return chosen if chosen in self.metrics else self.metrics[0]

    @property
    def leader(self) -> str:
        """The chosen model, or the first where none was chosen."""
        return self.best or self.models[0]

    @cached_property
    def quantiles(self) -> Mapping[float, str]:
        """Quantile -> column name."""
        return quantiles_of(self.rows.columns)

    @property
    def interval(self) -> tuple[str, str, float] | None:
        """Columns of the widest interval and its nominal level; None without two quantiles."""
        levels = list(self.quantiles)
        if len(levels) < 2:
            return None
        low, high = levels[0], levels[-1]
        return self.quantiles[low], self.quantiles[high], round(high - low, 10)

    @cached_property
    def history(self) -> pl.DataFrame | None:
        """Rows of a sample of series, flags as 0 and 1; None for a run of an older version."""
        history = self.results.tables.get("history")
        return None if history is None else history.cast({pl.Boolean: pl.Float32})

    @property
    def series(self) -> pl.DataFrame | None:
        """One row a series; None for a run of an older version."""
        return self.results.tables.get("series")

    @property
    def freq(self) -> Frequency:
        """Distance between two periods; plain integers if the run does not say."""
        text = str((self.manifest.get("data") or {}).get("freq", "1"))
        return Frequency.parse(int(text) if text.isdigit() else text)

    @property
    def folds(self) -> list[Any]:
        """Cutoffs of the back-test, in order."""
        return sorted(self.rows["cutoff"].unique().to_list())

    @cached_property
    def flags(self) -> tuple[str, ...]:
        """Covariates that mark promotions: those asked for, or the future ones that hold 0 and 1.

        What is 1 in most observed periods, such as a shop that is open, is their ordinary state.
        """
        if self.history is None:
            return ()
        future = [c for c in self._future if c in self.history.columns]
        if self.params.promotions is not None:
            unknown = [c for c in self.params.promotions if c not in self.history.columns]
            if unknown:
                raise DataError(
                    f"writer 'report': promotions names {unknown[0]!r}, which is no covariate",
                    hint=f"future covariates: {', '.join(future) or 'none'}",
                )
            return tuple(self.params.promotions)
        observed = self.history.filter(pl.col("y").is_not_null())
        return tuple(c for c in future if _is_flag(self.history[c]) and _marks_few(observed[c]))

    @cached_property
    def shares(self) -> tuple[str, ...]:
        """Future covariates that hold shares from 0 to 1, mostly 0: promotions in part, no marks."""
        if self.history is None:
            return ()
        future = [c for c in self._future if c in self.history.columns and c not in self.flags]
        return tuple(c for c in future if _is_share(self.history[c]))

    @property
    def combinations(self) -> Mapping[str, list[str]]:
        """Combination -> the models that it is made of."""
        return {name: list(use["models"]) for name, use in (self.spec.get("combine") or {}).items()}

    @property
    def keys(self) -> list[str]:
        """Columns that together name a series."""
        named = (self.spec.get("data", {}).get("columns") or {}).get("unique_id") or []
        return [named] if isinstance(named, str) else list(named)

    @property
    def _future(self) -> list[str]:
        return list((self.spec.get("data", {}).get("covariates") or {}).get("future") or [])

    def column(self, name: str) -> str | None:
        """A covariate of the kept history by its name, if there is one of numbers."""
        history = self.history
        if history is None or name not in history.columns or not history[name].dtype.is_numeric():
            return None
        return name


def read(results: Results, params: ReportParams) -> Run:
    """Read a run; DataError if it has no back-test or an option names what it has not."""
    scores, backtest = results.tables["scores"], results.tables.get("backtest")
    if backtest is None or scores.is_empty():
        raise DataError("the report needs a back-test, and this run has none")
    file = results.folder / "resolved.yaml"
    spec = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else {}
    models = tuple(scores["model"].unique(maintain_order=True).to_list())
    if params.baseline is not None and params.baseline not in models:
        raise DataError(
            f"writer 'report': baseline {params.baseline!r} is not a model of the run",
            hint=f"models: {', '.join(models)}",
        )
    rows = backtest.filter(pl.col("y").is_not_null(), pl.col("y_hat").is_not_null())
    best = (results.manifest.get("best") or {}).get("model")
    return Run(
        results=results,
        params=params,
        spec=spec or {},
        models=models,
        metrics=tuple(scores["metric"].unique(maintain_order=True).to_list()),
        best=best if best in models else None,
        baseline=params.baseline or _naive(models, spec or {}),
        rows=rows.with_columns(error=pl.col("y_hat") - pl.col("y")),
    )


def _naive(models: tuple[str, ...], spec: Mapping[str, Any]) -> str:
    uses = spec.get("models") or {}
    naive = [m for m in models if "naive" in str((uses.get(m) or {}).get("use", ""))]
    return (naive or list(models))[0]


def _is_flag(values: pl.Series) -> bool:
    return values.dtype.is_numeric() and set(values.drop_nulls().unique().head(3)) == {0, 1}


def _marks_few(values: pl.Series) -> bool:
    """Whether a flag is 1 in half of the periods at most; not one that is known of none of them."""
    share = (values != 0).mean()
    return share is not None and float(str(share)) <= MOST_MARKED


def _is_share(values: pl.Series) -> bool:
    if not values.dtype.is_float() or values.null_count() == values.len():
        return False
    ends = (values.min(), values.max())
    return ends == (0.0, 1.0) and values.n_unique() > 2 and float(str((values == 0).mean())) > 0.5


def step_band(run: Run) -> pl.Expr:
    """Steps one by one, or in at most seven bands of equal width."""
    steps = int(str(run.rows["step"].max()))
    width = -(-steps // 7)
    if width == 1:
        return pl.format("step {}", pl.col("step"))
    first = (pl.col("step") - 1) // width * width + 1
    last = pl.min_horizontal(first + width - 1, pl.lit(steps))
    return pl.format("steps {} to {}", first, last)
