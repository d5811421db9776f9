from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from pydantic import ValidationError

from engine.components import NoParams
from engine.errors import EngineError
from engine.registry import Registry, build
from engine_local.params import ProcessParams
from engine_local.process import ProcessExecutor
from engine_local.serial import SerialExecutor

from . import local_tasks

ROOT = Path(__file__).parents[2]
TASKS = local_tasks.__name__
DEADLINE = 30.0  # seconds; a process that is waited for would take a minute

posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX systems")


def serial() -> SerialExecutor:
    return SerialExecutor(NoParams())


def process(workers: int = 2, **options) -> ProcessExecutor:
    return ProcessExecutor(ProcessParams(workers=workers, **options))


def silent(event, fields) -> None:
    pass


def tasks(count: int) -> list[dict]:
    return [{"name": f"task/{i}", "value": i} for i in range(count)]


def named(*names: str) -> list[dict]:
    return [{"name": name} for name in names]


def run(executor, function: str, plain, folder=Path("."), report=silent) -> list[dict]:
    return [dict(r) for r in executor.map(f"{TASKS}:{function}", folder, plain, report)]


def gone(pid: int) -> bool:
    """No process of this number is left, not even a dead one that nobody has waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


# ------------------------------------------------------------------------------ results


@pytest.mark.parametrize("executor", [serial(), process()], ids=["serial", "process"])
def test_every_task_gives_its_result(executor, tmp_path) -> None:
    results = run(executor, "square", tasks(7), tmp_path)
    assert {r["name"]: r["square"] for r in results} == {f"task/{i}": i * i for i in range(7)}
    assert len(results) == 7
    assert {r["in"] for r in results} == {str(tmp_path)}


@pytest.mark.parametrize("executor", [serial(), process()], ids=["serial", "process"])
def test_no_tasks_give_no_results(executor) -> None:
    assert run(executor, "square", []) == []


def test_serial_stays_in_this_process_and_in_order() -> None:
    results = run(serial(), "square", tasks(4))
    assert [r["square"] for r in results] == [0, 1, 4, 9]
    assert {r["pid"] for r in results} == {os.getpid()}


def test_serial_runs_a_task_only_when_its_result_is_wanted() -> None:
    found = serial().map(f"{TASKS}:fail", Path("."), named("fine", "bad"), silent)
    assert next(iter(found))["name"] == "fine"


def test_process_works_elsewhere_with_at_most_the_asked_processes() -> None:
    pids = {r["pid"] for r in run(process(workers=2), "square", tasks(9))}
    assert os.getpid() not in pids
    assert 1 <= len(pids) <= 2


def pids(results: list[dict]) -> set[int]:
    return {result["pid"] for result in results}


def test_within_a_block_one_process_waits_for_the_next_tasks() -> None:
    with process(workers=2) as executor:
        first = pids(run(executor, "square", tasks(9)))
        assert sum(not gone(pid) for pid in first) == 1
        (alone,) = pids(run(executor, "square", tasks(1)))
        assert alone in first
        again = run(executor, "square", tasks(9))
        assert alone in pids(again)
        assert {r["name"]: r["square"] for r in again} == {f"task/{i}": i * i for i in range(9)}
    assert all(gone(pid) for pid in first | pids(again))


def test_processes_told_ahead_do_the_tasks_with_their_modules_imported(
    tmp_path, monkeypatch
) -> None:
    trace = f"import os, pathlib\npathlib.Path({str(tmp_path)!r}, str(os.getpid())).touch()\n"
    (tmp_path / "told_ahead.py").write_text(trace)
    monkeypatch.syspath_prepend(tmp_path)  # processes begin with the path of this one
    with process(workers=2) as executor:
        executor.prepare(f"{TASKS}:loaded", 5, ["no_such_module", "told_ahead"])
        begun = {child.process.pid for child in executor._crew._children}
        until = time.monotonic() + DEADLINE
        while not all((tmp_path / str(pid)).exists() for pid in begun):
            assert time.monotonic() < until
            time.sleep(0.05)
        looks = [{"name": str(i), "module": "told_ahead"} for i in range(5)]
        results = run(executor, "loaded", looks)
    assert len(begun) == 2
    assert pids(results) <= begun
    assert all(result["loaded"] for result in results)
    assert all(gone(pid) for pid in begun)


def test_processes_told_ahead_leave_with_their_block_though_no_task_came() -> None:
    with process(workers=2) as executor:
        executor.prepare(f"{TASKS}:square", 1, [])
        (alone,) = [child.process.pid for child in executor._crew._children]
    assert gone(alone)


def test_processes_told_of_another_function_do_not_do_the_tasks() -> None:
    with process(workers=2) as executor:
        executor.prepare(f"{TASKS}:square", 5, [])
        begun = {child.process.pid for child in executor._crew._children}
        assert len(run(executor, "numbers", tasks(2))) == 2
        assert all(gone(pid) for pid in begun)


def test_a_process_does_what_is_registered_for_its_end(tmp_path) -> None:
    run(process(workers=1), "registered", named("a"), tmp_path)
    assert (tmp_path / "a").read_text() == "ended"


def test_outside_of_a_block_no_process_is_left() -> None:
    executor = process(workers=2)
    assert all(gone(pid) for pid in pids(run(executor, "square", tasks(9))))
    with executor:
        first = pids(run(executor, "square", tasks(2)))
    assert not first & pids(run(executor, "square", tasks(2)))


def test_a_block_that_ends_with_an_error_leaves_no_process() -> None:
    with pytest.raises(KeyboardInterrupt), process(workers=2) as executor:
        first = pids(run(executor, "square", tasks(4)))
        raise KeyboardInterrupt
    assert all(gone(pid) for pid in first)


def test_another_function_and_a_fresh_task_get_processes_of_their_own() -> None:
    with process(workers=2) as executor:
        first = pids(run(executor, "square", tasks(4)))
        fresh = [{**task, "fresh": True} for task in tasks(2)]
        second = pids(run(executor, "square", fresh))
        assert len(second) == 2 and not first & second
        assert len(run(executor, "numbers", tasks(2))) == 2


@posix
def test_a_process_that_died_while_it_waited_costs_no_task() -> None:
    with process(workers=1) as executor:
        (first,) = pids(run(executor, "square", tasks(2)))
        os.kill(first, signal.SIGKILL)
        os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
        again = run(executor, "square", tasks(3))
        assert [r["square"] for r in again] == [0, 1, 4]


def test_a_failed_task_ends_the_processes_and_the_next_ones_are_new() -> None:
    with process(workers=1) as executor:
        with pytest.raises(EngineError, match="bad"):
            run(executor, "fail", named("fine", "bad"))
        assert len(run(executor, "fail", named("fine"))) == 1


def test_there_are_never_more_workers_than_tasks() -> None:
    assert process(workers=8).workers(3) == 3
    assert process(workers=2).workers(3) == 2


def test_auto_is_one_worker_a_processor() -> None:
    executor = ProcessExecutor(ProcessParams())
    assert 1 <= executor.workers(10_000) <= (os.cpu_count() or 1)
    assert executor.workers(1) == 1


def test_the_number_of_workers_does_not_change_a_bit() -> None:
    def sums(workers: int) -> dict[str, str]:
        return {r["name"]: r["sum"] for r in run(process(workers), "numbers", tasks(4))}

    assert sums(1) == sums(3)


@pytest.mark.parametrize("workers", [1, 2])
def test_threads_of_a_worker_do_not_depend_on_the_number_of_workers(workers, monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    for result in run(process(workers), "environment", tasks(3)):
        assert result["threads"] == ["1"] * 5
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "NUMBA_NUM_THREADS" not in os.environ


def test_threads_can_be_asked_for() -> None:
    (result,) = run(process(threads=3), "environment", tasks(1))
    assert result["threads"] == ["3"] * 5


@posix
def test_a_worker_that_is_not_needed_after_all_leaves_without_a_word(capfd) -> None:
    results = run(process(workers=2), "square", tasks(2))
    assert len(results) == 2
    assert capfd.readouterr().err == ""


# ------------------------------------------------------------------------------- events


@pytest.mark.parametrize("executor", [serial(), process()], ids=["serial", "process"])
def test_all_events_of_a_task_come_in_order_and_before_its_result(executor) -> None:
    heard: dict[str, list[int]] = {}

    def report(event, fields) -> None:
        assert event == "epoch"
        heard.setdefault(fields["task"], []).append(fields["epoch"])

    plain = [{"name": f"task/{i}", "count": 20, "size": 10} for i in range(4)]
    for result in executor.map(f"{TASKS}:talk", Path("."), plain, report):
        assert heard[result["name"]] == list(range(20))


def test_events_larger_than_a_pipe_do_not_block() -> None:
    sizes = []
    plain = [{"name": f"task/{i}", "count": 5, "size": 300_000} for i in range(2)]
    run(process(), "talk", plain, report=lambda event, fields: sizes.append(len(fields["text"])))
    assert sizes == [300_000] * 10


# ------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("executor", [serial(), process()], ids=["serial", "process"])
def test_an_exception_of_the_function_names_task_and_cause(executor) -> None:
    with pytest.raises(
        EngineError, match="task 'bad' failed: TwoArgumentsError: broken part 7"
    ) as e:
        run(executor, "fail", named("one", "bad", "two"))
    assert "in fail" in "".join(e.value.__notes__)
    assert e.value.hint


@pytest.mark.parametrize("function", ["no_such_function", "fail.deeper"])
@pytest.mark.parametrize("executor", [serial(), process(1)], ids=["serial", "process"])
def test_a_function_that_is_not_there_is_named(executor, function) -> None:
    with pytest.raises(EngineError, match=f"{TASKS}:{function}"):
        run(executor, function, named("one"))


@posix
def test_no_process_is_left_after_the_last_result_or_an_error() -> None:
    finished = {r["pid"] for r in run(process(), "square", tasks(5))}
    failing = set()
    with pytest.raises(EngineError):
        for result in process(1).map(f"{TASKS}:fail", Path("."), named("one", "bad"), silent):
            failing.add(result["pid"])
    assert finished and failing
    assert all(gone(pid) for pid in finished | failing)


@posix
def test_closing_early_ends_the_processes_at_once() -> None:
    pids: list[int] = []
    plain = [{"name": str(i), "seconds": 60 * i} for i in range(4)]
    started = time.monotonic()
    found = process().map(
        f"{TASKS}:sleep", Path("."), plain, lambda event, fields: pids.append(fields["pid"])
    )
    assert next(found)["name"] == "0"
    found.close()
    assert time.monotonic() - started < DEADLINE
    assert pids and all(gone(pid) for pid in pids)


SCRIPT = """
import sys
from pathlib import Path
from engine_local.params import ProcessParams
from engine_local.process import ProcessExecutor

