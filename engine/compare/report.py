"""What a writer offers to report on two runs: the engine compares them, the writer only tells."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from engine.compare.runs import Comparison
from engine.rundir import RunRecord


@runtime_checkable
class ComparisonWriter(Protocol):
    """A writer of reports that has one for two runs as well; `engine report RUN_A RUN_B` uses it."""

    def compare(self, comparison: Comparison, before: RunRecord, after: RunRecord) -> list[Path]:
        """Write the comparison into the folder of `after` and return the paths of the files."""
        ...
