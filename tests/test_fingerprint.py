from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from engine.data.fingerprint import panel_fingerprint
from tests.panels import panel, rows

WHOLE = panel(rows(periods=30, future=0), past=(), ahead=0)
BEFORE = panel_fingerprint(WHOLE)


def changed(*expressions: pl.Expr) -> str:
    return panel_fingerprint(replace(WHOLE, frame=WHOLE.frame.with_columns(*expressions)))


def at(row: int, value: pl.Expr) -> pl.Expr:
    return pl.when(pl.int_range(pl.len()) == row).then(value).otherwise(pl.col("y")).alias("y")


@pytest.mark.parametrize("row", [0, 7, WHOLE.frame.height - 1])
@pytest.mark.parametrize(
    "value", [pl.col("y") + 1, pl.col("y") * 1.00001, pl.lit(None)], ids=["more", "a bit", "null"]
)
def test_one_other_value_anywhere_is_other_data(row: int, value: pl.Expr):
    assert changed(at(row, value)) != BEFORE


def test_the_last_bits_of_a_value_and_the_chunks_of_a_frame_are_not_other_data():
    assert changed(pl.col("y") * (1 + 1e-13)) == BEFORE
    parts = [WHOLE.frame.head(5), WHOLE.frame.slice(5)]
    assert panel_fingerprint(replace(WHOLE, frame=pl.concat(parts, rechunk=False))) == BEFORE


def test_a_zero_is_not_a_missing_value():
    zero = changed(at(3, pl.lit(0.0)))
    assert zero != changed(at(3, pl.lit(None)))
    assert zero == changed(at(3, pl.lit(-0.0)))


def test_other_names_of_series_and_columns_are_other_data():
    renamed = WHOLE.series.with_columns(pl.col(WHOLE.roles.keys[0]).cast(pl.String) + "x")
    assert panel_fingerprint(replace(WHOLE, series=renamed)) != BEFORE
    assert panel_fingerprint(replace(WHOLE, frame=WHOLE.frame.rename({"y": "z"}))) != BEFORE
