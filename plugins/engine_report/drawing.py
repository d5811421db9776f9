"""Pictures drawn by a process of its own while the rest of a report is made.

The library that draws holds Python's lock meanwhile, so a thread would not do; and it uses more than one
processor by itself, so a second process would gain little.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

import altair as alt

from engine.errors import EngineError
from engine_report.drawer import svg_of

VEGA_LITE = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])


class Drawing:
    """A picture that may not be finished; its text is the SVG, which is waited for."""

    def __init__(self, svg: Callable[[], str]) -> None:
        self._svg = svg

    def __str__(self) -> str:
        return self._svg()


def drawing(spec: dict[str, Any]) -> Drawing:
    """A picture of a description in Vega-Lite, begun at once within a block of `drawn_beside`."""
    studio = _STUDIO.get()
    text = json.dumps(spec)
    if studio is None:
        svg = svg_of(text, VEGA_LITE)
        return Drawing(lambda: svg)
    return Drawing(studio.begin(text).result)


@contextmanager
def drawn_beside() -> Iterator[None]:
    """Pictures begun in this block are drawn beside it; they must be asked for before it ends.

    Where no process can be started, each is drawn when it is begun.
    """
    studio = _Studio.opened()
    token = _STUDIO.set(studio)
    try:
        yield
    finally:
        _STUDIO.reset(token)
        if studio is not None:
            studio.close()


class _Studio:
    """A process that draws, and a thread here that hands it one picture after the other."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._thread = ThreadPoolExecutor(1, "drawing")

    @classmethod
    def opened(cls) -> _Studio | None:
        """With a new process; None if none can be started."""
        if not sys.executable:
            return None
        command = [sys.executable, "-P", "-m", "engine_report.drawer", VEGA_LITE]
        pipe = subprocess.PIPE
        try:
            # Out of reach of the terminal's Ctrl-C, which only the engine shall act on.
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True)
        except OSError:
            return None
        return cls(process)

    def begin(self, text: str) -> Future[str]:
        """Have one more picture drawn."""
        return self._thread.submit(_asked, self._process, text)

    def close(self) -> None:
        """End the process; what nobody waited for is not drawn."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._process.kill()
        self._thread.shutdown()
        self._process.communicate()


def _asked(process: subprocess.Popen[bytes], text: str) -> str:
    """The SVG from a process; EngineError if it has none to give."""
    assert process.stdin is not None and process.stdout is not None
    with suppress(BrokenPipeError):  # it gives no answer then, nor half of one
        process.stdin.write(text.encode() + b"\n")
        process.stdin.flush()
    answer = process.stdout.readline()
    if not answer.endswith(b"\n"):
        raise EngineError(
            f"a process that draws the report's pictures ended (exit code {process.wait()})",
            hint="if the memory was used up, make the report again from its run: engine report RUN",
        )
    said: dict[str, str] = json.loads(answer)
    if "error" in said:
        raise EngineError(f"a picture of the report cannot be drawn: {said['error']}")
    return said["svg"]


_STUDIO: ContextVar[_Studio | None] = ContextVar("studio", default=None)
