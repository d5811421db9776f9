"""Products in pieces, and with flags that are kept for some rows, are those of the whole matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from engine_ridge import products as products_module
from engine_ridge.flagged import Flagged
from engine_ridge.products import products


def filled(seed: int, columns: int, rows: int, share: float) -> Flagged:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(columns, rows)).astype(np.float32)
    holes = rng.random(columns) < 0.7
    values[(rng.random(values.shape) < share) & holes[:, None]] = np.nan
    return Flagged.filled(values, rng.normal(size=columns), holes, rows)


def whole(made: Flagged) -> np.ndarray:
    """The matrix with a flag for every row."""
    flags = np.zeros((len(made.flags), made.rows))
    flags[:, made.at] = made.flags
    return np.concatenate([made.values, flags])


@given(
    seed=st.integers(0, 1000),
    columns=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    rows=st.integers(1, 40),
    share=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
)
@settings(max_examples=150, deadline=None)
def test_products_weights_runs_and_parts_are_those_of_the_whole_matrix(seed, columns, rows, share):
    a = filled(seed, columns[0], rows, share)
    b = filled(seed + 1, columns[1], rows, share / 2)
    rng = np.random.default_rng(seed)
    np.testing.assert_allclose(a.products(b), whole(a) @ whole(b).T, atol=1e-9)
    np.testing.assert_allclose(a.products(a), whole(a) @ whole(a).T, atol=1e-9)
    weight = rng.random(rows)
    np.testing.assert_allclose(whole(a.times(weight)), whole(a) * weight)
    first = np.unique(np.append(0, rng.integers(0, rows, size=3)))
    sums = np.add.reduceat(whole(a), first, axis=1)
    np.testing.assert_allclose(whole(a.runs(first)), sums, atol=1e-12)
    mine = np.flatnonzero(rng.random(rows) < 0.6)
    if mine.size:
        np.testing.assert_array_equal(whole(a.select(mine)), whole(a)[:, mine])


def test_values_are_taken_from_their_shifts_and_missing_ones_are_zero():
    column = np.array([1.0, np.nan, 3.0], dtype=np.float32)
    made = Flagged.filled([column, column], np.array([1.0, 2.0]), np.array([True, True]), 3)
    np.testing.assert_array_equal(made.values, [[0, 0, 2], [-1, 0, 1]])
    assert made.at.tolist() == [1]
    assert made.flags.tolist() == [[1.0], [1.0]]


def test_rows_above_the_columns_are_left_to_the_caller():
    made = Flagged.filled([np.ones(3, np.float32)], np.zeros(1), np.zeros(1, bool), 3, above=2)
    assert made.values.shape == (3, 3)
    assert made.values[2].tolist() == [1.0, 1.0, 1.0]


def test_a_column_too_few_is_an_error():
    with pytest.raises(ValueError, match="zip"):
        Flagged.filled([np.ones(3, np.float32)], np.zeros(2), np.zeros(2, bool), 3)


@pytest.mark.parametrize("small_kernels", [True, False])
@given(
    left=st.integers(0, 40),
    right=st.integers(0, 40),
    rows=st.integers(1, 9_000),
    limit=st.sampled_from([900_000, 60_000]),
)
@settings(max_examples=60, deadline=None)
def test_products_in_pieces_are_those_of_all_rows(small_kernels, left, right, rows, limit):
    rng = np.random.default_rng(rows)
    one, other = rng.normal(size=(left, rows)), rng.normal(size=(right, rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products_module, "_has_small_kernels", lambda: small_kernels)
        patch.setattr(products_module, "_SMALL", limit)
        patch.setattr(products_module, "_LEAST_ROWS", limit // 1_200)
        found, own = products(one, other), products(one, one)
    np.testing.assert_allclose(found, one @ other.T, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(own, one @ one.T, rtol=1e-10, atol=1e-9)
