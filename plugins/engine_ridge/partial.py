"""Coefficients of every series, shrunk to common ones as far as the data say: scope `partial`.

Per series b_i ~ N(b, diag(t)) around common coefficients b, and y_i = X_i b_i + e with noise
variance s_i (Lindley & Smith 1972, JRSS B 34). b is estimated by generalized least squares: a pooled fit
would take differences of level between series for effects of a feature. Both variances are estimated
from all series (empirical Bayes: EM of Laird & Ware 1982, Biometrics 38, with the faster fixed point of
MacKay 1992, Neural Computation 4). Given them, the posterior of each b_i is normal and in closed form. A
feature whose effect does not differ between series beyond chance gets t near 0: the common coefficient.
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

    def around(self, mean: Floats) -> Residual:
        """The equations for deviations from other coefficients, further by `mean` (q,)."""
        moved = self.gram @ mean
        squares = self.squares - 2.0 * self.cross @ mean + moved @ mean
        return Residual(self.gram, self.cross - moved, np.maximum(squares, 0.0), self.rows)

    def of(self, series: Integers | slice) -> Residual:
        """Some of the series."""
        return Residual(
            self.gram[series], self.cross[series], self.squares[series], self.rows[series]
        )


@dataclass(frozen=True)
class Variances:
    """spread: (q,), variance of each varying coefficient; noise: pooled noise variance.

    mean: (q,), of the varying coefficients, as deviations from those of the global fit; doubt: (q, q),
    its covariance.
    """

    spread: Floats
    noise: float
    mean: Floats
    doubt: Floats


@dataclass(frozen=True)
class CommonPrior:
    """What is believed of the common coefficients before any row is seen, as deviations from the
    global fit.

    center: (q,), where they are expected. rows: (q,), how many rows that counts for.
    """

    center: Floats
    rows: Floats


def solve_partial(
    statistics: Statistics,
    penalty: float | Literal["auto"],
    missing_indicator: float | None,
    varying: Integers,
    covariances: bool,
) -> Solution:
    """Posterior means of all series' coefficients; those that do not vary are the global ones.

    varying: int64, features that may differ between series; their level always may. The first group
    of the solution, number -1, stands for any series without rows: it has the common coefficients.
    """
    pooled = statistics.pooled()
    base = solve(pooled, penalty, missing_indicator, covariances=True)
    assert base.covariance is not None
    standardization = base.standardization
    columns = np.concatenate([[ONE], FEATURES + varying]).astype(np.int64)
    residual = residual_of(statistics, standardization, base.standardized[0], columns)
    place = np.concatenate([[0], 1 + varying]).astype(np.int64)
    variances = estimate(residual, _prior_of(base.standardized[0][varying], penalty))
    residual = _with_an_unseen_series(residual.around(variances.mean))
    groups = np.concatenate([[-1], statistics.groups])
    deviations, errors = (np.zeros((groups.size, columns.size)) for _ in range(2))
    noise = np.zeros(groups.size)
    full = np.repeat(base.covariance, groups.size, axis=0) if covariances else None
    step = max(_STACK_BYTES // (8 * columns.size**2), 1)
    for start in range(0, groups.size, step):
        part = slice(start, start + step)
        piece = residual.of(part)
        deviations[part], covariance, noise[part] = posteriors(piece, variances)
        kept = np.eye(columns.size) - covariance @ piece.gram / noise[part, None, None]
        covariance = covariance + kept @ variances.doubt @ kept.swapaxes(1, 2)
        deviations[part] += variances.mean
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


def _prior_of(fitted: Floats, penalty: float | Literal["auto"]) -> CommonPrior:
    """The global coefficients count as one row; a stated penalty pulls to 0 with as many rows as it says.

    One row (unit information prior: Kass & Wasserman 1995, JASA 90), so that directions in which no
    series varies keep the global coefficients. The level is never pulled to 0.
    """
    stated = 0.0 if penalty == "auto" else penalty
    shrunk = -fitted * stated / (1.0 + stated)
    return CommonPrior(
        center=np.concatenate([[0.0], shrunk]),
        rows=np.concatenate([[1.0], np.full(fitted.size, 1.0 + stated)]),
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


def estimate(residual: Residual, prior: CommonPrior) -> Variances:
    """Mean of the coefficients by generalized least squares, spread and noise by maximum likelihood."""
    count = residual.rows.size
    whole = residual
    if count > SAMPLE:
        residual = residual.of(np.linspace(0, count - 1, SAMPLE).astype(np.int64))
    total = residual.squares.sum() / residual.rows.sum()
    size = residual.cross.shape[1]
    spread, noise = np.full(size, max(total, 1e-300) / (2 * size)), max(total, 1e-300) / 2
    if residual.rows.size < 2:
        # One series cannot show how series differ.
        return Variances(
            np.zeros(size), noise, *generalized_mean(residual, 0 * spread, noise, prior)
        )
    floor = 1e-10 * total
    for _ in range(ROUNDS):
        mean, _ = generalized_mean(residual, spread, noise, prior)
        around = residual.around(mean)
        means, covariance = _given(around, spread, noise)
        own = np.diagonal(covariance, axis1=1, axis2=2)
        determined = np.maximum((1.0 - own / np.maximum(spread, 1e-300)).sum(axis=0), 1e-12)
        new = np.minimum((means**2).sum(axis=0) / determined, 10 * total)
        noise = max(float(_lost(around, means, covariance).sum() / residual.rows.sum()), 1e-300)
        moved = np.abs(new - spread) > 0.05 * np.maximum(spread, floor)
        spread = np.where(new > floor, new, 0.0)
        if not moved.any():
            break
    return Variances(spread, noise, *generalized_mean(whole, spread, noise, prior))


def generalized_mean(
    residual: Residual, spread: Floats, noise: float, prior: CommonPrior
) -> tuple[Floats, Floats]:
    """Mean (q,) of coefficients that vary with variances `spread`, and its covariance (q, q).

    (sum_i X_i' V_i^-1 X_i)^-1 sum_i X_i' V_i^-1 e_i with V_i = s I + X_i diag(t) X_i' (Swamy 1970,
    Econometrica 38), from the sums: X' V^-1 X = (s I + X'X diag(t))^-1 X'X. Where series differ in
    level as well as in a feature, a pooled fit takes the one for the effect of the other; this does
    not. The prior adds rows of its own.
    """
    size = spread.size
    inner = residual.gram * spread + noise * np.eye(size)
    both = np.concatenate([residual.gram, residual.cross[:, :, None]], axis=2)
    solved = np.linalg.solve(inner, both).sum(axis=0)
    information, score = solved[:, :size], solved[:, size]
    own = prior.rows / noise
    covariance = np.linalg.inv((information + information.T) / 2 + np.diag(own))
    return covariance @ (score + own * prior.center), covariance


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
