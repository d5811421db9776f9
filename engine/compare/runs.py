"""Two runs side by side: score differences with a test over series, and the largest movers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from engine.compare.changes import Change, changes
from engine.compare.paired import Paired, holm, paired_bootstrap
from engine.compare.pooled import Pooled, pooled_metrics
from engine.errors import NotFoundError
from engine.evaluate import ALL, is_better
from engine.rundir import RunRecord

ALPHA = 0.05
TABLES = ("scores", "series_scores", "backtest")


@dataclass(frozen=True)
class Delta:
    """One model's score by one metric in both runs.

    test: of the second run's score less the first one's, over series. p: its p-value, adjusted
    over the models of the same metric and segment that moved. None where nothing can be tested.
    """

    model: str
    metric: str
    segment: str
    before: float | None
    after: float | None
    better: str
    test: Paired | None = None
    p: float | None = None

    @property
    def verdict(self) -> str:
        """`worse`, `better`, `same`, or `unclear` where chance could have made the difference.

        Where nothing can be tested (a metric without per-series scores, few series), any
        difference counts. A score that is gone is worse.
        """
        if self.better == "none":
            return "same" if self.before == self.after else "no order"
        if self.before == self.after:
            return "same"
        if self.after is None or self.before is None:
            return "worse" if self.after is None else "better"
        improved = is_better(self.after, self.before, self.better)
        named = "better" if improved else "worse"
        if self.test is None or self.p is None:
            return named
        agrees = is_better(self.test.mean, 0.0, self.better) == improved
        return named if agrees and self.p < ALPHA else "unclear"


@dataclass(frozen=True)
class Mover:
    """A series whose total absolute error over the backtest changed much, in units of y."""

    model: str
    unique_id: str
    before: float
    after: float


@dataclass(frozen=True)
class Comparison:
    """Everything that differs between two runs; models of only one run are named apart."""

    changes: list[Change]
    deltas: list[Delta]
    movers: list[Mover]
    gone: list[str]
    added: list[str]

    def worse(self, metric: str) -> list[Delta]:
        """The headline scores of a metric that are worse."""
        return [
            d for d in self.deltas
            if d.metric == metric and d.segment == ALL and d.verdict == "worse"
        ]  # fmt: skip


@dataclass(frozen=True)
class _Tables:
    scores: pl.DataFrame
    series: pl.DataFrame
    backtest: pl.DataFrame

    @property
    def models(self) -> list[str]:
        return self.scores["model"].unique(maintain_order=True).to_list()


def compare_runs(a: RunRecord, b: RunRecord, top: int = 5) -> Comparison:
    """Compare a run with an earlier one, `a`; NotFoundError if either is not whole.

    top: number of movers of each model.
    """
    before, after = _read(a), _read(b)
    both = [model for model in before.models if model in after.models]
    return Comparison(
        changes=changes(a, b),
        deltas=_deltas(before, after, both, a),
        movers=_movers(before.backtest, after.backtest, both, top),
        gone=[model for model in before.models if model not in both],
        added=[model for model in after.models if model not in both],
    )


def _read(run: RunRecord) -> _Tables:
    missing = [name for name in TABLES if not (run.path / f"{name}.parquet").exists()]
    if missing:
        raise NotFoundError(
            f"run {run.path} is {run.status} and has no {', '.join(missing)}",
            hint="compare runs that finished, see `engine runs list`",
        )
    scores = pl.read_parquet(run.path / "scores.parquet").filter(pl.col("cutoff").is_null())
    series, backtest = (pl.read_parquet(run.path / f"{t}.parquet") for t in TABLES[1:])
    return _Tables(scores, series, backtest)


def _deltas(before: _Tables, after: _Tables, models: Sequence[str], run: RunRecord) -> list[Delta]:
    """Scores that both runs could have, in the order of the first run's table."""
    key = ["metric", "segment", "model"]
    finite = pl.when(pl.col("value").is_finite()).then("value")
    metrics = set(before.scores["metric"]) & set(after.scores["metric"])
    joined = (
        before.scores.select(*key, "better", finite.alias("before"))
        .join(
            after.scores.select(*key, finite.alias("after")),
            on=key, how="left", maintain_order="left",
        )
        .filter(pl.col("model").is_in(models), pl.col("metric").is_in(metrics))
    )  # fmt: skip
    deltas: list[Delta] = []
    pairs = _Pairs(before, after, pooled_metrics(run))
    for (metric, segment), group in joined.group_by("metric", "segment", maintain_order=True):
        found = [Delta(**row) for row in group.iter_rows(named=True)]
        deltas += _tested(found, pairs.of(str(metric), str(segment)))
    return deltas


