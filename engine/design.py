"""Training rows of all buckets of steps, shard by shard, from one evaluation of the features.

Known values of a target are the same in every bucket, and history values are the same for a run of
targets: a model that only sums products (`SharedModel`) reads the shards as they are, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import polars as pl

from engine.blocks import complete, rows_of
from engine.columns import Column, Rows
from engine.components import Capabilities
from engine.contracts import Design, DesignBlock, Feature, Training
from engine.data.panel import Future, Panel
from engine.features import (
    FeaturePlan,
    Matrix,
    columns_of,
    evaluate,
    evaluate_static,
    known_rows,
)
from engine.mergeable import MergeableDesignModel, Statistics
from engine.shard import Ahead, DesignShard, FeatureValues
from engine.windows import SeriesRows

SHARD_ROWS = 250_000
CACHE_BYTES = 3_000_000_000
EVERYTHING = Capabilities(input="design", static_covariates=True, missing_values=True)
"""What a model is taken to accept if nobody says what it declares."""


@dataclass(frozen=True)
class SharedDesign:
    """The designs of all buckets, and the shards that they are all made of.

    features: in the order of the designs' columns. buckets: periods ahead of each design. shards:
    may be called again and again; every call evaluates the features anew.
    """

    designs: tuple[Design, ...]
    buckets: tuple[Ahead, ...]
    features: tuple[Feature, ...]
    shards: Callable[[], Iterator[DesignShard]]


@runtime_checkable
class SharedModel(MergeableDesignModel, Protocol):
    """A mergeable model that reads the shards of all buckets in one pass; optional for a model."""

    @property
    def cumulative(self) -> bool:
        """Whether statistics up to one cutoff should be a part of those up to a later one.

        A backtest then reads every row once, see `engine.growing`. What a row adds must not depend
        on `DesignBlock.age`, and statistics should be small beside the rows.
        """
        ...

    def statistics_all(self, shared: SharedDesign) -> Sequence[Statistics | None]:
        """For each bucket what `statistics` of its design gives, to rounding; None for no rows."""
        ...


def shared_design(
    train: Training,
    plan: FeaturePlan,
    buckets: Sequence[Ahead],
    window: int | None,
    shard_rows: int | None = None,
    able: Capabilities = EVERYTHING,
) -> SharedDesign:
    """The designs of all buckets of a training panel.

    shard_rows: rows whose features are evaluated at once; None: `SHARD_ROWS`, and all are kept below
    `CACHE_BYTES`. able: rows in which a feature is missing and attributes of series are left out of
    the designs if the model does not take them; the shards have them still.
    """
    source = _Shards(train.panel, plan, window, shard_rows, train.future)
    statics = () if able.static_covariates else train.panel.roles.static

    def design(bucket: Ahead) -> Design:
        def blocks() -> Iterator[DesignBlock]:
            for shard in source.kept():
                block = shard.block(bucket)
                if not able.missing_values:
                    block = rows_of(block, complete(block))
                if block.y.size:
                    yield block

        return Design(
            features=tuple(plan.names),
            series=train.panel.series.drop(statics),
            quantiles=train.quantiles,
            seed=train.seed,
            blocks=blocks,
            report=train.report,
            transform=train.transform,
        )

    designs = tuple(design(bucket) for bucket in buckets)
    return SharedDesign(designs, tuple(buckets), plan.features, source.streamed)


class _Shards:
    """Shards of a panel with their features: streamed, or kept while they are small enough."""

    def __init__(
        self,
        panel: Panel,
        plan: FeaturePlan,
        window: int | None,
        shard_rows: int | None,
        future: Future | None,
    ) -> None:
        self._panel, self._plan, self._window, self._future = panel, plan, window, future
        self._rows = shard_rows or SHARD_ROWS
        size = panel.frame.height * max(len(plan.features), 1) * 4
        small = size <= CACHE_BYTES
        self._keep = small if shard_rows is None else panel.frame.height <= shard_rows
        self._kept: list[DesignShard] | None = None
        self._dates: Matrix | None = None

    def kept(self) -> Iterator[DesignShard]:
        """All shards; evaluated once for all calls if they fit into memory."""
        if not self._keep:
            return self.streamed()
        if self._kept is None:
            self._kept = list(self.streamed())
        return iter(self._kept)

    def streamed(self) -> Iterator[DesignShard]:
        """All shards, evaluated anew: the next one while its predecessor is worked on."""
        with ThreadPoolExecutor(max_workers=1) as ahead:
            following = None
            for offset, panel in self._pieces():
                coming = ahead.submit(self._evaluated, offset, panel)
                if following is not None:
                    yield following.result()
                following = coming
            if following is not None:
                yield following.result()

    def _pieces(self) -> Iterator[tuple[int, Panel]]:
        offset = 0
        for panel in self._panel.shards(self._rows):
            yield offset, panel
            offset += panel.n_series

    def _evaluated(self, offset: int, panel: Panel) -> DesignShard:
        series = SeriesRows(panel.offsets[:-1], panel.frame.height)
        values = FeatureValues(
            history=columns_of(panel.frame, self._plan.of("history"), series),
            aligned=columns_of(panel.frame, self._plan.of("aligned"), series),
            known=self._known(offset, panel, series),
            static=evaluate_static(panel.series, self._plan.of("static")),
        )
        return DesignShard(offset, panel, values, self._plan, self._window)

    def _known(self, offset: int, panel: Panel, series: SeriesRows) -> tuple[Column, ...]:
        features = self._plan.of("known")
        if self._dates is None:
            self._dates = evaluate_dates(self._panel, features)
        columns = known_columns(panel, features, self._dates, series)
        if self._future is not None and features:
            coming = self._future.select(np.arange(offset, offset + panel.n_series))
            return _seeing_ahead(columns, panel, coming, features)
        return columns


def _seeing_ahead(
    columns: Sequence[Column], panel: Panel, future: Future, features: Sequence[Feature]
) -> tuple[Column, ...]:
    """Columns of known features with what the last rows say if those that follow are there.

    Tomorrow's promotion is known on the last day of a history, and no gap to be learned from. columns:
    as `known_columns` gives them; the last `ahead_max` rows of each series may change.
    """
    ahead = future.ahead_max
    frame, first_future = known_rows(panel, future, lookback_of(features, ahead))
    last = np.minimum(panel.lengths, ahead)
    series = np.repeat(np.arange(panel.n_series, dtype=np.int32), last)
    back = np.arange(series.size) - np.repeat(np.cumsum(last), last)
    place = panel.offsets[1:][series] + back
    seen = evaluate(frame, features)[:, first_future[series] + back]
    old = Rows(place, series).matrix(columns)
    same = np.isclose(old, seen, rtol=1e-5, equal_nan=True)
    made = []
    for number, column in enumerate(columns):
        if not same[number].all():
            values = Rows(np.arange(panel.frame.height), panel.series_index).read(column)
            # What does not look ahead keeps its bits.
            values[place] = np.where(same[number], old[number], seen[number])
            column = Column(values)
        made.append(column)
    return tuple(made)


def lookback_of(features: Sequence[Feature], rows: int) -> int | None:
    """Rows of history that features of the last `rows` rows are made of; None for all."""
    backs = [f.lookback for f in features]
    return None if None in backs else max((b for b in backs if b is not None), default=0) + rows


def tail_of(history: Panel, features: Sequence[Feature], reach: int) -> Panel:
    """The end of the history that is enough to evaluate features at and before the cutoff."""
    rows = lookback_of(features, 1)
    return history if rows is None else history.tail(rows + reach)


def tail_for(history: Panel, plan: FeaturePlan) -> Panel:
    """The end of the history that features of the targets after it are made of."""
    season = max((feature.season for feature in plan.of("aligned")), default=0)
    return tail_of(history, plan.of("history", "aligned"), season)


def known_columns(
    panel: Panel,
    features: Sequence[Feature],
    dates: Matrix | None = None,
    series: SeriesRows | None = None,
) -> tuple[Column, ...]:
    """Known features of the rows of a panel, from frames without `y`.

    dates: what `evaluate_dates` gives for the panel, or for one that this is a part of.
    """
    dated = [_is_of_date(feature) for feature in features]
    others = [feature for feature, alike in zip(features, dated, strict=True) if not alike]
    columns = [panel.frame[name] for name in ("unique_id", "ds", *panel.roles.future)]
    of_rows = iter(columns_of(pl.DataFrame(columns), others, series))
    dates = evaluate_dates(panel, features) if dates is None else dates
    places = dates.shape[1] - panel.offsets[1:]
    of_dates = (Column(values, places) for values in dates)
    return tuple(next(of_dates if alike else of_rows) for alike in dated)


def evaluate_dates(panel: Panel, features: Sequence[Feature]) -> Matrix:
    """Features of the date alone, for the rows of the longest series: (of the date, rows).

    All series end together: counted from there, the values are the same in all of them.
    """
    lengths = panel.lengths
    longest = int(lengths.argmax())
    dates = panel.frame.select("unique_id", "ds")
    dates = dates.slice(int(panel.offsets[longest]), int(lengths[longest]))
    return evaluate(dates, [feature for feature in features if _is_of_date(feature)])


def _is_of_date(feature: Feature) -> bool:
    """Whether a known feature reads the date of its own row and nothing else."""
    return feature.lookback == 0 and set(feature.expr.meta.root_names()) == {"ds"}
