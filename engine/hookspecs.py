"""The extension points of Engine: all of them, each with an example that runs as it stands.

A plugin is a module named by an entry point of the group `engine`. Its functions marked
`@hookimpl` yield records (`engine.components`); the code behind a record implements a protocol of
`engine.contracts`. `docs/writing-a-plugin.md` walks through a complete package.
"""

# Hook signatures name their arguments for the plugins; pluggy never runs these bodies.

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pluggy import HookspecMarker

if TYPE_CHECKING:
    from engine.components import Executor, FeatureBuilder, Metric, Model, Selector, Source, Writer
    from engine.data.panel import Panel

hookspec = HookspecMarker("engine")


@hookspec
def engine_sources() -> Iterable[Source]:
    """Yield sources of rows.

    >>> from engine import hookimpl
    >>> from engine.components import Source
    >>> @hookimpl
    ... def engine_sources():
    ...     yield Source("warehouse", "my_package.warehouse:Warehouse", summary="our warehouse")
    >>> [source.name for source in engine_sources()]
    ['warehouse']
    """
    raise AssertionError("a hook specification is not called")


@hookspec
def engine_features() -> Iterable[FeatureBuilder]:
    """Yield feature builders.

    >>> from engine import hookimpl
    >>> from engine.components import FeatureBuilder
    >>> @hookimpl
    ... def engine_features():
    ...     yield FeatureBuilder("paydays", "my_package.paydays:Paydays", summary="days to pay day")
    >>> [builder.kind for builder in engine_features()]
    ['features']
    """
    raise AssertionError("a hook specification is not called")


@hookspec
def engine_selectors() -> Iterable[Selector]:
    """Yield selectors of features.

    >>> from engine import hookimpl
    >>> from engine.components import Selector
    >>> @hookimpl
    ... def engine_selectors():
    ...     yield Selector("lasso", "my_package.lasso:Lasso", summary="features with a coefficient")
    >>> [selector.kind for selector in engine_selectors()]
    ['selector']
    """
    raise AssertionError("a hook specification is not called")


@hookspec
def engine_models() -> Iterable[Model]:
    """Yield models, with what they can do.

    >>> from engine import hookimpl
    >>> from engine.components import Capabilities, Model
    >>> @hookimpl
    ... def engine_models():
    ...     able = Capabilities(input="panel", scope="local", missing_values=True)
    ...     yield Model("croston", "my_package.croston:Croston", capabilities=able)
    >>> [model.capabilities.scope for model in engine_models()]
    ['local']
    """
    raise AssertionError("a hook specification is not called")


@hookspec
def engine_metrics() -> Iterable[Metric]:
    """Yield metrics.

    >>> from engine import hookimpl
    >>> from engine.components import Metric
    >>> @hookimpl
    ... def engine_metrics():
    ...     yield Metric("medae", "my_package.scores:MedianAbsoluteError")
    >>> [metric.name for metric in engine_metrics()]
    ['medae']
    """
    raise AssertionError("a hook specification is not called")


@hookspec
def engine_writers() -> Iterable[Writer]:
    """Yield writers of results.

    >>> from engine import hookimpl
    >>> from engine.components import Writer
    >>> @hookimpl
    ... def engine_writers():
    ...     yield Writer("warehouse", "my_package.warehouse:WarehouseWriter")
    >>> [writer.name for writer in engine_writers()]
    ['warehouse']
    """
    raise AssertionError("a hook specification is not called")


@hookspec
def engine_executors() -> Iterable[Executor]:
    """Yield executors of tasks.

    >>> from engine import hookimpl
    >>> from engine.components import Executor
    >>> @hookimpl
    ... def engine_executors():
    ...     yield Executor("cluster", "my_package.cluster:Cluster")
    >>> [executor.kind for executor in engine_executors()]
    ['executor']
    """
    raise AssertionError("a hook specification is not called")


@hookspec
def engine_run_start(name: str, folder: Path, spec: Mapping[str, Any]) -> None:
    """Observe the start of a run; `spec` is the resolved spec as plain data.

    >>> from engine import hookimpl
    >>> @hookimpl
    ... def engine_run_start(name):
    ...     print("starting", name)
    >>> engine_run_start("promo")
    starting promo
    """


@hookspec
def engine_panel_ready(panel: Panel) -> None:
    """Observe the checked panel; it must not be changed.

    >>> from engine import hookimpl
    >>> @hookimpl
    ... def engine_panel_ready(panel):
    ...     print(panel.n_series, "series")
    """


@hookspec
def engine_task_start(task: Mapping[str, Any]) -> None:
    """Observe a task that is handed to the executor.

    >>> from engine import hookimpl
    >>> @hookimpl
    ... def engine_task_start(task):
    ...     print(task["name"])
    >>> engine_task_start({"name": "ridge/fold-1"})
    ridge/fold-1
    """


@hookspec
def engine_task_end(task: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Observe a finished task, with its status, seconds and failures.

    >>> from engine import hookimpl
    >>> @hookimpl
    ... def engine_task_end(task, result):
    ...     print(task["name"], result["status"])
    >>> engine_task_end({"name": "ridge/fold-1"}, {"status": "ok"})
    ridge/fold-1 ok
    """


@hookspec
def engine_run_end(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Observe a published run.

    >>> from engine import hookimpl
    >>> @hookimpl
    ... def engine_run_end(manifest):
    ...     print(manifest["status"])
    >>> engine_run_end({"status": "ok"})
    ok
    """


@hookspec
def engine_run_error(error: BaseException) -> None:
    """Observe an error that ends a run.

    >>> from engine import hookimpl
    >>> @hookimpl
    ... def engine_run_error(error):
    ...     print(type(error).__name__)
    >>> engine_run_error(ValueError("no"))
    ValueError
    """
