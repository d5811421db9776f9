from __future__ import annotations

from types import SimpleNamespace

from engine import hookimpl
from engine.components import Model
from engine.registry import BrokenPlugin, Registry
from tests.spec_text import SPEC, load, place, problem, problems


def test_a_plugin_that_is_not_installed_is_answered_with_what_is():
    found = problem("use: seasonal_naive", "use: seasonal_niave")
    assert place(found) == (9, 17, "models.snaive.use")
    assert found.message == "no model named 'seasonal_niave' is installed"
    assert found.hint.startswith("did you mean 'seasonal_naive'? installed: ")


def test_a_bare_name_of_an_executor_is_looked_up_too():
    found = problem("horizon: 7", "horizon: 7\nrun: {executor: procss}")
    assert "no executor named 'procss'" in found.message


def plugin_of(name: str) -> SimpleNamespace:
    @hookimpl
    def engine_models():
        yield Model(name, "math:sqrt")

    return SimpleNamespace(engine_models=engine_models)


def registry_with(*plugins: tuple[object, str, str]) -> Registry:
    registry = Registry.discover()
    for plugin, name, distribution in plugins:
        registry.add(plugin, name, distribution, "1.0")
    return registry


def test_a_spec_that_names_a_broken_plugin_shows_the_plugins_own_error():
    registry = registry_with()
    error = "ModuleNotFoundError: No module named 'no_such_package'"
    registry.broken.append(BrokenPlugin("croston", "acme-forecast", error))
    text = SPEC.replace("use: seasonal_naive, season: 7", "use: croston")
    (found,) = problems(text, registry=registry)
    for part in ("'croston'", "acme-forecast", error):
        assert part in found.hint
    assert load(SPEC, registry=registry).spec.name == "tiny"


def test_two_plugins_of_one_name_are_an_error_only_where_the_name_is_used():
    registry = registry_with(
        (plugin_of("croston"), "acme", "acme-forecast"),
        (plugin_of("croston"), "zenith", "zenith-models"),
    )
    text = SPEC.replace("use: seasonal_naive, season: 7", "use: croston")
    (found,) = problems(text, registry=registry)
    assert "acme-forecast (acme) and zenith-models (zenith)" in found.message
    assert found.hint == "uninstall one of them"
    assert load(SPEC, registry=registry).spec.name == "tiny"


def test_an_option_that_the_plugin_does_not_have_names_the_plugin():
    found = problem("season: 7", "seson: 7")
    assert place(found) == (9, 33, "models.snaive.seson")
    assert found.message == "model 'seasonal_naive' has no option 'seson'"
    assert found.hint.startswith("did you mean 'season'?")


def test_an_option_of_a_source_has_its_place_too():
    assert place(problem("series: 2", "serie: 2")) == (4, 27, "data.source.serie")


def test_an_option_of_the_wrong_type_is_found_before_any_data_is_read():
    found = problem("season: 7", "season: weekly")
    assert place(found) == (9, 41, "models.snaive.season")
    assert found.message == "must be an integer; given: 'weekly'"
