"""Options of the model `croston`, validated with the spec."""

from typing import Literal

from pydantic import Field

from engine.components import Params


class CrostonParams(Params):
    """Options of the model `croston`."""

    variant: Literal["croston", "sba", "tsb"] = Field(
        "sba",
        description="croston: Croston 1972; sba: with the correction of its bias (Syntetos & Boylan "
        "2005); tsb: for items that may die out (Teunter, Syntetos & Babai 2011)",
    )
    alpha: float = Field(0.1, gt=0, le=1, description="smoothing factor of the demand's size")
    beta: float | None = Field(
        None,
        gt=0,
        le=1,
        description="smoothing factor of the interval (tsb: of the probability); null is alpha",
    )
