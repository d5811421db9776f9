"""A spec file -> a validated `LoadedSpec`; every problem is reported at once, before data is read."""

from __future__ import annotations

import difflib
import fnmatch
import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from engine.components import Params
from engine.errors import EngineError, NotFoundError, Problem, SpecError
from engine.registry import Registry
from engine.spec import loader
from engine.spec.loader import Document, Path
from engine.spec.model import ExecutorUse, MetricUse, ModelUse, RunSpec, Use


@dataclass(frozen=True)
class LoadedSpec:
    """A valid spec with its text and where it came from.

    resolved: plain data with every default filled in, plugin options included.
    """

    spec: RunSpec
    text: str
    path: FilePath
    resolved: Mapping[str, Any]

    @property
    def resolved_yaml(self) -> str:
        """The resolved spec as YAML text."""
        return yaml.safe_dump(dict(self.resolved), sort_keys=False, allow_unicode=True)


def load_spec(
    path: FilePath, registry: Registry, overrides: Sequence[str] = (), seed: int | None = None
) -> LoadedSpec:
    """Read, interpolate, override and validate a spec; SpecError lists everything wrong with it."""
    text = read_text(path)
    return validate_text(text, str(path), registry, overrides, seed)


def read_text(path: FilePath) -> str:
    """A spec's text, or one clear error."""
    if not path.exists():
        folder = path.parent if str(path.parent) else FilePath(".")
        near = difflib.get_close_matches(path.name, [p.name for p in folder.glob("*.y*ml")], n=1)
        hint = f"did you mean {folder / near[0]}?" if near else "give the path of a YAML spec"
        raise NotFoundError(f"no spec at {path}", hint=hint)
    if path.is_dir():
        raise NotFoundError(f"{path} is a folder, not a spec", hint="give one of its YAML files")
    if path.stat().st_size > loader.MAX_BYTES:
        raise SpecError(str(path), [Problem(f"larger than {loader.MAX_BYTES:,} bytes: not a spec")])
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(str(path), [Problem(f"not UTF-8 text ({error.reason})")]) from error
    except OSError as error:
        raise NotFoundError(f"cannot read {path}: {error.strerror}") from error


def validate_text(
    text: str,
    name: str,
    registry: Registry,
    overrides: Sequence[str] = (),
    seed: int | None = None,
) -> LoadedSpec:
    """Validate a spec's text; `name` is shown in errors."""
    document = loader.parse(text)
    problems = list(document.problems)
    if not isinstance(document.data, dict):
        raise SpecError(name, problems, text)
    for override in overrides:
        problem = loader.apply_override(document.data, override)
        problems += [problem] if problem else []
    if seed is not None:
        document.data["seed"] = seed
    spec: RunSpec | None = None
    try:
        spec = RunSpec.model_validate_json(_as_json(document.data))
    except ValidationError as error:
        problems += _problems(error, (), RunSpec, document)
    params = dict(_component_params(document, registry, problems))
    if spec is not None:
        problems += _cross_checks(spec, document)
    if problems or spec is None:
        raise SpecError(name, problems, text)
    return LoadedSpec(spec, text, FilePath(name), _resolved(spec, params))


def _as_json(data: Any) -> str:
    return json.dumps(data, default=str)


# ------------------------------------------------------------------ plugins' options

_ENGINE_KEYS = {
    "model": set(ModelUse.model_fields),
    "metric": set(MetricUse.model_fields),
}


def component_uses(data: Mapping[str, Any]) -> Iterator[tuple[str, Path, Any]]:
    """Every place of raw spec data where a component is used: kind, path, value."""
    source = data.get("data")
    if isinstance(source, dict) and "source" in source:
        yield "source", ("data", "source"), source["source"]
    for key, kind in (("features", "features"), ("write", "writer")):
        items = data.get(key)
        for i, item in enumerate(items if isinstance(items, list) else []):
            yield kind, (key, i), item
    models = data.get("models")
    for name, item in (models if isinstance(models, dict) else {}).items():
        yield "model", ("models", name), item
    evaluate = data.get("evaluate")
    metrics = evaluate.get("metrics") if isinstance(evaluate, dict) else None
    for i, item in enumerate(metrics if isinstance(metrics, list) else []):
        yield "metric", ("evaluate", "metrics", i), item
    run = data.get("run")
    if isinstance(run, dict) and run.get("executor") is not None:
        yield "executor", ("run", "executor"), run["executor"]


