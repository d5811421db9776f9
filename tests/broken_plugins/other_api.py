"""Written for an API that does not exist yet."""

from engine import hookimpl
from engine.components import Model


@hookimpl
def engine_models() -> list[Model]:
    return [Model("tomorrow", "tests.broken_plugins.bad_models:Bad", api_version=2)]
