"""From sufficient statistics to coefficients: standardize, decompose, choose a penalty, solve.

For standardized, centered features X, target y and weights W the coefficients are
(X'WX + penalty I)^-1 X'Wy (Hoerl & Kennard 1970, Technometrics 12). All groups (one, or one a
series) share the standardization and the penalty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine_ridge.statistics import FEATURES, ONE, Floats, Integers, Statistics, Y

RELATIVE_RANK = 1e-12
"""Squared singular values below this share of the largest count as zero: float32 features carry
seven digits, so that smaller ones are rounding of exact collinearity."""

RELATIVE_CONSTANT = 1e-7
"""A feature whose standard deviation is below this share of its mean is constant in float32."""

PATH = np.logspace(-8, 3, 45)
"""Penalties that `auto` tries, as multiples of the (weighted) rows of a group."""

_STACK_BYTES = 1 << 26


@dataclass(frozen=True)
class Standardization:
    """The linear map from the columns `[1, y, Z, M]` to `[1, y, standardized columns]`.

    mean: float64 (features,), of the observed values; missing values take it. indicators: int64
    (i,), features with a column that tells whether they are missing. center, scale: float64
    (features + i,), mean and standard deviation of the columns after imputation; scale is infinite
    for a constant column, whose coefficient thus is 0. y_mean: overall mean of the target.
    """

    mean: Floats
    indicators: Integers
    center: Floats
    scale: Floats
    y_mean: float
    change: Floats


@dataclass(frozen=True)
class Spectrum:
    """Eigendecomposition of every group's centered Gram matrix, with p columns and g groups.

    active: int64 (p,), the columns of the standardization that vary within some group: the others,
    such as a series' own statics in scope `local`, can have no coefficient. values: (g, p), 0 for
    a direction without information. vectors: (g, p, p), in columns. projections: (g, p), vectors'
    X'Wy. means: (g, p) and y_means: (g,) of the group's standardized columns and target.
    y_squares: (g,), centered sum of squares. rows: (g,), effective.
    """

    active: Integers
    values: Floats
    vectors: Floats
    projections: Floats
    means: Floats
    y_means: Floats
    y_squares: Floats
    weight: Floats
    rows: Floats

    def residual_squares(self, penalty: float) -> Floats:
        """Weighted sum of squared residuals of each group's fit with this penalty: (g,)."""
        kept = self.values > 0
        values = np.where(kept, self.values, 1.0)
        explained = np.where(kept, self.projections**2 / values, 0.0)
        # Split into the least-squares residual and shrinkage, both positive: nothing cancels.
        least: Floats = np.maximum(self.y_squares - explained.sum(axis=1), 0.0)
        shrunken: Floats = (explained * (penalty / (values + penalty)) ** 2).sum(axis=1)
        return least + shrunken

    def freedom(self, penalty: float) -> Floats:
        """Effective degrees of freedom of each group's fit, intercept included: (g,)."""
        kept = self.values > 0
        values = np.where(kept, self.values, 1.0)
        slopes: Floats = np.where(kept, values / (values + penalty), 0.0).sum(axis=1)
        return 1.0 + slopes


@dataclass(frozen=True)
class PenaltyPath:
    """Generalized cross-validation over penalties: arrays (penalties,), and the chosen one."""

    penalties: Floats
    scores: Floats
    freedom: Floats
    chosen: int

    @property
    def penalty(self) -> float:
        """The penalty with the lowest score."""
        return float(self.penalties[self.chosen])


@dataclass(frozen=True)
class Solution:
    """Coefficients of g groups on p columns.

    groups: int64 (g,), numbers of the series, -1 for any without rows. standardized, coefficients:
    (g, p), per standard deviation and per unit of a column. intercepts: (g,), for columns taken as
    value minus `standardization.mean`, 0 where missing. standard_errors: (g, p) of `coefficients`,
    NaN where no degrees of freedom are left. noise: (g,), variance of a row around its expectation.
    covariance: (g, 1 + p, 1 + p), posterior of the level and the standardized coefficients, if
    asked for.
    """

    standardization: Standardization
    penalty: float
    path: PenaltyPath | None
    groups: Integers
    intercepts: Floats
    coefficients: Floats
    standardized: Floats
    standard_errors: Floats
    noise: Floats
    covariance: Floats | None


