"""A fitted ridge regression: forecasts of rows, what was learned, and its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.contracts import DesignBlock, Prediction
from engine.errors import DataError, NotFoundError
from engine_ridge.interactions import Products
from engine_ridge.members import Members
from engine_ridge.statistics import Floats, Integers
from engine_ridge.tables import column_names
from engine_ridge.uncertainty import INTERVAL_ROWS, Uncertainty

FORMAT = 2

_PREDICT_ROWS = 16_384


@dataclass(frozen=True)
class FittedRidge:
    """Coefficients of all series, or of each one.

    products: the features of the design and the products made of them; `features` are both.
    mean: float64 (features,), taken off the features; missing values take it. indicators: int64
    (i,), features with a coefficient for being missing. groups: int64 (g,), sorted numbers of the
    series with own coefficients, or None if all share one set (g = 1); -1 stands for every other
    series. members: groups of series that share their coefficients, whose numbers `groups` then are;
    None if each has its own. intercepts: float64 (g,). coefficients: float64 (g, features + i).
    learned: tables for the reader. uncertainty: what quantiles need, or None if the model makes none.
    """

    products: Products
    mean: Floats
    indicators: Integers
    groups: Integers | None
    intercepts: Floats
    coefficients: Floats
    learned: Mapping[str, pl.DataFrame]
    uncertainty: Uncertainty | None = None
    members: Members | None = None

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features and products."""
        return self.products.names

    def predict(self, block: DesignBlock) -> Prediction:
        """Forecast each row: float64 (rows,); NaN and a failure for series without a fit.

        A row's forecast does not depend on the other rows of the block, to the last bit.
        """
        block = self.products.widened(block)
        rows = block.X.shape[0]
        group, known = self._groups_of(block)
        y_hat = np.full(rows, np.nan)
        for start in range(0, rows, _PREDICT_ROWS):
            part = slice(start, start + _PREDICT_ROWS)
            columns = self._columns(block.X[part])
            # Sums row by row instead of BLAS, whose rounding depends on the number of rows.
            if self.groups is None:
                total = np.einsum("rf,f->r", columns, self.coefficients[0])
            else:
                total = np.einsum("rf,rf->r", columns, self.coefficients[group[part]])
            value = total + self.intercepts[group[part]]
            y_hat[part] = np.where(known[part], value, np.nan)
        unknown = np.unique(block.series[~known])
        return Prediction(
            y_hat,
            quantiles=self._quantiles(block, y_hat, group),
            failures=dict.fromkeys(unknown.tolist(), "no training rows"),
        )

    def _quantiles(self, block: DesignBlock, y_hat: Floats, group: Integers) -> Floats | None:
        if self.uncertainty is None:
            return None
        out = np.empty((y_hat.size, len(self.uncertainty.quantiles)))
        for start in range(0, y_hat.size, INTERVAL_ROWS):
            part = slice(start, start + INTERVAL_ROWS)
            columns = self._columns(block.X[part])
            out[part] = self.uncertainty.around(y_hat[part], columns, group[part])
        return out

    def save(self, folder: Path) -> None:
        """Write `model.json`, `features.parquet`, `coefficients.parquet` and the learned tables."""
        folder.mkdir(parents=True, exist_ok=True)
        names = column_names(self.features, self.indicators)
        settings = {
            "format": FORMAT,
            "local": self.groups is not None,
            "indicators": self.indicators.tolist(),
            "learned": list(self.learned),
            "products": [list(self.products.left), list(self.products.right)],
            "quantiles": None if self.uncertainty is None else list(self.uncertainty.quantiles),
        }
        (folder / "model.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        pl.DataFrame({"feature": self.features, "mean": self.mean}).write_parquet(
            folder / "features.parquet"
        )
        groups = np.zeros(1, dtype=np.int64) if self.groups is None else self.groups
        fixed = {"series": groups, "intercept": self.intercepts}
        # Columns are numbered: a feature may well be called `intercept`.
        own = {f"column_{i}": self.coefficients[:, i] for i in range(len(names))}
        pl.DataFrame(fixed | own).write_parquet(folder / "coefficients.parquet")
        for name, table in self.learned.items():
            table.write_parquet(folder / f"learned_{name}.parquet")
        if self.uncertainty is not None:
            self.uncertainty.save(folder)
        if self.members is not None:
            self.members.save(folder)

    @classmethod
    def load(cls, folder: Path) -> FittedRidge:
        """Read what `save` wrote: it predicts the same bits; NotFoundError without a model."""
        if not (folder / "model.json").exists():
            raise NotFoundError(
                f"{folder} holds no ridge model: model.json is missing",
                hint="point to the folder of a fitted model, such as <run>/models/<name>",
            )
        settings: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        if settings.get("format") != FORMAT:
            raise DataError(
                f"{folder / 'model.json'} has format {settings.get('format')}, this is {FORMAT}",
                hint="fit the model again with this version",
            )
        features = pl.read_parquet(folder / "features.parquet")
        left, right = (tuple(side) for side in settings["products"])
        own = tuple(features["feature"].to_list()[: features.height - len(left)])
        quantiles = settings["quantiles"]
        values = pl.read_parquet(folder / "coefficients.parquet")
        groups = values["series"].to_numpy().astype(np.int64)
        return cls(
            products=Products(own, left, right),
            mean=features["mean"].to_numpy(),
            indicators=np.array(settings["indicators"], dtype=np.int64),
            groups=groups if settings["local"] else None,
            intercepts=values["intercept"].to_numpy(),
            coefficients=np.ascontiguousarray(values.drop("series", "intercept").to_numpy()),
            learned={
                name: pl.read_parquet(folder / f"learned_{name}.parquet")
                for name in settings["learned"]
            },
            uncertainty=(None if quantiles is None else Uncertainty.load(folder, tuple(quantiles))),
            members=Members.load(folder),
        )

    def tables(self) -> Mapping[str, pl.DataFrame]:
        """`coefficients`, and `penalties` with their scores if the penalty was chosen.

        Global: `feature, coefficient, standardized, standard_error`, in units of the target per
        unit or per standard deviation of the feature; errors take rows as independent. Local
        and partial: `feature, mean, spread, standardized_mean, standardized_spread` over the
        series. `elasticity` if asked for: see `engine_ridge.tables.elasticity_table`.
        """
        return self.learned

    def _groups_of(self, block: DesignBlock) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        rows = block.X.shape[0]
        if self.groups is None:
            return np.zeros(rows, dtype=np.int64), np.ones(rows, dtype=np.bool_)
        number = block.series if self.members is None else self.members.of(block.series)
        group = np.searchsorted(self.groups, number)
        group = np.minimum(group, self.groups.size - 1).astype(np.int64)
        known = self.groups[group] == number
        if self.groups[0] == -1:
            return np.where(known, group, 0), np.ones(rows, dtype=np.bool_)
        return group, known

    def _columns(self, X: npt.NDArray[np.float32]) -> Floats:
        holes = np.isnan(X)
        columns = np.subtract(X, self.mean, dtype=np.float64, order="C")
        columns[holes] = 0.0
        if not self.indicators.size:
            return columns
        return np.hstack([columns, holes[:, self.indicators]])