if __name__ == "__main__":
    tasks = [{"name": str(i), "seconds": 60} for i in range(6)]
    show = lambda event, fields: print(fields["pid"], flush=True)
    try:
        list(ProcessExecutor(ProcessParams(workers=2)).map(sys.argv[1], Path("."), tasks, show))
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.exit(130)
"""


@posix
def test_an_interrupt_ends_the_workers_and_is_raised_again(tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    child = subprocess.Popen(
        [sys.executable, str(script), f"{TASKS}:sleep"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    assert child.stdout is not None
    pids = [int(child.stdout.readline()) for _ in range(2)]
    try:
        os.killpg(child.pid, signal.SIGINT)  # as a terminal does: to parent and children
        out, err = child.communicate(timeout=DEADLINE)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    assert out == "interrupted\n"
    assert (child.returncode, err) == (130, "")
    assert all(gone(pid) for pid in pids)


def test_workers_leave_the_interrupt_to_their_parent() -> None:
    assert all(r["deaf"] for r in run(process(), "environment", tasks(2)))


@posix
def test_the_first_worker_too_begins_life_deaf_to_the_interrupt() -> None:
    code = (
        "import signal\n"
        "from multiprocessing import resource_tracker\n"
        "from engine_local.child import _interrupts_held_back\n"
        "with _interrupts_held_back():\n"
        "    resource_tracker.getfd()  # as the start of a process does\n"
        "    print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))\n"
        "print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


# ------------------------------------------------------------------------------ options


@pytest.mark.parametrize("workers", [0, -1, "many", 1.5])
def test_impossible_numbers_of_workers_are_rejected(workers) -> None:
    with pytest.raises(ValidationError, match="workers"):
        ProcessParams(workers=workers)


def test_both_executors_are_found_by_name() -> None:
    registry = Registry.discover()
    for name, made in (("serial", SerialExecutor), ("process", ProcessExecutor)):
        assert isinstance(build(registry.find("executor", name).component, {}), made)


def test_the_package_imports_nothing_heavy() -> None:
    code = (
        "import engine_local, sys; "
        "print({'polars', 'numpy', 'multiprocessing', 'concurrent.futures'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "set()"
