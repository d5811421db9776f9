"""The proof of a spec as a stage of `engine test`: verdicts on the rule `no_leaks`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.gate.judge import Verdict
from engine.prove.proof import Check, Proof
from engine.spec.expectation import Expectation

RULE = "no_leaks"


def proof_numbers(expectations: Sequence[Expectation], *, asked: bool) -> list[int]:
    """Numbers of the expectations that a proof judges.

    asked: a proof is wanted even if none expects it; its number then follows the last one.
    """
    numbers = [i for i, expected in enumerate(expectations) if expected.no_leaks]
    return numbers or ([len(expectations)] if asked else [])


def proof_verdicts(proof: Proof, numbers: Sequence[int]) -> Iterator[Verdict]:
    """For each expectation one verdict if all checks hold, else one for each that does not.

    The value is the number of places at which a check failed. A check that could not be tried
    does not hold: nothing was shown.
    """
    wrong = [check for check in proof.checks if check.status not in ("holds", "skipped")]
    held = sum(check.status == "holds" for check in proof.checks)
    for number in numbers:
        if not wrong:
            rule = f"no leaks in {held} checks on {proof.series} series"
            yield Verdict(number, "all models", RULE, rule, 0.0, held > 0)
        for check in wrong:
            yield _verdict(number, check)


def _verdict(number: int, check: Check) -> Verdict:
    rule = f"check {check.check!r} holds; it {check.status}"
    value = None
    if check.findings:
        value = float(sum(finding.count for finding in check.findings))
        rule += f", e.g. {check.findings[0].sentence()}"
    elif check.reason:
        rule += f": {check.reason}"
    return Verdict(number, check.subject, RULE, rule, value, False)
