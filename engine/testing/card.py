"""Runs the kit on an installed component without pytest, and says how each check went."""

from __future__ import annotations

import inspect
import tempfile
import traceback
import unittest
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine.components import Component
from engine.errors import NotFoundError, first_line
from engine.registry import Registered, Registry, load_factory
from engine.testing.base import Conformance
from engine.testing.capabilities import ModelConformance
from engine.testing.executors import ExecutorConformance
from engine.testing.features import FeatureConformance
from engine.testing.metrics import MetricConformance
from engine.testing.selectors import SelectorConformance
from engine.testing.sources import SourceConformance
from engine.testing.writers import WriterConformance

CLASSES: dict[str, type[Conformance]] = {
    kit.kind: kit
    for kit in (
        ModelConformance,
        FeatureConformance,
        SelectorConformance,
        SourceConformance,
        MetricConformance,
        WriterConformance,
        ExecutorConformance,
    )
}


@dataclass(frozen=True, slots=True)
class Line:
    """One check of a report card: `text` is what was checked, `reason` why it failed or was skipped.

    name: the method of the conformance class.
    """

    name: str
    text: str
    status: Literal["ok", "failed", "skipped"]
    reason: str = ""


def entries_named(registry: Registry, name: str, kind: str | None = None) -> list[Registered]:
    """Components of this name, plugin or distribution; NotFoundError if there are none."""
    entries = [
        entry
        for entry in registry.listing()
        if name in (entry.component.name, entry.plugin, entry.distribution)
        and kind in (None, entry.component.kind)
    ]
    exact = [entry for entry in entries if entry.component.name == name]
    if not entries:
        known = sorted({entry.component.name for entry in registry.listing()})
        raise NotFoundError(
            f"no component, plugin or distribution named {name!r} is installed",
            hint=f"components: {', '.join(known)}",
        )
    return exact or entries


def conformance_of(
    component: Component, params: Mapping[str, Any] | None = None, base: Path | None = None
) -> type[Conformance]:
    """The conformance class of a component; UsageError if its options do not fit.

    base: folder that relative paths of a source start from, by default the current one.
    """
    load_factory(component)
    members: dict[str, Any] = {"component": component.name}
    if params is not None:
        members["params"] = dict(params)
    if component.kind == "source":
        members["home"] = base or Path.cwd()
    made: type[Conformance] = type(f"Test_{component.name}", (CLASSES[component.kind],), members)
    made.the_params()
    return made


def run_checks(suite: type[Conformance]) -> Iterator[Line]:
    """Run every check of a conformance class, in the order in which they are written."""
    for name in check_names(suite):
        method = getattr(suite(), name)
        text = (inspect.getdoc(method) or name).splitlines()[0].rstrip(".")
        try:
            if "tmp_path" in inspect.signature(method).parameters:
                with tempfile.TemporaryDirectory() as folder:
                    method(Path(folder).resolve())
            else:
                method()
        except unittest.SkipTest as reason:
            yield Line(name, text, "skipped", str(reason))
        except AssertionError as error:
            yield Line(name, text, "failed", str(error).strip() or _place_of(error))
        except Exception as error:  # noqa: BLE001 - whatever a component raises is its result
            yield Line(name, text, "failed", f"{first_line(error)} ({_place_of(error)})")
        else:
            yield Line(name, text, "ok")


def check_names(suite: type[Conformance]) -> list[str]:
    """Names of the checks: those of the base first, then in the order of the source."""
    names: dict[str, None] = {}
    for parent in reversed(suite.__mro__):
        names.update(dict.fromkeys(name for name in vars(parent) if name.startswith("test_")))
    return list(names)


def _place_of(error: BaseException) -> str:
    """File and line of the innermost frame of an error."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    return f"{Path(last.filename).name}:{last.lineno}" if last else "unknown place"
