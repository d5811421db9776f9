"""One run, from the spec to a published folder: the pipeline's table of contents.

The only file that knows the order of the stages. It holds no maths; every stage is a function from
values to values that can be called alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

import engine
from engine import manifest, outputs
from engine.abilities import capabilities_of
from engine.backtest import Fold, actuals, backtest_tasks, final_tasks, make_folds
from engine.calibrate import Calibration, calibrate
from engine.choose import Choice, choose, chosen_models
from engine.combine import combined, combined_costs, combined_failures
from engine.components import Capabilities, Model
from engine.contracts import DataSource
from engine.correct import Correction, correct
from engine.data.fingerprint import Fingerprint
from engine.data.panel import Panel
from engine.errors import EXIT_FAILURES, EXIT_GATE, EXIT_OK
from engine.evaluate import Scores, evaluate
from engine.execute import Execution, Workers, workers_of
from engine.failures import Filled, fill_from_fallback, skipped_series
from engine.footprint import needed_memory
from engine.gate.judge import Evidence, judge
from engine.gate.snapshot import Lock
from engine.ingest import open_source, read_panel
from engine.observers import Listener, Observers
from engine.registry import Registry, load_factory
from engine.rundir import RunFolder, check_writable
from engine.spec.model import Combination, RunSpec
from engine.spec.validate import LoadedSpec, component_uses
from engine.workspace import Workspace, check_models, plan_of, prepare

Reader = Callable[[RunSpec, DataSource], Panel]


@dataclass(frozen=True)
class Outcome:
    """A published run: where it is, its scores, the chosen model, the gate, and the exit code.

    gate: one plain row a verdict on what the spec expects. evidence: what they were judged by.
    """

    folder: Path
    scores: Scores
    choice: Choice
    gate: list[dict[str, Any]]
    evidence: Evidence
    failures: pl.DataFrame
    manifest: dict[str, Any]
    exit_code: int
    faults: list[str] = field(default_factory=list)


def run(
    loaded: LoadedSpec,
    registry: Registry,
    *,
    output: Path,
    base: Path,
    listener: Listener | None = None,
    lock: Lock | None = None,
    read: Reader = read_panel,
) -> Outcome:
    """Run a spec; EngineError says what went wrong, and nothing half-written looks whole.

    output: folder that holds all runs. base: folder that the spec's relative paths start from.
    lock: what protocol, versions and data must agree with before any model is fitted.
    read: makes the panel; a plan tries the run on a few series of a panel that it has read.
    """
    if lock is not None:
        lock.check_protocol(loaded.resolved)
        lock.check_versions(manifest.used_plugins(loaded, registry), engine.__version__)
    beyond = loaded.spec.forecasts_beyond_data
    with _watched(registry, listener) as observers:
        return _run(loaded, registry, output, base, observers, lock, beyond, read)


def backtest(
    loaded: LoadedSpec,
    registry: Registry,
    *,
    output: Path,
    base: Path,
    listener: Listener | None = None,
    lock: Lock | None = None,
) -> Outcome:
    """As `run`, up to the scores: nothing is forecast beyond the data, no writer writes.

    lock: what the data must agree with; versions may differ, because a gate judges new ones.
    """
    tested = replace(loaded, spec=loaded.spec.model_copy(update={"write": []}))
    with _watched(registry, listener) as observers:
        return _run(tested, registry, output, base, observers, lock, beyond=False)


@contextmanager
def _watched(registry: Registry, listener: Listener | None) -> Iterator[Observers]:
    """Observers that hear of whatever ends a run early."""
    observers = Observers(registry, listener)
    try:
        yield observers
    except BaseException as error:
        observers.hook("engine_run_error", error=error)
        raise


def _run(
    loaded: LoadedSpec,
    registry: Registry,
    output: Path,
    base: Path,
    observers: Observers,
    lock: Lock | None,
    beyond: bool,
    read: Reader = read_panel,
) -> Outcome:
    started, spec = time.perf_counter(), loaded.spec
    check_writable(output)

    with Workers(spec, registry, observers) as workers:
        check_factories(loaded, registry)

        observers.stage("data", f"reading {spec.data.source.use}")
        source = open_source(spec, registry, base)
        panel = read(spec, source)
        fingerprint = Fingerprint(panel)
        if lock is not None:
            lock.check_data(str(fingerprint))
        observers.hook("engine_panel_ready", panel=panel)
        folds = make_folds(panel, spec)
        features = plan_of(panel, spec, registry)
        check_models(panel, spec, registry)
        size = workers_of(spec, registry, len(spec.models) * spec.backtest.folds)
        needed = needed_memory(panel, features, spec, capabilities(spec, registry), size)
        observers.event("memory", needed)

        with RunFolder(output, spec.name, manifest.spec_fingerprint(loaded)) as folder:
            outputs.begin(folder, loaded, registry, source)
            observers.write_to(folder.path / "events.jsonl")
            observers.hook(
                "engine_run_start", name=spec.name, folder=folder.path, spec=loaded.resolved
            )

            observers.stage("features", f"{panel.n_series:,} series, {panel.frame.height:,} rows")
            work = prepare(folder.work, panel, spec, registry)
            outputs.describe_data(folder, work, fingerprint)

            observers.stage("backtest", f"{spec.backtest.folds} folds, {len(spec.models)} models")
            backtested = _backtest(work, folds, folder, workers)

            observers.stage("evaluate", "calibrating quantiles, scoring")
            try:
                tested = _judge(work, folds, backtested, base)
            except BaseException:
                outputs.keep_partial(folder, work, backtested)
                raise

            models = chosen_models(spec, tested.choice) if beyond else []
            observers.stage("forecast", ", ".join(models) or "none")
            future = _forecast(work, tested, folds, models, workers)
            workers.leave()

            observers.stage("write", str(folder.path.parent))
            skipped = skipped_series(panel, spec, folds, beyond=beyond)
            tables = outputs.result_tables(
                work,
                forecast=future.filled.forecasts,
                tested=tested.rows,
                actuals=tested.actuals,
                scores=tested.scores,
                failures=pl.concat([tested.filled.failures, future.filled.failures, skipped]),
            )
            outputs.write_tables(folder, tables)
            folder.manifest["data"]["fingerprint"] = str(fingerprint)
            outcome = _concluded(folder, work, folds, tested, future, tables["failures"], lock)
            folder.manifest["seconds"] = round(time.perf_counter() - started, 3)
            folder.manifest["observer_faults"] = observers.faults
            troubles = outputs.run_writers(folder, spec, registry, tables, base)
            folder.manifest["seconds"] = round(time.perf_counter() - started, 3)
            folder.publish()
    observers.hook("engine_run_end", folder=folder.path, manifest=folder.manifest)
    if troubles:
        raise troubles[0]
    return replace(outcome, folder=folder.path, faults=observers.faults)


def _concluded(
    folder: RunFolder,
    work: Workspace,
    folds: list[Fold],
    tested: _Tested,
    future: _Ahead,
    failures: pl.DataFrame,
    lock: Lock | None,
) -> Outcome:
    """Judge what the spec expects, and put what was found into the manifest."""
    grid, expect = work.panel.grid, work.spec.expect
    found = _evidence(tested, lock, work.spec.combine)
    expected = [verdict.plain() for verdict in judge(expect, found)]
    failed = failures.filter(pl.col("kind") == "failed").height
    exit_code = _exit_code(expected, failed + len(tested.scores.broken))
    folder.manifest.update(
        status=_STATUS[exit_code],
        tasks=[*tested.execution.records(), *future.records],
        calibration=manifest.calibration_summary(
            [*tested.calibrated.records, *future.calibrated.records], work.panel
        ),
        correction=manifest.correction_summary(
            [*tested.corrected.records, *future.corrected.records], work.panel
        ),
        folds=[{"cutoff": str(grid.timestamp(f.cutoff)), "kind": f.kind} for f in folds],
        best=manifest.choice_summary(tested.choice),
        expect=expected,
        failures={"failed": failed, "skipped": failures.height - failed},
        metric_errors=list(tested.scores.broken.values()),
    )
    return Outcome(folder.path, tested.scores, tested.choice, expected, found, failures,
                   folder.manifest, exit_code)  # fmt: skip


def _evidence(tested: _Tested, lock: Lock | None, combine: Mapping[str, Combination]) -> Evidence:
    lost = tested.filled.failures.filter(pl.col("kind") == "failed")
    execution = tested.execution
    seconds, memory = combined_costs(execution.seconds(), execution.memory(), combine)
    return Evidence(
        tested.scores,
        failed=dict(lost.group_by("model").len().iter_rows()),
        seconds=seconds,
        memory=memory,
        recorded=lock.snapshot.scores if lock is not None else None,
    )


_STATUS = {EXIT_OK: "ok", EXIT_GATE: "gate failed", EXIT_FAILURES: "failures"}


def _exit_code(expected: list[dict[str, Any]], failed: int) -> int:
    if not all(row["holds"] for row in expected):
        return EXIT_GATE
    return EXIT_FAILURES if failed else EXIT_OK


def _backtest(work: Workspace, folds: list[Fold], folder: RunFolder, workers: Workers) -> Execution:
    """Fit and predict every fold; an interruption keeps what was finished."""
    done = Execution()
    tasks = backtest_tasks(work.panel, work.spec, folds, capabilities(work.spec, work.registry))
    try:
        return workers.run(work, tasks, done)
    except BaseException:
        outputs.keep_partial(folder, work, done)
        raise


@dataclass(frozen=True)
class _Tested:
    """The judged back-test.

    execution: the tasks and what became of them. raw: forecasts as the models made them.
    corrected: without the bias of a transformed target. calibrated: with quantiles. filled: with
    those of combinations, and the fallback's rows where a model failed. rows: those that are scored.
    """

    execution: Execution
    actuals: pl.DataFrame
    raw: pl.DataFrame
    corrected: Correction
    calibrated: Calibration
    filled: Filled
    rows: pl.DataFrame
    scores: Scores
    choice: Choice


def _judge(work: Workspace, folds: list[Fold], backtest: Execution, base: Path) -> _Tested:
    spec, panel = work.spec, work.panel
    raw, known = backtest.forecasts(work), actuals(panel, [fold.cutoff for fold in folds])
    corrected = correct(raw, raw, known, panel, spec.corrections, spec.minimum)
    point = corrected.forecasts
    calibrated = calibrate(point, point, known, panel, spec.quantiles, spec.minimum)
    made = combined(calibrated.forecasts, spec.combine)
    filled = fill_from_fallback(made, combined_failures(backtest.failures(), spec.combine), spec)
    judged = [fold.cutoff for fold in folds if fold.kind == "backtest"]
    rows = filled.forecasts.filter(pl.col("cutoff").is_in(judged))
    scores = evaluate(rows, known, panel, spec, work.registry, base)
    choice = choose(scores, spec)
    return _Tested(backtest, known, raw, corrected, calibrated, filled, rows, scores, choice)


@dataclass(frozen=True)
class _Ahead:
    """The forecast beyond the data; the fields are those of `_Tested`."""

    corrected: Correction
    calibrated: Calibration
    filled: Filled
    records: list[dict[str, Any]]


def _forecast(
    work: Workspace, tested: _Tested, folds: list[Fold], models: list[str], workers: Workers
) -> _Ahead:
    """Fit models on everything and forecast; the fallback stands in where one fails."""
    spec, panel, done = work.spec, work.panel, Execution()
    fallback = spec.run.fallback
    fitted = spec.fitted_for([*models, *([fallback] if models and fallback is not None else [])])
    if fitted:
        able = capabilities(spec, work.registry)
        workers.run(work, final_tasks(panel, spec, fitted, able, folds), done)
    raw, known = done.forecasts(work), tested.actuals
    corrected = correct(raw, tested.raw, known, panel, spec.corrections, spec.minimum)
    point, past = corrected.forecasts, tested.corrected.forecasts
    calibrated = calibrate(point, past, known, panel, spec.quantiles, spec.minimum)
    made = combined(calibrated.forecasts, spec.combine)
    lost = combined_failures(done.failures(), spec.combine)
    filled = fill_from_fallback(made, lost, spec, keep=models)
    return _Ahead(corrected, calibrated, filled, done.records())


def check_factories(loaded: LoadedSpec, registry: Registry) -> None:
    """Import the code behind every component that the spec names, before any work is done."""
    for kind, _, value in component_uses(loaded.resolved):
        name = value if isinstance(value, str) else value["use"]
        load_factory(registry.find(kind, name).component)


def capabilities(spec: RunSpec, registry: Registry) -> dict[str, Capabilities]:
    """What each model of the spec can do; one of sums needs all series and has no quantiles."""
    able = {}
    for name, use in spec.models.items():
        component = registry.find("model", use.use).component
        assert isinstance(component, Model)
        able[name] = capabilities_of(component, use)
    return able
