"""The writer `report`: reads a run, makes its sections, renders them and writes one file."""

from __future__ import annotations

from pathlib import Path

from engine.compare.runs import Comparison
from engine.contracts import Results
from engine.replace import replaced
from engine.rundir import RunRecord
from engine_report import (
    ahead,
    drivers,
    health,
    leaderboard,
    making,
    pictures,
    promotions,
    segments,
    verdict,
)
from engine_report.differences import differences
from engine_report.document import Document
from engine_report.drawing import drawn_beside
from engine_report.params import ReportParams
from engine_report.reading import Run, read
from engine_report.render import render

SECTIONS = (
    verdict,
    ahead,
    promotions,
    leaderboard,
    segments,
    pictures,
    drivers,
    health,
    making,
)
FOR_A_COMMENT = (verdict, ahead, leaderboard, segments)
"""Sections of the Markdown form: what a reviewer needs."""


class ReportWriter:
    """Writes `report.html` or another format; DataError if the run has no back-test."""

    def __init__(self, params: ReportParams) -> None:
        self.params = params

    def write(self, results: Results) -> list[Path]:
        """Write the file and return its path."""
        target = results.folder / f"report.{self.params.format}"
        if self.params.path is not None:
            target = results.base / Path(self.params.path).expanduser()
        with drawn_beside():
            return [_written(target, document(read(results, self.params)), self.params)]

    def compare(self, comparison: Comparison, before: RunRecord, after: RunRecord) -> list[Path]:
        """Write `compared-with-<id of before>.<format>` into the folder of `after`."""
        target = after.path / f"compared-with-{before.id}.{self.params.format}"
        with drawn_beside():
            return [_written(target, differences(comparison, before, after), self.params)]


def _written(target: Path, made: Document, params: ReportParams) -> Path:
    content = render(made, params.format)
    with replaced(target) as file:
        file.write(content)
    return target


def document(run: Run) -> Document:
    """The report of a run, all sections of its format."""
    modules = SECTIONS if run.params.format != "md" else FOR_A_COMMENT
    made = [part for part in (module.section(run) for module in modules) if part.blocks]
    identifier = str(run.manifest.get("id", run.results.folder.name))
    return Document(
        run.results.name, f"run {identifier}", verdict.sentence(run), made, verdict.notice(run)
    )
