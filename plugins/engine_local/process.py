"""Tasks in several processes of this machine, each of which can be ended without the others."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from engine.contracts import Report
from engine.errors import EngineError
from engine.executors import died, stopped
from engine_local.call import Outcome, failed, name_of
from engine_local.child import Child, Task
from engine_local.params import ProcessParams

_LOOK_SECONDS = 1.0
"""How often processes are looked at that say nothing; a message or a death is seen at once."""
_PATIENCE_SECONDS = 5.0
_MESSAGES = 200
"""Read from one process before the next one is looked at, so that none can talk the others down."""

Result = Mapping[str, Any]


class ProcessExecutor:
    """The executor `process`. Within a `with` block one of its processes waits for a next `map`."""

    def __init__(self, params: ProcessParams) -> None:
        self.params = params
        self._keeps = False
        self._crew: _Crew | None = None

    def __enter__(self) -> ProcessExecutor:
        self._keeps = True
        return self

    def __exit__(self, *_: object) -> None:
        self._keeps = False
        if self._crew is not None:
            self._crew.dismiss()
        self._crew = None

    def prepare(self, function: str, tasks: int, modules: Sequence[str]) -> None:
        """Start the processes for this many tasks, which import modules until the first one comes.

        Outside of a `with` block there is nothing that would end them, and none is started.
        """
        if self._keeps and self._crew is None:
            self._crew = _Crew(function, self.params.threads)
            self._crew.start(self.workers(tasks), modules)

    def map(
        self,
        function: str,
        folder: Path,
        tasks: Sequence[Mapping[str, Any]],
        report: Report,
    ) -> Iterator[Result]:
        """Yield results as they finish; all events of a task are reported before its result.

        A task beyond its limit, or whose process dies, is given back as lost; a new process takes
        the place of its own. EngineError naming the task if its function raises. On any error, on
        an interrupt, and when the iterator is closed early, the processes are ended.
        """
        crew, self._crew = self._crew, None
        if crew is None or crew.function != function:
            if crew is not None:
                crew.dismiss()
            crew = _Crew(function, self.params.threads)
        try:
            crew.take(folder, tasks, self.workers(len(tasks)))
            while crew.busy:
                yield from crew.work(report)
        except BaseException:
            crew.end()
            raise
        if self._keeps and self._crew is None:
            crew.dismiss(but=1)
            self._crew = crew
        else:
            crew.dismiss()

    def workers(self, tasks: int) -> int:
        """Processes for this many tasks."""
        wanted = self.params.workers
        return min(_processors() if wanted == "auto" else wanted, tasks)


class _Crew:
    """The processes at work and the tasks that wait for one."""

    def __init__(self, function: str, threads: int) -> None:
        self.function, self._threads = function, threads
        self._waiting: deque[Task] = deque()
        self._children: list[Child] = []

    def take(self, folder: Path, tasks: Sequence[Task], size: int) -> None:
        """Take over tasks for at most so many processes; one that waits from before is the first."""
        self._folder, self._size = folder, size
        named = ({**task, "name": name_of(task, i)} for i, task in enumerate(tasks))
        self._waiting.extend(named)
        for child in [child for child in self._children if child.ended]:
            self._part_with(child)

    def start(self, size: int, modules: Sequence[str]) -> None:
        """Start so many processes ahead of their tasks."""
        for _ in range(size):
            self._children.append(Child(self.function, self._threads, modules))

    @property
    def busy(self) -> bool:
        """Whether a task is waiting or running."""
        return bool(self._waiting) or any(child.task is not None for child in self._children)

    def work(self, report: Report) -> Iterator[Result]:
        """Wait for the next thing to happen; the results that it brings."""
        self._employ_idle()
        self._fill_up()
        heard = [child.connection for child in self._children]
        seen = [child.process.sentinel for child in self._children]
        left = min(child.left for child in self._children)
        wait([*heard, *seen], max(min(left, _LOOK_SECONDS), 0))
        for child in list(self._children):
            over = child.ended  # before it is heard, so that its last words count
            yield from _results(child, report, None if over else _MESSAGES)
            if over or child.ended:
                yield from self._bury(child)
            elif child.left <= 0:
                seconds = child.seconds
                self._part_with(child)
                yield stopped(child.release(), seconds)
            else:
                self._employ(child)

    def _employ_idle(self) -> None:
        """Give tasks to processes that wait for one."""
        for child in list(self._children):
            self._employ(child)

    def _fill_up(self) -> None:
        """As many processes as there is work for."""
        at_work = sum(child.task is not None for child in self._children)
        while len(self._children) < min(self._size, at_work + len(self._waiting)):
            self._children.append(Child(self.function, self._threads))

    def _employ(self, child: Child) -> None:
        """Give the next task to a process if it is idle, or to a new one if it asks for that."""
        if not child.ready or child.task is not None or not self._waiting:
            return
        if child.used and self._waiting[0].get("fresh"):
            self._children.remove(child)
            child.dismiss(_PATIENCE_SECONDS)
            return
        child.give(self._folder, self._waiting.popleft())

    def _bury(self, child: Child) -> Iterator[Result]:
        """A process that is over: its task is lost, if it had one."""
        seconds = child.seconds
        code = self._part_with(child)
        if not child.ready:
            raise _not_started(code)
        if child.task is not None:
            yield died(child.release(), code, seconds)

    def _part_with(self, child: Child) -> int | None:
        self._children.remove(child)
        return child.end()

    def end(self) -> None:
        """End all processes at once."""
        for child in self._children:
            child.process.kill()
        for child in self._children:
            child.end()

    def dismiss(self, but: int = 0) -> None:
        """Let processes go, now that there is nothing left to do; all but some.

        Who has worked longest stays: it has loaded and compiled most. The others would hold memory.
        """
        idle = sorted(self._children, key=lambda child: -child.worked)
        self._children = idle[:but]
        for child in idle[but:]:
            child.connection.close()
        until = time.monotonic() + _PATIENCE_SECONDS
        for child in idle[but:]:
            child.dismiss(max(until - time.monotonic(), 0))


def _results(child: Child, report: Report, most: int | None) -> Iterator[Result]:
    """The result of a child's task, if it is there; its events are reported."""
    for kind, content in child.messages(most):
        if kind == "event":
            report(*content)
        elif kind == "ready":
            child.ready = True
        else:
            yield _checked(child.release(), content)


def _checked(task: Task, outcome: Outcome) -> Result:
    """The result of a task; EngineError naming it if its function raised."""
    if outcome.result is None:
        raise failed(str(task["name"]), outcome.error, outcome.trace)
    return outcome.result


def _not_started(code: int | None) -> EngineError:
    """The error of a process that ended before it was ready for a task."""
    return EngineError(
        f"a worker process could not start (exit code {code})",
        hint="a script that runs the engine must do so under if __name__ == '__main__':; "
        "if the memory is used up, run with fewer workers",
    )


def _processors() -> int:
    """Processors that this process may use, which a container can limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
