"""Series that a reader finds by name: their numbers, packed small, for the page to draw.

A picture needs no more than a few thousand steps between its lowest and its highest value, so each
value is two letters. The page's script draws them as the pictures that are already there; without
it, those are what a reader sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from engine_report.document import embedded
from engine_report.reading import Run
from engine_report.views import LEAST_PERIODS, MOST_PERIODS, ROOM

MOST_BYTES = 1_200_000
"""Of all packed series; the page has to stay small."""
LETTERS = "".join(chr(c) for c in range(35, 127) if chr(c) not in "&'<>\\")
STEPS = len(LETTERS) ** 2 - 2
"""Steps between the lowest and the highest value of a series; the first code is for nothing."""
_CODES = np.array([a + b for a in LETTERS for b in LETTERS])
_OVERHEAD = 80
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """text: JSON that holds no `<`. count: series in it."""

    text: str
    count: int


def searched(run: Run, names: Sequence[str]) -> Found | None:
    """The given series in this order, as many as there is room for; None without history."""
    if run.history is None or not names:
        return None
    mine = pl.col("model") == run.leader
    tested = run.rows.filter(mine)
    ahead = run.results.tables.get("forecast", tested.clear()).filter(mine)
    order = pl.DataFrame({"unique_id": list(names), "series": range(len(names))})
    history = _stretches(run.history, tested, order)
    room = MOST_BYTES // _bytes_each(history, tested, ahead)
    dates = pl.concat([history["ds"], ahead["ds"].cast(history.schema["ds"])]).unique().sort()
    place = pl.DataFrame({"ds": dates, "date": range(dates.len())})
    grid = _Grid(min(room, len(names)), dates.len())
    rows = history.join(place, on="ds")
    actual = grid.filled(rows, "y")
    on = pl.any_horizontal(pl.lit(False), *(pl.col(c).fill_null(0) != 0 for c in run.flags))
    marks = grid.filled(rows.with_columns(on=on.cast(pl.Float64)), "on")
    columns = ("y_hat", *(run.interval[:2] if run.interval else ()))
    blocks = []
    for kind, table in ((0, tested), (1, ahead)):
        for part in table.partition_by("cutoff", maintain_order=True):
            placed = part.join(order, on="unique_id").join(place, on="ds")
            if placed.height:
                blocks.append((kind, [grid.filled(placed, c) for c in columns]))
    packed = _packed(actual, marks, blocks, names)
    found = {"dates": dates.cast(pl.String).to_list(), "letters": LETTERS, "series": packed}
    return Found(embedded(found), len(packed))


def _stretches(history: pl.DataFrame, tested: pl.DataFrame, order: pl.DataFrame) -> pl.DataFrame:
    """Rows of history in the stretch that is drawn (as `views.cut`), with the series' number."""
    first = tested.group_by("unique_id").agg(begun=pl.col("ds").min())
    rows = history.join(order, on="unique_id").join(first, on="unique_id")
    observed = rows.filter(pl.col("y").is_not_null()).sort("ds", descending=True)
    since = (pl.col("ds") >= pl.col("begun")).sum()
    count = (2 * since).clip(LEAST_PERIODS, MOST_PERIODS)
    starts = observed.group_by("unique_id").agg(
        start=pl.col("ds").get(pl.min_horizontal(count, pl.len()) - 1)
    )
    return rows.join(starts, on="unique_id").filter(pl.col("ds") >= pl.col("start"))


def _bytes_each(history: pl.DataFrame, tested: pl.DataFrame, ahead: pl.DataFrame) -> int:
    """Bytes of a packed series, on average."""
    series = max(history["unique_id"].n_unique(), 1)
    forecasts = tested.height / max(tested["unique_id"].n_unique(), 1)
    forecasts += ahead.height / max(ahead["unique_id"].n_unique(), 1)
    return _OVERHEAD + 2 * int(history.height / series + 3 * forecasts)


@dataclass(frozen=True)
class _Grid:
    """Tables of one value for each of the first `series` series and of the dates."""

    series: int
    dates: int

    def filled(self, rows: pl.DataFrame, column: str) -> Floats:
        """A column of rows `series, date`, NaN where there is none: (series, dates)."""
        kept = rows.filter(pl.col("series") < self.series).select(
            "series", "date", value=pl.col(column).cast(pl.Float64)
        )
        made = np.full((self.series, self.dates), np.nan)
        made[kept["series"].to_numpy(), kept["date"].to_numpy()] = kept["value"].to_numpy()
        return made


def _within_reach(
    actual: Floats, blocks: Sequence[tuple[int, list[Floats]]]
) -> list[tuple[int, list[Floats]]]:
    """Forecasts with bands that end a little beyond actual values and forecasts, as in the pictures."""
    lines = [actual, *(columns[0] for _, columns in blocks)]
    low = np.min([np.nanmin(v, axis=1, initial=np.inf) for v in lines], axis=0)
    high = np.max([np.nanmax(v, axis=1, initial=-np.inf) for v in lines], axis=0)
    room = np.where(high > low, ROOM * (high - low), np.inf)
    ends = (low - room)[:, None], (high + room)[:, None]
    return [
        (kind, [columns[0], *(np.clip(band, *ends) for band in columns[1:])])
        for kind, columns in blocks
    ]


def _packed(
    actual: Floats, marks: Floats, blocks: Sequence[tuple[int, list[Floats]]], names: Sequence[str]
) -> list[list[Any]]:
    """One entry a series: name, lowest, highest, [first date, actual], marks, forecasts.

    marks: first and last date of each stretch, one after the other. forecasts: [kind, first date,
    y_hat, low, high], without the last two if there is no interval.
    """
    blocks = _within_reach(actual, blocks)
    everything = [actual, *(values for _, columns in blocks for values in columns)]
    low = np.min([np.nanmin(v, axis=1, initial=np.inf) for v in everything], axis=0)
    high = np.max([np.nanmax(v, axis=1, initial=-np.inf) for v in everything], axis=0)
    span = np.where(high > low, high - low, 1.0)[:, None]

    def codes(values: Floats) -> npt.NDArray[np.int64]:
        scaled = np.rint((values - low[:, None]) / span * STEPS) + 1
        return np.where(np.isnan(values), 0, scaled).astype(np.int64)

    seen = codes(actual)
    forecasts = [(kind, [codes(values) for values in columns]) for kind, columns in blocks]
    edges = np.diff(np.pad(marks > 0, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    made: list[list[Any]] = []
    for i, name in enumerate(names[: actual.shape[0]]):
        if not np.isfinite(low[i]):
            continue
        stretches = np.stack([np.flatnonzero(edges[i] > 0), np.flatnonzero(edges[i] < 0)], axis=1)
        lines = []
        for kind, columns in forecasts:
            there = np.flatnonzero(columns[0][i])
            if there.size:
                part = slice(int(there[0]), int(there[-1]) + 1)
                lines.append([kind, part.start, *("".join(_CODES[c[i, part]]) for c in columns)])
        there = np.flatnonzero(seen[i])
        part = slice(int(there[0]), int(there[-1]) + 1) if there.size else slice(0, 0)
        line = [part.start, "".join(_CODES[seen[i, part]])]
        ends = [float(f"{v:.6g}") for v in (low[i], high[i])]
        made.append([name, *ends, line, stretches.ravel().tolist(), lines])
    return made
