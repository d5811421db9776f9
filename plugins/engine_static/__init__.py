"""Static features: keys and attributes of a series, and known categories such as events."""

from collections.abc import Iterator

from engine import hookimpl
from engine.components import FeatureBuilder
from engine_static.params import StaticParams


@hookimpl
def engine_features() -> Iterator[FeatureBuilder]:
    """The `static` builder."""
    yield FeatureBuilder(
        "static",
        "engine_static.builder:Static",
        params=StaticParams,
        summary="attributes of a series and known categories, one-hot or ordinal",
    )
