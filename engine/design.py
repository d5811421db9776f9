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

from engine.blocks import complete, rows_of
from engine.components import Capabilities
from engine.contracts import Design, DesignBlock, Feature, Training
from engine.data.panel import Future, Panel
from engine.features import FeaturePlan, Matrix, evaluate, evaluate_static, known_rows
from engine.mergeable import MergeableDesignModel, Statistics
from engine.shard import Ahead, DesignShard, FeatureValues

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
