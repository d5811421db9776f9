"""The proof of a spec: which changes are made, in which order, and what must not move.

A run's data reach a plugin through the source, the panel's build, cross-sections, transforms and
features. So the changes are made to the source's rows, everything is built anew from them, and
what is known at the cutoff is compared bit by bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.backtest import eligible, make_folds
from engine.data.panel import Future, Panel
from engine.errors import DataError, EngineError
from engine.features import add_cross_sections
from engine.prove import disturb
from engine.prove.compare import Moved, shown
from engine.prove.disturb import Change, Cutoff, Disturbance
from engine.prove.hindsight import hindsight
from engine.prove.judge import Case, Judge
from engine.prove.lookahead import Lookahead
from engine.prove.lookback import too_short
from engine.prove.proof import Check, Finding, Proof, Status
from engine.prove.rows import Sample, panel_of
from engine.prove.snapshot import Owned, Snapshot, owned_features, take
from engine.prove.training import look_past
from engine.registry import Registry
from engine.runner import capabilities, check_factories
from engine.spec.validate import LoadedSpec
from engine.workspace import plan_of
from engine.wrapped import cut

Note = Callable[[str], None]
NEAR = 1e-6
"""Relative difference that another order of summation may leave in a forecast."""


def prove(
    loaded: LoadedSpec,
    registry: Registry,
    *,
    base: Path,
    series: int = 20,
    folds: int = 1,
    seed: int = 0,
    note: Note = lambda text: None,
) -> Proof:
    """Prove that no feature and no forecast of a spec depends on what comes after its cutoff.

    series: how many series of the source are used, 0 for all; folds: how many of the last cutoffs.
    base: folder that the spec's relative paths start from. EngineError if the data cannot be read.
    """
    started, spec = time.perf_counter(), loaded.spec
    check_factories(loaded, registry)
    note(f"reading {spec.data.source.use}")
    sample = Sample(spec, registry, base, series)
    panel = panel_of(sample.original, spec)
    cutoffs = _cutoffs(panel, loaded, folds)
    begun = eligible(panel, cutoffs[0], spec).index
    if not begun.size:
        raise DataError(
            f"none of the {panel.n_series} sampled series can be forecast at the cutoff",
            hint="take more series with --series, or fewer folds",
        )
    if begun.size < panel.n_series:
        sample.only(panel, np.asarray(begun))
        panel = panel_of(sample.original, spec)
        cutoffs = _cutoffs(panel, loaded, folds)
    checks: list[Check] = []
    for cutoff in cutoffs:
        work = _AtCutoff(loaded, registry, sample, panel, cutoff, seed, note)
        checks += work.checks()
    checks += hindsight(sample, panel, spec)
    return Proof(spec.name, panel.n_series, tuple(checks), time.perf_counter() - started)


def _cutoffs(panel: Panel, loaded: LoadedSpec, folds: int) -> list[int]:
    found = [f.cutoff for f in make_folds(panel, loaded.spec) if f.kind == "backtest"]
    return found[-max(folds, 1) :]


@dataclass
class _AtCutoff:
    """The checks at one cutoff."""

    loaded: LoadedSpec
    registry: Registry
    sample: Sample
    panel: Panel
    cutoff: int
    seed: int
    note: Note

    def __post_init__(self) -> None:
        self.spec = self.loaded.spec
        self.able = capabilities(self.spec, self.registry)
        self.place = Cutoff(self.spec, self.panel.grid, self.cutoff)
        self.when = str(self.panel.grid.timestamp(self.cutoff))

    def checks(self) -> Iterator[Check]:
        """All checks, those that others rely on first."""
        self.note(f"cutoff {self.when}: features and forecasts as they are")
        first = self._take(self.panel)
        judge = Judge(self.loaded, self.able, first, self.when, self._timestamp)
        self.note("the same again")
        again = self._take(self.panel)
        yield from judge.compare("repeat", [Case("nothing", again)], "differs")
        yield from self._state(judge)
        lookahead = Lookahead(self.place, self._probe, self.panel.end - self.cutoff)
        yield from judge.compare("future", self._futures(), "leaks", lookahead.steps)
        yield from self._features(judge)
        yield from judge.compare("order", self._orders(first), "differs")
        yield from judge.compare("types", self._types(), "differs", tolerance=NEAR)
        yield from self._strangers(judge)

    def _take(self, panel: Panel, models: list[str] | None = None) -> Snapshot:
        return take(panel, self.spec, self.registry, self.able, self.cutoff, models)

    def _changed(self, change: Change) -> Panel:
        return panel_of(self.sample.changed(change), self.spec)

    def _probe(self, change: Change, models: list[str]) -> Snapshot:
        return self._take(self._changed(change), models)

    def _timestamp(self, ahead: int) -> str:
        return str(self.panel.grid.timestamp(self.cutoff + ahead))

    def _state(self, judge: Judge) -> Iterator[Check]:
        """A later cutoff is fitted and forecast first; nothing of it may be remembered."""
        if not self.spec.forecasts_beyond_data:
            yield Check("state", "all", self.when, "skipped", reason="no forecast beyond the data")
            return
        self.note("after a fit at the end of the data")
        take(self.panel, self.spec, self.registry, self.able, self.panel.end)
        case = Case("a fit on later data before", self._take(self.panel))
        ahead = self.panel.end - self.cutoff

        def steps(found: Moved) -> int:
            return ahead - min(found.ahead, 0)

        yield from judge.compare("state", [case], "leaks", steps)

    def _futures(self) -> Iterator[Case]:
        """Other futures, made in several random ways."""
        place, skip = self.place, not self.spec.forecasts_beyond_data
        changes = {
            "other values after the cutoff": Disturbance("noise", self.seed + 1).change(place),
            "extreme values after the cutoff": Disturbance("extreme", self.seed + 2).change(place),
        }
        if not skip:
            changes["nothing observed after the cutoff"] = disturb.as_of(place)
        rules = self.spec.data.missing
        fixed = rules.y == "error" or self.spec.data.series.align == "end" or skip
        if not fixed and rules.past != "error" and not isinstance(rules.past, dict):
            gaps = Disturbance("missing", self.seed + 3).change(place)
            changes["missing values after the cutoff"] = gaps
        for name, change in changes.items():
            yield self._case(name, change)

    def _case(self, name: str, change: Change, models: list[str] | None = None) -> Case:
        self.note(name)
        try:
            return Case(name, self._take(self._changed(change), models))
        except EngineError as error:
            return Case(name, None, error.message)

    def _orders(self, first: Snapshot) -> Iterator[Case]:
        """Rows and series in another order; the same panel needs no other fit."""
        keys = self.spec.data.columns.keys
        changes = {
            "rows shuffled": disturb.shuffled(self.seed),
            "series in opposite order": disturb.reversed_series(keys),
        }
        for name, change in changes.items():
            rows = change(self.sample.original.lazy()).collect()
            panel = panel_of(rows, self.spec)
            same = panel.frame.equals(self.panel.frame) and panel.series.equals(self.panel.series)
            yield Case(name, first if same else self._take(panel))

    def _types(self) -> Iterator[Case]:
        for name, change in disturb.retyped(self.spec, self.sample.original.schema).items():
            rows = change(self.sample.original.lazy()).collect()
            self.note(name)
            try:
                yield Case(name, self._take(panel_of(rows, self.spec)))
            except EngineError as error:
                yield Case(name, None, error.message)

    def _strangers(self, judge: Judge) -> Iterator[Check]:
        """Local models must not care which other series there are."""
        local = [m for m, able in self.able.items() if able.scope == "local"]
        plan = plan_of(self.panel, self.spec, self.registry)
        if plan.cross_sections:
            uses = self.spec.models
            local = [m for m in local if self.able[m].input == "panel" and not uses[m].features]
        if not local:
            return
        change = disturb.with_strangers(self.spec, self.seed)
        rows = change(self.sample.original.lazy()).collect()
        self.note("unrelated series added")
        snapshot = self._take(panel_of(rows, self.spec), local)
        case = Case("unrelated series added", snapshot)
        yield from judge.compare("others", [case], "differs", tolerance=NEAR, models=local)

    def _features(self, judge: Judge) -> Iterator[Check]:
        """Features themselves: on the end of the history that they declare, and without later rows."""
        plan = plan_of(self.panel, self.spec, self.registry)
        whole = add_cross_sections(self.panel, plan.cross_sections)
        history, future = cut(whole, self.spec, self.cutoff, None)
        owned = list(owned_features(self.panel, self.spec, self.registry))
        yield from _lookback(history, future, owned, self.when)
        honest = [o for o in owned if ("features", o.builder) not in judge.spoiled]
        for check in _training(history, honest, self.place.reach, self.when):
            if check.findings:
                judge.spoiled["features", check.subject.removeprefix("features ")] = check.check
            yield check


def _lookback(history: Panel, future: Future, owned: Sequence[Owned], when: str) -> Iterator[Check]:
    """Whether features read no more rows than they declare."""
    for builder, number, found in _of_builders(owned, lambda o: too_short(history, future, o)):
        findings = tuple(
            Finding(
                f"features {builder}",
                short.feature,
                short.unique_id,
                when,
                None,
                shown(short.was),
                shown(short.became),
                f"lookback: declared {short.declared} rows, reads at least {short.needed}",
            )
            for short in found
        )
        status: Status = "differs" if findings else "holds"
        yield Check("lookback", f"features {builder}", when, status, 1, number, findings=findings)


def _training(history: Panel, owned: Sequence[Owned], reach: int, when: str) -> Iterator[Check]:
    """Whether features of the history look past their own row."""
    grid = history.grid
    for builder, number, found in _of_builders(owned, lambda o: look_past(history, o, reach)):
        findings = tuple(
            Finding(
                f"features {builder}",
                past.feature,
                past.unique_id,
                str(grid.timestamp(past.ordinal)),
                past.steps,
                shown(past.was),
                shown(past.became),
                "rows after it taken away",
                past.count,
            )
            for past in found
        )
        status: Status = "leaks" if findings else "holds"
        values = number * history.frame.height
        yield Check("training", f"features {builder}", when, status, 3, values, findings=findings)


def _of_builders(
    owned: Sequence[Owned], look: Callable[[Owned], Iterable[Any]]
) -> Iterator[tuple[str, int, list[Any]]]:
    """Name of each builder, how many features it makes in all its uses, and what was found."""
    for builder in dict.fromkeys(o.builder for o in owned):
        uses = [o for o in owned if o.builder == builder]
        found = [one for use in uses for one in look(use)]
        yield builder, sum(len(use.features) for use in uses), found
