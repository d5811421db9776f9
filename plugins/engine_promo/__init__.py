"""Promotion features: prices, discounts, price relative to a group, promotion flags."""

from collections.abc import Iterator

from engine import hookimpl
from engine.components import FeatureBuilder
from engine_promo.params import PromoParams


@hookimpl
def engine_features() -> Iterator[FeatureBuilder]:
    """The `promo` builder."""
    yield FeatureBuilder(
        "promo",
        "engine_promo.builder:Promo",
        params=PromoParams,
        summary="prices, price changes, discounts, group prices and promotion flags",
        example={"price": "price", "change": [7], "flags": "promo", "lead": [1], "since": True},
    )
