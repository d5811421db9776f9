"""The parent's side of one worker process: start it, give it a task, hear it, end it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from engine.errors import UsageError
from engine_local import worker

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
)
Task = Mapping[str, Any]
Message = tuple[str, Any]


class Child:
    """A worker process and the task it is at.

    ready: it has started well. used: it has been given a task before. task: what it is at now.
    worked: seconds at all tasks before.
    """

    def __init__(self, function: str, threads: int, modules: Sequence[str] = ()) -> None:
        # Spawned, not forked: JAX and Polars keep threads, which do not survive a fork.
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=worker.serve, args=(theirs, function, modules))
        with _environment(threads), _interrupts_held_back(), _unguarded_named():
            self.process.start()
        theirs.close()
        self.ready = self.used = False
        self.task: Task | None = None
        self.worked = 0.0
        self._since = 0.0
        self._hung_up = False

    def give(self, folder: Path, task: Task) -> None:
        """Let it begin a task."""
        self.task, self.used, self._since = task, True, time.monotonic()
        # If it has just died, the next look at it finds that out.
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send((folder, dict(task)))

    def release(self) -> Task:
        """The task it has finished."""
        assert self.task is not None
        self.worked += self.seconds
        task, self.task = self.task, None
        return task

    @property
    def seconds(self) -> float:
        """How long it has been at its task."""
        return time.monotonic() - self._since

    @property
    def left(self) -> float:
        """Seconds that its task may still take; infinite without a limit."""
        limit = None if self.task is None else self.task.get("limit_seconds")
        return float("inf") if limit is None else float(limit) - self.seconds

    def messages(self, most: int | None = None) -> Iterator[Message]:
        """What it has said since the last time, in order; at most so many messages."""
        try:
            for _ in count() if most is None else range(most):
                if not self.connection.poll():
                    return
                yield self.connection.recv()
        except (EOFError, OSError):
            self._hung_up = True

    @property
    def ended(self) -> bool:
        """Whether the process is over, or can no longer be heard.

        The sentinel alone would not do: processes that it has forked keep it open.
        """
        over = bool(wait([self.process.sentinel], 0)) or self.process.exitcode is not None
        return over or self._hung_up

    def end(self) -> int | None:
        """End it and whatever it has started; its exit code, or minus the signal."""
        # An exit that has begun is waited for, so that its own code is seen and not this signal.
        if not wait([self.process.sentinel], 0):
            self.process.kill()
        if hasattr(os, "killpg"):
            # The group exists once the worker is ready, and its number is the worker's.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid or 0, signal.SIGKILL)
        self.process.join()
        self.connection.close()
        return self.process.exitcode

    def dismiss(self, patience: float) -> None:
        """Let an idle worker leave by itself within some seconds, and end what is left of it.

        One that is still starting has done nothing that it would have to finish.
        """
        self.connection.close()
        if self.ready:
            wait([self.process.sentinel], patience)
        self.end()


@contextmanager
def _unguarded_named() -> Iterator[None]:
    """Say what is wrong if this is a worker that is still importing the script that started it."""
    try:
        yield
    except RuntimeError as error:
        if "bootstrapping" not in str(error):
            raise
        raise UsageError(
            "a worker runs the script that started it once more",
            hint="in a script of your own run specs under `if __name__ == '__main__':`",
        ) from error


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    """The number of threads, where numeric libraries look for it when they are first imported."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
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
    """Hold Ctrl-C back while a process starts, so that it begins life deaf to it.

    The terminal sends the signal to all of them; only the parent shall act on it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # The first process would else start it, and that lets the signal through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
