"""Training rows of all buckets of steps, shard by shard, from one evaluation of the features.

A design row for cutoff t and target u = t + a is `history[t] + aligned[u] + known[u] + static`. In a
bucket of steps k1..k2 every target is used once: cutoffs lie k2 - k1 + 1 periods apart, counted back
from the panel's end, so that the buckets tile time and the newest targets are always used.

So known values of a target are the same in every bucket, and history values are the same for a run
of targets: a model that only sums products (`SharedModel`) reads the shards as they are, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from engine.blocks import complete, rows_of
from engine.components import Capabilities
from engine.contracts import Design, DesignBlock, Feature, Training
from engine.data.panel import Future, IntArray, Panel
from engine.features import FeaturePlan, Matrix, evaluate, evaluate_static, known_rows
from engine.mergeable import MergeableDesignModel, Statistics

SHARD_ROWS = 250_000
CACHE_BYTES = 3_000_000_000
EVERYTHING = Capabilities(input="design", static_covariates=True, missing_values=True)
"""What a model is taken to accept if nobody says what it declares."""

Ahead = tuple[int, int]
"""First and last period ahead of a bucket of steps, the gap included."""


def bucket_ranges(buckets: Sequence[int], gap: int) -> list[Ahead]:
    """Periods ahead of each bucket, given the last step of each."""
    starts = [1, *(last + 1 for last in buckets[:-1])]
    return [(gap + a, gap + b) for a, b in zip(starts, buckets, strict=True)]


@dataclass(frozen=True)
class FeatureValues:
    """Feature values of a panel's rows, each (features, rows); static (features, n_series)."""

    history: Matrix
    aligned: Matrix
    known: Matrix
    static: Matrix


@dataclass(frozen=True)
class TrainingRows:
    """Which rows of a shard are targets of a bucket, and how far ahead: int64 (rows,), increasing.

    History features of a row are those of the shard's row `target - ahead`.
    """

    target: IntArray
    ahead: IntArray


