"""Chooses the model that makes the forecast."""

from __future__ import annotations

from dataclasses import dataclass

from engine.evaluate import Scores, coverage_of_rows, is_better
from engine.spec.crosscheck import metric_name
from engine.spec.model import RunSpec

COMPLETE = 0.99
"""A model is compared only if it forecast at least this share of the rows of the fullest model."""


@dataclass(frozen=True)
class Choice:
    """The best model by the deciding metric; `incomplete` models were left out of the comparison."""

    metric: str
    best: str | None
    incomplete: tuple[str, ...]
    reason: str


def deciding_metric(spec: RunSpec) -> str:
    """The metric of `select`, else the first of `evaluate.metrics`."""
    return spec.select.metric if spec.select else metric_name(spec.evaluate.metrics[0])


def choose(scores: Scores, spec: RunSpec) -> Choice:
    """The complete model with the best headline score; ties go to the first in the spec."""
    metric = deciding_metric(spec)
    values = headline_values(scores, metric)
    share = coverage_of_rows(scores)
    incomplete = tuple(m for m in spec.contenders if share.get(m, 0.0) < COMPLETE)
    ranked = [m for m in spec.contenders if m not in incomplete and values.get(m) is not None]
    best: str | None = None
    better = scores.better[metric]
    for model in ranked:
        value = values[model]
        if value == value and (best is None or _beats(value, values[best], better)):
            best = model
    if better == "none":
        best, reason = None, f"{metric} has no order: choose another metric under `select:`"
    elif best is None:
        reason = "no model has a complete set of forecasts"
    else:
        reason = f"lowest {metric}" if better == "lower" else f"highest {metric}"
    return Choice(metric, best, incomplete, reason)


def _beats(a: float, b: float, better: str) -> bool:
    return b != b or is_better(a, b, better)


def headline_values(scores: Scores, metric: str) -> dict[str, float]:
    """Headline value of every model by one metric."""
    rows = scores.headline().filter(metric=metric).select("model", "value")
    return {model: value for model, value in rows.iter_rows() if value is not None}


def chosen_models(spec: RunSpec, choice: Choice) -> list[str]:
    """Models that forecast beyond the data: the best one, or all."""
    if spec.select is not None and spec.select.forecast == "all":
        return list(spec.contenders)
    return [choice.best] if choice.best is not None else list(spec.contenders)
