"""Daily sales to measure on: written to Parquet once, the same bytes for every competitor.

Columns: `unique_id` (integer), `ds`, `y` and `price` (Float32); sorted, without holes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

START = date(2011, 1, 29)
SERIES_AT_ONCE = 500


def sales_file(folder: Path, series: int, days: int) -> Path:
    """The file of a panel of this size; it is made if it is not there."""
    target = folder / f"sales-{series}x{days}.parquet"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial")
        first = _chunk(0, min(series, SERIES_AT_ONCE), days)

        def chunks(*_: Any) -> Iterator[pl.DataFrame]:
            yield first
            for start in range(SERIES_AT_ONCE, series, SERIES_AT_ONCE):
                yield _chunk(start, min(start + SERIES_AT_ONCE, series), days)

        register_io_source(chunks, schema=first.schema).sink_parquet(partial)
        partial.rename(target)
    return target


def _chunk(first: int, last: int, days: int) -> pl.DataFrame:
    """Series first..last - 1: level, weekly season, price with promotions, noise."""
    rng = np.random.default_rng(first)
    n = last - first
    t = np.arange(days)
    level = rng.lognormal(1.0, 1.0, n)[:, None]
    regular = rng.uniform(1, 20, n)[:, None]
    price = regular * np.where(rng.random((n, days)) < 0.1, 0.8, 1.0)
    season = 1 + 0.3 * np.sin(2 * np.pi * (t + rng.integers(0, 7, n)[:, None]) / 7)
    y = level * season * (price / regular) ** -2 * rng.gamma(2.0, 0.5, (n, days))
    ds = pl.Series([START + timedelta(days=int(i)) for i in t], dtype=pl.Date)
    return pl.DataFrame(
        {
            "unique_id": np.repeat(np.arange(first, last, dtype=np.int32), days),
            "ds": ds.gather(np.tile(t, n)),
            "y": y.astype(np.float32).ravel(),
            "price": price.astype(np.float32).ravel(),
        }
    )
