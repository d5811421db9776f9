"""Finds installed plugins and the components they offer; one broken plugin never hides the others."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import pluggy

from engine import hookspecs
from engine.components import KINDS, Component, Params
from engine.errors import MissingDependencyError, NotFoundError, PluginError, blaming, first_line

GROUP = "engine"
_HOOKS = {
    "engine_sources": "source",
    "engine_features": "features",
    "engine_selectors": "selector",
    "engine_models": "model",
    "engine_metrics": "metric",
    "engine_writers": "writer",
    "engine_executors": "executor",
}


@dataclass(frozen=True, slots=True)
class Registered:
    """A component and where it comes from."""

    component: Component
    plugin: str
    distribution: str
    version: str


@dataclass(frozen=True, slots=True)
class BrokenPlugin:
    """A plugin that could not be loaded, with its own error."""

    plugin: str
    distribution: str
    error: str


@dataclass
class Registry:
    """Every component of every installed plugin, by kind and name."""

    manager: pluggy.PluginManager
    components: dict[tuple[str, str], list[Registered]] = field(default_factory=dict)
    broken: list[BrokenPlugin] = field(default_factory=list)

    @classmethod
    def discover(cls) -> Registry:
        """Load the plugins of the entry-point group `engine`, in order of distribution and name."""
        found: dict[tuple[str, str, str], metadata.EntryPoint] = {}
        for point in metadata.entry_points(group=GROUP):
            dist = point.dist.name if point.dist else ""
            found[(dist, point.name, point.value)] = point
        registry = cls(_new_manager())
        for (dist, name, _), point in sorted(found.items()):
            version = point.dist.version if point.dist else ""
            try:
                plugin = point.load()
            except Exception as error:  # noqa: BLE001 - a broken plugin may raise anything
                registry.broken.append(BrokenPlugin(name, dist, first_line(error)))
                continue
            registry.add(plugin, name, dist, version)
        return registry

    def add(self, plugin: Any, name: str, distribution: str = "", version: str = "") -> None:
        """Register one plugin object; whatever it raises is recorded in `broken`."""
        try:
            self.manager.register(plugin, name=f"{distribution}:{name}")
            self.manager.check_pending()
            for component in list(_components_of(plugin)):
                entry = Registered(component, name, distribution, version)
                self.components.setdefault((component.kind, component.name), []).append(entry)
        except Exception as error:  # noqa: BLE001 - a broken plugin may raise anything
            self.manager.unregister(name=f"{distribution}:{name}")
            self.broken.append(BrokenPlugin(name, distribution, first_line(error)))

    def unobserved(self) -> Registry:
        """The same components with nobody who watches: for trials that no plugin shall hear of."""
        return Registry(_new_manager(), self.components, self.broken)

    def find(self, kind: str, name: str) -> Registered:
        """The component of this kind and name; NotFoundError or PluginError that says what to do."""
        entries = self.components.get((kind, name), [])
        if len(entries) == 1:
            return entries[0]
        if entries:
            homes = " and ".join(f"{e.distribution or e.plugin} ({e.plugin})" for e in entries)
            raise PluginError(
                f"{kind} {name!r} is offered twice: by {homes}", hint="uninstall one of them"
            )
        raise NotFoundError(f"no {kind} named {name!r} is installed", hint=self._advice(kind, name))

    def names(self, kind: str) -> list[str]:
        """Names of the installed components of a kind, sorted."""
        return sorted(name for k, name in self.components if k == kind)

    def listing(self) -> Iterator[Registered]:
        """Every component, by kind and name."""
        order = list(KINDS)
        for key in sorted(self.components, key=lambda k: (order.index(k[0]), k[1])):
            yield from self.components[key]

    def _advice(self, kind: str, name: str) -> str:
        close = difflib.get_close_matches(name, self.names(kind), n=1)
        advice = f"did you mean {close[0]!r}? " if close else ""
        advice += f"installed: {', '.join(self.names(kind)) or 'none'}"
        for broken in self.broken:
            advice += (
                f"; plugin {broken.plugin!r} of {broken.distribution} is broken: {broken.error}"
            )
        if not close and not self.broken:
            advice += "; install the package that offers it with pip"
        return advice


def build(component: Component, params: Params | Mapping[str, Any], *arguments: Any) -> Any:
    """Import a component's factory and build it: `Factory(params, *arguments)`.

    PluginError naming the component if its code raises.
    """
    if not isinstance(params, Params):
        params = component.params.model_validate(params)
    factory = load_factory(component)
    with blaming(f"{component.kind} {component.name!r}"):
        return factory(params, *arguments)


def load_factory(component: Component) -> Any:
    """Import the class behind a component; a missing dependency says how to install it."""
    module_name, _, attribute = component.factory.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing and missing.split(".")[0] != module_name.split(".")[0]:
            raise MissingDependencyError(
                f"{component.kind} {component.name!r} needs the package {missing!r}, "
                "which is not installed",
                hint=component.install or f"pip install {missing.split('.')[0]}",
            ) from error
        raise PluginError(
            f"{component.kind} {component.name!r}: {component.factory} cannot be imported: {error}"
        ) from error
    except (ImportError, AttributeError) as error:
        raise PluginError(
            f"{component.kind} {component.name!r}: {component.factory} cannot be imported: {error}"
        ) from error


def _new_manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager("engine")
    manager.add_hookspecs(hookspecs)
    return manager


def _components_of(plugin: Any) -> Iterator[Component]:
    """Call a plugin's own hooks one by one and check what they yield."""
    for hook, kind in _HOOKS.items():
        function = getattr(plugin, hook, None)
        if function is None or not hasattr(function, "engine_impl"):
            continue
        for record in function() or ():
            if not isinstance(record, KINDS[kind]):
                raise TypeError(f"{hook} yielded {record!r}, not a {KINDS[kind].__name__}")
            if not (inspect.isclass(record.params) and issubclass(record.params, Params)):
                raise TypeError(f"{record.name!r}: params must be a subclass of Params")
            yield record
