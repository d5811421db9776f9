"""What must agree between the sections of a spec: names of models, metrics, columns; buckets."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping

from engine.components import Capabilities, Executor
from engine.errors import EngineError, Problem
from engine.registry import Registry
from engine.spec.loader import Document, Path
from engine.spec.model import MetricUse, ModelUse, RunSpec
from engine.spec.problems import problem_at, unknown_name

_RESERVED = frozenset(
    ("unique_id", "ds", "y", "cutoff", "step", "model", "y_hat", "ahead", "series")
)
_ALLOWED = {
    "columns.unique_id": {"unique_id"},
    "columns.ds": _RESERVED,
    "columns.y": _RESERVED - {"unique_id", "ds"},
}
"""Reserved names that a role may have: these columns are renamed when they are read."""


def metric_name(entry: str | MetricUse) -> str:
    """Name of a metric in the scores."""
    return entry if isinstance(entry, str) else entry.name or entry.use


def cross_checks(
    spec: RunSpec, document: Document, able: Mapping[str, Capabilities]
) -> Iterator[Problem]:
    """Every name that a section uses and another one should declare.

    able: what the models declare, by name in the spec, of those whose component is installed.
    """
    yield from _metrics(spec, document)
    yield from _combinations(spec, document)
    yield from _expectations(spec, document)
    yield from _roles(spec, document)
    yield from _columns(spec, document)
    covariates = [*spec.data.covariates.future, *spec.data.covariates.past]
    for name, model in spec.models.items():
        yield from _model(spec, document, name, model)
        for i, flag in enumerate(model.mask):
            at: Path = ("models", name, "mask", i)
            yield from unknown_name(document, at, flag, covariates, "covariate")
        if name in able:
            yield from _of_no_use(spec, document, name, able[name])


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
    metrics = [metric_name(m) for m in spec.evaluate.metrics]
    models, contenders = list(spec.models), list(spec.contenders)
    if spec.run.fallback is not None:
        yield from unknown_name(document, ("run", "fallback"), spec.run.fallback, models, "model")
    for i, expected in enumerate(spec.expect):
        at: Path = ("expect", i)
        for key in ("model", "better_than", "than"):
            name = getattr(expected, key)
            if name is not None:
                yield from unknown_name(document, (*at, key), name, contenders, "model")
        if expected.metric is not None:
            yield from unknown_name(document, (*at, "metric"), expected.metric, metrics, "metric")
    yield from _guards(spec, document)


def _combinations(spec: RunSpec, document: Document) -> Iterator[Problem]:
    """Combinations are of models, and named like none of them."""
    models = list(spec.models)
    for name, use in spec.combine.items():
        at: Path = ("combine", name)
        if name in spec.models:
            message = f"{name!r} is a model already"
            yield problem_at(document, at, message, "give the combination another name", key=True)
        for i, model in enumerate(use.models):
            yield from unknown_name(document, (*at, "models", i), model, models, "model")


def _guards(spec: RunSpec, document: Document) -> Iterator[Problem]:
    """A tolerance needs a baseline: else a snapshot rewritten again and again allows any score."""
    baselines = {name for expected in spec.expect for name in expected.baselines}
    guarded = baselines | {expected.model for expected in spec.expect if expected.baselines}
    for i, expected in enumerate(spec.expect):
        if expected.tolerance is not None and expected.model not in guarded:
            message = f"nothing says which model {expected.model!r} must beat"
            hint = f"add - {{model: {expected.model}, metric: {expected.metric}, better_than: ...}}"
            yield problem_at(document, ("expect", i, "tolerance"), message, hint)


def _roles(spec: RunSpec, document: Document) -> Iterator[Problem]:
    """One role a column, and no column but key, time and target with a name the engine uses."""
    seen: dict[str, str] = {}
    for role, path, column in _named_columns(spec):
        if column in seen:
            message = f"column {column!r} is both {seen[column]} and {role}"
            yield problem_at(document, path, message, "name it in one place only")
        elif column in _RESERVED and column not in _ALLOWED.get(role, ()):
            message = f"{role} is named {column!r}, which the engine uses itself"
            yield problem_at(document, path, message, "rename it in the source")
        seen.setdefault(column, role)


def _named_columns(spec: RunSpec) -> Iterator[tuple[str, Path, str]]:
    """Every column of the data section: its role, where it is named, its name."""
    columns, covariates = spec.data.columns, spec.data.covariates
    keys: Path = ("data", "columns", "unique_id")
    one = isinstance(columns.unique_id, str)
    for i, key in enumerate(columns.keys):
        yield "columns.unique_id", keys if one else (*keys, i), key
    yield "columns.ds", ("data", "columns", "ds"), columns.ds
    yield "columns.y", ("data", "columns", "y"), columns.y
    for role in ("future", "past", "static"):
        for i, column in enumerate(getattr(covariates, role)):
            yield f"covariates.{role}", ("data", "covariates", role, i), column


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


def _of_no_use(
    spec: RunSpec, document: Document, name: str, able: Capabilities
) -> Iterator[Problem]:
    """Covariates and features that are named for a model which takes none of their kind."""
    model, declared = spec.models[name], spec.data.covariates
    if able.input == "design":
        return
    kinds = [k for k in ("future", "past", "static") if getattr(able, f"{k}_covariates")]
    usable = [column for kind in kinds for column in getattr(declared, kind)]
    takes = f"takes only {' and '.join(kinds)} covariates" if kinds else "takes no covariates"
    for i, pattern in enumerate(model.covariates or ()):
        found = [
            (column, kind)
            for kind in ("future", "past", "static")
            for column in fnmatch.filter(getattr(declared, kind), pattern)
        ]
        if found and not fnmatch.filter(usable, pattern):
            column, kind = found[0]
            message = f"model {model.use!r} {takes}, but {column!r} is a {kind} one"
            hint = "leave it out; `engine plugins show` tells what a model takes"
            yield problem_at(document, ("models", name, "covariates", i), message, hint)
    if model.features and not kinds:
        message = f"model {model.use!r} takes no covariates, so that it cannot use features"
        hint = "leave `features:` out; models of design rows get them without it"
        yield problem_at(document, ("models", name, "features"), message, hint)


def isolation_checks(spec: RunSpec, document: Document, registry: Registry) -> Iterator[Problem]:
    """What asks for tasks in processes of their own, where the executor has none."""
    asks: list[Path] = [("run", "task_seconds")] if spec.run.task_seconds is not None else []
    for i, expected in enumerate(spec.expect):
        asks += [("expect", i, "memory_ratio")] if expected.memory_ratio is not None else []
    use = spec.run.executor
    name = use if use is None or isinstance(use, str) else use.use
    if not asks or (name is not None and _isolated(registry, name, default=True)):
        return
    able = [each for each in registry.names("executor") if _isolated(registry, each, default=False)]
    who = "without an executor" if name is None else f"with the executor {name!r}"
    for path in asks:
        message = f"{path[-1]} needs tasks in processes of their own, {who} they share one"
        hint = f"add run: {{executor: {{use: {able[0]}}}}}" if able else "install an executor"
        yield problem_at(document, path, message, hint)


def _isolated(registry: Registry, name: str, *, default: bool) -> bool:
    """Whether an executor says so; `default` for one that is not there, or there twice."""
    try:
        component = registry.find("executor", name).component
    except EngineError:
        return default
    return isinstance(component, Executor) and component.isolated
