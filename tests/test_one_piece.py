from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import polars as pl
import pytest

from engine.data.build import _in_one_piece

NUMBERS = (
    pl.Series("v", [1, 2, 3]),
    pl.Series("v", [1, None, 3]),
    pl.Series("v", [None, None]),
    pl.Series("v", [True, False, True]),
    pl.Series("v", [1.5, -0.0, 1e300]),
    pl.Series("v", [Decimal("1.25"), Decimal("2.00")]),
    pl.Series("v", [2**60 + 1, 0], dtype=pl.UInt64),
    pl.Series("v", [1, 2], dtype=pl.Int128),
    pl.Series("v", [], dtype=pl.Int16),
)
TIMES = (
    pl.Series("v", [date(2024, 2, 29), date(1969, 1, 1)]),
    pl.Series("v", [datetime(2024, 2, 29, 12), datetime(1969, 1, 1)]),
    pl.Series("v", [datetime(2024, 7, 1)] * 2).dt.replace_time_zone("Europe/Berlin"),
    pl.Series("v", [7, 8], dtype=pl.Int16),
)


def assert_same(found: pl.Series, expected: pl.Series) -> None:
    assert found.n_chunks() == 1
    assert (found.name, found.dtype) == (expected.name, expected.dtype)
    assert found.equals(expected, null_equal=True)


@pytest.mark.parametrize("values", NUMBERS, ids=lambda v: str(v.dtype))
@pytest.mark.parametrize("dtype", [pl.Float32(), pl.Float64()], ids=str)
def test_numbers_in_pieces_are_cast_as_polars_does(values: pl.Series, dtype: pl.DataType):
    for pieces in (values, pl.concat([values, values.reverse(), values], rechunk=False)):
        assert_same(_in_one_piece(pieces, dtype), pieces.rechunk().cast(dtype))


@pytest.mark.parametrize("values", TIMES, ids=lambda v: str(v.dtype))
def test_times_in_pieces_stay_what_they_are(values: pl.Series):
    for pieces in (values, pl.concat([values, values], rechunk=False)):
        assert_same(_in_one_piece(pieces, pieces.dtype), pieces.rechunk())
