"""Scores of forecasts: pooled, per fold, by segment and per series, from the metrics' own sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard, cast

import polars as pl

from engine.contracts import MetricColumns, MetricData, PanelMetric, RowMetric
from engine.data.forecast import quantile_column
from engine.data.panel import Panel, each_series
from engine.errors import PluginError, blaming
from engine.registry import Registry, build
from engine.spec.crosscheck import metric_name
from engine.spec.model import MetricUse, RunSpec

ALL = "all"


@dataclass(frozen=True)
class Scores:
    """scores: `model, metric, cutoff (null = all folds), segment, value, rows`, segment "all" first.

    series: `model, metric, unique_id, value`. units, better: per metric name. counts: scored rows
    per model. broken: why metrics have no score: their code failed.
    """

    scores: pl.DataFrame
    series: pl.DataFrame
    units: Mapping[str, str]
    better: Mapping[str, str]
    counts: Mapping[str, int]
    broken: Mapping[str, str] = field(default_factory=dict)

    def headline(self) -> pl.DataFrame:
        """The value of each model and metric over all folds and rows."""
        return self.scores.filter(pl.col("segment") == ALL, pl.col("cutoff").is_null())


def build_metrics(spec: RunSpec, registry: Registry) -> dict[str, RowMetric | PanelMetric]:
    """The metrics of a spec by their names in the scores."""
    return {metric_name(m): _built(m, registry) for m in spec.evaluate.metrics}


def _built(entry: str | MetricUse, registry: Registry) -> RowMetric | PanelMetric:
    use = entry if isinstance(entry, MetricUse) else MetricUse(use=entry, name=None)
    component = registry.find("metric", use.use).component
    metric: RowMetric | PanelMetric = build(component, use.options)
    return metric


def evaluate(
    forecasts: pl.DataFrame,
    actuals: pl.DataFrame,
    panel: Panel,
    spec: RunSpec,
    registry: Registry,
    base: Path,
) -> Scores:
    """Score forecast rows that have an actual; `forecasts` has cutoffs as ordinals.

    A metric whose code fails is left out and named in `broken`; PluginError if something is judged
    by it.
    """
    rows = forecasts.join(actuals, on=["unique_id", "ds"], how="inner", maintain_order="left")
    columns = MetricColumns(
        quantiles={q: quantile_column(q) for q in spec.quantiles},
        season=spec.evaluate.season or panel.grid.freq.season,
    )
    rows, segments = _with_segments(rows, panel, spec)
    data = MetricData(rows, panel, columns, base)
    made: dict[str, _Scored] = {}
    broken: dict[str, str] = {}
    for entry in spec.evaluate.metrics:
        name = metric_name(entry)
        try:
            with blaming(f"metric {name!r}"):
                made[name] = _scored(name, _built(entry, registry), data, segments)
        except PluginError as error:
            if name in _judged_by(spec):
                raise
            broken[name] = error.message
    order = {name: i for i, name in enumerate(made)}
    models = {name: i for i, name in enumerate(spec.contenders)}
    sorting = [
        pl.col("metric").replace_strict(order, return_dtype=pl.Int32),
        pl.col("model").replace_strict(models, return_dtype=pl.Int32),
        pl.col("segment") != ALL,
    ]
    everything = pl.concat([one.scores for one in made.values()], how="vertical_relaxed")
    series = [one.series for one in made.values() if one.series is not None]
    return Scores(
        scores=everything.sort(*sorting, "segment", "cutoff", maintain_order=True),
        series=pl.concat(series).sort("metric", "model", "unique_id", maintain_order=True)
        if series
        else pl.DataFrame(schema=_SERIES_SCHEMA),
        units={name: one.unit for name, one in made.items()},
        better={name: one.better for name, one in made.items()},
        counts=dict(rows.group_by("model", maintain_order=True).len().iter_rows()),
        broken=broken,
    )


@dataclass(frozen=True)
class _Scored:
    """What one metric gave: its rows of the scores and, if it has them, of the series' scores."""

    scores: pl.DataFrame
    series: pl.DataFrame | None
    unit: str
    better: str


def _judged_by(spec: RunSpec) -> set[str | None]:
    """Metrics that the choice of the model or an expectation cannot do without."""
    decides = spec.select.metric if spec.select else metric_name(spec.evaluate.metrics[0])
    return {decides, *(expected.metric for expected in spec.expect)}


def _scored(
    name: str, metric: RowMetric | PanelMetric, data: MetricData, segments: Sequence[str]
) -> _Scored:
    if is_row_metric(metric):
        sums = _sums(data.rows, metric, data.columns, data.panel, segments)
        pooled, series = _pooled(sums, metric, name, segments), _per_series(sums, metric, name)
        return _Scored(pooled, series, metric.unit, metric.better)
    whole = cast(PanelMetric, metric)
    counted = whole.score(replace(data, rows=data.rows.drop(segments))).with_columns(
        metric=pl.lit(name), rows=pl.lit(None, dtype=pl.UInt32)
    )
    return _Scored(counted.select(_SCORE_COLUMNS), None, whole.unit, whole.better)


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
    narrow = panel.with_frame(panel.frame.select("unique_id", "ds", "y"))
    scales = each_series(narrow.until(cutoff).frame, scale.cast(pl.Float64).alias("scale"))
    return scales.with_columns(cutoff=pl.lit(cutoff, dtype=pl.Int64))


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
