"""The live view of a run on a terminal: stages, fits, a model's own epochs, time left."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.text import Text

from engine.cli.tally import Tally, failed_of
from engine.footprint import memory_warning

REFRESHES = 4
"""Times a second that the view is drawn."""

BLOCKS, LETTERS = ("\u2588", "\u2591"), ("#", ".")
"""What is done and what is left of a bar, where the terminal can show them and where not."""

NARROWEST_BAR = 10
"""Columns; where less is left beside the numbers, there is no bar."""


class LiveView:
    """A line a finished stage stays; below them the present one moves.

    It is drawn anew from the console's width at every refresh, so that a resize does no harm.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._tally = Tally()
        self._live = Live(
            _View(self._tally),
            console=self._console,
            refresh_per_second=REFRESHES,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def on_event(self, event: str, data: Mapping[str, Any]) -> None:
        """Take one event; what must not be lost is printed above the view."""
        self._tally.take(event, data)
        if event == "tasks":
            self._live.refresh()
        if event == "stage":
            self._print(f"{data['stage']:>9}  {data['detail']}", "dim")
        elif event == "task_end" and data["status"] != "ok":
            self._print(f"{'':>9}  {data['name']}: {failed_of(data)}", "yellow")
        elif event == "observer_failed":
            self._print(f"{'':>9}  {data['reason']}", "yellow")
        elif event == "memory":
            warning = memory_warning(data["needed"], data["available"])
            if warning:
                self._print(f"{'':>9}  warning: {warning}", "yellow")

    def _print(self, text: str, style: str) -> None:
        self._console.print(Text(printable(text, self._console.encoding), style=style))


@dataclass
class _View:
    """What moves: the bar of tasks, the model's own progress, the spinner of a stage without tasks."""

    tally: Tally
    began: float = field(default_factory=time.monotonic)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = [self._tasks(console, options.max_width)] if self.tally.of else []
        if not lines and self.tally.stage:
            dots = "." * (1 + int(time.monotonic() - self.began) % 3)
            lines.append(Text(f"{'':>9}  {self.tally.stage} {clock(self.tally.elapsed())}{dots}"))
        lines += [Text(f"{'':>9}  {text}", style="cyan") for text in self.tally.inner_lines()]
        for line in lines:
            line.plain = printable(line.plain, console.encoding)
            line.truncate(options.max_width)
        yield Group(*lines)

    def _tasks(self, console: Console, width: int) -> Text:
        tally = self.tally
        left = tally.seconds_left()
        ahead = "" if left is None else f" {clock(left)} left"
        rate = tally.rate()
        speed = ""
        if rate is not None:
            speed = f" {rate:.3g} fits/s" if rate >= 0.1 else f" {1 / rate:.0f} s/fit"
        numbers = f" {tally.done}/{tally.of} {clock(tally.elapsed())}{ahead}{speed}"
        room = min(width - len(numbers) - 11, 30)
        if room < NARROWEST_BAR:
            return Text(f"tasks{numbers}")
        full, empty = BLOCKS if printable(BLOCKS[0], console.encoding) == BLOCKS[0] else LETTERS
        filled = round(room * tally.done / max(tally.of, 1))
        return Text.assemble(
            f"{'tasks':>9}  ", (full * filled, "green"), (empty * (room - filled), "dim"), numbers
        )


def printable(text: str, encoding: str) -> str:
    """The text with a question mark for what the terminal's encoding does not have."""
    try:
        return text.encode(encoding or "ascii", "replace").decode(encoding or "ascii")
    except LookupError:
        return text.encode("ascii", "replace").decode("ascii")


def clock(seconds: float) -> str:
    """Seconds as `0:07`, `12:30` or `2:03:00`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
