"""A panel's content as a short digest: the same for the same data on any machine and any version.

Floats count to the seven digits of a Float32, so that the last bits of another processor's `exp`
are not other data.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy.typing as npt
import polars as pl

from engine.data.panel import Panel

_AT_ONCE = 1 << 20
"""Rows at a time: what is fed needs no more memory than theirs."""


class Fingerprint:
    """The digest of a panel, made by a thread beside other work; `str` waits for it."""

    def __init__(self, panel: Panel) -> None:
        thread = ThreadPoolExecutor(max_workers=1)
        self._made = thread.submit(panel_fingerprint, panel)
        thread.shutdown(wait=False)

    def __str__(self) -> str:
        return self._made.result()


def panel_fingerprint(panel: Panel) -> str:
    """Hex digest (40 digits) of the frequency, the series and every row and column of a panel."""
    digest = hashlib.blake2b(str(panel.grid.freq).encode(), digest_size=20)
    for table in (panel.series, panel.frame):
        for column in table.get_columns():
            digest.update(f"\n{column.name} {column.len()} ".encode())
            _add(digest, column)
    return digest.hexdigest()


def _add(digest: hashlib.blake2b, column: pl.Series) -> None:
    """Feed one column: its categories, if it has any, which values are missing, and the values."""
    if column.dtype == pl.String:
        column = column.cast(pl.Enum(column.unique().drop_nulls().sort()))
    if isinstance(column.dtype, pl.Enum):
        digest.update("\x1f".join(column.dtype.categories).encode())
    values = column.to_physical()
    real = values.dtype.is_float()
    parts = range(0, len(values), _AT_ONCE)
    for first in parts:
        part = values.slice(first, _AT_ONCE)
        if real:
            part = part.fill_nan(None)
        missing = part.is_null().cast(pl.UInt8).to_numpy().data if part.null_count() else None
        digest.update(bytes(len(part)) if missing is None else missing)
    for first in parts:
        digest.update(_numbers(values.slice(first, _AT_ONCE)).data)


def _numbers(values: pl.Series) -> npt.NDArray[Any]:
    """Values as Float32, flags and floats, or as Int64; 0 where missing."""
    real = values.dtype.is_float()
    numbers = values.cast(pl.Float32 if real or values.dtype == pl.Boolean else pl.Int64)
    if real:
        numbers = numbers.fill_nan(None)
    if numbers.null_count():
        numbers = numbers.fill_null(0)
    # Adding zero turns a negative zero into a positive one.
    return numbers.to_numpy() + 0 if real else numbers.to_numpy()
