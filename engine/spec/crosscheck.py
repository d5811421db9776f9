"""What must agree between the sections of a spec: names of models, metrics, columns; buckets."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator

from engine.errors import Problem
from engine.spec.loader import Document, Path
from engine.spec.model import MetricUse, ModelUse, RunSpec
from engine.spec.problems import problem_at, unknown_name


def metric_name(entry: str | MetricUse) -> str:
    """Name of a metric in the scores."""
    return entry if isinstance(entry, str) else entry.name or entry.use


def cross_checks(spec: RunSpec, document: Document) -> Iterator[Problem]:
    """Every name that a section uses and another one should declare."""
    yield from _metrics(spec, document)
    yield from _expectations(spec, document)
    yield from _columns(spec, document)
    for name, model in spec.models.items():
        yield from _model(spec, document, name, model)


def _metrics(spec: RunSpec, document: Document) -> Iterator[Problem]:
    metrics = [metric_name(m) for m in spec.evaluate.metrics]
    for i, name in enumerate(metrics):
        if name in metrics[:i]:
            path: Path = ("evaluate", "metrics", i)
            message = f"metric {name!r} is named twice"
            yield problem_at(document, path, message, "give one of them another `name:`")
    if spec.select is not None:
        path = ("select", "metric")
        yield from unknown_name(document, path, spec.select.metric, metrics, "metric")


def _expectations(spec: RunSpec, document: Document) -> Iterator[Problem]:
    models, metrics = list(spec.models), [metric_name(m) for m in spec.evaluate.metrics]
    if spec.run.fallback is not None:
        yield from unknown_name(document, ("run", "fallback"), spec.run.fallback, models, "model")
    for i, expected in enumerate(spec.expect):
        at: Path = ("expect", i)
        for key in ("model", "better_than", "than"):
            name = getattr(expected, key)
            if name is not None:
                yield from unknown_name(document, (*at, key), name, models, "model")
        if expected.metric is not None:
            yield from unknown_name(document, (*at, "metric"), expected.metric, metrics, "metric")
    yield from _guards(spec, document)


def _guards(spec: RunSpec, document: Document) -> Iterator[Problem]:
    """A tolerance needs a baseline: else a snapshot rewritten again and again allows any score."""
    baselines = {name for expected in spec.expect for name in expected.baselines}
    guarded = baselines | {expected.model for expected in spec.expect if expected.baselines}
    for i, expected in enumerate(spec.expect):
        if expected.tolerance is not None and expected.model not in guarded:
            message = f"nothing says which model {expected.model!r} must beat"
            hint = f"add - {{model: {expected.model}, metric: {expected.metric}, better_than: ...}}"
            yield problem_at(document, ("expect", i, "tolerance"), message, hint)


def _columns(spec: RunSpec, document: Document) -> Iterator[Problem]:
    covariates, missing = spec.data.covariates, spec.data.missing
    segments = [*spec.data.columns.keys, *covariates.static, "step"]
    for i, column in enumerate(spec.evaluate.by):
        yield from unknown_name(document, ("evaluate", "by", i), column, segments, "segment column")
    for key, policy, known in (
        ("future", missing.future, covariates.future),
        ("past", missing.past, covariates.past),
        ("horizon", missing.horizon, covariates.future),
    ):
        for column in policy if isinstance(policy, dict) else ():
            path: Path = ("data", "missing", key, column)
            yield from unknown_name(document, path, column, known, "covariate of this role")


def _model(spec: RunSpec, document: Document, name: str, model: ModelUse) -> Iterator[Problem]:
    buckets = model.buckets
    if buckets and (buckets[-1] != spec.horizon or sorted(set(buckets)) != buckets):
        message = f"buckets must increase and end in the horizon, {spec.horizon}"
        yield problem_at(document, ("models", name, "buckets"), message)
    covariates = spec.data.covariates
    groups = [*spec.data.columns.keys, *covariates.static]
    for i, column in enumerate(model.aggregate.by if model.aggregate else ()):
        at: Path = ("models", name, "aggregate", "by", i)
        yield from unknown_name(document, at, column, groups, "key or static column")
    declared = [*covariates.future, *covariates.past, *covariates.static]
    for i, pattern in enumerate(model.covariates or ()):
        if not fnmatch.filter(declared, pattern):
            path: Path = ("models", name, "covariates", i)
            yield from unknown_name(document, path, pattern, declared, "covariate")
