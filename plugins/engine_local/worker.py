"""The child's side of the executor `process`: runs one task after the other for its parent.

It leads a process group of its own, so that it can be ended together with whatever it started.
"""

from __future__ import annotations

import importlib
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import Any

from engine.errors import EngineError, first_line
from engine.leave import leave
from engine_local.call import Outcome, outcome_of, resolve


def serve(parent: Connection, function: str, modules: Sequence[str] = ()) -> None:
    """Say that it is ready, then answer every task with its events and its outcome.

    `function` is imported first, so that its import is on no task's account; `modules` as long as no
    task waits.
    One pipe of its own: a worker that is ended in the middle of a message harms no other one.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    lock = threading.Lock()

    def send(kind: str, content: Any) -> None:
        with lock:
            parent.send((kind, content))

    def report(name: str, fields: Mapping[str, Any]) -> None:
        send("event", (name, dict(fields)))

    with suppress(EngineError):  # each task says what is wrong with it
        resolve(function)
    # Without a parent there is nobody to work for.
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        send("ready", None)
        _import(modules, parent)
        while True:
            folder, task = parent.recv()
            outcome = outcome_of(function, folder, task, report)
            try:
                send("done", outcome)
            except (TypeError, ValueError, AttributeError) as error:
                send("done", Outcome(None, f"its result cannot be sent: {first_line(error)}"))
    leave(0)


def _import(modules: Sequence[str], parent: Connection) -> None:
    """Import modules that tasks will need until the parent has something to say."""
    for module in modules:
        if parent.poll():
            return
        with suppress(Exception):  # a task that needs it says what is wrong with it
            importlib.import_module(module)


def _end_with_parent() -> None:
    """Wait for the parent's end, however it comes, and end the whole group with it."""
    parent = parent_process()
    if parent is None:
        return
    parent.join()
    if hasattr(os, "killpg"):
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)
