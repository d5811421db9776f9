"""Progress in every kind of terminal: live, narrow, without colors or Unicode, resized, piped."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from engine.cli.live import LiveView, clock
from engine.cli.main import invoke
from engine.cli.tally import Tally

SPEC = """version: 1
name: tiny
data:
  source: {use: simulate, series: 3, periods: 60, future_periods: 7, launches: 0}
  columns: {unique_id: [store, item], ds: ds, y: units}
  freq: 1d
horizon: 7
features: [{use: lags, lags: [0]}]
models:
  snaive: {use: seasonal_naive, season: 7}
  ridge: {use: ridge}
backtest: {folds: 3}
evaluate: {metrics: [mae]}
"""
COMMAND = [sys.executable, "-m", "engine.cli.main", "run", "tiny.yaml"]
COLOR = re.compile(r"\x1b\[[0-9;]*m")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(SPEC)
    return tmp_path


def resize(terminal: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


def on_a_terminal(
    home: Path, columns: int = 80, then: int | None = None, **variables: str
) -> tuple[int, str]:
    """Exit code and everything that a run shows on a terminal of so many columns.

    then: columns that the terminal is resized to as soon as anything is shown.
    """
    master, slave = pty.openpty()
    resize(slave, columns)
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    environment = {**kept, "TERM": "xterm-256color", "PYTHONUTF8": "0", **variables}
    process = subprocess.Popen(
        COMMAND, cwd=home, env=environment, stdin=slave, stdout=slave, stderr=slave,
        start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    seen = b""
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    while True:
        try:
            part = os.read(master, 4096)
        except OSError as error:
            assert error.errno == errno.EIO
            break
        if not part:
            break
        seen += part
        if then is not None:
            resize(master, then)
            then = None
    watchdog.cancel()
    os.close(master)
    return process.wait(), seen.decode("utf-8")


def shown_lines(text: str) -> list[str]:
    """What stands on the lines, without what moves the cursor."""
    return [CONTROL.sub("", part) for part in re.split(r"[\r\n]+|\x1b\[2K", text)]


def test_a_terminal_shows_stages_a_bar_and_gives_the_cursor_back(home):
    code, text = on_a_terminal(home, LANG="C.UTF-8")
    assert code == 0, text
    assert "backtest  3 folds, 2 models" in text
    assert "\u2588" in text or "\u2591" in text
    assert COLOR.search(text)
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is hidden no more"
    (events,) = home.glob("runs/tiny/*/events.jsonl")
    assert '"event": "task_end"' in events.read_text(), "the log is kept all the same"


def test_a_terminal_without_unicode_gets_letters(home):
    code, text = on_a_terminal(home, PYTHONIOENCODING="ascii", LANG="C", LC_ALL="C")
    assert code == 0, text
    assert text.isascii()
    assert re.search(r"tasks  [#.]{10,} \d+/\d+", CONTROL.sub("", text))


def test_no_color_has_no_colors(home):
    code, text = on_a_terminal(home, NO_COLOR="1")
    assert code == 0
    colors = {m.group() for m in COLOR.finditer(text)}
    assert colors <= {"\x1b[0m", "\x1b[1m", "\x1b[2m"}, "bold and dim are no colors"
    assert "tasks" in text


def test_forty_columns_are_enough_and_nothing_is_wrapped(home):
    code, text = on_a_terminal(home, columns=40)
    assert code == 0
    moving = [line for line in shown_lines(text) if re.search(r"tasks.* \d+/\d+ ", line)]
    assert moving
    assert max(map(len, moving)) <= 40


def test_a_resize_does_no_harm(home):
    code, text = on_a_terminal(home, columns=120, then=38)
    assert code == 0
    assert "best:" in text
    last = [line for line in shown_lines(text) if re.search(r"tasks.* \d+/\d+ ", line)][-1]
    assert len(last) <= 38


def test_a_dumb_terminal_gets_plain_lines(home):
    code, text = on_a_terminal(home, TERM="dumb")
    assert code == 0
    assert "s backtest: 3 folds, 2 models" in text
    assert "\x1b[?25l" not in text


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_pipe_gets_plain_lines_without_any_control(home, encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LC_ALL": "C"}
    command = [*COMMAND, "--set", "name=tiny"]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, check=True)
    for text in (done.stdout, done.stderr):
        assert b"\x1b" not in text
        assert b"\r" not in text
        assert text.isascii()
    assert b"best:" in done.stdout
    assert re.search(rb"\[\d+/\d+\]", done.stderr)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def ended(model: str, seconds: float, **more: Any) -> Mapping[str, Any]:
    return {"model": model, "name": f"{model}/1", "seconds": seconds, "status": "ok", **more}


def test_time_left_is_the_work_that_waits_at_the_speed_so_far():
    now = Clock()
    tally = Tally(now)
    tally.take("tasks", {"count": 7, "by_model": {"slow": 3, "quick": 4}})
    assert tally.seconds_left() is None
    tally.take("task_end", ended("slow", 20.0))
    now.now = 11.0
    assert tally.seconds_left() is None, "of the quick model nothing is known yet"
    tally.take("task_end", ended("quick", 2.0, fits=30))
    # 22 s of work in 11 s: two at a time. 2 x 20 s and 3 x 2 s of work are left.
    assert tally.seconds_left() == pytest.approx(46 / 2)
    assert tally.rate() == pytest.approx(31 / 11)


def test_what_a_fit_has_done_of_its_epochs_is_taken_off():
    now = Clock()
    tally = Tally(now)
    tally.take("tasks", {"count": 2, "by_model": {"lstm": 2}})
    now.now = 10.0
    tally.take("task_end", ended("lstm", 10.0))
    assert tally.seconds_left() == pytest.approx(10.0)
    tally.take("epoch", {"epoch": 3, "of": 4, "loss": 0.25})
    assert tally.seconds_left() == pytest.approx(2.5)
    assert tally.inner_lines() == ["epoch 3/4 loss 0.25"]
    tally.take("task_end", ended("lstm", 10.0))
    assert tally.inner_lines() == []


def test_the_view_shows_epochs_losses_and_failures():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, highlight=False, color_system=None)
    with LiveView(console) as view:
        view.on_event("stage", {"stage": "backtest", "detail": "1 fold"})
        view.on_event("tasks", {"count": 1, "by_model": {"lstm": 1}})
        view.on_event("epoch", {"epoch": 2, "of": 8, "loss": 0.125, "validation_loss": 0.5})
        view.on_event("memory", {"needed": 3 * 2**30, "available": 2**30})
        view.on_event("task_end", {**ended("lstm", 1.0), "status": "failed", "failures": 2})
    text = CONTROL.sub("", out.getvalue())
    assert "epoch 2/8 loss 0.125 validation_loss 0.5" in text
    assert "lstm/1: 2 failures" in text
    assert "needs about 3.0 GiB of memory" in text


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (59.9, "0:59"), (750, "12:30"), (7380, "2:03:00")]
)
def test_clocks(seconds, shown):
    assert clock(seconds) == shown


def test_quiet_stays_quiet(home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    assert invoke(["run", "tiny.yaml", "--quiet"]) == 0
    assert capsys.readouterr().err == ""
