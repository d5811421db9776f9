"""What an executor must offer, and what it gives back for a task that came to no end.

A task of a bad model may hang, or take its process down with it. An executor whose record says
`isolated=True` contains both: the task is given back as lost, and all others go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from engine.contracts import Report

_KILLED = 9


class TaskExecutor(Protocol):
    """Runs tasks; results may come in any order, but each must depend on its task alone.

    One that is a context manager is entered for the run: processes that it keeps between the calls
    of `map` within a `with` block spare the later ones their start, and must end with the block.
    """

    def map(
        self,
        function: str,
        folder: Path,
        tasks: Sequence[Mapping[str, Any]],
        report: Report,
    ) -> Iterable[Mapping[str, Any]]:
        """Call `function` ("module:name") as `function(folder, task, report)` for every task.

        Tasks and results are plain data (JSON types); large things go through files in `folder`.
        Every task has a `name`. An isolated executor also keeps these, where a task has them:

        `limit_seconds`: the longest it may run; a task that runs longer is ended with all processes
            it started, and `stopped(...)` is its result.
        `fresh`: it runs in a process that ran nothing before, so that its memory can be measured.

        If a task's process dies, `died(...)` is its result. Neither ends the other tasks.
        """
        ...


@runtime_checkable
class PreparedExecutor(Protocol):
    """An executor that is told of its tasks before they can be given, so that it starts meanwhile."""

    def prepare(self, function: str, tasks: int, modules: Sequence[str]) -> None:
        """Called at the begin of the `with` block: at least so many tasks of `function` will follow.

        modules: names of modules that tasks import. A worker may import them ahead, as long as no
        task waits for it; one that cannot be imported is for the task to tell.
        """
        ...


def stopped(task: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """The result of a task that ran longer than its `limit_seconds` and was ended."""
    limit = float(task["limit_seconds"])
    return {
        "name": task["name"],
        "lost": f"stopped after {limit:g} s; raise run.task_seconds to give it longer",
        "hint": "raise run.task_seconds, or give the model less to do",
        "seconds": seconds,
    }


def died(task: Mapping[str, Any], exit_code: int | None, seconds: float) -> dict[str, Any]:
    """The result of a task whose process ended; a negative exit code is minus the signal."""
    how, hint = "", "the model, or a library it uses, ends its process; run it alone to see why"
    if exit_code is not None:
        how = f" (signal {-exit_code})" if exit_code < 0 else f" (exit code {exit_code})"
    if exit_code in (None, -_KILLED):
        hint = "most often the memory was used up: run with fewer workers, e.g. --workers 1"
    return {
        "name": task["name"],
        "lost": f"the process of the task died{how}",
        "hint": hint,
        "seconds": seconds,
    }
