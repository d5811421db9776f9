"""What this package offers to Engine: records only, nothing heavy is imported here."""

from collections.abc import Iterator

from engine import hookimpl
from engine.components import Capabilities, FeatureBuilder, Model, Source
from engine_shop.params import DriftParams, PaydayParams, SqliteParams


@hookimpl
def engine_sources() -> Iterator[Source]:
    """Offer the source `sqlite`."""
    yield Source(
        "sqlite",
        "engine_shop.source:SqliteSource",
        SqliteParams,
        summary="rows of a query in an SQLite file",
    )


@hookimpl
def engine_features() -> Iterator[FeatureBuilder]:
    """Offer the feature builder `paydays`."""
    yield FeatureBuilder(
        "paydays",
        "engine_shop.features:Paydays",
        PaydayParams,
        summary="days since the last pay day",
    )


@hookimpl
def engine_models() -> Iterator[Model]:
    """Offer the model `drift`."""
    yield Model(
        "drift",
        "engine_shop.model:Drift",
        DriftParams,
        summary="the last value plus the average change",
        capabilities=Capabilities(input="panel", scope="local", missing_values=True),
    )
