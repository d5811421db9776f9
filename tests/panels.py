"""Small panels for tests, with every value computed from its place so that failures are readable."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from engine.data.build import build_panel
from engine.data.calendar import Frequency
from engine.data.fill import Missing
from engine.data.panel import Future, Panel, Roles
from engine.future import future_of

START = dt.date(2024, 1, 1)


def rows(
    n_series: int = 3, periods: int = 60, future: int = 0, seed: int = 0, **columns: Any
) -> pl.DataFrame:
    """Daily rows `store, ds, y, promo, price, temperature, kind`; weekly season and promo lift.

    The last `future` rows of each series have a null y.
    """
    rng = np.random.default_rng(seed)
    frames = []
    for store in range(1, n_series + 1):
        n = periods + future
        t = np.arange(n)
        promo = (rng.random(n) < 0.2).astype(float)
        price = 10.0 + store - 2.0 * promo
        level = 20.0 * store + 5.0 * np.sin(2 * np.pi * t / 7)
        y = np.round(level * (1 + 0.5 * promo) + rng.normal(0, 1.0, n), 3)
        frames.append(
            pl.DataFrame(
                {
                    "store": np.full(n, store),
                    "ds": [START + dt.timedelta(days=int(i)) for i in t],
                    "y": [*map(float, y[:periods]), *([None] * future)],
                    "promo": promo,
                    "price": price,
                    "temperature": [*map(float, 15 + t[:periods] % 7), *([None] * future)],
                    "kind": ["big" if store % 2 else "small"] * n,
                }
            )
        )
    return pl.concat(frames).with_columns(**columns)


def panel(
    frame: pl.DataFrame | None = None,
    *,
    future: Sequence[str] = ("promo", "price"),
    past: Sequence[str] = ("temperature",),
    static: Sequence[str] = ("kind",),
    missing: Missing | None = None,
    ahead: int = 7,
    freq: str | int = "1d",
    keys: Sequence[str] = ("store",),
) -> Panel:
    """A panel of `rows()` (or of another frame with the same columns)."""
    frame = rows(future=ahead) if frame is None else frame
    return build_panel(
        frame,
        roles=Roles(tuple(keys), tuple(future), tuple(past), tuple(static)),
        ds="ds",
        y="y",
        freq=Frequency.parse(freq),
        missing=missing or Missing(y="drop"),
        ahead=ahead,
    )


def history_and_future(whole: Panel, gap: int = 0, horizon: int = 7) -> tuple[Panel, Future]:
    """Cut a panel with known future rows at its end."""
    return whole.until(whole.end), future_of(whole, whole.end, gap, horizon)
