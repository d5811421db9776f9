"""A report of a run for people: one HTML file that opens offline, or Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Iterator

from engine import hookimpl
from engine.components import Writer
from engine_report.params import ReportParams


@hookimpl
def engine_writers() -> Iterator[Writer]:
    """Offer the writer `report`."""
    yield Writer(
        "report",
        "engine_report.writer:ReportWriter",
        ReportParams,
        summary="which model, where it is good and bad, promotions: one HTML file, or Markdown, PDF, PNG",
        install="pip install 'engine-forecast[report]'",
        reports=("html", "md", "pdf", "png"),
    )
