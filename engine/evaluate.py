"""Scores of forecasts: pooled, per fold, by segment and per series, from the metrics' own sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard, cast

import polars as pl

from engine.contracts import MetricColumns, MetricData, PanelMetric, RowMetric
from engine.data.forecast import quantile_column
from engine.data.panel import Panel
from engine.registry import Registry, build
from engine.spec.crosscheck import metric_name
from engine.spec.model import MetricUse, RunSpec

ALL = "all"


@dataclass(frozen=True)
class Scores:
    """scores: `model, metric, cutoff (null = all folds), segment, value, rows`, segment "all" first.

    series: `model, metric, unique_id, value`. units, better: per metric name. counts: scored rows
    per model.
    """

    scores: pl.DataFrame
    series: pl.DataFrame
    units: Mapping[str, str]
    better: Mapping[str, str]
    counts: Mapping[str, int]

    def headline(self) -> pl.DataFrame:
        """The value of each model and metric over all folds and rows."""
        return self.scores.filter(pl.col("segment") == ALL, pl.col("cutoff").is_null())


def build_metrics(spec: RunSpec, registry: Registry) -> dict[str, RowMetric | PanelMetric]:
    """The metrics of a spec by their names in the scores."""
    built: dict[str, RowMetric | PanelMetric] = {}
    for entry in spec.evaluate.metrics:
        use = entry if isinstance(entry, MetricUse) else MetricUse(use=entry, name=None)
        component = registry.find("metric", use.use).component
        built[metric_name(entry)] = build(component, use.options)
    return built


def evaluate(
    forecasts: pl.DataFrame,
    actuals: pl.DataFrame,
    panel: Panel,
    spec: RunSpec,
    registry: Registry,
    base: Path,
) -> Scores:
    """Score forecast rows that have an actual; `forecasts` has cutoffs as ordinals."""
    rows = forecasts.join(actuals, on=["unique_id", "ds"], how="inner", maintain_order="left")
    columns = MetricColumns(
        quantiles={q: quantile_column(q) for q in spec.quantiles},
        season=spec.evaluate.season or panel.grid.freq.season,
    )
    rows, segments = _with_segments(rows, panel, spec)
    metrics = build_metrics(spec, registry)
    scores, series = [], []
    for name, metric in metrics.items():
        if is_row_metric(metric):
            sums = _sums(rows, metric, columns, panel, segments)
            scores.append(_pooled(sums, metric, name, segments))
            series.append(_per_series(sums, metric, name))
        else:
            data = MetricData(rows.drop(segments), panel, columns, base)
            counted = (
                cast(PanelMetric, metric)
                .score(data)
                .with_columns(metric=pl.lit(name), rows=pl.lit(None, dtype=pl.UInt32))
            )
            scores.append(counted.select(_SCORE_COLUMNS))
    order = {name: i for i, name in enumerate(metrics)}
    models = {name: i for i, name in enumerate(spec.models)}
    sorting = [
        pl.col("metric").replace_strict(order, return_dtype=pl.Int32),
        pl.col("model").replace_strict(models, return_dtype=pl.Int32),
        pl.col("segment") != ALL,
    ]
    everything = pl.concat(scores, how="vertical_relaxed")
    return Scores(
        scores=everything.sort(*sorting, "segment", "cutoff", maintain_order=True),
        series=pl.concat(series).sort("metric", "model", "unique_id", maintain_order=True)
        if series
        else pl.DataFrame(schema=_SERIES_SCHEMA),
        units={name: metric.unit for name, metric in metrics.items()},
        better={name: metric.better for name, metric in metrics.items()},
        counts=dict(rows.group_by("model", maintain_order=True).len().iter_rows()),
    )


_SCORE_COLUMNS = ["model", "metric", "cutoff", "segment", "value", "rows"]
_SERIES_SCHEMA = {
    "model": pl.String,
    "metric": pl.String,
    "unique_id": pl.String,
    "value": pl.Float64,
}


def is_row_metric(metric: RowMetric | PanelMetric) -> TypeGuard[RowMetric]:
    """Whether a metric is made of sums over rows."""
    return hasattr(metric, "terms")


def _with_segments(
    rows: pl.DataFrame, panel: Panel, spec: RunSpec
) -> tuple[pl.DataFrame, list[str]]:
    """Add a column `by:<name>` for every segmentation asked for."""
    named = [c for c in spec.evaluate.by if c != "step"]
    table = panel.series.select(
        "unique_id", *(pl.col(c).cast(pl.String).alias(f"by:{c}") for c in named)
    )
    rows = rows.join(table, on="unique_id", how="left", maintain_order="left")
    if "step" in spec.evaluate.by:
        rows = rows.with_columns(pl.col("step").cast(pl.String).alias("by:step"))
    return rows, [f"by:{c}" for c in spec.evaluate.by]


def _sums(
    rows: pl.DataFrame,
    metric: RowMetric,
    columns: MetricColumns,
    panel: Panel,
    segments: Sequence[str],
) -> pl.DataFrame:
    """Terms summed per model, cutoff, series and, if asked for, step."""
    scale = metric.scale(columns)
    if scale is not None:
        scales = [_scales(panel, scale, cutoff) for cutoff in rows["cutoff"].unique().sort()]
        empty = pl.DataFrame(
            schema={"unique_id": rows.schema["unique_id"], "scale": pl.Float64, "cutoff": pl.Int64}
        )
        table = pl.concat([empty, *scales])
        rows = rows.join(table, on=["unique_id", "cutoff"], how="left", maintain_order="left")
    terms = metric.terms(columns)
    return (
        rows.with_columns(expr.cast(pl.Float64).alias(f"term:{t}") for t, expr in terms.items())
        .group_by("model", "cutoff", "unique_id", *segments, maintain_order=True)
        .agg(pl.len().alias("rows"), pl.col("^term:.*$").sum())
        .rename({f"term:{t}": t for t in terms})
    )


def _scales(panel: Panel, scale: pl.Expr, cutoff: int) -> pl.DataFrame:
    history = panel.until(cutoff).frame
    return history.group_by("unique_id", maintain_order=True).agg(
        scale.cast(pl.Float64).alias("scale"), pl.lit(cutoff, dtype=pl.Int64).alias("cutoff")
    )


def _totals(sums: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    kept = {*_KEYS, *by}
    terms = [c for c in sums.columns if c not in kept and not c.startswith("by:")]
    return sums.group_by(*by, maintain_order=True).agg(pl.col(terms).sum())


_KEYS = ("model", "cutoff", "unique_id")


def _pooled(
    sums: pl.DataFrame, metric: RowMetric, name: str, segments: Sequence[str]
) -> pl.DataFrame:
    parts = []
    for segment in (None, *segments):
        label = pl.lit(ALL) if segment is None else _label(segment)
        keyed = sums.with_columns(label.alias("segment"))
        for per_fold in (False, True):
            by = ["model", "segment", *(["cutoff"] if per_fold else [])]
            if metric.pool == "rows":
                made = _totals(keyed.drop(segments), by).with_columns(value=metric.value())
            else:
                each = _totals(keyed.drop(segments), ["model", "segment", "cutoff", "unique_id"])
                value = pl.col("value").filter(pl.col("value").is_finite()).mean()
                made = (
                    each.with_columns(value=metric.value())
                    .group_by(by, maintain_order=True)
                    .agg(value, pl.col("rows").sum())
                )
            if not per_fold:
                made = made.with_columns(cutoff=pl.lit(None, dtype=pl.Int64))
            parts.append(
                made.with_columns(
                    metric=pl.lit(name),
                    rows=pl.col("rows").cast(pl.UInt32),
                    value=pl.col("value").cast(pl.Float64),
                ).select(_SCORE_COLUMNS)
            )
    return pl.concat(parts)


def _label(segment: str) -> pl.Expr:
    return pl.format(segment.removeprefix("by:") + "={}", pl.col(segment).fill_null("missing"))


def _per_series(sums: pl.DataFrame, metric: RowMetric, name: str) -> pl.DataFrame:
    made = _totals(sums, ["model", "unique_id"]).with_columns(value=metric.value())
    return made.select(
        "model",
        pl.lit(name).alias("metric"),
        pl.col("unique_id").cast(pl.String),
        pl.col("value").cast(pl.Float64),
    )


def coverage_of_rows(scores: Scores) -> dict[str, float]:
    """Share of the rows of the fullest model that each model has a forecast for."""
    most = max(scores.counts.values(), default=0)
    return {model: count / most for model, count in scores.counts.items()}


def wide(scores: Scores, models: Sequence[str]) -> list[dict[str, Any]]:
    """One plain row a model with its headline values, in the order of the spec."""
    table = {
        (m, k): v for m, k, v in scores.headline().select("model", "metric", "value").iter_rows()
    }
    metrics = list(scores.units)
    return [{"model": m, **{k: table.get((m, k)) for k in metrics}} for m in models]


def is_better(a: float, b: float, better: str) -> bool:
    """Whether score `a` beats score `b`."""
    return a > b if better == "higher" else a < b
