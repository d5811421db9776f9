"""Per-series differences whose mean is the difference of two pooled scores.

A pooled score (the sum of all errors over the sum of all demand) is not the mean of the series'
own scores. Its jackknife pseudo-values are numbers per series whose mean is the score, up to its
bias (Tukey 1958; Efron & Tibshirani 1993, chapter 11), so that a paired test can be made of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl
import yaml

from engine.contracts import MetricColumns, RowMetric
from engine.data.forecast import quantile_column
from engine.errors import EngineError
from engine.evaluate import build_metrics, is_row_metric
from engine.registry import Registry
from engine.rundir import RunRecord
from engine.spec.model import RunSpec

KEY = ["model", "unique_id"]


@dataclass(frozen=True)
class Pooled:
    """A run's metrics that are pooled over rows and need nothing but the rows of its backtest."""

    metrics: Mapping[str, RowMetric]
    columns: MetricColumns

    def sums(self, metric: str, backtest: pl.DataFrame) -> pl.DataFrame:
        """Terms of a metric summed per model and series."""
        terms = self.metrics[metric].terms(self.columns)
        scored = backtest.filter(pl.col("y").is_not_null())
        named = [expr.cast(pl.Float64).alias(f"term:{t}") for t, expr in terms.items()]
        summed = scored.with_columns(named).group_by(KEY, maintain_order=True)
        return summed.agg(pl.col("^term:.*$").sum()).rename({f"term:{t}": t for t in terms})

    def differences(self, metric: str, before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
        """Differences of pseudo-values per model and series, from the sums of two runs.

        Series of one run only are left out.
        """
        first = before.join(after, on=KEY, how="semi", maintain_order="left")
        second = after.join(before, on=KEY, how="semi", maintain_order="left")
        joined = self._pseudo(metric, first).join(
            self._pseudo(metric, second), on=KEY, suffix="_after", maintain_order="left"
        )
        difference = (pl.col("pseudo_after") - pl.col("pseudo")).alias("difference")
        return joined.select(*KEY, difference).filter(pl.col("difference").is_finite())

    def _pseudo(self, metric: str, sums: pl.DataFrame) -> pl.DataFrame:
        """n * score(all) - (n - 1) * score(all but one), for every series of every model."""
        value = self.metrics[metric].value()
        terms = pl.exclude(KEY)
        whole = sums.select(*KEY, terms.sum().over("model"))
        others = sums.select(*KEY, terms.sum().over("model") - terms)
        n = pl.len().over("model").cast(pl.Float64)
        return sums.select(KEY).with_columns(
            pseudo=n * whole.with_columns(value=value)["value"]
            - (n - 1) * others.with_columns(value=value)["value"]
        )


def pooled_metrics(run: RunRecord) -> Pooled:
    """The metrics of a run that can be taken apart by series; none if a plugin is not installed."""
    text = (run.path / "resolved.yaml").read_text(encoding="utf-8")
    spec = RunSpec.model_validate(yaml.safe_load(text))
    quantiles = {q: quantile_column(q) for q in spec.quantiles}
    columns = MetricColumns(quantiles, season=spec.evaluate.season or 1)
    try:
        built = build_metrics(spec, Registry.discover())
    except EngineError:
        built = {}
    rows = {name: metric for name, metric in built.items() if is_row_metric(metric)}
    alone = {n: m for n, m in rows.items() if m.pool == "rows" and m.scale(columns) is None}
    return Pooled(alone, columns)
