"""Compares snapshots with the first one and says, subject by subject, whether a check holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from engine.components import Capabilities
from engine.prove.compare import Moved, moved
from engine.prove.proof import Check, Finding, Status
from engine.prove.snapshot import Snapshot, Table
from engine.spec.validate import LoadedSpec

Steps = Callable[[Moved], int | None]


@dataclass(frozen=True)
class Case:
    """One way in which a check was tried; without a snapshot, the error that it ended in."""

    change: str
    snapshot: Snapshot | None
    error: str = ""


@dataclass
class Judge:
    """Holds the first snapshot, and what is not judged any further: it has failed before."""

    loaded: LoadedSpec
    able: Mapping[str, Capabilities]
    first: Snapshot
    when: str
    timestamp: Callable[[int], str]
    spoiled: dict[tuple[str, str], str] = field(default_factory=dict)

    def compare(
        self,
        check: str,
        cases: Iterable[Case],
        bad: Status,
        steps: Steps = lambda found: None,
        *,
        tolerance: float = 0.0,
        models: Sequence[str] | None = None,
    ) -> Iterator[Check]:
        """One row a subject: the source, each feature builder, each model.

        bad: the status of a subject that moved. steps: how far a moved column looked ahead.
        models: judge only these models' forecasts.
        """
        tried, seen = list(cases), dict[tuple[str, str], dict[str, tuple[Moved, str]]]()
        for case in tried:
            if case.snapshot is None:
                continue
            after = _only_series_of(self.first, case.snapshot)
            for found in moved(self.first, after, tolerance):
                columns = seen.setdefault((found.kind, found.owner), {})
                columns.setdefault(found.column, (found, case.change))
        worked = sum(case.snapshot is not None for case in tried)
        for subject, values in self._subjects().items():
            if models is not None and (subject[0] != "model" or subject[1] not in models):
                continue
            row = Check(check, self._name(subject), self.when, "holds", worked, values)
            yield self._row(row, subject, seen.get(subject, {}), bad, steps)
        for case in tried:
            if case.snapshot is None:
                yield Check(check, case.change, self.when, "failed", reason=case.error)

    def _row(
        self,
        row: Check,
        subject: tuple[str, str],
        columns: Mapping[str, tuple[Moved, str]],
        bad: Status,
        steps: Steps,
    ) -> Check:
        reason = self._not_judged(subject)
        if reason:
            return replace(row, status="skipped", reason=reason)
        if not row.values:
            why = self.first.failures.get(subject[1], "it made no forecast")
            return replace(row, status="failed", reason=why)
        if not columns:
            return row
        self.spoiled[subject] = row.check
        findings = tuple(
            Finding(
                plugin=self._name(subject),
                name=found.column,
                unique_id=found.unique_id,
                ds=self.timestamp(found.ahead),
                ahead=steps(found),
                was=found.was,
                became=found.became,
                change=change,
                count=found.count,
            )
            for found, change in columns.values()
        )
        return replace(row, status=bad, findings=findings)

    def _not_judged(self, subject: tuple[str, str]) -> str:
        """Why a subject says nothing here: it failed before, or what it is made from moved."""
        if subject in self.spoiled:
            return f"it failed the check {self.spoiled[subject]!r}"
        kind, owner = subject
        for before, check in self.spoiled.items():
            feeds = before[0] == "source" and kind != "source"
            if before[0] == "features" and kind == "model":
                use = self.loaded.spec.models[owner]
                feeds = self.able[owner].input == "design" or bool(use.features)
            if feeds:
                return f"{self._name(before)}, which it reads, failed the check {check!r}"
        return ""

    def _subjects(self) -> dict[tuple[str, str], int]:
        """Everything that is judged, in the order of the pipeline, and how many values it has."""
        out: dict[tuple[str, str], int] = {}
        for table in self.first.tables:
            subject = (table.kind, table.owner)
            out[subject] = out.get(subject, 0) + table.frame.height * (table.frame.width - 2)
        for model in self.loaded.spec.models:
            out.setdefault(("model", model), 0)
        return out

    def _name(self, subject: tuple[str, str]) -> str:
        kind, owner = subject
        if kind != "model":
            return f"{kind} {owner}"
        use = self.loaded.spec.models[owner].use
        return f"model {owner}" if owner == use else f"model {owner} ({use})"


def _only_series_of(first: Snapshot, other: Snapshot) -> Snapshot:
    """Another snapshot without the series that the first one does not have."""
    ids = first.tables[0].frame.select("unique_id").unique()
    tables = tuple(
        Table(t.kind, t.owner, t.frame.join(ids, on="unique_id", how="semi")) for t in other.tables
    )
    return Snapshot(other.cutoff, tables, other.failures)
