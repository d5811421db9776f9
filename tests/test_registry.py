from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from engine.components import Metric, Model, NoParams, Params
from engine.errors import MissingDependencyError, NotFoundError, PluginError
from engine.registry import Registry, build, load_factory

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Write a distribution with one plugin module; only these are seen as installed."""

    def write(distribution: str, module: str, source: str, name: str = "") -> None:
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n"
        )
        points = info / "entry_points.txt"
        text = points.read_text() if points.exists() else "[engine]\n"
        points.write_text(text + f"{name or module} = {module}\n")

    def entry_points(*, group: str) -> metadata.EntryPoints:
        found = metadata.distributions(path=[str(tmp_path)])
        points = [point for each in found for point in each.entry_points]
        return metadata.EntryPoints(points).select(group=group)

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield write
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def models(*names: str, factory: str = "math:sqrt") -> str:
    yields = "\n".join(f"    yield Model({name!r}, {factory!r})" for name in names)
    return (
        "from engine import hookimpl\nfrom engine.components import Metric, Model\n\n"
        f"@hookimpl\ndef engine_models():\n{yields}\n"
    )


def test_a_component_is_found_with_its_home(install: Install):
    install("acme-forecast", "acme", models("croston"), name="intermittent")
    found = Registry.discover().find("model", "croston")
    assert (found.plugin, found.distribution, found.version) == (
        "intermittent",
        "acme-forecast",
        "1.2",
    )
    assert found.component == Model("croston", "math:sqrt")


def test_discovery_imports_no_factory(install: Install):
    install("acme", "acme_light", models("croston", factory="acme_heavy:Croston"))
    registry = Registry.discover()
    assert registry.names("model") == ["croston"]
    assert registry.broken == []
    assert "acme_heavy" not in sys.modules


def test_a_broken_import_is_recorded_and_the_others_stay(install: Install):
    install("bad-plugin", "bad", "import no_such_package_xyz\n")
    install("good-plugin", "good", models("croston"))
    registry = Registry.discover()
    assert registry.names("model") == ["croston"]
    assert [(b.plugin, b.distribution) for b in registry.broken] == [("bad", "bad-plugin")]
    assert "no_such_package_xyz" in registry.broken[0].error


def test_a_missing_component_names_the_broken_plugin_that_may_offer_it(install: Install):
    install("bad-plugin", "bad", "raise RuntimeError('half installed')\n")
    with pytest.raises(NotFoundError) as caught:
        Registry.discover().find("model", "croston")
    for part in ("'bad'", "bad-plugin", "RuntimeError: half installed"):
        assert part in caught.value.hint


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (models() + "    yield Metric('wape', 'math:sqrt')\n", "not a Model"),
        (models() + "    yield 'croston'\n", "not a Model"),
        (models() + "    yield Model('Croston!', 'math:sqrt')\n", "must match"),
        (models() + "    yield Model('croston', 'math.sqrt')\n", "package.module:Class"),
        (models() + "    yield Model('croston', 'math:sqrt', params=dict)\n", "subclass of Params"),
        (models() + "    yield Model('croston', 'math:sqrt', api_version=9)\n", "plugin API 9"),
        (models() + "    raise KeyError('late')\n", "late"),
        ("from engine import hookimpl\n@hookimpl\ndef engine_modles(): ...\n", "unknown hook"),
        ("from engine import hookimpl\n@hookimpl\ndef engine_models(spec): ...\n", "engine_models"),
    ],
)
def test_a_wrong_plugin_is_broken_and_the_others_stay(install: Install, source, error):
    install("a-good-plugin", "good_before", models("naive"))
    install("b-wrong-plugin", "wrong", source)
    install("c-good-plugin", "good_after", models("theta"))
    registry = Registry.discover()
    assert registry.names("model") == ["naive", "theta"]
    assert [(b.plugin, b.distribution) for b in registry.broken] == [("wrong", "b-wrong-plugin")]
    assert error in registry.broken[0].error


def test_a_broken_plugin_no_longer_observes(install: Install):
    observer = "\n@hookimpl\ndef engine_run_start(name):\n    raise SystemError(name)\n"
    install("wrong-plugin", "wrong", models() + "    yield 'croston'\n" + observer)
    registry = Registry.discover()
    assert registry.manager.hook.engine_run_start(name="promo", folder=None, spec={}) == []


def test_two_plugins_with_one_name_are_an_error_that_names_both(install: Install):
    install("acme-forecast", "acme", models("croston", "theta"))
    install("zenith-models", "zenith", models("croston"))
    registry = Registry.discover()
    with pytest.raises(PluginError) as caught:
        registry.find("model", "croston")
    assert "acme-forecast (acme) and zenith-models (zenith)" in caught.value.message
    assert registry.find("model", "theta").distribution == "acme-forecast"
    assert [each.component.name for each in registry.listing()] == ["croston", "croston", "theta"]


def test_one_module_installed_twice_offers_its_components_once(install: Install):
    install("acme-forecast", "acme", models("croston"))
    install("acme-renamed", "acme", models("croston"))
    registry = Registry.discover()
    assert registry.find("model", "croston").distribution == "acme-forecast"
    assert [each.distribution for each in registry.broken] == ["acme-renamed"]


def test_one_name_may_stand_for_two_kinds(install: Install):
    metric = "\n@hookimpl\ndef engine_metrics():\n    yield Metric('bias', 'math:sqrt')\n"
    install("acme", "acme", models("bias") + metric)
    registry = Registry.discover()
    assert isinstance(registry.find("metric", "bias").component, Metric)
    assert isinstance(registry.find("model", "bias").component, Model)
    assert [each.component.kind for each in registry.listing()] == ["model", "metric"]


def test_a_slip_of_the_pen_is_answered_with_the_closest_name(install: Install):
    install("acme", "acme", models("croston", "theta"))
    registry = Registry.discover()
    with pytest.raises(NotFoundError, match="no model named 'crostn'") as caught:
        registry.find("model", "crostn")
    assert caught.value.hint == "did you mean 'croston'? installed: croston, theta"
    with pytest.raises(NotFoundError) as caught:
        registry.find("model", "xyz")
    assert "did you mean" not in caught.value.hint
    assert "installed: croston, theta" in caught.value.hint


def test_nothing_installed_says_so(install: Install):
    with pytest.raises(NotFoundError, match="installed: none"):
        Registry.discover().find("metric", "wape")


def test_order_of_installation_does_not_matter(install: Install):
    install("zenith", "zenith", models("theta"))
    install("acme", "acme", models("naive"))
    entries = Registry.discover().listing()
    assert [(e.component.name, e.distribution) for e in entries] == [
        ("naive", "acme"),
        ("theta", "zenith"),
    ]


def test_a_missing_dependency_comes_with_the_line_that_installs_it(install: Install):
    install("acme", "acme_needy", "import no_such_package_xyz.deep\n")
    told = Model("croston", "acme_needy:Croston", install="pip install 'acme[croston]'")
    with pytest.raises(MissingDependencyError, match=r"'croston' needs.*no_such_package") as caught:
        load_factory(told)
    assert caught.value.hint == "pip install 'acme[croston]'"
    with pytest.raises(MissingDependencyError) as caught:
        load_factory(Model("croston", "acme_needy:Croston"))
    assert caught.value.hint == "pip install no_such_package_xyz"


@pytest.mark.parametrize("factory", ["acme_thin:Croston", "acme_thin.deep:Croston"])
def test_a_factory_that_is_not_there_is_the_plugins_fault(install: Install, factory):
    install("acme", "acme_thin", "Theta = 1\n")
    with pytest.raises(PluginError, match=factory):
        load_factory(Model("croston", factory))


class Options(Params):
    size: int = Field(default=3, ge=1)


class Built:
    def __init__(self, params: Params, *arguments: object) -> None:
        self.params, self.arguments = params, arguments


def test_build_checks_options_and_passes_arguments():
    component = Model("built", f"{__name__}:Built", params=Options)
    built = build(component, {"size": 5}, "context")
    assert (built.params, built.arguments) == (Options(size=5), ("context",))
    given = Options(size=7)
    assert build(component, given).params is given
    with pytest.raises(ValidationError, match="size"):
        build(component, {"size": 0})
    with pytest.raises(ValidationError, match="extra"):
        build(Model("built", f"{__name__}:Built", params=NoParams), {"size": 5})
