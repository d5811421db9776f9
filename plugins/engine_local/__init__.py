"""Executors of this machine: one process, or several."""

from collections.abc import Iterator

from engine import hookimpl
from engine.components import Executor
from engine_local.params import ProcessParams


@hookimpl
def engine_executors() -> Iterator[Executor]:
    """Offer the executors `serial` and `process`."""
    yield Executor(
        "serial",
        "engine_local.serial:SerialExecutor",
        summary="one task after the other, in the engine's own process",
    )
    yield Executor(
        "process",
        "engine_local.process:ProcessExecutor",
        params=ProcessParams,
        summary="tasks in parallel, in several processes on this machine",
        example={"workers": 2},
        isolated=True,
    )