def solve(
    statistics: Statistics,
    penalty: float | Literal["auto"],
    missing_indicator: float | None,
    covariances: bool = False,
) -> Solution:
    """Ridge coefficients of every group.

    missing_indicator: share of missing rows above which a feature gets an indicator column.
    covariances: also the posterior's, which are as large as the sums.
    """
    standardization = standardize(statistics, missing_indicator)
    spectrum = decompose(statistics, standardization)
    path = None
    if penalty == "auto":
        path = cross_validate(spectrum)
        penalty = path.penalty
    kept = spectrum.values > 0
    denominator = np.where(kept, spectrum.values + penalty, np.inf)
    rotated = spectrum.projections / denominator
    slopes = np.einsum("gij,gj->gi", spectrum.vectors, rotated, optimize=True)
    intercepts = spectrum.y_means - (spectrum.means * slopes).sum(axis=1)
    noise = _noise(spectrum, penalty)
    columns = standardization.scale.size
    standardized = _all_columns(slopes, spectrum.active, columns, np.zeros_like(noise))
    coefficients = standardized / standardization.scale
    # Columns are used as Z and M, not centered: their centers go into the intercept.
    intercepts = intercepts - coefficients @ standardization.center
    # Without degrees of freedom no error is known, also where a coefficient is 0 for sure.
    unknown = np.where(np.isnan(noise), np.nan, 0.0)
    errors = _standard_errors(spectrum, noise, penalty)
    return Solution(
        standardization,
        penalty,
        path,
        statistics.groups,
        intercepts + standardization.y_mean,
        coefficients,
        standardized,
        _all_columns(errors, spectrum.active, columns, unknown) / standardization.scale,
        noise * spectrum.rows / spectrum.weight,
        _posterior(spectrum, penalty, noise, columns) if covariances else None,
    )


def _all_columns(values: Floats, active: Integers, columns: int, fill: Floats) -> Floats:
    """Values (g, a) of the active columns in their places among all: (g, columns)."""
    out = np.repeat(fill[:, None], columns, axis=1)
    out[:, active] = values
    return out


def standardize(statistics: Statistics, missing_indicator: float | None) -> Standardization:
    """Means, scales and indicators over all groups, from the sums alone."""
    basis, total = statistics.basis, statistics.gram.sum(axis=0)
    n_features = len(basis.features)
    weight = total[ONE, ONE]
    holes = np.zeros(n_features)
    holes[statistics.missing] = total[ONE, FEATURES + n_features :]
    observed = np.where(weight - holes > 1e-12 * weight, weight - holes, np.inf)
    z = slice(FEATURES, FEATURES + n_features)
    shifted_mean = total[ONE, z] / observed
    variance = (np.diag(total)[z] - shifted_mean * total[ONE, z]) / weight
    mean = basis.shift + shifted_mean

    threshold = np.inf if missing_indicator is None else missing_indicator
    flagged = np.flatnonzero(holes[statistics.missing] / weight > threshold)
    indicators = statistics.missing[flagged]
    share = holes[indicators] / weight
    center = np.concatenate([np.zeros(n_features), share])
    variance = np.concatenate([variance, share * (1.0 - share)])
    deviation = np.sqrt(np.maximum(variance, 0.0))
    level = np.concatenate([np.abs(mean), share])
    scale = np.where(deviation > RELATIVE_CONSTANT * level, deviation, np.inf)

    y_mean = total[ONE, Y] / weight
    change = np.zeros((total.shape[0], FEATURES + scale.size))
    change[ONE, ONE], change[Y, Y], change[ONE, Y] = 1.0, 1.0, -y_mean
    features = np.arange(n_features)
    change[FEATURES + features, FEATURES + features] = 1.0 / scale[:n_features]
    change[ONE, z] = -shifted_mean / scale[:n_features]
    # Z is 0 where missing; adding the mean back there makes it 0 after centering as well.
    hole_rows = FEATURES + n_features + np.arange(statistics.missing.size)
    back = (shifted_mean / scale[:n_features])[statistics.missing]
    change[hole_rows, FEATURES + statistics.missing] = back
    extra = n_features + np.arange(indicators.size)
    change[FEATURES + n_features + flagged, FEATURES + extra] = 1.0 / scale[extra]
    change[ONE, FEATURES + extra] = -share / scale[extra]
    return Standardization(mean, indicators, center, scale, float(basis.y_shift + y_mean), change)


