"""ARIMA over a panel: orders are settled once per series, coefficients follow the history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from engine.contracts import Prediction, Training
from engine.data.panel import Future, Panel
from engine.errors import DataError
from engine_arima import storage
from engine_arima.estimate import Estimate, Orders, choose, estimate
from engine_arima.params import ArimaParams
from engine_arima.sample import FloatArray, NoFitError, Sample, sample_of
from engine_arima.storage import Saved, SeriesFit


@dataclass(frozen=True)
class FittedArima:
    """ARIMA models of all series.

    saved: orders of each series and the settings, everything that a folder holds. estimates: by
    unique_id, the coefficients on the training panel; empty after loading, for coefficients are
    estimated again from the history, with the same result.
    """

    saved: Saved
    estimates: Mapping[str, Estimate]

    def predict(self, history: Panel, future: Future) -> Prediction:
        """Forecast every row of `future`: (n_series, gap + horizon) and (..., quantile).

        Coefficients are estimated again where the history is not the one of the fit; the orders
        stay. A series that cannot be forecast has NaN and a reason in `failures`.
        """
        if history.n_series != future.n_series:
            raise DataError(
                f"the history has {history.n_series} series, the future has {future.n_series}",
                hint="cut both at the same cutoff",
            )
        quantiles = self.saved.quantiles
        y_hat = np.full((future.n_series, future.ahead_max), np.nan)
        bands = np.full((*y_hat.shape, len(quantiles)), np.nan)
        failures: dict[int, str] = {}
        ahead = _matrix(future.frame, self.saved.covariates)
        ahead = ahead.reshape(future.n_series, future.ahead_max, -1)
        fits = {fit.unique_id: fit for fit in self.saved.series}
        samples = _samples(history, self.saved.covariates, self.saved.max_history)
        for i, (unique_id, sample) in enumerate(samples):
            try:
                found = self._estimate(fits.get(unique_id), unique_id, sample)
                y_hat[i], bands[i] = found.forecast(ahead[i], quantiles)
            except NoFitError as reason:
                failures[i] = str(reason)
        return Prediction(y_hat, bands, failures)

    def _estimate(
        self, fit: SeriesFit | None, unique_id: str, sample: Sample | NoFitError
    ) -> Estimate:
        if isinstance(sample, NoFitError):
            raise sample
        known = self.estimates.get(unique_id)
        if known is not None and known.sample.same_as(sample):
            return replace(known, sample=sample)  # it may end further before its cutoff
        orders = (fit.orders if fit else None) or self.saved.stated
        if orders is None:
            reason = fit.failure if fit else "the series was not in the training panel; fit again"
            raise NoFitError(reason)
        return estimate(sample, orders)

    def save(self, folder: Path) -> None:
        """Write orders and settings as JSON."""
        storage.write(self.saved, folder)

    @classmethod
    def load(cls, folder: Path) -> FittedArima:
        """Read what `save` wrote; NotFoundError if it is not there."""
        return cls(storage.read(folder), {})

    def tables(self) -> Mapping[str, pl.DataFrame]:
        """`orders`: one row a series; orders are null, with a reason, where the fit failed.

        Columns `unique_id, p, d, q, P, D, Q, season, constant` (mean, drift or none),
        `covariates` (those in the model), `aicc`, `failure`.
        """
        return {"orders": self.saved.table()}


@dataclass(frozen=True, slots=True)
class Arima:
    """The model `arima`: local, with future covariates and intervals of its own."""

    params: ArimaParams

    def fit(self, train: Training) -> FittedArima:
        """Settle orders and coefficients of every series; a series that fails keeps its reason.

        Reports `series` about twenty times on the way. DataError if seasonal orders are given for
        data without a season.
        """
        params, panel = self.params, train.panel
        season = params.season or train.season
        if season == 1 and any(params.seasonal_order or ()):
            raise DataError(
                f"seasonal_order {list(params.seasonal_order or ())} needs a season, and the usual "
                f"season of frequency {panel.grid.freq} is 1 step",
                hint="state the season, such as season: 7, or leave seasonal_order out",
            )
        covariates = panel.numeric(panel.roles.future)
        stated = Orders.stated(params, season)
        fits: list[SeriesFit] = []
        estimates: dict[str, Estimate] = {}
        every = max(panel.n_series // 20, 1)
        for i, (unique_id, sample) in enumerate(_samples(panel, covariates, params.max_history)):
            orders = stated
            try:
                if isinstance(sample, NoFitError):
                    raise sample
                orders = orders or choose(sample, params, season)
                found = estimates[unique_id] = estimate(sample, orders)
                fits.append(SeriesFit(unique_id, orders, found.covariates, found.aicc, ""))
            except NoFitError as reason:
                fits.append(SeriesFit(unique_id, orders, (), None, str(reason)))
            if (i + 1) % every == 0:
                train.report("series", {"series": i + 1, "of": panel.n_series})
        saved = Saved(stated, covariates, params.max_history, train.quantiles, tuple(fits))
        return FittedArima(saved, estimates)

    @staticmethod
    def load(folder: Path) -> FittedArima:
        """Read a saved model."""
        return FittedArima.load(folder)


def _samples(
    panel: Panel, covariates: tuple[str, ...], max_history: int | None
) -> Iterator[tuple[str, Sample | NoFitError]]:
    """Each series' identifier with its rows, or with the reason why they cannot be used."""
    y, X = panel.y(), _matrix(panel.frame, covariates)
    for i, unique_id in enumerate(panel.ids):
        rows = slice(int(panel.offsets[i]), int(panel.offsets[i + 1]))
        try:
            yield unique_id, sample_of(y[rows], X[rows], covariates, max_history)
        except NoFitError as reason:
            yield unique_id, reason


def _matrix(frame: pl.DataFrame, columns: tuple[str, ...]) -> FloatArray:
    """Columns as float64 (rows, columns), NaN where missing."""
    out = np.empty((frame.height, len(columns)))
    for i, column in enumerate(columns):
        out[:, i] = frame[column].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return out
