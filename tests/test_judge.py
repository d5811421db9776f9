"""What holds for every score, bound and tolerance."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from engine.evaluate import Scores
from engine.gate.judge import Evidence, judge
from engine.spec.expectation import Expectation

VALUES = st.floats(0.001, 1e6)
SHARES = st.floats(0.0, 2.0)
QUICK = settings(deadline=None, max_examples=60)


def found(value: float, better: str, recorded: float = 1.0, other: float = 1.0) -> Evidence:
    """Evidence of one model `m` beside another one, `o`, by the metric `s`."""
    rows = [("m", "s", None, "all", value, 1), ("o", "s", None, "all", other, 1)]
    schema = {"model": pl.String, "metric": pl.String, "cutoff": pl.Int64, "segment": pl.String,
              "value": pl.Float64, "rows": pl.UInt32}  # fmt: skip
    table = pl.DataFrame(rows, schema=schema, orient="row")
    scores = Scores(table, pl.DataFrame(), {"s": ""}, {"s": better}, {"m": 1, "o": 1})
    return Evidence(scores, recorded={"m": {"s": recorded}})


def holds(evidence: Evidence, **rule: object) -> bool:
    expected = Expectation.model_validate({"model": "m", "metric": "s", **rule})
    return all(verdict.holds for verdict in judge([expected], evidence))


@given(VALUES, SHARES, st.sampled_from(["lower", "higher", "none"]))
@QUICK
def test_a_score_equal_to_the_recorded_one_is_within_every_tolerance(value, share, better):
    recorded = float(f"{value:.6g}")
    assert holds(found(value, better, recorded), tolerance=share)


@given(VALUES, st.floats(0.0, 0.9), st.floats(0.001, 0.09))
@QUICK
def test_just_beyond_the_tolerance_is_a_failure_in_the_direction_of_worse(value, share, more):
    up, down = value * (1 + share + more), value * (1 - share - more)
    assert not holds(found(up, "lower", value), tolerance=share)
    assert holds(found(down, "lower", value), tolerance=share)
    assert not holds(found(down, "higher", value), tolerance=share)
    assert holds(found(up, "higher", value), tolerance=share)


@given(VALUES, VALUES)
@QUICK
def test_of_two_models_at_most_one_is_better_than_the_other(a, b):
    mine = holds(found(a, "lower", other=b), better_than="o")
    theirs = holds(found(b, "lower", other=a), better_than="o")
    assert mine + theirs == (a != b)
    assert mine != holds(found(a, "higher", other=b), better_than="o") or a == b


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
@pytest.mark.parametrize(
    "rule", [{"max": 1e9}, {"min": -1e9}, {"better_than": "o"}, {"tolerance": 9.0}], ids=str
)
def test_no_score_holds_nothing(value, rule):
    assert not holds(found(value, "lower"), **rule)
    assert not holds(found(value, "higher"), **rule)
