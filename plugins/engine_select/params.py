"""Options of the selectors."""

from __future__ import annotations

from pydantic import Field

from engine.components import Params


class RedundancyParams(Params):
    """Which features count as copies of others, or as unrelated to the target."""

    correlation: float = Field(
        0.95,
        gt=0,
        le=1,
        description="largest absolute correlation between two features that are both kept; of two "
        "the one that is closer to the target stays",
    )
    target_correlation: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="smallest absolute correlation with the target of a feature that is kept",
    )
    keep: tuple[str, ...] = Field(
        (), description="names or patterns of features that always stay, e.g. [price, 'promo_*']"
    )


class BackwardParams(Params):
    """How far backward elimination goes."""

    tolerance: float = Field(
        0.0,
        ge=0,
        description="share by which the cross-validation score may exceed the lowest one, e.g. "
        "0.01; the smallest set of features within it is used",
    )
    max_features: int | None = Field(
        None, ge=1, description="most features that are kept, whatever the score"
    )
    keep: tuple[str, ...] = Field(
        (), description="names or patterns of features that always stay, e.g. [price, 'promo_*']"
    )
