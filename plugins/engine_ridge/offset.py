"""A coefficient that is pulled to 1: the regression of the difference to a feature, from the same sums.

Ridge pulls coefficients to 0. With the feature taken off the target the pull is to 1 instead (the
prior mean of the coefficient; Gelman et al. 2013, Bayesian Data Analysis, 14.8), which is what last
year's value asks for: the less the data say, the more the forecast is that value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from engine_ridge.solve import Solution
from engine_ridge.statistics import FEATURES, ONE, Statistics, Y


@dataclass(frozen=True)
class Offset:
    """A feature by number, and its weighted mean over all rows."""

    feature: int
    mean: float

    @classmethod
    def of(cls, statistics: Statistics, feature: int) -> Offset:
        """The offset of statistics of rows in which the feature is observed."""
        sums = statistics.gram[:, ONE].sum(axis=0)
        return cls(
            feature, float(statistics.basis.shift[feature] + sums[FEATURES + feature] / sums[ONE])
        )

    def taken_off(self, statistics: Statistics) -> Statistics:
        """The sums with the target less the feature, a linear change of the columns."""
        basis, gram, column = statistics.basis, statistics.gram.copy(), FEATURES + self.feature
        gram[:, :, Y] -= gram[:, :, column]
        gram[:, Y, :] -= gram[:, column, :]
        shifted = replace(basis, y_shift=basis.y_shift - float(basis.shift[self.feature]))
        return replace(statistics, basis=shifted, gram=gram)

    def put_back(self, solution: Solution) -> Solution:
        """The solution for the target itself: the feature's coefficient is 1 more."""
        coefficients, standardized = solution.coefficients.copy(), solution.standardized.copy()
        coefficients[:, self.feature] += 1.0
        scale = solution.standardization.scale[self.feature]
        standardized[:, self.feature] += scale if np.isfinite(scale) else 0.0
        return replace(
            solution,
            intercepts=solution.intercepts + self.mean,
            coefficients=coefficients,
            standardized=standardized,
        )
