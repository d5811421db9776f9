"""The records a plugin yields: a name, where its code is, and its options, all light to import.

A record never holds code: `factory` is a string, imported on first use, so that a spec is validated
without JAX, and a task travels to another process as plain data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

API_VERSION = 1

_FACTORY = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
_NAME = re.compile(r"^[a-z][a-z0-9_]*$")


class Params(BaseModel):
    """Base of every component's options: unknown keys and lossy conversions are errors.

    Give each field a `description`; it becomes the documentation and the JSON Schema.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class NoParams(Params):
    """A component without options."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model can do; the engine relies on it and the conformance kit checks it.

    `input`: `panel` models get whole series and the known future and return every step; `design`
    models get rows of features, and the engine's horizon strategy makes the steps.
    `scope`: `local` models fit one series at a time, so that the engine may split the series over
    tasks; `global` models need all series in one fit.
    `vectorized`: a local model that fits many series in less time than it takes to split them, so that
    those of a small panel stay together.
    """

    input: Literal["panel", "design"] = "panel"
    scope: Literal["local", "global"] = "global"
    future_covariates: bool = False
    past_covariates: bool = False
    static_covariates: bool = False
    quantiles: bool = False
    missing_values: bool = False
    mergeable: bool = False
    vectorized: bool = False


@dataclass(frozen=True)
class Component:
    """A named part that a spec can `use:`.

    `factory` is `"package.module:Class"`, `params` the pydantic model of its options, `summary` one
    line for listings, `install` the command that installs what the factory needs. `example` are
    small options that build it: the conformance kit runs with them, listings show them.
    """

    kind: ClassVar[str] = ""

    name: str
    factory: str
    params: type[Params] = NoParams
    summary: str = ""
    install: str = ""
    api_version: int = API_VERSION
    example: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise ValueError(f"component name {self.name!r} must match {_NAME.pattern}")
        if not _FACTORY.match(self.factory):
            raise ValueError(f"factory {self.factory!r} must be 'package.module:Class'")
        if self.api_version != API_VERSION:
            raise ValueError(
                f"{self.name!r} is written for plugin API {self.api_version}, this is {API_VERSION}"
            )


@dataclass(frozen=True)
class Source(Component):
    """Where rows come from: the factory builds an `engine.contracts.DataSource`."""

    kind: ClassVar[str] = "source"


@dataclass(frozen=True)
class FeatureBuilder(Component):
    """Makes features: the factory builds an `engine.contracts.FeatureFactory`."""

    kind: ClassVar[str] = "features"


@dataclass(frozen=True)
class Model(Component):
    """A forecasting model: the factory builds a `PanelModel` or a `DesignModel`."""

    kind: ClassVar[str] = "model"

    capabilities: Capabilities = field(default_factory=Capabilities)


@dataclass(frozen=True)
class Selector(Component):
    """Leaves features out before a model is fitted: the factory builds a `FeatureSelector`."""

    kind: ClassVar[str] = "selector"


@dataclass(frozen=True)
class Metric(Component):
    """A score of forecasts: the factory builds a `RowMetric` or a `PanelMetric`."""

    kind: ClassVar[str] = "metric"


@dataclass(frozen=True)
class Writer(Component):
    """Writes results, for other programs or for people: the factory builds a `ResultWriter`.

    `reports` names the formats of a report for people that it can also make from a published run;
    its options then have `format`. `engine report RUN --format F` uses the writer that has F.
    """

    kind: ClassVar[str] = "writer"

    reports: tuple[str, ...] = ()


@dataclass(frozen=True)
class Executor(Component):
    """Runs tasks: the factory builds an `engine.executors.TaskExecutor`.

    `isolated`: a task that hangs or takes its process down harms no other one, see there.
    `run.task_seconds` and `memory_ratio` need such an executor; the conformance kit checks it.
    """

    kind: ClassVar[str] = "executor"

    isolated: bool = False


KINDS: dict[str, type[Component]] = {
    kind.kind: kind for kind in (Source, FeatureBuilder, Selector, Model, Metric, Writer, Executor)
}
