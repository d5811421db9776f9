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
    numbers = values.cast(pl.Float32).fill_nan(None) if short else values.cast(pl.Int64)
    missing = numbers.is_null()
    digest.update(missing.cast(pl.UInt8).to_numpy().data)
    # Adding zero turns a negative zero into a positive one.
    digest.update((numbers.fill_null(0).to_numpy() + 0).data)
