"""Runs tasks through the spec's executor and gathers their forecasts and failures."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from engine.backtest import Task
from engine.data.forecast import quantile_column
from engine.errors import EngineError, PluginError, blaming
from engine.executors import PreparedExecutor, TaskExecutor
from engine.observers import Observers
from engine.registry import Registry, build
from engine.spec.model import RunSpec
from engine.spec.validate import executor_use
from engine.tasks import FUNCTION, run_in, saved_at
from engine.workspace import Workspace

FAILURE_SCHEMA = {
    "kind": pl.String,
    "model": pl.String,
    "cutoff": pl.Int64,
    "unique_id": pl.String,
    "reason": pl.String,
    "fallback": pl.String,
}


class TaskError(EngineError):
    """A task failed and the spec says `on_error: stop`."""


@dataclass
class Execution:
    """Results of tasks as they come in: `results` as plain data, in order of completion."""

    tasks: list[Task] = field(default_factory=list)
    results: list[Mapping[str, Any]] = field(default_factory=list)

    def forecasts(self, work: Workspace) -> pl.DataFrame:
        """Forecast rows of all finished tasks, sorted by model, cutoff, series and step."""
        paths = [str(r["path"]) for r in self.results if r["path"]]
        if not paths:
            return empty_forecasts(work)
        return work.kept_forecasts(sorted(paths)).sort("model", "cutoff", "unique_id", "step")

    def failures(self) -> pl.DataFrame:
        """One row a failure; a null `unique_id` means every series of the task."""
        tasks = {task.name: task for task in self.tasks}
        rows = [
            ("failed", tasks[result["name"]].model, cutoff, unique_id, reason, None)
            for result in self.results
            for cutoff, unique_id, reason in result["failures"]
        ]
        return pl.DataFrame(rows, schema=FAILURE_SCHEMA, orient="row")

    def seconds(self) -> dict[str, float]:
        """Seconds of all tasks of each model, as measured by whoever ran them."""
        totals: dict[str, float] = {}
        models = {task.name: task.model for task in self.tasks}
        for result in self.results:
            model = models[result["name"]]
            totals[model] = totals.get(model, 0.0) + result["seconds"]
        return totals

    def memory(self) -> dict[str, float]:
        """Megabytes of the largest task of each model whose memory was measured."""
        peaks: dict[str, float] = {}
        models = {task.name: task.model for task in self.tasks}
        for result in self.results:
            if result.get("memory") is not None:
                model = models[result["name"]]
                peaks[model] = max(peaks.get(model, 0.0), result["memory"])
        return peaks

    def records(self) -> list[dict[str, Any]]:
        """Status, seconds and, where measured, megabytes per task, by name, for the manifest."""
        rows = []
        for result in sorted(self.results, key=lambda result: str(result["name"])):
            row = {key: result[key] for key in ("name", "status")}
            row["seconds"] = round(result["seconds"], 3)
            if result.get("memory") is not None:
                row["megabytes"] = round(result["memory"], 1)
            rows.append(row)
        return rows


def empty_forecasts(work: Workspace) -> pl.DataFrame:
    """A forecast table without rows."""
    quantiles = {quantile_column(q): pl.Float64 for q in work.spec.quantiles}
    return pl.DataFrame(
        schema={
            "unique_id": work.panel.frame.schema["unique_id"],
            "ds": work.panel.frame.schema["ds"],
            "cutoff": pl.Int64,
            "step": pl.Int32,
            "model": pl.String,
            "y_hat": pl.Float64,
            **quantiles,
        }
    )


class Workers:
    """The spec's executor at work for one run; what it keeps ends with the `with` block.

    An executor that can be told ahead (`prepare`) starts its processes at the begin of the block,
    while the data are read.
    """

    def __init__(self, spec: RunSpec, registry: Registry, observers: Observers) -> None:
        self._spec, self._registry, self._observers = spec, registry, observers
        self._executor = executor_of(spec, registry)
        self._kept = ExitStack()

    def __enter__(self) -> Workers:
        executor = self._executor
        with ExitStack() as kept:
            if isinstance(executor, AbstractContextManager):
                kept.enter_context(executor)
            if isinstance(executor, PreparedExecutor):
                # What a measured task holds must be its own alone.
                modules = [] if self._spec.measured else self._modules()
                with blaming(_named(self._spec)):
                    executor.prepare(FUNCTION, _fewest_tasks(self._spec), modules)
            self._kept = kept.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """End what the executor keeps, now that no task is left."""
        self._kept.close()

    def run(self, work: Workspace, tasks: Sequence[Task], into: Execution) -> Execution:
        """Run tasks; results gather in `into`, which holds what was finished if this is interrupted."""
        return execute(work, tasks, self._observers, self._executor, into)

    def _modules(self) -> list[str]:
        """Modules of the features and models of the spec, which tasks import."""
        uses = [("features", use.use) for use in self._spec.features]
        uses += [("model", use.use) for use in self._spec.models.values()]
        found = [self._registry.find(kind, name).component for kind, name in uses]
        return list(dict.fromkeys(component.factory.partition(":")[0] for component in found))


def _fewest_tasks(spec: RunSpec) -> int:
    """Tasks that the back-test of a spec has at least."""
    return len(spec.models) * (spec.backtest.folds if spec.backtest.refit else 1)


def execute(
    work: Workspace,
    tasks: Sequence[Task],
    observers: Observers,
    executor: TaskExecutor | None,
    into: Execution,
) -> Execution:
    """Run tasks; results gather in `into`, which holds what was finished if this is interrupted."""
    into.tasks += tasks
    by_name = {task.name: task for task in tasks}
    counts = Counter(task.model for task in tasks)
    observers.event(
        "tasks", {"count": len(tasks), "models": sorted(counts), "by_model": dict(counts)}
    )
    for task in tasks:
        observers.hook("engine_task_start", task=task.plain())
    for result in _results(work, tasks, observers, executor):
        task = by_name[result["name"]]
        if "lost" in result:
            result = _failed(work, task, result)
        into.results.append(result)
        summary = {k: result[k] for k in ("name", "status", "seconds")}
        summary["failures"] = len(result["failures"])
        if result["failures"]:
            summary["reason"] = result["failures"][0][2]
        summary["fits"] = 1 if task.series is None else task.series[1] - task.series[0]
        observers.event("task_end", {"model": task.model, "kind": task.kind, **summary})
        observers.hook("engine_task_end", task=task.plain(), result=dict(result))
        if result["status"] != "ok" and work.spec.run.on_error == "stop":
            _, uid, reason = result["failures"][0]
            where = f" for series {uid}" if uid else ""
            failed = TaskError(
                f"task {result['name']} failed{where}: {reason}",
                hint=result["hint"] or "use `on_error: skip` to record it and go on",
            )
            failed.exit_code = result["exit_code"] or failed.exit_code
            raise failed
    return into


def _failed(work: Workspace, task: Task, lost: Mapping[str, Any]) -> dict[str, Any]:
    """A task that came to no end, as a failed one: it has made no forecast and saved no model."""
    if task.save:
        shutil.rmtree(saved_at(work.folder, task), ignore_errors=True)
    return {
        "name": task.name,
        "status": "failed",
        "exit_code": 0,
        "hint": lost.get("hint", ""),
        "seconds": lost["seconds"],
        "failures": [[cutoff, None, lost["lost"]] for cutoff in task.cutoffs],
        "path": None,
    }


def executor_of(
    spec: RunSpec, registry: Registry, workers: int | None = None
) -> TaskExecutor | None:
    """The spec's executor, with so many `workers` if it has that option; None if it names none."""
    use = executor_use(spec)
    if use is None:
        return None
    component = registry.find("executor", use.use).component
    options = dict(use.options)
    if workers is not None and "workers" in component.params.model_fields:
        options["workers"] = workers
    executor: TaskExecutor = build(component, options)
    return executor


