"""The data that components are checked on: small, deterministic, awkward on purpose.

Columns: key `store`, time `ds`, target `y`, future covariates `promo` (0/1) and `price`, past covariate
`temperature`, static attribute `kind`. A component under test is given options for these columns.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from engine.contracts import Feature
from engine.data.build import build_panel
from engine.data.calendar import Frequency
from engine.data.fill import Missing
from engine.data.panel import Future, Panel, Roles
from engine.features import FeaturePlan
from engine.future import future_of

START = dt.date(2024, 1, 1)
HORIZON = 3
QUANTILES = (0.1, 0.5, 0.9)
ROLES = Roles(("store",), ("promo", "price"), ("temperature",), ("kind",))


@dataclass(frozen=True)
class Case:
    """One shape of data: how many series, how long, which time, what is done to the rows.

    lengths: observed periods of each series, all of which end on the same date. ahead: known
    future periods after it. integer: time in integers instead of days. level: rough size of y.
    """

    lengths: tuple[int, ...] = (60, 52, 60, 45)
    ahead: int = HORIZON
    integer: bool = False
    level: float = 20.0

    def rows(self) -> pl.DataFrame:
        """All rows, sorted by store and time; y and temperature are null in the known future."""
        longest = max(self.lengths)
        return pl.concat(
            self._series(number, length, longest) for number, length in enumerate(self.lengths)
        )

    def panel(self, change: Callable[[pl.DataFrame], pl.DataFrame] | None = None) -> Panel:
        """The panel of the rows, after `change` was applied to them."""
        rows = self.rows() if change is None else change(self.rows())
        return panel_of(rows, self.ahead)

    def _series(self, number: int, length: int, longest: int) -> pl.DataFrame:
        rng = np.random.default_rng(100 + number)
        n = length + self.ahead
        t = np.arange(longest - length, longest + self.ahead)
        promo = (rng.random(n) < 0.25).astype(float)
        price = np.round(10.0 + number - 2.0 * promo + rng.normal(0, 0.3, n), 3)
        temperature = 15 + 5 * np.sin(2 * np.pi * t / 11) + rng.normal(0, 0.5, n)
        season = 1 + 0.3 * np.sin(2 * np.pi * t / 7)
        y = (1 + 0.5 * number) * season * (1 + 0.4 * promo) * (1 + 0.1 * rng.random(n))
        y = y * (1 + 0.01 * temperature) * self.level
        day = [int(i) for i in t]
        unknown = [None] * self.ahead
        return pl.DataFrame(
            {
                "store": [f"store {chr(97 + number)}"] * n,
                "ds": day if self.integer else [START + dt.timedelta(days=i) for i in day],
                "y": [*map(float, y[:length]), *unknown],
                "promo": promo,
                "price": price,
                "temperature": [*map(float, temperature[:length]), *unknown],
                "kind": ["big" if number % 2 else "small"] * n,
            },
            schema_overrides={"y": pl.Float64, "temperature": pl.Float64},
        )


def panel_of(rows: pl.DataFrame, ahead: int = HORIZON) -> Panel:
    """The panel of rows with the kit's columns; missing y stay missing."""
    freq = "1" if rows.schema["ds"].is_integer() else "1d"
    return build_panel(
        rows,
        roles=ROLES,
        ds="ds",
        y="y",
        freq=Frequency.parse(int(freq) if freq == "1" else freq),
        missing=Missing(y="drop"),
        ahead=ahead,
    )


def cut(panel: Panel, back: int = 0, gap: int = 0, horizon: int = HORIZON) -> tuple[Panel, Future]:
    """History up to `back` periods before the panel's end, and the known future after it."""
    cutoff = panel.end - back
    return panel.until(cutoff), future_of(panel, cutoff, gap, horizon)


def design_features() -> FeaturePlan:
    """Features for models of design rows: one of each availability."""
    y, promo = pl.col("y"), pl.col("promo")
    return FeaturePlan(
        (
            Feature("promo", promo, "known", lookback=0),
            Feature("price", pl.col("price"), "known", lookback=0),
            Feature("last", y, "history", lookback=0),
            Feature("mean_7", y.rolling_mean(7, min_samples=1), "history", lookback=6),
            Feature("temperature", pl.col("temperature"), "history", lookback=0),
            Feature("last_week", y, "aligned", lookback=0, season=7),
            Feature("big", pl.col("kind").cast(pl.String) == "big", "static"),
        )
    )


def frozen_copy(panel: Panel, future: Future | None = None) -> dict[str, Any]:
    """Everything of a panel and its future that a plugin could change, copied."""
    copied: dict[str, Any] = {
        "frame": panel.frame.clone().rechunk().to_dict(as_series=False),
        "series": panel.series.to_dict(as_series=False),
        "offsets": panel.offsets.tolist(),
        "starts": panel.starts.tolist(),
    }
    if future is not None:
        copied["future"] = future.frame.to_dict(as_series=False)
    return copied
