"""A spec file -> a validated `LoadedSpec`; every problem is reported at once, before data is read."""

from __future__ import annotations

import difflib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path as FilePath
from typing import Any

import yaml
from pydantic import ValidationError

from engine.components import Capabilities, Component, Model, Params
from engine.errors import EngineError, NotFoundError, Problem, SpecError
from engine.registry import Registry
from engine.spec import loader
from engine.spec.crosscheck import cross_checks, isolation_checks
from engine.spec.limits import MAX_BYTES
from engine.spec.loader import Document, Path
from engine.spec.model import ExecutorUse, MetricUse, ModelUse, RunSpec
from engine.spec.problems import problem_at, problems_of
from engine.spec.sections import Use


@dataclass(frozen=True)
class LoadedSpec:
    """A valid spec with its text and where it came from.

    resolved: plain data with every default filled in, plugin options included. command: what runs
    it with the same overrides.
    """

    spec: RunSpec
    text: str
    path: FilePath
    resolved: Mapping[str, Any]
    command: str = ""

    @cached_property
    def resolved_yaml(self) -> str:
        """The resolved spec as YAML text."""
        data = dict(self.resolved)
        return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


class _Dumper(yaml.SafeDumper):
    """Quotes every text that the loader would read as something else."""


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    style = None if loader.is_plain_text(value) else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def load_spec(
    path: FilePath,
    registry: Registry,
    overrides: Sequence[str] = (),
    *,
    seed: int | None = None,
    workers: int | None = None,
) -> LoadedSpec:
    """Read, interpolate, override and validate a spec; SpecError lists everything wrong with it."""
    text = read_text(path)
    return validate_text(text, str(path), registry, overrides, seed=seed, workers=workers)


def read_text(path: FilePath) -> str:
    """A spec's text, or one clear error."""
    if not path.exists():
        folder = path.parent if str(path.parent) else FilePath(".")
        near = difflib.get_close_matches(path.name, [p.name for p in folder.glob("*.y*ml")], n=1)
        hint = f"did you mean {folder / near[0]}?" if near else "give the path of a YAML spec"
        raise NotFoundError(f"no spec at {path}", hint=hint)
    if path.is_dir():
        raise NotFoundError(f"{path} is a folder, not a spec", hint="give one of its YAML files")
    try:
        # A device or a pipe has no size that could be asked for: no more than this is ever read.
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise SpecError(str(path), [Problem(f"larger than {MAX_BYTES:,} bytes: not a spec")])
        return content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise SpecError(str(path), [Problem(f"not UTF-8 text ({error.reason})")]) from error
    except OSError as error:
        raise NotFoundError(f"cannot read {path}: {error.strerror}") from error


def validate_text(
    text: str,
    name: str,
    registry: Registry,
    overrides: Sequence[str] = (),
    *,
    seed: int | None = None,
    workers: int | None = None,
) -> LoadedSpec:
    """Validate a spec's text; `name` is shown in errors, `workers` is the executor's option."""
    document = loader.parse(text)
    problems = list(document.problems)
    if not isinstance(document.data, dict):
        raise SpecError(name, problems, text)
    for override in overrides:
        problems += loader.apply_override(document, override)
    if seed is not None:
        document.data["seed"] = seed
        document.given_outside(("seed",))
    if workers is not None:
        _set_workers(document.data, workers)
        document.given_outside(("run", "executor", "workers"))
    spec: RunSpec | None = None
    try:
        spec = RunSpec.model_validate_json(_as_json(document.data))
    except ValidationError as error:
        problems += problems_of(error, (), RunSpec, document)
    params = dict(_component_params(document, registry, problems))
    if spec is not None:
        problems += cross_checks(spec, document, _able(spec, registry))
        problems += isolation_checks(spec, document, registry)
    if problems or spec is None:
        raise SpecError(name, _once(problems, document), text)
    command = _command(name, overrides, seed, workers)
    return LoadedSpec(spec, text, FilePath(name), _resolved(spec, params), command)


