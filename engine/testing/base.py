"""What every component is checked for, whatever its kind: found, described, strict, light."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import unittest
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from typing import Any, ClassVar, NoReturn

from pydantic import ValidationError

from engine.components import Component, Params
from engine.errors import UsageError
from engine.registry import GROUP, Registered, Registry, build, load_factory

LIGHT_SECONDS = 0.75
"""CPU seconds that a plugin's light module may take; polars takes 0.15, pandas or JAX take more."""

_IMPORT = """
import json, sys, time
import engine, engine.components, engine.errors
began = time.process_time()
__import__(sys.argv[1])
print(json.dumps([time.process_time() - began, sys.argv[2] in sys.modules]))
"""


def skip(reason: str) -> NoReturn:
    """Leave a check out, with the reason that the report shows."""
    raise unittest.SkipTest(reason)


@lru_cache(maxsize=1)
def installed() -> Registry:
    """The installed plugins, found once a process."""
    return Registry.discover()


class Conformance:
    """Base of the conformance classes.

    component: name of an installed component. params: small options for it; by default the
    `example` of its record. record: the record itself, for a component that is not installed.
    """

    kind: ClassVar[str] = ""
    methods: ClassVar[tuple[str, ...]] = ()
    component: ClassVar[str] = ""
    params: ClassVar[Mapping[str, Any] | None] = None
    record: ClassVar[Component | None] = None

    @classmethod
    def the_record(cls) -> Component:
        """The record under test; NotFoundError if it is not installed."""
        if cls.record is not None:
            return cls.record
        if not cls.component:
            raise UsageError(
                f"{cls.__name__} names no component", hint='write component = "<its name>"'
            )
        return installed().find(cls.kind, cls.component).component

    @classmethod
    def the_params(cls) -> Params:
        """The options that the checks build it with, validated; UsageError if they do not fit."""
        record = cls.the_record()
        options = record.example if cls.params is None else cls.params
        try:
            return record.params.model_validate(dict(options))
        except ValidationError as error:
            raise UsageError(
                f"{record.kind} {record.name!r} cannot be built with {dict(options)}: "
                f"{error.errors()[0]['msg']} ({'.'.join(map(str, error.errors()[0]['loc']))})",
                hint="give small options: `params` of the conformance class, `example` of the "
                "record, or --params of the command",
            ) from error

    @classmethod
    def make(cls, *arguments: Any) -> Any:
        """A new object of the component."""
        return build(cls.the_record(), cls.the_params(), *arguments)

    @classmethod
    def _registered(cls) -> Registered:
        if cls.record is not None:
            skip("the record was given directly, not by an installed plugin")
        return installed().find(cls.kind, cls.component)

    def test_is_offered_by_a_plugin_that_loads(self) -> None:
        """An installed plugin offers the name once, and nothing of its distribution is broken."""
        entry = self._registered()
        broken = [b for b in installed().broken if b.distribution == entry.distribution]
        assert not broken, f"{broken[0].plugin} of {broken[0].distribution}: {broken[0].error}"

    def test_has_a_summary_of_one_line(self) -> None:
        """The record has a summary of one line for listings."""
        summary = self.the_record().summary
        assert summary.strip(), "the record has no summary"
        assert "\n" not in summary and len(summary) <= 120, f"not one line: {summary!r}"

    def test_every_option_is_described(self) -> None:
        """Every option has a description."""
        fields = self.the_record().params.model_fields
        bare = [name for name, field in fields.items() if not (field.description or "").strip()]
        assert not bare, f"options without a description: {', '.join(bare)}"

    def test_its_code_is_documented(self) -> None:
        """The class behind the factory and the methods that the engine calls have docstrings."""
        factory = load_factory(self.the_record())
        bare = [] if (getattr(factory, "__doc__", "") or "").strip() else [factory.__name__]
        for name in self.methods:
            method = getattr(factory, name, None)
            assert method is not None, f"{factory.__name__} has no method {name}"
            if not (inspect.getdoc(method) or "").strip():
                bare.append(f"{factory.__name__}.{name}")
        assert not bare, f"without a docstring: {', '.join(bare)}"

    def test_an_unknown_option_is_refused(self) -> None:
        """An option that does not exist is an error that names it."""
        error = self._refusal({"no_such_option": 1})
        assert error is not None, "an unknown option is accepted: derive the options from Params"
        named = any("no_such_option" in map(str, problem["loc"]) for problem in error.errors())
        assert named, f"the error does not name the option: {error}"

    def test_options_of_a_wrong_type_are_refused(self) -> None:
        """No option takes a value of any type."""
        fields = self.the_record().params.model_fields
        loose = [name for name in fields if self._refusal({name: object()}, name) is None]
        assert not loose, f"options that take anything: {', '.join(loose)}; state their types"

    def test_options_cannot_be_changed(self) -> None:
        """Options are frozen and the checks' own options build the component's code."""
        params = self.the_params()
        load_factory(self.the_record())
        for name in type(params).model_fields:
            try:
                setattr(params, name, getattr(params, name))
            except ValidationError:
                continue
            raise AssertionError(f"option {name} can be changed after validation")

    def test_its_light_module_is_quick_to_import(self) -> None:
        """The entry point's module imports neither the code behind the factory nor slow packages."""
        entry = self._registered()
        module = _module_of(entry)
        seconds, loaded = _import_cost(module, entry.component.factory.partition(":")[0])
        assert not loaded, f"importing {module} imports {entry.component.factory}"
        assert seconds < LIGHT_SECONDS, f"importing {module} takes {seconds:.2f} s of CPU time"

    def _refusal(self, changed: Mapping[str, Any], option: str = "") -> ValidationError | None:
        """The error of the options with something changed that is about `option`."""
        record = self.the_record()
        options = dict(record.example if self.params is None else self.params)
        try:
            record.params.model_validate({**options, **changed})
        except ValidationError as error:
            if not option or any(option in p["loc"] for p in error.errors()):
                return error
        return None


def _module_of(entry: Registered) -> str:
    """The module that the entry point of a plugin names."""
    for point in metadata.entry_points(group=GROUP):
        distribution = point.dist.name if point.dist else ""
        if (point.name, distribution) == (entry.plugin, entry.distribution):
            return point.module
    raise UsageError(f"plugin {entry.plugin!r} has no entry point any more", hint="install it")


@lru_cache(maxsize=256)
def _import_cost(module: str, heavy: str) -> tuple[float, bool]:
    """CPU seconds of an import in a fresh process, and whether it loads the module `heavy`."""
    done = run_python(["-c", _IMPORT, module, heavy])
    seconds, loaded = json.loads(done.splitlines()[-1])
    return float(seconds), bool(loaded)


def run_python(arguments: list[str]) -> str:
    """What a fresh Python with this one's import path prints; AssertionError if it fails."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"a fresh process failed:\n{done.stderr[-2000:]}"
    return done.stdout
