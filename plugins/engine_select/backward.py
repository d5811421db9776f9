"""The selector `backward`: backward elimination in closed form, without fitting again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.contracts import Design, Selection
from engine_select.moments import Floats, Moments, moments_of, protected, table_columns
from engine_select.params import BackwardParams

PENALTY = 1e-6
"""Ridge penalty a row on standardized features: keeps copies of a feature solvable, and no more."""

RELATIVE_ZERO = 1e-12
"""A residual below this share of the target's variation is rounding."""


@dataclass(frozen=True)
class Path:
    """Features in the order in which they leave.

    left: numbers of the features that are removed, first to last. scores: (len(left) + 1,), of the
    set before any removal, after the first, and so on.
    """

    left: list[int]
    scores: Floats


@dataclass(frozen=True)
class Fit:
    """A ridge fit on standardized features, by what removing one needs.

    columns: (k,) numbers of the features. inverse: (k, k), A^-1 with A = X'X + penalty I.
    coefficients: (k,), A^-1 X'y. squares: y'y.
    """

    columns: npt.NDArray[np.int64]
    inverse: Floats
    coefficients: Floats
    projections: Floats
    squares: float
    rows: int
    penalty: float

    def score(self) -> float:
        """Generalized cross-validation of the fit itself."""
        residual = self.squares - float(self.projections @ self.coefficients)
        residual -= self.penalty * float(self.coefficients @ self.coefficients)
        freedom = self.columns.size - self.penalty * float(np.trace(self.inverse))
        return float(self._scored(np.array([residual]), np.array([freedom]))[0])

    def scores_without(self) -> Floats:
        """The same of the fit without each one of its features: (k,).

        Without column j, A^-1 is B - B_j B_j' / B_jj and the coefficients are b - B_j b_j / B_jj
        (partitioned inverse; Miller 2002, Subset Selection in Regression, 2.2), so that residuals
        and degrees of freedom of all k smaller fits come from the one inverse.
        """
        inner = np.diag(self.inverse)
        rows_squared = (self.inverse**2).sum(axis=1)
        share = self.coefficients / inner
        objective = self.squares - float(self.projections @ self.coefficients)
        length = float(self.coefficients @ self.coefficients)
        length_without = (
            length - 2 * share * (self.inverse @ self.coefficients) + share**2 * rows_squared
        )
        residual = objective + self.coefficients * share - self.penalty * length_without
        trace = np.trace(self.inverse) - rows_squared / inner
        return self._scored(residual, self.columns.size - 1 - self.penalty * trace)

    def without(self, place: int) -> Fit:
        """The fit without the feature at this place of `columns`."""
        rest = np.delete(np.arange(self.columns.size), place)
        own = self.inverse[:, place]
        inverse = self.inverse - np.outer(own, own) / own[place]
        coefficients = self.coefficients - own * self.coefficients[place] / own[place]
        return Fit(
            self.columns[rest],
            inverse[np.ix_(rest, rest)],
            coefficients[rest],
            self.projections[rest],
            self.squares,
            self.rows,
            self.penalty,
        )

    def _scored(self, residual: Floats, freedom: Floats) -> Floats:
        """RSS / n / (1 - df / n)^2, the leave-one-out error with every row's leverage at its mean
        (Golub, Heath & Wahba 1979, Technometrics 21); df counts the intercept.

        Infinite where no degrees of freedom are left.
        """
        residual = np.maximum(residual, RELATIVE_ZERO * self.squares)
        left = 1.0 - (1.0 + freedom) / self.rows
        safe = np.where(left > 0, left, 1.0)
        return np.where(left > 0, residual / self.rows / safe**2, np.inf)


def fit_of(moments: Moments, columns: npt.NDArray[np.int64]) -> Fit:
    """The fit of the target on some features, standardized; those must vary."""
    size = np.sqrt(np.diag(moments.products)[columns] / moments.rows)
    squares = moments.products[np.ix_(columns, columns)] / size[:, None] / size[None, :]
    projections = moments.products[columns, -1] / size
    penalty = PENALTY * moments.rows
    inverse = np.linalg.inv(squares + penalty * np.eye(columns.size))
    inverse = (inverse + inverse.T) / 2
    return Fit(
        columns,
        inverse,
        inverse @ projections,
        projections,
        float(moments.products[-1, -1]),
        moments.rows,
        penalty,
    )


def eliminate(
    moments: Moments, columns: npt.NDArray[np.int64], always: npt.NDArray[np.bool_]
) -> Path:
    """Remove the feature without which the score is lowest, until one or those of `always` are left.

    always: (p,) features that stay.
    """
    fit = fit_of(moments, columns)
    left: list[int] = []
    scores = [fit.score()]
    while fit.columns.size > 1 and not always[fit.columns].all():
        candidates = fit.scores_without()
        if not np.isfinite(candidates).any():
            # Too few rows to tell: what adds least to the fit goes first.
            candidates = fit.coefficients**2 / np.diag(fit.inverse)
        place = int(np.argmin(np.where(always[fit.columns], np.inf, candidates)))
        left.append(int(fit.columns[place]))
        fit = fit.without(place)
        scores.append(fit.score())
    return Path(left, np.array(scores))


class Backward:
    """Removes the least useful feature again and again; the score says how far to follow.

    One pass over the rows; everything after it is algebra of a matrix of features x features.
    """

    def __init__(self, params: BackwardParams) -> None:
        self._params = params

    def select(self, design: Design) -> Selection:
        """The smallest set within `tolerance` of the lowest score; at least one feature.

        DataError without rows, for infinite values, or if `keep` matches nothing.
        """
        always = protected(design.features, self._params.keep)
        moments = moments_of(design)
        columns = np.flatnonzero(moments.varies)
        if not columns.size:
            return self._selection(design, always | (np.arange(always.size) == 0), None)
        path = eliminate(moments, columns, always)
        gone = path.left[: self._removed(path, columns.size)]
        kept = always | (moments.varies & ~np.isin(np.arange(always.size), gone))
        return self._selection(design, kept, path)

    def _removed(self, path: Path, count: int) -> int:
        """How many removals to follow."""
        limit = path.scores.min() * (1 + self._params.tolerance)
        removed = int(np.flatnonzero(path.scores <= limit)[-1])
        if self._params.max_features is not None:
            removed = max(removed, count - self._params.max_features)
        return min(removed, len(path.left))

    def _selection(
        self, design: Design, kept: npt.NDArray[np.bool_], path: Path | None
    ) -> Selection:
        place = {} if path is None else {i: n for n, i in enumerate(path.left, start=1)}
        numbers = range(len(design.features))
        reasons = ["" if kept[i] else ("removed" if i in place else "constant") for i in numbers]
        table = table_columns(design.features, kept, reasons)
        table["removal"] = pl.Series([place.get(i) for i in numbers], dtype=pl.Int64)
        table["score_without"] = pl.Series(
            [None if path is None or i not in place else path.scores[place[i]] for i in numbers],
            dtype=pl.Float64,
        )
        names = tuple(f for f, yes in zip(design.features, kept, strict=True) if yes)
        return Selection(names, pl.DataFrame(table))
