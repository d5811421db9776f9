"""Coefficients of every series, shrunk to the global ones as far as the data say: scope `partial`.

Per series b_i ~ N(b, diag(t)) around the global coefficients b, and y_i = X_i b_i + e with noise
variance s_i (Lindley & Smith 1972, JRSS B 34). Both variances are estimated from all series
(empirical Bayes: EM of Laird & Ware 1982, Biometrics 38, with the faster fixed point of MacKay 1992,
Neural Computation 4). Given them, the posterior of each b_i is normal and in closed form. A feature
whose effect does not differ between series beyond chance gets t near 0: the global coefficient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine_ridge.solve import Solution, Standardization, solve
from engine_ridge.statistics import FEATURES, ONE, Floats, Integers, Statistics, Y

ROUNDS = 30
"""Most rounds of the estimate of the variances; it stops earlier when they move by under 5 %."""

SAMPLE = 200
"""Series that the variances are estimated from, evenly spaced if there are more."""

NOISE_ROWS = 10.0
"""Rows that the pooled noise variance counts for in the one of a series."""

_STACK_BYTES = 1 << 26


@dataclass(frozen=True)
class Residual:
    """What is left of every series' normal equations after the global fit, on q varying columns.

    gram: (g, q, q); cross: (g, q), X'e; squares: (g,), e'e; rows: (g,). In units in which the total
    weight of all rows is their effective number, so that noise variances do not depend on weights.
    """

    gram: Floats
    cross: Floats
    squares: Floats
    rows: Floats

    def of(self, series: Integers | slice) -> Residual:
        """Some of the series."""
        return Residual(
            self.gram[series], self.cross[series], self.squares[series], self.rows[series]
        )


@dataclass(frozen=True)
class Variances:
    """spread: (q,), variance of each varying coefficient; noise: pooled noise variance."""

    spread: Floats
    noise: float


def solve_partial(
    statistics: Statistics,
    penalty: float | Literal["auto"],
    missing_indicator: float | None,
    varying: Integers,
    covariances: bool,
) -> Solution:
    """Posterior means of all series' coefficients; those that do not vary are the global ones.

    varying: int64, features that may differ between series; their level always may. The first group
    of the solution, number -1, stands for any series without rows: it has the global coefficients.
    """
    pooled = statistics.pooled()
    base = solve(pooled, penalty, missing_indicator, covariances=True)
    assert base.covariance is not None
    standardization = base.standardization
    columns = np.concatenate([[ONE], FEATURES + varying]).astype(np.int64)
    residual = residual_of(statistics, standardization, base.standardized[0], columns)
    variances = estimate(residual)
    residual = _with_an_unseen_series(residual)
    groups = np.concatenate([[-1], statistics.groups])
    place = np.concatenate([[0], 1 + varying]).astype(np.int64)
    # The global coefficients are uncertain by their fit, and as the mean of so many series.
    prior = base.covariance[0][np.ix_(place, place)]
    prior = prior + np.diag(variances.spread / statistics.groups.size)
    deviations, errors = (np.zeros((groups.size, columns.size)) for _ in range(2))
    noise = np.zeros(groups.size)
    full = np.repeat(base.covariance, groups.size, axis=0) if covariances else None
    step = max(_STACK_BYTES // (8 * columns.size**2), 1)
    for start in range(0, groups.size, step):
        part = slice(start, start + step)
        piece = residual.of(part)
        deviations[part], covariance, noise[part] = posteriors(piece, variances)
        kept = np.eye(columns.size) - covariance @ piece.gram / noise[part, None, None]
        covariance = covariance + kept @ prior @ kept.swapaxes(1, 2)
        errors[part] = np.sqrt(np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0.0))
        if full is not None:
            full[part, place[:, None], place] = covariance
    standardized = np.repeat(base.standardized, groups.size, axis=0)
    standardized[:, varying] += deviations[:, 1:]
    coefficients = standardized / standardization.scale
    intercepts = standardization.y_mean + deviations[:, 0] - coefficients @ standardization.center
    standard_errors = np.repeat(base.standard_errors, groups.size, axis=0)
    standard_errors[:, varying] = errors[:, 1:] / standardization.scale[varying]
    return Solution(
        standardization=standardization,
        penalty=base.penalty,
        path=base.path,
        groups=groups,
        intercepts=intercepts,
        coefficients=coefficients,
        standardized=standardized,
        standard_errors=standard_errors,
        noise=noise,
        covariance=full,
    )


def residual_of(
    statistics: Statistics, standardization: Standardization, base: Floats, columns: Integers
) -> Residual:
    """Normal equations of every series for deviations from the coefficients `base`."""
    groups, width = statistics.gram.shape[:2]
    unit = statistics.pooled().effective_rows[0] / statistics.gram[:, ONE, ONE].sum()
    change = standardization.change
    error = change[:, Y] - change[:, FEATURES:] @ base
    left = statistics.gram @ error * unit
    crosses, squares = left @ change[:, columns], left @ error
    narrow = np.ascontiguousarray(change[:, columns])
    grams = np.zeros((groups, columns.size, columns.size))
    step = max(_STACK_BYTES // (8 * width * width), 1)
    for start in range(0, groups, step):
        part = slice(start, start + step)
        grams[part] = narrow.T @ (statistics.gram[part] @ narrow) * unit
    rows = statistics.gram[:, ONE, ONE] * unit
    return Residual(grams, crosses, np.maximum(squares, 0.0), rows)


def estimate(residual: Residual) -> Variances:
    """Maximum marginal likelihood of the spread of every coefficient and of the noise."""
    count = residual.rows.size
    if count > SAMPLE:
        residual = residual.of(np.linspace(0, count - 1, SAMPLE).astype(np.int64))
    total = residual.squares.sum() / residual.rows.sum()
    size = residual.cross.shape[1]
    variances = Variances(np.full(size, max(total, 1e-300) / (2 * size)), max(total, 1e-300) / 2)
    if residual.rows.size < 2:
        # One series cannot show how series differ.
        return Variances(np.zeros(size), variances.noise)
    floor = 1e-10 * total
    for _ in range(ROUNDS):
        means, covariance = _given(residual, variances.spread, variances.noise)
        own = np.diagonal(covariance, axis1=1, axis2=2)
        spread = np.maximum(variances.spread, 1e-300)
        determined = np.maximum((1.0 - own / spread).sum(axis=0), 1e-12)
        new = np.minimum((means**2).sum(axis=0) / determined, 10 * total)
        noise = max(float(_lost(residual, means, covariance).sum() / residual.rows.sum()), 1e-300)
        moved = np.abs(new - variances.spread) > 0.05 * np.maximum(variances.spread, floor)
        variances = Variances(np.where(new > floor, new, 0.0), noise)
        if not moved.any():
            break
    return variances


def posteriors(residual: Residual, variances: Variances) -> tuple[Floats, Floats, Floats]:
    """Mean (g, q) and covariance (g, q, q) of every series' deviations, and its noise (g,).

    A series' noise variance is its own as far as it has rows, and the pooled one beside.
    """
    mean, covariance = _given(residual, variances.spread, variances.noise)
    lost = _lost(residual, mean, covariance)
    noise = (lost + NOISE_ROWS * variances.noise) / (residual.rows + NOISE_ROWS)
    mean, covariance = _given(residual, variances.spread, noise)
    return mean, covariance, noise


def _given(residual: Residual, spread: Floats, noise: Floats | float) -> tuple[Floats, Floats]:
    noise = np.broadcast_to(noise, residual.rows.shape)
    root = np.sqrt(spread)
    # Scaled by the prior, so that a spread of zero is no division.
    scaled = residual.gram * (root[:, None] * root) / noise[:, None, None]
    inverse = np.linalg.inv(scaled + np.eye(root.size))
    covariance = inverse * (root[:, None] * root)
    mean = np.einsum("gij,gj->gi", covariance, residual.cross) / noise[:, None]
    return mean, covariance


def _lost(residual: Residual, mean: Floats, covariance: Floats) -> Floats:
    """Expected sum of squared errors of each series under its posterior: (g,)."""
    explained = 2.0 * (mean * residual.cross).sum(axis=1)
    kept = np.einsum("gi,gij,gj->g", mean, residual.gram, mean)
    unsure = np.einsum("gij,gij->g", residual.gram, covariance)
    lost: Floats = np.maximum(residual.squares - explained + kept, 0.0) + unsure
    return lost


def _with_an_unseen_series(residual: Residual) -> Residual:
    """One more series, the first, with no rows: its posterior is the prior."""

    def grown(values: Floats) -> Floats:
        return np.concatenate([np.zeros_like(values[:1]), values])

    return Residual(
        grown(residual.gram), grown(residual.cross), grown(residual.squares), grown(residual.rows)
    )
