from __future__ import annotations

import subprocess
import sys

import pytest

LEFT_AT_ONCE = "from engine.leave import leave; leave(3); print('as any process'); "
REGISTERED = "import atexit; atexit.register(print, 'registered'); "
THREAD = "import threading, time; threading.Thread(target=time.sleep, args=(0.5,)).start(); "
DAEMON = THREAD.replace("args", "daemon=True, args")


def ended(code: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize("before", ["", DAEMON])
def test_a_process_leaves_with_its_code_after_what_is_registered(before):
    said = "print('said'); "
    assert ended(before + REGISTERED + said + LEFT_AT_ONCE) == (3, ["said", "registered"])


@pytest.mark.parametrize("before", [THREAD, "import sys; sys.setprofile(lambda *_: None); "])
def test_a_process_that_is_waited_for_or_watched_is_left_as_ever(before):
    assert ended(before + REGISTERED + LEFT_AT_ONCE) == (0, ["as any process", "registered"])


def test_a_profile_of_the_command_is_shown():
    _, lines = ended("import cProfile; cProfile.run('from engine.cli.main import main; main()')")
    assert any("function calls" in line for line in lines)
