"""Finds and calls the function of a task, in whichever process the task runs."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.contracts import Report
from engine.errors import EngineError, first_line

TaskFunction = Callable[[Path, Mapping[str, Any], Report], Mapping[str, Any]]

_HINT = (
    "this is a defect of the engine or of a plugin, for a task records the errors of its model "
    "itself; please report it with the traceback"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task: its result, or the first line and the traceback of its error.

    It travels between processes, so it holds the error as text: not every exception can be
    rebuilt on the other side.
    """

    result: Mapping[str, Any] | None
    error: str = ""
    trace: str = ""


def resolve(function: str) -> TaskFunction:
    """Import the function that `"module:name"` points to; EngineError if there is none."""
    module, _, name = function.partition(":")
    try:
        found: TaskFunction = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise EngineError(
            f"the task function {function!r} cannot be imported: {first_line(error)}",
            hint="name it as 'package.module:function'",
        ) from error
    return found


def outcome_of(function: str, folder: Path, task: Mapping[str, Any], report: Report) -> Outcome:
    """Call `function(folder, task, report)` and catch what it raises."""
    try:
        return Outcome(resolve(function)(folder, task, report))
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller names the task
        return Outcome(None, first_line(error), traceback.format_exc())


def failed(task: str, error: str, trace: str = "") -> EngineError:
    """The error that ends the run when a task's function itself has failed."""
    failure = EngineError(f"task {task!r} failed: {error}", hint=_HINT)
    if trace:
        failure.add_note(trace)
    return failure


def name_of(task: Mapping[str, Any], number: int) -> str:
    """The name of a task, or its number where it has none."""
    return str(task.get("name", f"number {number + 1}"))
