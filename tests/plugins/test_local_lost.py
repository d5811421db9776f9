"""What a task does to its process harms that task alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from engine.errors import EngineError

from .test_local import DEADLINE, ROOT, SCRIPT, TASKS, gone, named, posix, process, run, tasks


def limited(seconds: float, *names: str) -> list[dict]:
    return [{"name": name, "limit_seconds": seconds} for name in names]


@posix
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_worker_costs_its_own_task_alone(tmp_path, workers) -> None:
    plain = named("quick", "doomed", *(f"later/{i}" for i in range(6)))
    found = {r["name"]: r for r in run(process(workers), "kill", plain, tmp_path)}
    assert found.keys() == {task["name"] for task in plain}
    doomed = found.pop("doomed")
    assert "signal 9" in doomed["lost"]
    assert "fewer workers" in doomed["hint"]
    assert not [r for r in found.values() if "lost" in r]


@posix
def test_a_task_that_never_falls_silent_is_ended_at_its_limit_and_starves_nobody() -> None:
    plain = [*limited(1.5, "endless"), *named("one", "two")]
    started = time.monotonic()
    found = {r["name"]: r for r in run(process(2), "chatter", plain)}
    assert found["endless"]["lost"].startswith("stopped after 1.5 s; raise run.task_seconds")
    assert found["endless"]["seconds"] >= 1.5
    assert found["one"] == {"name": "one"}
    assert time.monotonic() - started < DEADLINE


@posix
def test_a_death_is_seen_though_a_forked_process_holds_its_files() -> None:
    started = time.monotonic()
    (found,) = run(process(1), "orphan", named("one"))
    assert "exit code 5" in found["lost"]
    assert time.monotonic() - started < DEADLINE


def test_a_task_within_its_limit_is_left_alone() -> None:
    results = run(process(1), "square", [{**task, "limit_seconds": 60.0} for task in tasks(3)])
    assert sorted(r["square"] for r in results) == [0, 1, 4]


def test_a_result_that_cannot_be_sent_names_its_task() -> None:
    with pytest.raises(EngineError, match="task 'one' failed: its result cannot be sent"):
        run(process(1), "unsendable", named("one"))


def test_a_script_that_cannot_be_imported_again_is_told_so(tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace('if __name__ == "__main__":', "if True:"))
    done = subprocess.run(
        [sys.executable, str(script), f"{TASKS}:square"],
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1
    assert "a worker process could not start (exit code 1)" in done.stderr
    # What the worker itself says, too: where the script catches its errors it is all there is.
    assert "a worker runs the script that started it once more" in done.stderr


@posix
def test_workers_end_when_their_parent_is_killed(tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    child = subprocess.Popen(
        [sys.executable, str(script), f"{TASKS}:sleep"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert child.stdout is not None
    pids = [int(child.stdout.readline()) for _ in range(2)]
    child.kill()
    child.communicate(timeout=DEADLINE)
    deadline = time.monotonic() + DEADLINE
    while not all(over(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert all(over(pid) for pid in pids)


def over(pid: int) -> bool:
    """Gone, or dead and not yet waited for by whoever inherited it."""
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return gone(pid)
