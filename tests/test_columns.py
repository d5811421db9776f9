from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from engine.columns import Column, Rows, Stretch, _evenly_spaced, lags
from engine.windows import SeriesRows

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=6)
SHIFTS = st.lists(st.integers(0, 12), min_size=1, max_size=6)


def everything(lengths: list[int]) -> tuple[np.ndarray, Rows, SeriesRows]:
    """Values of rows of series, all of the rows, and where the series lie."""
    count = sum(lengths)
    values = np.arange(1, count + 1, dtype=np.float32)
    index = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    starts = np.cumsum([0, *lengths[:-1]]).astype(np.int64)
    return values, Rows(np.arange(count), index), SeriesRows(starts, count)


def shifted(values: np.ndarray, lengths: list[int], shift: int) -> np.ndarray:
    parts = np.split(values, np.cumsum(lengths)[:-1])
    blank = np.full(shift, np.nan, dtype=np.float32)
    return np.concatenate([np.concatenate([blank, part])[: part.size] for part in parts])


@settings(deadline=None)
@given(lengths=LENGTHS, shifts=SHIFTS)
def test_lags_are_the_values_so_many_rows_before_within_their_series(lengths, shifts):
    values, rows, series = everything(lengths)
    made = rows.matrix(lags(values, series, shifts))
    expected = [shifted(values, lengths, shift) for shift in shifts]
    np.testing.assert_array_equal(made, np.array(expected))


@settings(deadline=None)
@given(lengths=LENGTHS, shifts=SHIFTS)
def test_a_lag_says_that_it_may_be_missing_where_it_is(lengths, shifts):
    values, rows, series = everything(lengths)
    for column in lags(values, series, shifts):
        assert column.may_miss or np.isfinite(rows.read(column)).all()


@settings(deadline=None)
@given(
    n=st.integers(1, 5),
    length=st.integers(2, 12),
    shifts=SHIFTS,
    data=st.data(),
)
def test_a_stretch_reads_what_its_rows_say(n, length, shifts, data):
    first = data.draw(st.integers(0, length - 1))
    count = data.draw(st.integers(1, length - first))
    back = data.draw(st.integers(0, first))
    values, _, series = everything([length] * n)
    dates = np.arange(length + 3, dtype=np.float32)
    matrix = np.arange(3 * n * length, dtype=np.float32).reshape(3, -1)
    columns = [
        *lags(values, series, shifts),
        *(Column(row) for row in matrix),
        Column(dates, 3 - length * np.arange(n)),
        Column(matrix[2]),
        Column(matrix[0]),
    ]
    stretch = Stretch(n, length, first, count)
    plain = Rows(stretch.row, stretch.series)
    assert len(stretch) == len(plain) == n * count
    for one, other in ((stretch, plain), (stretch.before(back), plain.before(back))):
        np.testing.assert_array_equal(one.matrix(columns), other.matrix(columns))
        for column in columns:
            np.testing.assert_array_equal(one.read(column), other.read(column))
        np.testing.assert_array_equal(one.of(values), other.of(values))


def test_only_columns_within_one_array_are_copied_in_one_go():
    # Arrays of their own, taken as one, would seem to overlap with whatever lies between them.
    matrix, places = np.zeros((4, 12), dtype=np.float32), 3 * np.arange(4)
    rows = [Column(row) for row in matrix]
    alone = [Column(np.zeros(12, dtype=np.float32)) for _ in range(3)]
    moved = [Column(row, places) for row in matrix]
    assert [*_evenly_spaced(rows)] == [(0, 4)]
    assert [*_evenly_spaced(alone)] == [(0, 1), (1, 2), (2, 3)]
    assert [*_evenly_spaced([*rows[:2], rows[3], *moved[:2]])] == [(0, 2), (2, 3), (3, 5)]


def test_a_stretch_beyond_the_values_is_refused():
    with pytest.raises((TypeError, ValueError)):
        Stretch(2, 5, 3, 4).read(Column(np.zeros(10, dtype=np.float32)))


@given(
    n=st.integers(1, 7),
    length=st.integers(1, 9),
    first=st.integers(0, 8),
    most=st.integers(1, 40),
)
def test_pieces_of_a_stretch_are_its_rows_in_turn(n, length, first, most):
    first = min(first, length - 1)
    stretch = Stretch(n, length, first, length - first)
    series = SeriesRows(length * np.arange(n), length * n)
    columns = lags(np.arange(n * length, dtype=np.float32), series, [0, 2])
    pieces = [*stretch.pieces(most)]
    assert all(0 < len(piece) <= max(most, 1) for piece in pieces)
    found = np.sort(np.concatenate([piece.row for piece in pieces]))
    np.testing.assert_array_equal(found, stretch.row)
    for piece in pieces:
        plain = Rows(piece.row, piece.series)
        np.testing.assert_array_equal(piece.series, piece.row // length)
        np.testing.assert_array_equal(piece.matrix(columns), plain.matrix(columns))
        np.testing.assert_array_equal(piece.before(0).row, piece.row)
