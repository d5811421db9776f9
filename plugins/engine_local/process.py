"""Tasks in several fresh processes of this machine."""

from __future__ import annotations

import os
import queue
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

from engine.contracts import Report
from engine.errors import EngineError, first_line
from engine_local import worker
from engine_local.call import Outcome, failed, name_of
from engine_local.params import ProcessParams

_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
)
_POLL_SECONDS = 0.1
_NAMED = 5

Result = Mapping[str, Any]
Events = SimpleQueue[tuple[str, dict[str, Any]]]


class _Context(SpawnContext):
    """Spawned processes, remembered so that they can be ended at once.

    Spawned, not forked: JAX and Polars keep threads, which do not survive a fork.
    """

    def __init__(self) -> None:
        super().__init__()
        self._started: list[SpawnProcess] = []

    def Process(self, *args: Any, **kwargs: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802
        process = SpawnProcess(*args, **kwargs)
        self._started.append(process)
        return process

    def terminate(self) -> None:
        """End all processes at once."""
        for process in self._started:
            if process.pid is not None:
                process.terminate()

    def exit_codes(self) -> set[int]:
        """How processes ended that did so by themselves: exit codes, or minus the signal."""
        codes = {process.exitcode for process in self._started}
        return {code for code in codes if code not in (None, 0, -signal.SIGTERM)}


class ProcessExecutor:
    """The executor `process`."""

    def __init__(self, params: ProcessParams) -> None:
        self.params = params

    def map(
        self,
        function: str,
        folder: Path,
        tasks: Sequence[Mapping[str, Any]],
        report: Report,
    ) -> Iterator[Result]:
        """Yield results as they finish; all events of a task are reported before its result.

        EngineError naming the task if one raises, or the unfinished tasks if a process dies. On
        any error, on an interrupt, and when the iterator is closed early, the processes are ended.
        """
        if not tasks:
            return
        unfinished = {number: name_of(task, number) for number, task in enumerate(tasks)}
        context = _Context()
        events: Events = context.SimpleQueue()
        pool = ProcessPoolExecutor(
            max_workers=self.workers(len(tasks)),
            mp_context=context,
            initializer=worker.begin,
            initargs=(events,),
        )
        try:
            with _environment(self.params.threads), _interrupts_held_back():
                # Every process starts within these calls, and so in this environment.
                running = {
                    pool.submit(worker.run, function, folder, dict(task)): number
                    for number, task in enumerate(tasks)
                }
            yield from _results(running, unfinished, events, report)
        except BrokenProcessPool as error:
            pool.shutdown(wait=True)
            raise _died(list(unfinished.values()), context.exit_codes()) from error
        except BaseException:
            context.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            events.close()

    def workers(self, tasks: int) -> int:
        """Processes for this many tasks."""
        wanted = self.params.workers
        return min(_processors() if wanted == "auto" else wanted, tasks)


def _results(
    running: dict[Future[Outcome], int],
    unfinished: dict[int, str],
    events: Events,
    report: Report,
) -> Iterator[Result]:
    """Results as they come; a task leaves `unfinished` when its result is known."""
    # Not `concurrent.futures.wait`: an interrupt within it can leave a future locked for good, and
    # then the pool never ends.
    finished: queue.SimpleQueue[Future[Outcome]] = queue.SimpleQueue()
    for future in running:
        future.add_done_callback(finished.put)
    while running:
        done = _some(finished)
        while not events.empty():
            report(*events.get())
        # Whole results first: when a process dies, tasks that finished just before still count.
        for future in sorted(done, key=lambda f: isinstance(f.exception(), BrokenProcessPool)):
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                raise error
            name = unfinished.pop(running.pop(future))
            if error is not None:
                raise failed(name, first_line(error)) from error
            outcome = future.result()
            if outcome.result is None:
                raise failed(name, outcome.error, outcome.trace)
            yield outcome.result


def _some(finished: queue.SimpleQueue[Future[Outcome]]) -> list[Future[Outcome]]:
    """Those that have finished, after a short wait for the first; perhaps none."""
    done: list[Future[Outcome]] = []
    try:
        done.append(finished.get(timeout=_POLL_SECONDS))
        while True:
            done.append(finished.get_nowait())
    except queue.Empty:
        return done


def _died(unfinished: list[str], codes: set[int]) -> EngineError:
    """The error that names the tasks without a result and guesses at the cause of death."""
    shown = ", ".join(repr(name) for name in unfinished[:_NAMED])
    more = len(unfinished) - _NAMED
    if more > 0:
        shown += f" and {more} more"
    ended = " and ".join(f"signal {-c}" if c < 0 else f"exit code {c}" for c in sorted(codes))
    hint = (
        "most often the memory was used up: run with fewer workers, e.g. "
        "run: {executor: {use: process, workers: 2}}"
    )
    if any(code > 0 for code in codes):
        hint += "; a script that runs the engine must do so under if __name__ == '__main__':"
    how = f" ({ended})" if ended else ""
    return EngineError(f"a worker process died{how}; unfinished tasks: {shown}", hint=hint)


def _processors() -> int:
    """Processors that this process may use, which a container can limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    """The number of threads, where numeric libraries look for it when they are first imported."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Hold Ctrl-C back while processes start, so that they begin life deaf to it.

    The terminal sends the signal to all of them; only the parent shall act on it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