def _component_params(
    document: Document, registry: Registry, problems: list[Problem]
) -> Iterator[tuple[Path, Params]]:
    for kind, path, value in component_uses(document.data):
        use = {"use": value} if isinstance(value, str) else value
        if not isinstance(use, dict) or not isinstance(use.get("use"), str):
            continue
        try:
            component = registry.find(kind, use["use"]).component
        except EngineError as error:
            problems.append(_at(document, (*path, "use"), error.message, error.hint))
            continue
        engine_keys = _ENGINE_KEYS.get(kind, {"use"})
        options = {k: v for k, v in use.items() if k not in engine_keys}
        try:
            yield path, component.params.model_validate_json(_as_json(options), strict=True)
        except ValidationError as error:
            found = _problems(error, path, component.params, document, engine_keys)
            problems += [
                _with_owner(p, kind, component.name) if "unknown key" in p.message else p
                for p in found
            ]


def _with_owner(problem: Problem, kind: str, name: str) -> Problem:
    message = problem.message.replace("unknown key", f"{kind} {name!r} has no option")
    return Problem(message, problem.path, problem.line, problem.column, problem.hint)


# ----------------------------------------------------------- pydantic errors, translated


def _problems(
    error: ValidationError,
    prefix: Path,
    model: type[BaseModel],
    document: Document,
    also: set[str] | None = None,
) -> Iterator[Problem]:
    """One problem per place; alternatives of a union are joined into one sentence."""
    grouped: dict[Path, list[Any]] = {}
    for item in error.errors(include_url=False):
        path = _real_path(item["loc"], prefix, document.data)
        grouped.setdefault(path, []).append(item)
    for path, items in grouped.items():
        first = items[0]
        if first["type"] == "extra_forbidden":
            known = _fields_at(model, first["loc"][:-1]) + sorted(also or ())
            close = difflib.get_close_matches(str(path[-1]), known, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            hint += f"known: {', '.join(sorted(set(known)))}"
            yield _at(document, path, f"unknown key {path[-1]!r}", hint, key=True)
        elif first["type"] == "missing":
            yield _at(document, path[:-1], f"key {path[-1]!r} is missing", path=path)
        else:
            said = dict.fromkeys(_sentence(item) for item in items)
            value = items[0].get("input")
            shown = "" if isinstance(value, dict) else f"; given: {_short(value)}"
            yield _at(document, path, " or ".join(said) + shown)


def _sentence(item: Mapping[str, Any]) -> str:
    kind, context = item["type"], item.get("ctx", {})
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error", item["msg"]))
    if kind == "literal_error":
        return f"must be {context['expected']}"
    expected = {
        "int_type": "an integer",
        "float_type": "a number",
        "bool_type": "true or false",
        "string_type": "text",
        "list_type": "a list",
        "tuple_type": "a list",
        "dict_type": "a mapping",
        "model_type": "a mapping of keys to values",
        "model_attributes_type": "a mapping of keys to values",
    }.get(kind)
    return f"must be {expected}" if expected else str(item["msg"]).replace("Input should", "must")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _real_path(location: tuple[Any, ...], prefix: Path, data: Any) -> Path:
    """Drop union tags and class names that pydantic puts into a location."""
    here = data
    for part in prefix:
        here = here[part]
    path = list(prefix)
    for i, part in enumerate(location):
        last = i == len(location) - 1
        if (isinstance(here, dict) and part in here) or (
            isinstance(here, list) and isinstance(part, int) and part < len(here)
        ):
            here = here[part]
            path.append(part)
        elif last and isinstance(here, dict) and isinstance(part, str):
            path.append(part)
    return tuple(path)


def _fields_at(model: type[BaseModel], location: Sequence[Any]) -> list[str]:
    """Field names of the model that sits at a pydantic location."""
    current: list[Any] = [model]
    for part in location:
        following: list[Any] = []
        for kind in current:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                if kind.__name__ == part:
                    following.append(kind)
                elif part in kind.model_fields:
                    following += _models_in(kind.model_fields[part].annotation)
        current = following or current
    return [
        name
        for kind in current
        if isinstance(kind, type) and issubclass(kind, BaseModel)
        for name in kind.model_fields
    ]


def _models_in(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    found: list[Any] = []
    for argument in typing.get_args(annotation):
        found += _models_in(argument)
    return found


def _at(
    document: Document,
    place: Path,
    message: str,
    hint: str = "",
    *,
    key: bool = False,
    path: Path | None = None,
) -> Problem:
    found = document.place(place)
    shown = loader.dotted(path if path is not None else place)
    if found is None or not place:
        return Problem(message, shown, 1 if not place else 0, 1 if not place else 0, hint)
    exact = place in document.places
    line, column = (
        (found.line, found.column) if key or not exact else (found.value_line, found.value_column)
    )
    return Problem(message, shown, line, column, hint)


# ------------------------------------------------------------------- cross checks


def metric_name(entry: str | MetricUse) -> str:
    """Name of a metric in the scores."""
    return entry if isinstance(entry, str) else entry.name or entry.use


def _cross_checks(spec: RunSpec, document: Document) -> Iterator[Problem]:
    models, metrics = list(spec.models), [metric_name(m) for m in spec.evaluate.metrics]
    for i, name in enumerate(metrics):
        if name in metrics[:i]:
            yield _at(document, ("evaluate", "metrics", i), f"metric {name!r} is named twice",
                      "give one of them another `name:`")  # fmt: skip
    if spec.select is not None:
        yield from _known(document, ("select", "metric"), spec.select.metric, metrics, "metric")
    if spec.run.fallback is not None:
        yield from _known(document, ("run", "fallback"), spec.run.fallback, models, "model")
    for i, expectation in enumerate(spec.expect):
        at: Path = ("expect", i)
        yield from _known(document, (*at, "model"), expectation.model, models, "model")
        yield from _known(document, (*at, "metric"), expectation.metric, metrics, "metric")
        if expectation.better_than is not None:
            yield from _known(
                document, (*at, "better_than"), expectation.better_than, models, "model"
            )
    segments = [*spec.data.columns.keys, *spec.data.covariates.static, "step"]
    for i, column in enumerate(spec.evaluate.by):
        yield from _known(document, ("evaluate", "by", i), column, segments, "segment column")
    declared = [*spec.data.covariates.future, *spec.data.covariates.past]
    for policy, role in ((spec.data.missing.future, "future"), (spec.data.missing.past, "past")):
        known = getattr(spec.data.covariates, role)
        for column in policy if isinstance(policy, dict) else ():
            yield from _known(
                document, ("data", "missing", role, column), column, known, f"{role} covariate"
            )
    for name, model in spec.models.items():
        if model.buckets and (
            model.buckets[-1] != spec.horizon or sorted(set(model.buckets)) != model.buckets
        ):
            yield _at(document, ("models", name, "buckets"),
                      f"buckets must increase and end in the horizon, {spec.horizon}")  # fmt: skip
        for i, pattern in enumerate(model.covariates or ()):
            if not fnmatch.filter(declared + spec.data.covariates.static, pattern):
                yield from _known(
                    document, ("models", name, "covariates", i), pattern, declared, "covariate"
                )


def _known(
    document: Document, path: Path, name: str, known: Sequence[str], what: str
) -> Iterator[Problem]:
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        shown = ", ".join(known) or "none"
        yield _at(document, path, f"no {what} named {name!r} in this spec", f"{hint}known: {shown}")


def _resolved(spec: RunSpec, params: Mapping[Path, Params]) -> dict[str, Any]:
    """The spec as plain data, with the defaults of core and plugins."""
    data = spec.model_dump(mode="json")
    for path, value in params.items():
        holder: Any = data
        for part in path[:-1]:
            holder = holder[part]
        current = holder[path[-1]]
        if isinstance(current, str):
            holder[path[-1]] = current = {"use": current}
        current.update(value.model_dump(mode="json"))
    return data


def executor_use(spec: RunSpec) -> Use | None:
    """The executor asked for, if any."""
    executor = spec.run.executor
    return ExecutorUse(use=executor) if isinstance(executor, str) else executor
