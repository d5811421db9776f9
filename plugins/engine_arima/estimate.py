"""One series: choose the orders, estimate the coefficients, forecast; statsforecast does the maths."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from statsforecast.models import ARIMA, AutoARIMA

from engine.errors import first_line
from engine_arima.params import ArimaParams
from engine_arima.sample import FloatArray, NoFitError, Sample, independent_columns

Constant = Literal["mean", "drift", "none"]

EXPLODED = 1_000.0
"""A forecast this many times beyond the largest observed |y| is no forecast."""


@dataclass(frozen=True, slots=True)
class Orders:
    """ARIMA(p, d, q)(P, D, Q)[season], and the constant beside it.

    constant: `mean` of an undifferenced series, `drift` (a linear trend) of one differenced once,
    or `none`.
    """

    p: int
    d: int
    q: int
    P: int
    D: int
    Q: int
    season: int
    constant: Constant

    @classmethod
    def stated(cls, params: ArimaParams, season: int) -> Orders | None:
        """The orders that the options give; None where they are to be chosen."""
        if params.order is None:
            return None
        p, d, q = params.order
        P, D, Q = params.seasonal_order or (0, 0, 0)
        return cls(p, d, q, P, D, Q, season, "mean" if d + D == 0 else "none")


@dataclass(frozen=True, slots=True)
class Estimate:
    """Coefficients of one series, estimated on y and regressors scaled to unit deviation.

    model: None for a series that never changes. columns: the columns of the sample's X that are in
    the model. scales: their divisors. scale: the divisor of y. aicc: corrected Akaike information
    criterion of the unscaled y, None where it is not finite.
    """

    sample: Sample
    model: ARIMA | None
    columns: tuple[int, ...]
    scales: FloatArray
    scale: float
    aicc: float | None

    @property
    def covariates(self) -> tuple[str, ...]:
        """Names of the regressors."""
        return tuple(self.sample.names[self.sample.columns[c]] for c in self.columns)

    def forecast(self, X: FloatArray, quantiles: Sequence[float]) -> tuple[FloatArray, FloatArray]:
        """Mean (steps,) and quantiles (steps, quantile) of the steps after the cutoff.

        X: (steps, covariates) all offered covariates of those steps. Quantiles are those of the
        normal distribution around the mean (Hyndman & Khandakar 2008). NoFitError if a regressor
        is missing, or if a forecast is not finite or explodes.
        """
        steps = len(X)
        if self.model is None:
            value = float(self.sample.y[0])
            return np.full(steps, value), np.full((steps, len(quantiles)), value)
        ahead = self._regressors(np.concatenate([self.sample.after, X]))
        levels: list[Any] = sorted({_level(q) for q in quantiles if q != 0.5})
        with _reasons("forecast failed"):
            found = self.model.predict(len(ahead), X=ahead if self.columns else None, level=levels)
        mean = np.asarray(found["mean"], dtype=np.float64)[-steps:] * self.scale
        columns = [
            mean if q == 0.5 else np.asarray(found[_bound(q)])[-steps:] * self.scale
            for q in quantiles
        ]
        bands = np.stack(columns, axis=-1) if columns else np.empty((steps, 0))
        limit = EXPLODED * float(np.abs(self.sample.y).max())
        if not (np.isfinite(mean).all() and np.isfinite(bands).all()):
            raise NoFitError("the forecast is not finite")
        if np.abs(mean).max(initial=0.0) > limit:
            raise NoFitError(
                f"the forecast explodes to {np.abs(mean).max():.3g}, beyond {limit:.3g} "
                f"({EXPLODED:g} times the largest observed value)"
            )
        return mean, bands

    def _regressors(self, X: FloatArray) -> FloatArray:
        columns = [self.sample.columns[c] for c in self.columns]
        ahead = X[:, columns] / self.scales
        missing = np.isnan(ahead).sum(axis=0)
        for name, count in zip(self.covariates, missing, strict=True):
            if count:
                raise NoFitError(
                    f"covariate {name!r} is missing in {count} of {len(X)} future rows"
                )
        return ahead


def choose(sample: Sample, params: ArimaParams, season: int) -> Orders:
    """The orders with the least AICc (Hyndman & Khandakar 2008, J. Statistical Software 27(3))."""
    if sample.is_constant:
        return Orders(0, 0, 0, 0, 0, 0, season, "mean")
    columns = independent_columns(sample.X, 0, 0, season, "mean")
    y, X = _scaled(sample, columns)
    search = AutoARIMA(
        max_p=params.max_p,
        max_q=params.max_q,
        max_P=params.max_P,
        max_Q=params.max_Q,
        max_d=params.max_d,
        max_D=params.max_D,
        max_order=params.max_order,
        start_p=min(2, params.max_p),
        start_q=min(2, params.max_q),
        start_P=min(1, params.max_P),
        start_Q=min(1, params.max_Q),
        stepwise=params.stepwise,
        approximation=params.approximation,
        seasonal=season > 1,
        season_length=season,
    )
    with _reasons("no orders found"):
        found: dict[str, Any] = search.fit(y, X).model_
    p, q, P, Q, _, d, D = (int(value) for value in found["arma"])
    constant: Constant = "none"
    if "drift" in found["coef"]:
        constant = "drift"
    elif "intercept" in found["coef"]:
        constant = "mean"
    return Orders(p, d, q, P, D, Q, season, constant)


def estimate(sample: Sample, orders: Orders) -> Estimate:
    """Maximum-likelihood coefficients of given orders.

    Starting values come from the conditional sum of squares; where those are not stationary, or
    lead nowhere, the likelihood is climbed from zero instead. NoFitError if that fails as well.
    """
    if sample.is_constant:
        return Estimate(sample, None, (), np.ones(0), 1.0, None)
    columns = independent_columns(sample.X, orders.d, orders.D, orders.season, orders.constant)
    y, X = _scaled(sample, columns)
    with _reasons("fit failed"):
        try:
            model = _arima(orders, "CSS-ML").fit(y, X)
            lost = math.isnan(model.model_["loglik"])
        except ValueError:
            lost = True
        if lost:
            model = _arima(orders, "ML").fit(y, X)
    if math.isnan(model.model_["loglik"]):
        raise NoFitError("fit failed: no finite likelihood was found; try lower orders")
    scale, scales = _scale(sample.y), np.array([_scale(sample.X[:, c]) for c in columns])
    used = sample.y.size - orders.d - orders.D * orders.season
    aicc = float(model.model_["aicc"]) + 2 * used * math.log(scale)
    finite = aicc if math.isfinite(aicc) else None
    return Estimate(sample, model, tuple(columns), scales, scale, finite)


def _arima(orders: Orders, method: str) -> ARIMA:
    return ARIMA(
        order=(orders.p, orders.d, orders.q),
        seasonal_order=(orders.P, orders.D, orders.Q),
        season_length=orders.season,
        include_mean=orders.constant == "mean",
        include_drift=orders.constant == "drift",
        method=method,
    )


def _scaled(sample: Sample, columns: Sequence[int]) -> tuple[FloatArray, FloatArray | None]:
    """Y and regressors of unit deviation: the model is equivariant, its optimizer converges sooner."""
    y = sample.y / _scale(sample.y)
    if not columns:
        return y, None
    X = np.column_stack([sample.X[:, c] / _scale(sample.X[:, c]) for c in columns])
    return y, X


def _scale(values: FloatArray) -> float:
    return float(values.std())


def _level(quantile: float) -> float:
    """Coverage in percent of the central interval that has this quantile as a bound."""
    return abs(2 * quantile - 1) * 100


def _bound(quantile: float) -> str:
    return f"{'lo' if quantile < 0.5 else 'hi'}-{_level(quantile)}"


@contextmanager
def _reasons(what: str) -> Iterator[None]:
    """Turn whatever the library raises into a reason, and keep its warnings to itself."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        raise NoFitError(f"{what}: {first_line(error)}") from error
