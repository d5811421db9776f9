"""What a fitted ARIMA keeps: the orders of each series, as a JSON file and as a table."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from engine.errors import DataError, NotFoundError
from engine_arima.estimate import Orders

_FILE = "arima.json"
_VERSION = 1
_ORDERS = ("p", "d", "q", "P", "D", "Q", "season")


@dataclass(frozen=True, slots=True)
class SeriesFit:
    """The outcome for one series.

    orders: None where none could be chosen. covariates: names of the regressors. aicc: None where
    it is not finite. failure: the reason why the fit failed, or empty.
    """

    unique_id: str
    orders: Orders | None
    covariates: tuple[str, ...]
    aicc: float | None
    failure: str


@dataclass(frozen=True, slots=True)
class Saved:
    """Everything that `load` needs.

    stated: orders given by the options, None where each series has its own. covariates: names of
    those offered to the regression. max_history: rows of history a fit may use. quantiles: those
    that are forecast.
    """

    stated: Orders | None
    covariates: tuple[str, ...]
    max_history: int | None
    quantiles: tuple[float, ...]
    series: tuple[SeriesFit, ...]

    def table(self) -> pl.DataFrame:
        """One row a series, see `FittedArima.tables`."""
        orders = [asdict(fit.orders) if fit.orders else {} for fit in self.series]
        return pl.DataFrame(
            [
                pl.Series("unique_id", [fit.unique_id for fit in self.series], pl.String),
                *(pl.Series(n, [o.get(n) for o in orders], pl.Int32) for n in _ORDERS),
                pl.Series("constant", [o.get("constant") for o in orders], pl.String),
                pl.Series(
                    "covariates", [list(fit.covariates) for fit in self.series], pl.List(pl.String)
                ),
                pl.Series("aicc", [fit.aicc for fit in self.series], pl.Float64),
                pl.Series("failure", [fit.failure for fit in self.series], pl.String),
            ]
        )


def write(saved: Saved, folder: Path) -> None:
    """Write `saved` as JSON into `folder`, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"version": _VERSION, **asdict(saved)}, indent=1, allow_nan=False)
    (folder / _FILE).write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> Saved:
    """Read what `write` wrote; NotFoundError if it is absent, DataError for another format."""
    path = folder / _FILE
    if not path.is_file():
        raise NotFoundError(
            f"{folder} holds no saved arima model", hint=f"{_FILE} is missing there"
        )
    stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if stored.get("version") != _VERSION:
        raise DataError(
            f"{path} has format version {stored.get('version')}, this plugin reads {_VERSION}",
            hint="fit the model again",
        )
    return Saved(
        stated=_orders(stored["stated"]),
        covariates=tuple(stored["covariates"]),
        max_history=stored["max_history"],
        quantiles=tuple(stored["quantiles"]),
        series=tuple(
            SeriesFit(
                unique_id=fit["unique_id"],
                orders=_orders(fit["orders"]),
                covariates=tuple(fit["covariates"]),
                aicc=fit["aicc"],
                failure=fit["failure"],
            )
            for fit in stored["series"]
        ),
    )


def _orders(stored: dict[str, Any] | None) -> Orders | None:
    return Orders(**stored) if stored else None