class _Pairs:
    """Differences of models and series that both runs have, by metric and segment."""

    def __init__(self, before: _Tables, after: _Tables, pooled: Pooled) -> None:
        self._before, self._after, self._pooled = before, after, pooled
        self._sums = {
            metric: tuple(pooled.sums(metric, t.backtest) for t in (before, after))
            for metric in pooled.metrics
        }

    def of(self, metric: str, segment: str) -> pl.DataFrame | None:
        """Columns `model, unique_id, difference`; None if a segment's series are not known.

        For scores that are averaged over series these are differences of the series' scores.
        """
        a, b = self._sums.get(metric) or (
            t.series.filter(metric=metric).drop("metric") for t in (self._before, self._after)
        )
        if segment != ALL:
            inside = self._inside(segment)
            if inside is None:
                return None
            a, b = (
                t.join(inside, on="unique_id", how="semi", maintain_order="left") for t in (a, b)
            )
        if metric in self._sums:
            return self._pooled.differences(metric, a, b)
        joined = a.join(b, on=["model", "unique_id"], suffix="_after", maintain_order="left")
        difference = (pl.col("value_after") - pl.col("value")).alias("difference")
        finite = pl.col("difference").is_finite()
        return joined.select("model", "unique_id", difference).filter(finite)

    def _inside(self, segment: str) -> pl.DataFrame | None:
        column, _, value = segment.partition("=")
        backtest = self._before.backtest
        if column == "step" or column not in backtest.columns:
            return None
        return backtest.filter(pl.col(column).cast(pl.String) == value).select("unique_id").unique()


def _tested(deltas: list[Delta], pairs: pl.DataFrame | None) -> list[Delta]:
    """Deltas of one metric and segment with their test over series; equal scores need none."""
    moved = [delta.model for delta in deltas if delta.before != delta.after]
    if pairs is None or pairs.filter(pl.col("model").is_in(moved)).is_empty():
        return deltas
    wide = pairs.pivot("model", index="unique_id", values="difference", sort_columns=True)
    models = [model for model in moved if model in wide.columns]
    matrix = wide.sort("unique_id").select(models).fill_null(float("nan")).to_numpy()
    tests = dict(zip(models, paired_bootstrap(matrix.astype(np.float64)), strict=True))
    adjusted = dict(zip(models, holm([tests[m].p for m in models]), strict=True))
    return [
        replace(delta, test=tests.get(delta.model), p=adjusted.get(delta.model)) for delta in deltas
    ]


def _movers(
    before: pl.DataFrame, after: pl.DataFrame, models: Sequence[str], top: int
) -> list[Mover]:
    """The series with the largest change of total absolute error, over rows that both runs have."""
    key = ["model", "unique_id", "ds", "cutoff"]
    if any(before.schema[k] != after.schema[k] for k in key):
        return []
    error = (pl.col("y") - pl.col("y_hat")).abs()
    totals = (
        before.select(*key, error.alias("before"))
        .join(after.select(*key, error.alias("after")), on=key)
        .drop_nulls()
        .group_by("model", "unique_id")
        .agg(pl.col("before", "after").sum())
        .filter(pl.col("before") != pl.col("after"))
        .sort((pl.col("after") - pl.col("before")).abs(), "unique_id", descending=[True, False])
    )
    return [
        Mover(**row)
        for model in models
        for row in totals.filter(model=model).head(top).iter_rows(named=True)
    ]


def plain(comparison: Comparison) -> dict[str, Any]:
    """JSON types only."""
    return {
        "changes": [vars(change) for change in comparison.changes],
        "gone": comparison.gone,
        "added": comparison.added,
        "scores": [
            {**vars(d), "test": None if d.test is None else vars(d.test), "verdict": d.verdict}
            for d in comparison.deltas
        ],
        "movers": [vars(mover) for mover in comparison.movers],
    }
