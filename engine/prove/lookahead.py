"""By how many periods something looked ahead: found by changing less and less of the future."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from engine.errors import EngineError
from engine.prove.compare import Moved, moved
from engine.prove.disturb import FAR, Change, Cutoff, Disturbance
from engine.prove.snapshot import Snapshot

Probe = Callable[[Change, list[str]], Snapshot]
NEAREST = 7
"""Single periods after the cutoff that are tried for what is computed row by row."""


@dataclass
class Lookahead:
    """Measures leaks. `last`: periods from the cutoff to the end of the data."""

    cutoff: Cutoff
    probe: Probe
    last: int
    _kept: dict[tuple[int, int, tuple[str, ...]], list[Moved]] = field(default_factory=dict)
    _unchanged: dict[tuple[str, ...], Snapshot] = field(default_factory=dict)

    def steps(self, found: Moved) -> int | None:
        """Periods between a value and the farthest later one that it was made from."""
        return self._of_model(found) if found.kind == "model" else self._of_column(found)

    def _of_column(self, found: Moved) -> int | None:
        """One period is changed; the earliest value that moves with it looked the farthest."""
        periods = {*range(1, min(NEAREST, self.last) + 1), self.cutoff.reach + 1}
        seen: list[int] = []
        for period in sorted(periods):
            oldest = self._moves(found, period, period)
            if oldest is not None:
                # What is given for a later date is known at the cutoff, no later.
                seen.append(period - min(oldest, 0))
        return max(seen, default=None)

    def _of_model(self, found: Moved) -> int | None:
        """The latest period from which on a change of everything still moves the forecast."""
        low, high = 1, self.last
        if self._moves(found, low, FAR) is None:
            return None
        while low < high:
            middle = (low + high + 1) // 2
            if self._moves(found, middle, FAR) is None:
                high = middle - 1
            else:
                low = middle
        return low

    def _moves(self, found: Moved, first: int, last: int) -> int | None:
        """The earliest period at which the column moves; None if it does not."""
        models = (found.owner,) if found.kind == "model" else ()
        for moving in self._changed(first, last, models):
            if (moving.kind, moving.owner, moving.column) == (
                found.kind,
                found.owner,
                found.column,
            ):
                return moving.oldest
        return None

    def _changed(self, first: int, last: int, models: tuple[str, ...]) -> list[Moved]:
        """Everything that moves when the periods `first..last` change; the same is asked often."""
        if models not in self._unchanged:
            self._unchanged[models] = self.probe(lambda rows: rows, list(models))
        asked = (first, last, models)
        if asked not in self._kept:
            change = Disturbance("extreme", 17).change(self.cutoff, first, last)
            try:
                after = self.probe(change, list(models))
                self._kept[asked] = moved(self._unchanged[models], after)
            except EngineError:
                self._kept[asked] = []
        return self._kept[asked]
