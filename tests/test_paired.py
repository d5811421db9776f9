from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from engine.compare.paired import MIN_SERIES, holm, paired_bootstrap


def p_of(differences: np.ndarray) -> float:
    (found,) = paired_bootstrap(differences[:, None])
    assert found.p is not None
    return found.p


def test_with_many_normal_differences_it_agrees_with_the_normal_test():
    draws = np.random.default_rng(1).normal(size=400)
    standard = (draws - draws.mean()) / draws.std(ddof=1) / math.sqrt(1 / 400)
    for z in (0.5, 1.0, 1.96, 2.6):
        expected = math.erfc(z / math.sqrt(2))
        assert p_of(standard + z) == pytest.approx(expected, abs=0.025)


def test_chance_alone_is_rarely_called_a_difference():
    rng = np.random.default_rng(2)
    skewed = rng.exponential(size=(25, 300)) - 1.0
    found = [one.p for one in paired_bootstrap(skewed)]
    share = sum(p is not None and p < 0.05 for p in found) / len(found)
    assert 0.01 < share < 0.12


def test_the_interval_holds_the_mean_and_excludes_zero_exactly_when_p_is_small():
    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(40, 60)) + np.linspace(-0.6, 0.6, 60)
    for one in paired_bootstrap(matrix):
        assert one.low is not None and one.high is not None and one.p is not None
        assert one.low < one.mean < one.high
        if abs(one.p - 0.05) > 0.002:
            assert (one.low > 0 or one.high < 0) == (one.p < 0.05)


def test_series_without_a_pair_do_not_count():
    values = np.random.default_rng(4).normal(1.0, 1.0, size=30)
    holed = np.concatenate([values, [np.nan, np.inf]])
    (found,) = paired_bootstrap(holed[:, None])
    assert (found.series, found.mean) == (30, pytest.approx(values.mean()))


def test_equal_runs_are_equal_and_a_constant_difference_is_one():
    none, some = paired_bootstrap(np.column_stack([np.zeros(20), np.full(20, 0.1)]))
    assert none.p == 1.0
    assert some.p is not None and some.p < 0.001


@pytest.mark.parametrize("n", [0, 1, MIN_SERIES - 1])
def test_too_few_series_are_not_tested(n: int):
    (found,) = paired_bootstrap(np.ones((n, 1)))
    assert (found.series, found.p, found.low) == (n, None, None)


@given(st.lists(st.none() | st.floats(0, 1), max_size=8))
@settings(deadline=None, max_examples=60)
def test_adjusted_p_values_are_larger_and_keep_their_order(values: list[float | None]):
    adjusted = holm(values)
    pairs = [(p, q) for p, q in zip(values, adjusted, strict=True) if p is not None]
    assert [q is None for q in adjusted] == [p is None for p in values]
    assert all(q is not None and p <= q <= 1 for p, q in pairs)
    assert [q for _, q in sorted(pairs)] == sorted(q for _, q in pairs)  # type: ignore[type-var]


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