@dataclass(frozen=True)
class DesignShard:
    """Whole series with the values of their features.

    offset: number of the first series among all. window: only targets of the last so many periods
    count.
    """

    offset: int
    panel: Panel
    values: FeatureValues
    plan: FeaturePlan
    window: int | None

    @cached_property
    def index(self) -> npt.NDArray[np.int32]:
        """Number of the series of each row within the shard: (rows,)."""
        return self.panel.series_index

    @cached_property
    def y(self) -> npt.NDArray[np.float64]:
        """Target of each row, NaN where missing: (rows,)."""
        return self.panel.y()

    @cached_property
    def age(self) -> npt.NDArray[np.int32]:
        """Periods between each row and the newest one: (rows,)."""
        return (self.panel.end - self.panel.ordinals).astype(np.int32)

    @cached_property
    def _wanted(self) -> npt.NDArray[np.bool_]:
        """Rows that are targets, if their series is old enough: (rows,)."""
        observed = np.isfinite(self.y)
        return observed if self.window is None else observed & (self.age < self.window)

    def ahead(self, bucket: Ahead) -> npt.NDArray[np.int32]:
        """Periods between every row as a target and its cutoff: (rows,)."""
        first, last = bucket
        ahead: npt.NDArray[np.int32] = first + (-(self.age + first)) % np.int32(last - first + 1)
        return ahead

    def usable(self, ahead: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """Observed targets with a cutoff within their series: (rows,)."""
        newest = (self.panel.end - self.panel.starts).astype(np.int32)
        return self._wanted & (self.age <= newest[self.index] - ahead)

    def rows(self, bucket: Ahead) -> TrainingRows:
        """Every observed target once, with a cutoff within its series before it."""
        ahead = self.ahead(bucket)
        target = np.flatnonzero(self.usable(ahead))
        return TrainingRows(target, ahead[target].astype(np.int64))

    def block(self, bucket: Ahead) -> DesignBlock:
        """The design rows of a bucket."""
        rows = self.rows(bucket)
        target, ahead = rows.target, rows.ahead
        index = self.index[target]
        X = gather(self.panel, self.values, self.plan, index, target - ahead, target, ahead, target)
        return DesignBlock(
            X=X,
            y=self.y[target],
            series=(index + self.offset).astype(np.int32),
            step=ahead.astype(np.int16),
            age=self.age[target],
        )

    def aligned(self, number: int, rows: TrainingRows) -> npt.NDArray[np.float32]:
        """The aligned feature of this number, read for rows of a bucket: float32 (rows,)."""
        feature = self.plan.of("aligned")[number]
        index = self.index[rows.target]
        return _read_aligned(
            self.panel, self.values.aligned[number], feature, index, rows.target, rows.ahead
        )


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
        values = FeatureValues(
            history=evaluate(panel.frame, self._plan.of("history")),
            aligned=evaluate(panel.frame, self._plan.of("aligned")),
            known=self._known(offset, panel),
            static=evaluate_static(panel.series, self._plan.of("static")),
        )
        return DesignShard(offset, panel, values, self._plan, self._window)

    def _known(self, offset: int, panel: Panel) -> Matrix:
        features = self._plan.of("known")
        values = evaluate_known(panel, features)
        if self._future is not None and features:
            coming = self._future.select(np.arange(offset, offset + panel.n_series))
            return _seeing_ahead(values, panel, coming, features)
        return values


def _seeing_ahead(
    values: Matrix, panel: Panel, future: Future, features: Sequence[Feature]
) -> Matrix:
    """Values of known features with what the last rows say if those that follow are there.

    Tomorrow's promotion is known on the last day of a history, and no gap to be learned from. values:
    (features, rows), as `evaluate_known` gives them; the last `ahead_max` rows of each series may change.
    """
    ahead = future.ahead_max
    frame, first_future = known_rows(panel, future, lookback_of(features, ahead))
    last = np.minimum(panel.lengths, ahead)
    series = np.repeat(np.arange(panel.n_series), last)
    back = np.arange(series.size) - np.repeat(np.cumsum(last), last)
    place = panel.offsets[1:][series] + back
    seen = evaluate(frame, features)[:, first_future[series] + back]
    old = values[:, place]
    same = np.isclose(old, seen, rtol=1e-5, equal_nan=True)
    if same.all():
        return values
    # What does not look ahead keeps its bits.
    out = values if values.flags.writeable else values.copy()
    out[:, place] = np.where(same, old, seen)
    return out


def lookback_of(features: Sequence[Feature], rows: int) -> int | None:
    """Rows of history that features of the last `rows` rows are made of; None for all."""
    backs = [f.lookback for f in features]
    return None if None in backs else max((b for b in backs if b is not None), default=0) + rows


def evaluate_known(panel: Panel, features: Sequence[Feature]) -> Matrix:
    """Values of known features for every row of a panel, from frames without `y`.

    All series end together: a feature of the date alone that reads no row before its own is the same
    in all of them, and is evaluated on the longest one only.
    """
    frame = panel.frame.select("unique_id", "ds", *panel.roles.future)
    of_date = [f.lookback == 0 and set(f.expr.meta.root_names()) == {"ds"} for f in features]
    if not any(of_date) or panel.n_series < 2:
        return evaluate(frame, features)
    lengths = panel.lengths
    longest = int(lengths.argmax())
    dates = frame.slice(int(panel.offsets[longest]), int(lengths[longest]))
    once = evaluate(dates, [f for f, alone in zip(features, of_date, strict=True) if alone])
    rest = evaluate(frame, [f for f, alone in zip(features, of_date, strict=True) if not alone])
    from_end = np.arange(frame.height) - np.repeat(panel.offsets[1:], lengths)
    out = np.empty((len(features), frame.height), dtype=np.float32)
    place = {True: 0, False: 0}
    for number, alone in enumerate(of_date):
        row = place[alone]
        place[alone] += 1
        # Counted from the end, so that negative places are those of the longest series.
        out[number] = once[row][from_end] if alone else rest[row]
    return out


def gather(
    panel: Panel,
    values: FeatureValues,
    plan: FeaturePlan,
    index: npt.NDArray[np.integer[Any]],
    origin: IntArray,
    target: IntArray,
    ahead: IntArray,
    known: IntArray,
) -> npt.NDArray[np.float32]:
    """Design rows in the order of the plan, column-major.

    origin, target: rows of `panel` (a target may lie after its series' last row); known: rows of
    the known values.
    """
    X = np.empty((index.size, len(plan.features)), dtype=np.float32, order="F")
    place = {"history": 0, "aligned": 0, "known": 0, "static": 0}
    for column, feature in enumerate(plan.features):
        row = place[feature.availability]
        place[feature.availability] += 1
        if feature.availability == "history":
            X[:, column] = values.history[row][origin]
        elif feature.availability == "known":
            X[:, column] = values.known[row][known]
        elif feature.availability == "static":
            X[:, column] = values.static[row][index]
        else:
            X[:, column] = _read_aligned(panel, values.aligned[row], feature, index, target, ahead)
    return X


def _read_aligned(
    panel: Panel,
    values: npt.NDArray[np.float32],
    feature: Feature,
    index: npt.NDArray[np.integer[Any]],
    target: IntArray,
    ahead: IntArray,
) -> npt.NDArray[np.float32]:
    """Values the smallest known multiple of the season before the target, NaN outside the series."""
    source = target - feature.season * -(-ahead // feature.season)
    first_row, last_row = panel.offsets[:-1][index], panel.offsets[1:][index] - 1
    out: npt.NDArray[np.float32] = values[np.clip(source, first_row, last_row)]
    out[(source < first_row) | (source > last_row)] = np.nan
    return out
