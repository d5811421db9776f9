"""The source `simulate`: series after series in chunks, and the truth behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.contracts import SourceContext
from engine_simulate.demand import Demand, simulate
from engine_simulate.params import SimulateParams
from engine_simulate.timeline import Timeline
from engine_simulate.traits import Traits, draw_traits, generator

CHUNK_ROWS = 2_000_000
MOST_TRUTH_ROWS = 5_000_000


class Simulate:
    """Rows `store, item, ds, units, price, promo, holiday, stockout, category`.

    `price`, `promo` and `holiday` are known ahead, `stockout` (1 where sales were cut short by
    empty shelves) is a past covariate, `category` a static; `units` and `stockout` are null in the
    known future. Rows are sorted by item, store and ds.
    """

    def __init__(self, params: SimulateParams, context: SourceContext) -> None:
        self.params = params
        self.seed = context.seed if params.seed is None else params.seed

    def scan(self) -> pl.LazyFrame:
        """All rows, about 25 bytes each in memory; DataError for a country without holidays."""
        return pl.concat(self.chunks(), rechunk=False).lazy()

    def chunks(self) -> Iterator[pl.DataFrame]:
        """The same rows, some whole series at a time, for panels larger than the memory."""
        timeline = Timeline.of(self.params)
        for numbers in self._chunks(timeline):
            yield self._rows(timeline, numbers)

    def artifacts(self) -> Mapping[str, pl.DataFrame]:
        """The truth, the known future included.

        truth: one row a series with its parameters. truth_rows: `mean` (expected units of demand),
        `baseline` (the same without promotions and price changes) and `uplift`, their difference;
        left out beyond five million rows.
        """
        timeline = Timeline.of(self.params)
        every = range(self.params.series)
        traits = [self._traits(number, timeline)[0] for number in every]
        tables = {"truth": _truth(traits, timeline, self.params)}
        if len(every) * timeline.total <= MOST_TRUTH_ROWS:
            rows = [self._truth_rows(timeline, numbers) for numbers in self._chunks(timeline)]
            tables["truth_rows"] = pl.concat(rows)
        return tables

    def _chunks(self, timeline: Timeline) -> Iterator[range]:
        size = max(CHUNK_ROWS // timeline.total, 1)
        for first in range(0, self.params.series, size):
            yield range(first, min(first + size, self.params.series))

    def _traits(self, number: int, timeline: Timeline) -> tuple[Traits, np.random.Generator]:
        rng = generator(self.seed, number)
        return draw_traits(number, self.seed, self.params, timeline, rng), rng

    def _demands(self, timeline: Timeline, numbers: range) -> list[tuple[Traits, Demand]]:
        drawn = (self._traits(number, timeline) for number in numbers)
        return [(traits, simulate(traits, timeline, self.params, rng)) for traits, rng in drawn]

    def _rows(self, timeline: Timeline, numbers: range) -> pl.DataFrame:
        demands = self._demands(timeline, numbers)
        frame = _labels([traits for traits, _ in demands], timeline, self.params)
        observed = _stacked([np.arange(timeline.total) < timeline.observed] * len(numbers), demands)
        known = pl.Series(observed)
        columns = {
            "units": pl.Series(_stacked([d.units for _, d in demands], demands)),
            "price": pl.Series(_stacked([d.price for _, d in demands], demands)).cast(pl.Float32),
            "promo": pl.Series(_stacked([d.promo for _, d in demands], demands)).cast(pl.Int8),
            "holiday": pl.Series(_stacked([timeline.holiday] * len(numbers), demands)).cast(
                pl.Int8
            ),
            "stockout": pl.Series(_stacked([d.stockout for _, d in demands], demands)).cast(
                pl.Int8
            ),
        }
        return frame.with_columns(**columns).select(
            "store",
            "item",
            "ds",
            pl.when(known).then("units"),
            "price",
            "promo",
            "holiday",
            pl.when(known).then("stockout"),
            "category",
        )

    def _truth_rows(self, timeline: Timeline, numbers: range) -> pl.DataFrame:
        demands = self._demands(timeline, numbers)
        frame = _labels([traits for traits, _ in demands], timeline, self.params)
        return frame.select(
            "store",
            "item",
            "ds",
            mean=pl.Series(_stacked([d.mean for _, d in demands], demands)),
            baseline=pl.Series(_stacked([d.baseline for _, d in demands], demands)),
        ).with_columns(uplift=pl.col("mean") - pl.col("baseline"))


def _labels(traits: list[Traits], timeline: Timeline, params: SimulateParams) -> pl.DataFrame:
    """Store, item, category and ds of every row; the names are Enums, a byte or two each."""
    lengths = np.array([timeline.total - t.launch for t in traits])
    names = _names(traits, params)
    return names.select(pl.all().repeat_by(pl.Series(lengths)).explode()).with_columns(
        ds=pl.Series(np.concatenate([timeline.dates[t.launch :] for t in traits]))
    )


def _names(traits: list[Traits], params: SimulateParams) -> pl.DataFrame:
    items = -(-params.series // params.stores)
    return pl.DataFrame(
        {
            "store": _named([t.store for t in traits], "store_{:03d}", params.stores),
            "item": _named([t.item for t in traits], "item_{:05d}", items),
            "category": _named([t.category for t in traits], "category_{:02d}", params.categories),
        }
    )


def _named(numbers: list[int], name: str, count: int) -> pl.Series:
    levels = pl.Series([name.format(i + 1) for i in range(count)])
    return levels[numbers].cast(pl.Enum(levels))


def _truth(traits: list[Traits], timeline: Timeline, params: SimulateParams) -> pl.DataFrame:
    return _names(traits, params).with_columns(
        level=pl.Series([t.level for t in traits]),
        trend=pl.Series([t.trend for t in traits]),
        elasticity=pl.Series([t.elasticity for t in traits]),
        promotion_lift=pl.Series([t.lift for t in traits]),
        base_price=pl.Series([t.base_price for t in traits]),
        holiday_effect=pl.Series([t.holiday_effect for t in traits]),
        yearly=pl.Series([t.yearly for t in traits]),
        week=pl.Series([t.week.tolist() for t in traits], dtype=pl.List(pl.Float64)),
        occurrence=pl.Series([t.occurrence for t in traits]),
        launch=pl.Series(timeline.dates[[t.launch for t in traits]]),
    )


def _stacked(
    arrays: list[npt.NDArray[Any]], demands: list[tuple[Traits, Demand]]
) -> npt.NDArray[Any]:
    """One array after the other, each from its series' launch on."""
    parts = [a[traits.launch :] for a, (traits, _) in zip(arrays, demands, strict=True)]
    return np.concatenate(parts)
