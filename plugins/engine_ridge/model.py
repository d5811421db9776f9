"""Ridge regression of design rows: one pass over the blocks, then a small solve."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from engine import mergeable
from engine.blocks import rows_of
from engine.contracts import Design
from engine.design import SharedDesign
from engine.errors import DataError
from engine_ridge.demand import counted, response_of, tells_demand
from engine_ridge.fitted import FittedRidge
from engine_ridge.interactions import matching, one_matching, products_of
from engine_ridge.members import members_of
from engine_ridge.offset import Offset
from engine_ridge.params import RidgeParams
from engine_ridge.partial import solve_partial
from engine_ridge.shared import shared_statistics
from engine_ridge.solve import solve
from engine_ridge.statistics import (
    FEATURES,
    Basis,
    Floats,
    Statistics,
    block_statistics,
    merge,
    merge_all,
)
from engine_ridge.tables import elasticity_table, learned_tables
from engine_ridge.uncertainty import Uncertainty

_LOCAL_BYTES = 4 << 30


class Ridge:
    """Ridge regression in closed form (Hoerl & Kennard 1970): global, per series, or between."""

    def __init__(self, params: RidgeParams) -> None:
        self.params = params

    def fit(self, design: Design) -> FittedRidge:
        """Fit on the design; DataError without features or rows, or with infinite values."""
        return self.solve(design, self.statistics(design))

    @property
    def cumulative(self) -> bool:
        """Whether sums serve later fits: without a decay, and not for sums of every series, which are
        as large as their rows."""
        return self.params.decay is None and self.params.scope == "global"

    def statistics_all(self, shared: SharedDesign) -> list[mergeable.Statistics | None]:
        """Statistics of all buckets; one pass over the shards if all series share coefficients."""
        params = self.params
        self._check_size(shared.designs[0])
        alone = params.scope == "global" and not params.elasticity
        if not alone or params.weight is not None or params.offset is not None:
            made = [merge_all(self._of_blocks(design)) for design in shared.designs]
        else:
            products = products_of(shared.designs[0].features, params.interactions)
            made = shared_statistics(shared, products, params.decay)
        return [None if part is None else part.plain() for part in made]

    def statistics(self, design: Design) -> mergeable.Statistics:
        """Sufficient statistics of all rows of a design, in one pass over its blocks.

        Those of several designs can be merged if their numbers of series and their ages count from
        the same series and the same newest target.
        """
        self._check_size(design)
        statistics = merge_all(self._of_blocks(design))
        if statistics is None:
            raise _no_rows(design)
        return statistics.plain()

    def merge(
        self, left: mergeable.Statistics, right: mergeable.Statistics
    ) -> mergeable.Statistics:
        """Statistics of the rows of both; DataError if their features differ."""
        return merge(Statistics.of(left), Statistics.of(right)).plain()

    def solve(self, design: Design, statistics: mergeable.Statistics) -> FittedRidge:
        """Coefficients from the statistics of all rows; the design's rows are not read."""
        return self._solved(design, Statistics.of(statistics))

    def _solved(self, design: Design, statistics: Statistics) -> FittedRidge:
        quantiles, params = design.quantiles, self.params
        products = products_of(design.features, params.interactions)
        names = products.names
        members = members_of(design.series, params.by)
        intervals = params.intervals and bool(quantiles)
        offset = None
        if params.offset is not None:
            offset = Offset.of(statistics, one_matching(names, params.offset, "offset"))
            statistics = offset.taken_off(statistics)
        if params.scope == "partial":
            found = {j for p in params.vary or ("*",) for j in matching(names, p, "vary")}
            varying = np.array(sorted(found), dtype=np.int64)
            solution = solve_partial(
                statistics,
                params.penalty,
                params.missing_indicator,
                varying,
                intervals,
            )
        else:
            solution = solve(statistics, params.penalty, params.missing_indicator, intervals)
        if offset is not None:
            solution = offset.put_back(solution)
        whole = params.scope == "global"
        learned = learned_tables(solution, names, whole)
        if params.elasticity:
            ids = design.series["unique_id"] if members is None else pl.Series(members.names)
            response = response_of(statistics)
            if response is not None and params.scope == "partial":
                # A series without rows is taken to sell as all of them do.
                pooled = response_of(statistics.pooled())
                assert pooled is not None
                response = np.concatenate([pooled, response])
            learned["elasticity"] = elasticity_table(
                solution, names, params.elasticity, ids, whole, response
            )
        return FittedRidge(
            products=products,
            mean=solution.standardization.mean,
            indicators=solution.standardization.indicators,
            groups=None if whole else solution.groups,
            intercepts=solution.intercepts,
            coefficients=solution.coefficients,
            learned=learned,
            uncertainty=Uncertainty.of(solution, quantiles) if intervals else None,
            members=members,
        )

    @staticmethod
    def load(folder: Path) -> FittedRidge:
        """Read a fitted model that `FittedRidge.save` wrote."""
        return FittedRidge.load(folder)

    def _of_blocks(self, design: Design) -> Iterator[Statistics]:
        params = self.params
        products = products_of(design.features, params.interactions)
        weight = None
        if params.weight is not None:
            weight = one_matching(products.names, params.weight, "weight")
        offset = None
        if params.offset is not None:
            offset = one_matching(products.names, params.offset, "offset")
        members = members_of(design.series, params.by)
        counts = bool(params.elasticity) and tells_demand(design.transform)
        units: Floats = np.empty(0)
        basis: Basis | None = None
        rows = 0
        for number, narrow in enumerate(design.blocks(), start=1):
            block = products.widened(narrow)
            if offset is not None:
                block = rows_of(block, ~np.isnan(block.X[:, offset]))
            if not block.y.size:
                continue
            if counts and design.transform is not None:
                units = np.asarray(design.transform.units(block.y, block.series), np.float64)
            if members is not None:
                block = members.grouped(block)
            basis = basis or Basis.of(products.names, block)
            by_series = params.scope != "global"
            statistics = block_statistics(block, basis, params.decay, by_series, weight)
            if counts:
                statistics = counted(statistics, block, basis, units, params.decay, weight)
            yield statistics
            rows += block.y.size
            design.report("block", {"block": number, "rows": rows})

    def _check_size(self, design: Design) -> None:
        if not design.features:
            raise DataError("ridge: the design has no features", hint="add features to the spec")
        products = products_of(design.features, self.params.interactions)
        count, limit = len(products.names), self.params.max_features
        if count > limit:
            raise DataError(
                f"ridge: the design has {count} features, more than max_features: {limit}",
                hint="leave features out, or raise max_features if memory allows",
            )
        # The sums, a copy of them while they are merged, and the eigenvectors.
        members = members_of(design.series, self.params.by)
        groups = design.series.height if members is None else len(members.names)
        needed = 3 * 8 * groups * (FEATURES + count) ** 2
        if self.params.scope != "global" and needed > _LOCAL_BYTES:
            what = "series" if members is None else "groups"
            raise DataError(
                f"ridge: scope {self.params.scope} with {groups} {what} and {count} features "
                f"needs about {needed / 2**30:.1f} GiB, more than {_LOCAL_BYTES >> 30} GiB",
                hint="use scope: global, fewer features or fewer series",
            )


def _no_rows(design: Design) -> DataError:
    return DataError(
        f"ridge: the training design of {design.series.height} series has no rows",
        hint="give more history than the longest lag, or use fewer lags",
    )
