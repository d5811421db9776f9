"""Holds what a spec expects against what its backtest gave."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.choose import COMPLETE, headline_values
from engine.evaluate import Scores, coverage_of_rows, is_better
from engine.spec.expectation import Expectation

Recorded = Mapping[str, Mapping[str, float]]
"""Model -> metric -> value, from a snapshot."""


@dataclass(frozen=True)
class Evidence:
    """What a backtest gave: scores, failed forecasts and seconds of fitting and predicting per model.

    memory: megabytes of the largest task of each model, where an expectation compares them.
    recorded: the snapshot's scores; None where no snapshot is consulted, and expectations with a
    tolerance are then not judged.
    """

    scores: Scores
    failed: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    recorded: Recorded | None = None
    memory: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """One rule of the expectation `number`: what was expected, the value found, whether it holds."""

    number: int
    model: str
    metric: str
    expected: str
    value: float | None
    holds: bool

    def plain(self) -> dict[str, Any]:
        """JSON types only, as kept in a run's manifest."""
        return {
            "model": self.model,
            "metric": self.metric,
            "expected": self.expected,
            "value": self.value,
            "holds": self.holds,
        }

    def __str__(self) -> str:
        found = "none" if self.value is None else f"{self.value:.6g}"
        return f"{self.model} {self.metric}: expected {self.expected}, was {found}"


def judge(expectations: Sequence[Expectation], evidence: Evidence) -> list[Verdict]:
    """A verdict for every rule of every expectation, in their order."""
    return [
        verdict
        for number, expected in enumerate(expectations)
        for verdict in (
            *_on_scores(number, expected, evidence),
            *_on_run(number, expected, evidence),
        )
    ]


def _on_scores(number: int, expected: Expectation, evidence: Evidence) -> Iterator[Verdict]:
    """Rules about a model's score; a model without a score holds none of them."""
    if expected.model is None or expected.metric is None:
        return
    values = _finite(headline_values(evidence.scores, expected.metric))
    better = evidence.scores.better[expected.metric]
    value = values.get(expected.model)
    share = coverage_of_rows(evidence.scores).get(expected.model, 0.0)

    def verdict(rule: str, holds: bool) -> Verdict:
        assert expected.model is not None and expected.metric is not None
        # Fewer rows are easier rows, as in the choice of the best model.
        if value is not None and share < COMPLETE:
            rule, holds = f"{rule}, but it forecast only {100 * share:.3g} % of the rows", False
        return Verdict(number, expected.model, expected.metric, rule, value, holds)

    if expected.max is not None:
        yield verdict(f"<= {expected.max:g}", value is not None and value <= expected.max)
    if expected.min is not None:
        yield verdict(f">= {expected.min:g}", value is not None and value >= expected.min)
    if expected.better_than is not None:
        other = values.get(expected.better_than)
        holds = value is not None and other is not None and is_better(value, other, better)
        yield verdict(f"better than {expected.better_than} ({_shown(other)})", holds)
    if expected.ratio is not None and expected.than is not None:
        other = values.get(expected.than)
        sign = ">=" if better == "higher" else "<="
        holds = False
        if value is not None and other is not None:
            bound = expected.ratio * other
            holds = value >= bound if better == "higher" else value <= bound
        yield verdict(f"{sign} {expected.ratio:g} x {expected.than} ({_shown(other)})", holds)
    if expected.tolerance is not None and evidence.recorded is not None:
        before = evidence.recorded.get(expected.model, {}).get(expected.metric)
        yield verdict(*_against(before, value, expected.tolerance, better))


def _against(
    before: float | None, value: float | None, tolerance: float, better: str
) -> tuple[str, bool]:
    """The rule and whether a value is no worse than the recorded one by more than the tolerance."""
    if better == "none":
        rule = f"within {tolerance:g} of the snapshot ({_shown(before)})"
    else:
        rule = f"at most {100 * tolerance:.3g} % worse than the snapshot ({_shown(before)})"
    if before is None or value is None:
        return rule, False
    # The snapshot is rounded: a value equal to it must hold with a tolerance of zero.
    slack = 1e-5 * abs(before)
    if better == "none":
        return rule, abs(value - before) <= tolerance + slack
    worse = before - value if better == "higher" else value - before
    return rule, worse <= tolerance * abs(before) + slack


def _on_run(number: int, expected: Expectation, evidence: Evidence) -> Iterator[Verdict]:
    """Rules about how the backtest went: failures, time and memory."""
    if expected.no_failures:
        counts = evidence.failed
        wrong = sum(counts.values()) if expected.model is None else counts.get(expected.model, 0)
        model = expected.model or "all models"
        yield Verdict(number, model, "failures", "none", float(wrong), wrong == 0)
    for ratio, what, found in (
        (expected.time_ratio, "seconds", evidence.seconds),
        (expected.memory_ratio, "megabytes", evidence.memory),
    ):
        if ratio is None or expected.model is None or expected.than is None:
            continue
        own, other = found.get(expected.model), found.get(expected.than)
        rule = f"<= {ratio:g} x {expected.than} ({_shown(other)})"
        holds = own is not None and other is not None and own <= ratio * other
        yield Verdict(number, expected.model, what, rule, own, holds)


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {model: value for model, value in values.items() if math.isfinite(value)}


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"
