"""Selectors of features from the sums of a design: redundancy filter and backward elimination."""

from collections.abc import Iterator

from engine import hookimpl
from engine.components import Selector
from engine_select.params import BackwardParams, RedundancyParams


@hookimpl
def engine_selectors() -> Iterator[Selector]:
    """The selectors `redundancy` and `backward`."""
    yield Selector(
        "redundancy",
        "engine_select.redundancy:Redundancy",
        params=RedundancyParams,
        summary="drops features that are nearly a copy of a better one",
        example={"correlation": 0.9},
    )
    yield Selector(
        "backward",
        "engine_select.backward:Backward",
        params=BackwardParams,
        summary="drops the least useful feature again and again, judged by cross-validation",
        example={"tolerance": 0.01},
    )