def _named(spec: RunSpec) -> str:
    """The spec's executor, for errors."""
    use = executor_use(spec)
    return f"executor {use.use!r}" if use else "executor"


def workers_of(spec: RunSpec, registry: Registry, tasks: int) -> int:
    """Tasks that the spec's executor runs at a time: its `workers(tasks)`, 1 if it has none."""
    count = getattr(executor_of(spec, registry), "workers", None)
    return int(count(tasks)) if callable(count) else 1


def _results(
    work: Workspace, tasks: Sequence[Task], observers: Observers, executor: TaskExecutor | None
) -> Iterable[Mapping[str, Any]]:
    if executor is None:
        for task in tasks:
            yield run_in(work, task.plain(), observers.event)
        return
    who = _named(work.spec)
    left = {task.name for task in tasks}
    with blaming(who):
        plain = [task.plain() for task in tasks]
        made = iter(executor.map(FUNCTION, work.folder, plain, observers.event))
    while True:
        # Only the executor is blamed, not whoever takes its results.
        with blaming(who):
            result = next(made, None)
        if result is None:
            break
        if not isinstance(result, Mapping) or result.get("name") not in left:
            said = f"returned {str(result)[:80]!r}, which is the result of no task that is left"
            raise PluginError(f"{who} {said}")
        left.remove(result["name"])
        yield result
    if left:
        raise PluginError(
            f"{who} ended without the results of {len(left)} of {len(tasks)} tasks: "
            f"{', '.join(sorted(left)[:3])}"
        )
