"""Offers a model under the name of one that is there already."""

from engine import hookimpl
from engine.components import Model


@hookimpl
def engine_models() -> list[Model]:
    return [Model("ridge", "tests.broken_plugins.bad_models:Bad")]