def decompose(statistics: Statistics, standardization: Standardization) -> Spectrum:
    """Standardize and center each group's sums, then take eigenvalues, a few groups at a time."""
    active = _active(statistics, standardization)
    change = standardization.change[:, np.concatenate([[ONE, Y], FEATURES + active])]
    groups, columns = statistics.groups.size, active.size
    values, projections, means = (np.zeros((groups, columns)) for _ in range(3))
    vectors = np.zeros((groups, columns, columns))
    y_means, y_squares, weight = (np.zeros(groups) for _ in range(3))
    step = max(_STACK_BYTES // (8 * change.size), 1)
    for start in range(0, groups, step):
        part = slice(start, start + step)
        gram = change.T @ (statistics.gram[part] @ change)
        weight[part] = gram[:, ONE, ONE]
        means[part] = gram[:, ONE, FEATURES:] / weight[part, None]
        y_means[part] = gram[:, ONE, Y] / weight[part]
        y_squares[part] = gram[:, Y, Y] - y_means[part] ** 2 * weight[part]
        cross = gram[:, FEATURES:, Y] - gram[:, ONE, FEATURES:] * y_means[part, None]
        squares = gram[:, FEATURES:, FEATURES:]
        offset = means[part, :, None] * gram[:, ONE, None, FEATURES:]
        centered = squares - (offset + offset.swapaxes(1, 2)) / 2
        # A column that does not vary in this group leaves only rounding after centering.
        size = np.diagonal(squares, axis1=1, axis2=2)
        varies = np.diagonal(centered, axis1=1, axis2=2) > RELATIVE_RANK * size
        centered = centered * (varies[:, :, None] & varies[:, None, :])
        found, axes = np.linalg.eigh(centered)
        vectors[part] = axes * varies[:, :, None]
        floor = RELATIVE_RANK * found.max(axis=1, keepdims=True, initial=0.0)
        values[part] = np.where(found > floor, found, 0.0)
        projections[part] = np.einsum("gij,gi->gj", vectors[part], cross, optimize=True)
    return Spectrum(
        active,
        values,
        vectors,
        projections * (values > 0),
        means,
        y_means,
        np.maximum(y_squares, 0.0),
        weight,
        statistics.effective_rows,
    )


def _active(statistics: Statistics, standardization: Standardization) -> Integers:
    """Columns that vary within some group, from the diagonals alone: int64 (p,)."""
    change, gram = standardization.change[:, FEATURES:], statistics.gram
    means = gram[:, ONE, :] @ change
    # Every column is made of at most three: the constant, its feature, and where that is missing.
    size = min(3, change.shape[0])
    rows = np.argsort(-np.abs(change), axis=0, kind="stable")[:size]
    parts = np.take_along_axis(change, rows, axis=0)
    squares = np.zeros_like(means)
    for i in range(size):
        for j in range(size):
            squares += parts[i] * parts[j] * gram[:, rows[i], rows[j]]
    centered = squares - means**2 / gram[:, ONE, ONE, None]
    return np.flatnonzero((centered > RELATIVE_RANK * squares).any(axis=0))


def cross_validate(spectrum: Spectrum) -> PenaltyPath:
    """Generalized cross-validation (Golub, Heath & Wahba 1979, Technometrics 21), pooled.

    The score is RSS / (1 - df / n)^2 with RSS, degrees of freedom and effective rows summed over
    groups: one penalty for all. Without degrees of freedom anywhere the largest penalty is chosen.
    """
    penalties = PATH * spectrum.weight.mean()
    rows = spectrum.rows.sum()
    residual = np.array([spectrum.residual_squares(p).sum() for p in penalties])
    freedom = np.array([spectrum.freedom(p).sum() for p in penalties])
    left = 1.0 - freedom / rows
    usable = left > 1e-9
    scores = np.where(usable, residual / np.where(usable, left, 1.0) ** 2, np.inf)
    chosen = int(np.argmin(scores)) if usable.any() else penalties.size - 1
    return PenaltyPath(penalties, scores, freedom, chosen)


def _noise(spectrum: Spectrum, penalty: float) -> Floats:
    """Variance of a row of weight 1, RSS / (n - df): (g,), NaN without degrees of freedom."""
    left = spectrum.rows - spectrum.freedom(penalty)
    return spectrum.residual_squares(penalty) / np.where(left > 1e-9, left, np.nan)


def _standard_errors(spectrum: Spectrum, noise: Floats, penalty: float) -> Floats:
    """Of the standardized coefficients: (g, p).

    Square root of the diagonal of s^2 (X'X + k I)^-1, the posterior's, with s^2 the noise and rows taken
    as independent. The sampling spread s^2 (X'X + k I)^-1 X'X (X'X + k I)^-1 (Hoerl & Kennard 1970) is
    that around the shrunken value, and says nothing of the shrinkage; the posterior's has it in, so
    that its intervals hold the truth as often as they say, on average over coefficients (Nychka 1988,
    JASA 83). Least squares have the usual errors.
    """
    bottom = spectrum.values + penalty
    spread = np.where(bottom > 0, noise[:, None] / np.where(bottom > 0, bottom, 1.0), 0.0)
    variance: Floats = np.einsum("gij,gj->gi", spectrum.vectors**2, spread, optimize=True)
    return np.sqrt(variance)


def _posterior(spectrum: Spectrum, penalty: float, noise: Floats, columns: int) -> Floats:
    """Covariance of level and standardized coefficients under the prior that ridge implies.

    s^2 (X'X + k I)^-1 (Bishop 2006, Pattern Recognition and Machine Learning, 3.3) around a group's
    own means, written for columns that are centered over all groups: (g, 1 + p, 1 + p) for all
    `columns`, of which those that are not active are certain to have no coefficient.
    """
    bottom = spectrum.values + penalty
    spread = np.where(bottom > 0, noise[:, None] / np.where(bottom > 0, bottom, 1.0), 0.0)
    slopes = (spectrum.vectors * spread[:, None, :]) @ spectrum.vectors.swapaxes(1, 2)
    moved = np.einsum("gij,gj->gi", slopes, spectrum.means, optimize=True)
    out = np.zeros((noise.size, 1 + columns, 1 + columns))
    place = 1 + spectrum.active
    out[:, place[:, None], place] = slopes
    out[:, 0, place] = out[:, place, 0] = -moved
    out[:, 0, 0] = noise / spectrum.weight + (moved * spectrum.means).sum(axis=1)
    return out
