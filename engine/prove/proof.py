"""What a proof says: one row a check and subject, as text and as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from engine.errors import EXIT_FAILURES, EXIT_GATE, EXIT_OK

Status = Literal["holds", "leaks", "differs", "skipped", "failed"]


@dataclass(frozen=True)
class Finding:
    """One place at which a check failed.

    plugin: e.g. `features lags`. name: the column, feature or model. ds, unique_id: where. ahead:
    by how many periods it looked ahead, None where that has no meaning. was, became: the values.
    change: what was changed when it moved. count: values that moved.
    """

    plugin: str
    name: str
    unique_id: str
    ds: str
    ahead: int | None
    was: str
    became: str
    change: str
    count: int = 1

    def sentence(self) -> str:
        """The finding in one line."""
        look = "" if self.ahead is None else f", looked {self.ahead} steps ahead"
        return (
            f"{self.plugin}: {self.name} of series {self.unique_id} at {self.ds} was {self.was}, "
            f"became {self.became} ({self.change}){look}"
        )


@dataclass(frozen=True)
class Check:
    """One check of one subject (the source, a feature builder, a model) at one cutoff.

    cases: how many ways it was tried. values: how many values were compared each time.
    """

    check: str
    subject: str
    cutoff: str
    status: Status
    cases: int = 0
    values: int = 0
    reason: str = ""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Proof:
    """All checks of a spec, on how many series, and the seconds they took."""

    name: str
    series: int
    checks: tuple[Check, ...]
    seconds: float = 0.0
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def findings(self) -> list[Finding]:
        """Everything that was found."""
        return [finding for check in self.checks for finding in check.findings]

    @property
    def exit_code(self) -> int:
        """6 on a leak or a difference, 7 if something could not be tried, 0 otherwise."""
        said = {check.status for check in self.checks}
        if said & {"leaks", "differs"}:
            return EXIT_GATE
        return EXIT_FAILURES if "failed" in said else EXIT_OK

    def plain(self) -> dict[str, Any]:
        """JSON types only."""
        return {
            "name": self.name,
            "holds": self.exit_code == EXIT_OK,
            "exit_code": self.exit_code,
            "series": self.series,
            "seconds": round(self.seconds, 1),
            "checks": [asdict(check) for check in self.checks],
        }
