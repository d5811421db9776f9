"""Ridge regression of design rows: one pass over the blocks, then a small solve."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engine.contracts import Design
from engine.errors import DataError
from engine_ridge.fitted import FittedRidge, check_width, learned_tables
from engine_ridge.params import RidgeParams
from engine_ridge.solve import solve
from engine_ridge.statistics import (
    FEATURES,
    Basis,
    Statistics,
    block_statistics,
    merge_all,
)

_LOCAL_BYTES = 4 << 30


class Ridge:
    """Ridge regression in closed form (Hoerl & Kennard 1970), global or one fit per series."""

    def __init__(self, params: RidgeParams) -> None:
        self.params = params

    def fit(self, design: Design) -> FittedRidge:
        """Fit on the design; DataError without features or rows, or with infinite values."""
        return self.solve(design.features, self.statistics(design))

    def statistics(self, design: Design) -> Statistics:
        """Sufficient statistics of all rows of a design, in one pass over its blocks.

        Those of several designs can be merged (`engine_ridge.statistics.merge`) if their numbers of
        series and their ages count from the same series and the same newest target.
        """
        self._check_size(design)
        statistics = merge_all(self._of_blocks(design))
        if statistics is None:
            raise DataError(
                f"ridge: the training design of {design.series.height} series has no rows",
                hint="give more history than the longest lag, or use fewer lags",
            )
        return statistics

    def solve(self, features: tuple[str, ...], statistics: Statistics) -> FittedRidge:
        """Coefficients from the statistics of all rows."""
        solution = solve(statistics, self.params.penalty, self.params.missing_indicator)
        local = self.params.scope == "local"
        return FittedRidge(
            features=features,
            mean=solution.standardization.mean,
            indicators=solution.standardization.indicators,
            groups=statistics.groups if local else None,
            intercepts=solution.intercepts,
            coefficients=solution.coefficients,
            learned=learned_tables(solution, features, local),
        )

    @staticmethod
    def load(folder: Path) -> FittedRidge:
        """Read a fitted model that `FittedRidge.save` wrote."""
        return FittedRidge.load(folder)

    def _of_blocks(self, design: Design) -> Iterator[Statistics]:
        basis: Basis | None = None
        rows = 0
        for number, block in enumerate(design.blocks(), start=1):
            check_width(block, design.features)
            if not block.y.size:
                continue
            basis = basis or Basis.of(design.features, block)
            yield block_statistics(block, basis, self.params.decay, self.params.scope == "local")
            rows += block.y.size
            design.report("block", {"block": number, "rows": rows})

    def _check_size(self, design: Design) -> None:
        count, limit = len(design.features), self.params.max_features
        if not count:
            raise DataError("ridge: the design has no features", hint="add features to the spec")
        if count > limit:
            raise DataError(
                f"ridge: the design has {count} features, more than max_features: {limit}",
                hint="leave features out, or raise max_features if memory allows",
            )
        # The sums, a copy of them while they are merged, and the eigenvectors.
        needed = 3 * 8 * design.series.height * (FEATURES + count) ** 2
        if self.params.scope == "local" and needed > _LOCAL_BYTES:
            raise DataError(
                f"ridge: scope local with {design.series.height} series and {count} features "
                f"needs about {needed / 2**30:.1f} GiB, more than {_LOCAL_BYTES >> 30} GiB",
                hint="use scope: global, fewer features or fewer series",
            )
