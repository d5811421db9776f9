"""Tasks one after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.components import NoParams
from engine.contracts import Report
from engine_local.call import failed, name_of, outcome_of


class SerialExecutor:
    """The executor `serial`."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def map(
        self,
        function: str,
        folder: Path,
        tasks: Sequence[Mapping[str, Any]],
        report: Report,
    ) -> Iterator[Mapping[str, Any]]:
        """Yield the result of each task in order; EngineError naming the task if one raises."""
        for number, task in enumerate(tasks):
            outcome = outcome_of(function, folder, task, report)
            if outcome.result is None:
                raise failed(name_of(task, number), outcome.error, outcome.trace)
            yield outcome.result