def _command(name: str, overrides: Sequence[str], seed: int | None, workers: int | None) -> str:
    """What a shell needs to run the spec once more."""
    parts = ["engine", "run", name, *(part for one in overrides for part in ("--set", one))]
    parts += [] if seed is None else ["--seed", str(seed)]
    return shlex.join(parts + ([] if workers is None else ["--workers", str(workers)]))


def _once(problems: Sequence[Problem], document: Document) -> list[Problem]:
    """The problems without those that only follow from a value that could not be read."""
    unread = {problem.path for problem in document.problems if problem.path}
    return [p for p in problems if p.path not in unread or p in document.problems]


def _set_workers(data: Any, workers: int) -> None:
    """State the workers of the spec's executor, or of `process` if it names none."""
    run = {} if data.get("run") is None else data["run"]
    if isinstance(run, dict):  # What else it may be is a problem of its own.
        executor = "process" if run.get("executor") is None else run["executor"]
        use = executor if isinstance(executor, dict) else {"use": executor}
        data["run"] = {**run, "executor": {**use, "workers": workers}}


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
        if isinstance(item, dict) and item.get("select_features") is not None:
            yield "selector", ("models", name, "select_features"), item["select_features"]
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
            problems.append(problem_at(document, (*path, "use"), error.message, error.hint))
            continue
        problems += _misplaced(document, component, path, use)
        engine_keys = _ENGINE_KEYS.get(kind, {"use"})
        options = {k: v for k, v in use.items() if k not in engine_keys}
        try:
            yield path, component.params.model_validate_json(_as_json(options), strict=True)
        except ValidationError as error:
            found = problems_of(error, path, component.params, document, engine_keys)
            problems += [
                _with_owner(p, kind, component.name) if "unknown key" in p.message else p
                for p in found
            ]


def _misplaced(
    document: Document, component: Component, path: Path, use: Mapping[str, Any]
) -> Iterator[Problem]:
    """Selection of features for a model that does not get them as design rows."""
    if not isinstance(component, Model) or component.capabilities.input == "design":
        return
    if use.get("select_features") is not None:
        yield problem_at(
            document,
            (*path, "select_features"),
            f"model {component.name!r} gets whole series, not rows of features to select from",
            "leave it out; `features:` names the features such a model sees",
        )


def _able(spec: RunSpec, registry: Registry) -> dict[str, Capabilities]:
    """What the models of a spec declare, as far as they are installed."""
    able = {}
    for name, use in spec.models.items():
        found = registry.components.get(("model", use.use), [])
        if len(found) == 1 and isinstance(found[0].component, Model):
            able[name] = found[0].component.capabilities
    return able


def _with_owner(problem: Problem, kind: str, name: str) -> Problem:
    message = problem.message.replace("unknown key", f"{kind} {name!r} has no option")
    return Problem(message, problem.path, problem.line, problem.column, problem.hint)


def _resolved(spec: RunSpec, params: Mapping[Path, Params]) -> dict[str, Any]:
    """The spec as plain data, with the defaults of core and plugins."""
    data = spec.model_dump(mode="json")
    for path, value in params.items():
        holder: Any = data
        for part in path[:-1]:
            holder = holder[part]
        current = holder[path[-1]]
        if isinstance(current, str):
            use = MetricUse if path[0] == "evaluate" else ExecutorUse
            holder[path[-1]] = current = use.model_validate({"use": current}).model_dump()
        is_model = path[0] == "models" and len(path) == 2
        engine_keys = ModelUse.model_fields if is_model else ()
        own = value.model_dump(mode="json")
        current.update({key: option for key, option in own.items() if key not in engine_keys})
    return data


def executor_use(spec: RunSpec) -> Use | None:
    """The executor asked for, if any."""
    executor = spec.run.executor
    return ExecutorUse(use=executor) if isinstance(executor, str) else executor
