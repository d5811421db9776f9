"""The kit on sources and executors with one fault each, and its counter of compilations."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import Field

from engine.components import Executor, NoParams, Params, Source
from engine.contracts import Report, SourceContext
from engine.errors import NotFoundError
from engine.testing import ExecutorConformance, SourceConformance
from engine.testing.capabilities import _Compilations
from engine.testing.panels import Case
from engine_local.serial import SerialExecutor


class FaultParams(Params):
    """Which fault the component has."""

    fault: str = Field("", description="the fault")


class Rows:
    """A source with a fault."""

    count = itertools.count()

    def __init__(self, params: FaultParams, context: SourceContext) -> None:
        self._fault, self._base = params.fault, context.base

    def scan(self) -> Any:
        """Scan."""
        frame = Case().rows()
        match self._fault:
            case "gone":
                raise NotFoundError("there is no such thing as gone")
            case "eager":
                return frame
            case "empty":
                frame = frame.clear()
            case "changes":
                frame = frame.with_columns(pl.lit(next(self.count)).alias("scan"))
            case "nested":
                frame = frame.with_columns(pl.concat_list("promo").alias("list"))
            case "texts":
                frame = frame.cast(pl.String)
            case "writes":
                (self._base / "cache.tmp").touch()
        return frame.lazy()

    def artifacts(self) -> Mapping[str, Any]:
        """Artifacts."""
        return {"table": [1, 2]} if self._fault == "lists" else {}


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("eager", "test_scan_is_lazy"),
        ("empty", "test_there_are_rows"),
        ("changes", "test_scanning_twice_gives_the_same"),
        ("nested", "test_types_are_ones_that_a_panel_can_hold"),
        ("texts", "test_some_column_can_be_time_and_some_a_target"),
        ("lists", "test_artifacts_are_tables"),
        ("writes", "test_nothing_is_written"),
    ],
)
def test_a_faulty_source_fails_the_check_about_its_fault(fault: str, check: str):
    record = Source("rows", f"{__name__}:Rows", FaultParams, "rows")
    kit = type("Suite", (SourceConformance,), {"record": record})
    getattr(kit(), check)()
    faulty = type("Suite", (SourceConformance,), {"record": record, "params": {"fault": fault}})
    with pytest.raises(AssertionError):
        getattr(faulty(), check)()


def test_a_source_that_reads_what_is_not_there_fails():
    record = Source("rows", f"{__name__}:Rows", FaultParams, "rows")
    check = "test_what_is_not_there_is_a_clear_error"
    for missing, passes in (({"fault": "gone"}, True), ({"fault": "nowhere"}, False)):
        kit = type("Suite", (SourceConformance,), {"record": record, "missing": missing})
        if passes:
            getattr(kit(), check)()
        else:
            with pytest.raises(AssertionError, match="without an error"):
                getattr(kit(), check)()


class Faulty:
    """An executor with a fault."""

    def __init__(self, params: FaultParams) -> None:
        self._fault = params.fault

    def map(
        self, function: str, folder: Path, tasks: Sequence[Mapping[str, Any]], report: Report
    ) -> Iterator[Mapping[str, Any]]:
        """Run."""
        if self._fault == "forgets one":
            tasks = tasks[1:]
        if self._fault == "ignores limits":
            tasks = [{**task, "value": 0} for task in tasks]
        if self._fault == "swallows events":
            report = lambda name, fields: None  # noqa: E731
        if self._fault == "other folders":
            results = []
            for number, task in enumerate(tasks):
                (folder / str(number)).mkdir(exist_ok=True)
                one = SerialExecutor(NoParams()).map(function, folder / str(number), [task], report)
                results += list(one)
            yield from results
            return
        found = SerialExecutor(NoParams()).map(function, folder, tasks, report)
        try:
            yield from list(found)
        except Exception:
            if self._fault != "swallows errors":
                raise
            yield from ({"name": task["name"]} for task in tasks)


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("forgets one", "test_every_task_runs_once"),
        ("swallows events", "test_events_arrive"),
        ("other folders", "test_all_tasks_share_the_folder"),
        ("swallows errors", "test_an_error_names_its_task"),
        ("swallows errors", "test_a_function_that_does_not_exist_is_a_clear_error"),
    ],
)
def test_a_faulty_executor_fails_the_check_about_its_fault(fault: str, check: str):
    record = Executor("faulty", f"{__name__}:Faulty", FaultParams, "faulty")
    getattr(type("Suite", (ExecutorConformance,), {"record": record})(), check)()
    members = {"record": record, "params": {"fault": fault}}
    with pytest.raises(AssertionError):
        getattr(type("Suite", (ExecutorConformance,), members)(), check)()


@pytest.mark.parametrize(
    ("check", "said"),
    [
        ("test_a_task_beyond_its_limit_is_lost_alone", "lost: {}"),
        ("test_a_task_whose_process_dies_is_lost_alone", "lost: {}"),
        ("test_a_fresh_task_runs_in_a_process_of_its_own", "processes used twice"),
    ],
)
def test_an_executor_that_only_claims_to_be_isolated_is_found_out(check: str, said: str):
    record = Executor("faulty", f"{__name__}:Faulty", FaultParams, "faulty", isolated=True)
    fault = "ignores limits" if "limit" in check else "none"
    members = {"record": record, "params": {"fault": fault}}
    with pytest.raises(AssertionError, match=said):
        getattr(type("Suite", (ExecutorConformance,), members)(), check)()


def test_compilations_are_counted_and_second_calls_are_none():
    jax = pytest.importorskip("jax")
    double = jax.jit(lambda x: 2 * x + 17)
    first = _Compilations(jax)
    double(3.0)
    assert first.count() >= 1
    second = _Compilations(jax)
    double(4.0)
    assert second.count() == 0


def test_a_distribution_lists_what_could_not_be_built(capsys):
    from engine.cli.main import invoke

    assert invoke(["plugins", "check", "engine-forecast", "--kind", "source"]) == 7
    out = capsys.readouterr().out
    assert "files" in out
    assert "Field required (path)" in out
    assert "source simulate" in out
