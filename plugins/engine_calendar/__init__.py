"""Calendar features: parts of the date, Fourier terms, a trend and public holidays."""

from collections.abc import Iterator

from engine import hookimpl
from engine.components import FeatureBuilder
from engine_calendar.params import CalendarParams


@hookimpl
def engine_features() -> Iterator[FeatureBuilder]:
    """The `calendar` builder."""
    yield FeatureBuilder(
        "calendar",
        "engine_calendar.builder:Calendar",
        params=CalendarParams,
        summary="parts of the date, Fourier terms, trend and public holidays",
        example={"parts": ["month", "weekend"], "one_hot": ["weekday"]},
        install="pip install 'engine-forecast[calendar]'",
    )
