"""A panel's content as a short digest: the same for the same data on any machine and any version.

Floats count to the seven digits of a Float32, so that the last bits of another processor's `exp`
are not other data.
"""

from __future__ import annotations

import hashlib

import polars as pl

from engine.data.panel import Panel


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
    short = values.dtype.is_float() or values.dtype == pl.Boolean
    numbers = values.cast(pl.Float32 if short else pl.Int64)
    if values.dtype.is_float():
        numbers = numbers.fill_nan(None)
    if numbers.null_count():
        digest.update(numbers.is_null().cast(pl.UInt8).to_numpy().data)
        numbers = numbers.fill_null(0)
    else:
        digest.update(bytes(len(numbers)))
    # Adding zero turns a negative zero into a positive one.
    digest.update(
        (numbers.to_numpy() + 0).data if values.dtype.is_float() else numbers.to_numpy().data
    )
