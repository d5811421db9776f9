"""Checks of executors: every task once, results that depend on the task alone, errors that name it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

from engine.components import Component, Executor, Params
from engine.contracts import Report
from engine.errors import EngineError
from engine.executors import PreparedExecutor
from engine.registry import build
from engine.testing.base import Conformance, skip

_HERE = "engine.testing.executors"


def square(folder: Path, task: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """A task: the square of `value`, an event, and the folder it was told."""
    report("squared", {"task": task["name"], "value": task["value"]})
    return {"name": task["name"], "square": task["value"] ** 2, "folder": str(folder)}


def product(folder: Path, task: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """A task: the exact bits of a sum over a matrix product, whose order threads could change."""
    import numpy as np

    x = np.random.default_rng(task["value"]).normal(size=(200, 200))
    return {"name": task["name"], "sum": float((x @ x.T @ x).sum()).hex(), "pid": os.getpid()}


def fail(folder: Path, task: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """A task that raises if it is named `bad`."""
    if task["name"] == "bad":
        raise ValueError("the task is bad")
    return {"name": task["name"]}


def leave(folder: Path, task: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """A task that hands its result over in a file of the folder."""
    path = folder / f"{task['name']}.txt"
    path.write_text(str(task["value"]))
    return {"name": task["name"], "path": str(path)}


def hang(folder: Path, task: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """A task that, if it is named `bad`, starts a process of `value` seconds and waits for it."""
    if task["name"] == "bad":
        wait = f"import time; time.sleep({task['value']})"
        child = subprocess.Popen([sys.executable, "-c", wait])
        report("started", {"pid": child.pid})
        child.wait()
    return {"name": task["name"]}


def vanish(folder: Path, task: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """A task that ends its process if it is named `bad`, unless that is the one of the checks."""
    if task["name"] == "bad" and task["value"] != os.getpid():
        os._exit(3)
    return {"name": task["name"], "pid": os.getpid()}


def some(count: int) -> list[dict[str, Any]]:
    """So many tasks."""
    return [{"name": f"task {i}", "value": i} for i in range(count)]


class ExecutorConformance(Conformance):
    """All checks of an executor: name the `component` and give it small `params`.

    other: options with another number of workers, whose results must be the same.
    """

    kind: ClassVar[str] = "executor"
    methods: ClassVar[tuple[str, ...]] = ("map",)
    other: ClassVar[Mapping[str, Any] | None] = None

    def run(
        self,
        function: str,
        tasks: Sequence[Mapping[str, Any]],
        params: Params | None = None,
        executor: Any = None,
    ) -> tuple[dict[str, Mapping[str, Any]], list[tuple[str, Any]]]:
        """Results by the task's name, and the events in order."""
        record: Component = self.the_record()
        executor = executor or build(record, params or self.the_params())
        events: list[tuple[str, Any]] = []
        with tempfile.TemporaryDirectory() as folder:
            found = executor.map(
                f"{_HERE}:{function}", Path(folder), tasks, lambda n, f: events.append((n, dict(f)))
            )
            results = list(found)
        names = [result["name"] for result in results]
        assert sorted(names) == sorted(t["name"] for t in tasks), f"results of {names}"
        return {result["name"]: result for result in results}, events

    def test_every_task_runs_once(self) -> None:
        """There is one result a task, of that task."""
        results, _ = self.run("square", some(7))
        squares = [results[f"task {i}"]["square"] for i in range(7)]
        assert squares == [i * i for i in range(7)], f"{squares}"

    def test_no_task_at_all(self) -> None:
        """Without tasks there are no results, and no error."""
        self.run("square", [])

    def test_a_single_task(self) -> None:
        """One task is enough."""
        self.run("square", some(1))

    def test_more_tasks_than_workers(self) -> None:
        """Forty tasks come back complete."""
        self.run("square", some(40))

    def test_results_are_plain_data(self) -> None:
        """Results arrive as what JSON can hold."""
        results, _ = self.run("square", some(2))
        json.dumps([dict(result) for result in results.values()])

    def test_events_arrive(self) -> None:
        """What tasks report reaches the run before `map` ends."""
        _, events = self.run("square", some(5))
        values = sorted(fields["value"] for name, fields in events if name == "squared")
        assert values == list(range(5)), f"events of {values}"

    def test_all_tasks_share_the_folder(self) -> None:
        """Tasks are told one folder, and files in it are there for the run."""
        folders = {r["folder"] for r in self.run("square", some(4))[0].values()}
        assert len(folders) == 1, f"folders: {folders}"
        self.run("leave", some(3))

    def test_tasks_are_not_changed(self) -> None:
        """Tasks are left as they were given."""
        tasks = some(3)
        self.run("square", tasks)
        assert tasks == some(3), f"changed: {tasks}"

    def test_running_again_gives_the_same_bits(self) -> None:
        """Numeric results do not change from run to run."""
        assert self._sums() == self._sums(), "a second run gives other results"

    def test_another_number_of_workers_gives_the_same_bits(self) -> None:
        """Numeric results do not depend on how many workers there are."""
        if self.other is None:
            skip("the class gives no options with another number of workers (`other`)")
        other = self.the_record().params.model_validate(dict(self.other))
        assert self._sums() == self._sums(other), "another number of workers, other results"

    def test_an_error_names_its_task(self) -> None:
        """A task that raises ends the run with an EngineError that names it."""
        tasks = [*some(2), {"name": "bad", "value": 0}]
        try:
            self.run("fail", tasks)
        except EngineError as error:
            assert "bad" in str(error) and "the task is bad" in str(error), f"{error}"
            return
        raise AssertionError("the error of a task was swallowed")

    def test_a_function_that_does_not_exist_is_a_clear_error(self) -> None:
        """A function that cannot be imported is an EngineError that names it."""
        try:
            self.run("no_such_function", some(1))
        except EngineError as error:
            assert "no_such_function" in str(error), f"{error}"
            return
        raise AssertionError("a function that does not exist was run")

    def test_a_task_beyond_its_limit_is_lost_alone(self) -> None:
        """An isolated executor ends a task at its limit, with what it started; others finish."""
        self._needs_isolation()
        bad = {"name": "bad", "value": 60, "limit_seconds": 1.0}
        results, events = self.run("hang", [bad, *some(3)])
        self._lost_alone(results, "1 s")
        (pid,) = [fields["pid"] for name, fields in events if name == "started"]
        assert _gone(pid), f"process {pid}, which the task had started, is still there"

    def test_a_task_whose_process_dies_is_lost_alone(self) -> None:
        """An isolated executor gives back a task that killed its process; others finish."""
        self._needs_isolation()
        bad = {"name": "bad", "value": os.getpid()}
        results, _ = self.run("vanish", [*some(2), bad, *some(6)[2:]])
        self._lost_alone(results, "died")

    def test_a_fresh_task_runs_in_a_process_of_its_own(self) -> None:
        """An isolated executor runs nothing in the process of a `fresh` task before it."""
        self._needs_isolation()
        tasks = [{**task, "fresh": True} for task in some(4)]
        pids = [result["pid"] for result in self.run("vanish", tasks)[0].values()]
        assert len(set(pids)) == len(pids), f"processes used twice: {pids}"

    def test_tasks_of_a_later_call_find_nothing_of_an_earlier_one(self) -> None:
        """Within its `with` block, if it has one, calls give what they give alone."""
        executor = build(self.the_record(), self.the_params())
        if not isinstance(executor, AbstractContextManager):
            skip("the executor is no context manager: it keeps nothing between calls")
        alone = self._sums()
        with executor:
            for _ in range(2):
                assert self._sums(executor=executor) == alone, "a later call, other results"
            one = some(1)
            assert set(self.run("square", one, executor=executor)[0]) == {one[0]["name"]}

    def test_what_it_is_told_ahead_changes_no_result(self) -> None:
        """With `prepare`, if it has one, tasks give what they give without; modules may be missing."""
        executor = build(self.the_record(), self.the_params())
        if not isinstance(executor, PreparedExecutor):
            skip("the executor has no `prepare`: it is not told of tasks ahead")
        modules = ["json", "module_that_is_not_there"]
        alone = self._sums()
        with executor if isinstance(executor, AbstractContextManager) else nullcontext():
            executor.prepare(f"{_HERE}:product", len(alone), modules)
            assert self._sums(executor=executor) == alone, "told ahead, other results"

    def _needs_isolation(self) -> None:
        record: Component = self.the_record()
        if not (isinstance(record, Executor) and record.isolated):
            skip("the record does not say `isolated=True`")

    def _lost_alone(self, results: Mapping[str, Mapping[str, Any]], why: str) -> None:
        lost = {name: result["lost"] for name, result in results.items() if "lost" in result}
        assert set(lost) == {"bad"}, f"lost: {lost}"
        assert why in lost["bad"] and results["bad"]["seconds"] >= 0, f"{results['bad']}"

    def _sums(self, params: Params | None = None, executor: Any = None) -> dict[str, Any]:
        results, _ = self.run("product", some(6), params, executor)
        return {name: result["sum"] for name, result in results.items()}


def _gone(pid: int) -> bool:
    """Whether a process ends within a few seconds, or has ended and only waits to be forgotten."""
    if not hasattr(os, "killpg"):
        return True
    for _ in range(50):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        state = Path(f"/proc/{pid}/stat")
        if state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.1)
    return False
