"""What this package offers to Engine: a record only, nothing heavy is imported here."""

from collections.abc import Iterator

from engine import hookimpl
from engine.components import Capabilities, Model
from engine_croston.params import CrostonParams


@hookimpl
def engine_models() -> Iterator[Model]:
    """Offer the model `croston`."""
    yield Model(
        "croston",
        "engine_croston.model:Croston",
        CrostonParams,
        summary="intermittent demand: Croston's method, SBA or TSB",
        capabilities=Capabilities(input="panel", scope="local", missing_values=True),
        example={"variant": "sba", "alpha": 0.1},
    )
