"""The source `simulate`: made-up demand whose expected values and effects are known."""

from __future__ import annotations

from collections.abc import Iterable

from engine import hookimpl
from engine.components import Source
from engine_simulate.params import SimulateParams


@hookimpl
def engine_sources() -> Iterable[Source]:
    """Yield the source `simulate`."""
    yield Source(
        "simulate",
        "engine_simulate.source:Simulate",
        SimulateParams,
        summary="simulated stores and items with known trend, seasons, prices and promotions",
        example={"series": 3, "periods": 60, "future_periods": 7},
        install="pip install 'engine-forecast[calendar]'",
    )
