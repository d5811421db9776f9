"""What one series offers to an ARIMA fit: observed values without gaps, regressors of full rank."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

LEAST_OBSERVED = 3
"""Fewer values give neither a variance nor a trend."""

_CONSTANT = 1e-6
"""Share of a column's norm that must remain beyond the constant: covariates are float32."""

_COLLINEAR = 1e-4
"""Share of a column's variation that must not be explained by the columns before it."""

_ROWS_PER_COLUMN = 3


class NoFitError(Exception):
    """A series that cannot be fitted or forecast; the text is the reason that the user reads."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The rows of one series that a fit may use.

    y: (n,), from the first to the last observed value, gaps interpolated linearly.
    X: (n, covariates) regressors of the same rows, never NaN. after: (rows, covariates) regressors
    of the rows between the last observed value and the cutoff. columns: numbers of the covariates
    in X among those that were offered. names: all offered covariates.
    """

    y: FloatArray
    X: FloatArray
    after: FloatArray
    columns: tuple[int, ...]
    names: tuple[str, ...]

    def same_as(self, other: Sample) -> bool:
        """Whether both hold the same values, so that a fit on one is a fit on the other.

        Rows after the last observed value take no part in a fit, and may differ.
        """
        return (
            self.columns == other.columns
            and np.array_equal(self.y, other.y)
            and np.array_equal(self.X, other.X)
        )

    @property
    def is_constant(self) -> bool:
        """Whether y never changes."""
        return bool((self.y == self.y[0]).all())


def sample_of(
    y: FloatArray, X: FloatArray, names: tuple[str, ...], max_history: int | None
) -> Sample:
    """Cut and fill the rows of one series: y (rows,) with NaN where missing, X (rows, covariates).

    A covariate without any value is left out. Rows before the first value of the others, such as a lag
    has none of, are left out as long as half of them remain. NoFitError if fewer than three values of
    y are observed, or if a covariate is missing in some of the rows.
    """
    seen = np.flatnonzero(~np.isnan(y))
    if seen.size < LEAST_OBSERVED:
        raise NoFitError(f"only {seen.size} observed values up to the cutoff, 3 are needed")
    end = int(seen[-1]) + 1
    begin = int(seen[0]) if max_history is None else max(int(seen[0]), end - max_history)
    columns = tuple(int(c) for c in np.flatnonzero(~np.isnan(X[begin:end]).all(axis=0)))
    begin = _after_gaps(seen, X[:, columns], begin, end)
    filled = np.interp(np.arange(begin, end), seen, y[seen])
    rows = X[begin:end]
    missing = np.isnan(rows).sum(axis=0)
    for column in columns:
        if missing[column]:
            raise NoFitError(
                f"covariate {names[column]!r} is missing in {int(missing[column])} of "
                f"{end - begin} rows; state how to fill it in data.missing"
            )
    return Sample(filled, rows[:, columns], X[end:], columns, names)


def _after_gaps(seen: npt.NDArray[np.int64], X: FloatArray, begin: int, end: int) -> int:
    """The first observed row that no covariate begins after, if that leaves half of the rows."""
    begun = (~np.isnan(X[begin:end])).argmax(axis=0).max(initial=0)
    later = seen[seen >= begin + begun]
    enough = later.size >= LEAST_OBSERVED and 2 * (end - later[0]) >= end - begin
    return int(later[0]) if enough else begin


def independent_columns(
    X: FloatArray, d: int, seasonal_d: int, season: int, constant: str
) -> list[int]:
    """Columns of X (n, columns) that vary and are no combination of the constant and earlier ones.

    Checked after differencing, as the regression of the fit is; `constant` is `mean`, `drift` or
    `none`. At most one column for three rows is kept, so that a short series is not overfitted.
    """
    limit = max(len(X) - d - seasonal_d * season, 0) // _ROWS_PER_COLUMN
    if not limit:
        return []
    trend = np.arange(1.0, len(X) + 1.0)
    base = {"mean": np.ones(len(X)), "drift": trend, "none": None}[constant]
    basis: list[FloatArray] = []
    if base is not None:
        base = _difference(base, d, seasonal_d, season)
        basis.append(base / np.linalg.norm(base))
    kept: list[int] = []
    for column in range(X.shape[1]):
        if len(kept) == limit:
            break
        values = X[:, column]
        centered = values - values.mean()
        if np.linalg.norm(centered) <= _CONSTANT * np.linalg.norm(values):
            continue
        change = _difference(centered, d, seasonal_d, season)
        rest = change.copy()
        for _ in range(2):  # the second pass removes what rounding left in the first
            for direction in basis:
                rest -= (direction @ rest) * direction
        if np.linalg.norm(rest) <= _COLLINEAR * np.linalg.norm(centered):
            continue
        basis.append(rest / np.linalg.norm(rest))
        kept.append(column)
    return kept


def _difference(values: FloatArray, d: int, seasonal_d: int, season: int) -> FloatArray:
    for _ in range(seasonal_d):
        values = values[season:] - values[:-season]
    for _ in range(d):
        values = values[1:] - values[:-1]
    return values
