from __future__ import annotations

import doctest
import inspect
from collections.abc import Callable
from types import ModuleType

import pluggy
import pytest

from engine import components, hookspecs
from engine.components import KINDS


def hooks() -> dict[str, Callable[..., object]]:
    marked = {
        name: function
        for name, function in vars(hookspecs).items()
        if inspect.isfunction(function) and hasattr(function, "engine_spec")
    }
    assert marked, "no function of engine.hookspecs is marked with @hookspec"
    return marked


HOOKS = hooks()


def problems(function: Callable[..., object]) -> list[str]:
    """What a plugin author would miss in the documentation of a hook."""
    text = inspect.getdoc(function) or ""
    first = text.split("\n")[0]
    found = []
    if not first or first.startswith(">>>") or not first.endswith("."):
        found.append("the docstring does not start with a sentence")
    source = "".join(example.source for example in doctest.DocTestParser().get_examples(text))
    if "@hookimpl" not in source or f"def {function.__name__}(" not in source:
        found.append("no example implements the hook")
    return found


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_documented_with_an_example(name):
    assert problems(HOOKS[name]) == []


def test_a_hook_without_an_example_or_a_docstring_would_be_found():
    def engine_bare() -> None: ...

    def engine_told() -> None:
        """Observe something."""

    def engine_other() -> None:
        """Observe something.

        >>> @hookimpl
        ... def engine_bare():
        ...     pass
        """

    assert len(problems(engine_bare)) == 2
    assert problems(engine_told) == ["no example implements the hook"]
    assert problems(engine_other) == ["no example implements the hook"]


@pytest.mark.parametrize("module", [hookspecs, components], ids=lambda module: module.__name__)
def test_the_examples_run_as_they_stand(module: ModuleType):
    runner = doctest.DocTestRunner(verbose=False)
    failures: list[str] = []
    # Without the module's own names: what an example uses, it must import.
    for case in doctest.DocTestFinder().find(module, globs={}):
        runner.run(case, out=failures.append)
    assert runner.failures == 0, "".join(failures)
    assert module is not hookspecs or runner.tries > len(HOOKS)


@pytest.mark.parametrize("name", HOOKS)
def test_an_example_is_an_implementation_that_fits_its_hook(name):
    plugin = ModuleType("example")
    for example in doctest.DocTestParser().get_examples(HOOKS[name].__doc__ or ""):
        if example.source.startswith(("from ", "import ", "@")):
            exec(example.source, vars(plugin))
    manager = pluggy.PluginManager("engine")
    manager.add_hookspecs(hookspecs)
    manager.register(plugin)
    manager.check_pending()
    assert [caller.name for caller in manager.get_hookcallers(plugin) or []] == [name]


def test_every_kind_of_component_has_a_hook_that_yields_it():
    yielded = {str(inspect.signature(hook).return_annotation) for hook in HOOKS.values()} - {"None"}
    assert yielded == {f"Iterable[{kind.__name__}]" for kind in KINDS.values()}
