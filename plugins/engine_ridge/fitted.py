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
from engine_ridge.solve import Solution
from engine_ridge.statistics import Floats, Integers

FORMAT = 1

_PREDICT_ROWS = 16_384


@dataclass(frozen=True)
class FittedRidge:
    """Coefficients of all series, or of each one.

    mean: float64 (features,), taken off the features; missing values take it. indicators: int64
    (i,), features with a coefficient for being missing. groups: int64 (g,), sorted numbers of the
    series with own coefficients, or None if all share one set (g = 1). intercepts: float64 (g,).
    coefficients: float64 (g, features + i). learned: tables for the reader.
    """

    features: tuple[str, ...]
    mean: Floats
    indicators: Integers
    groups: Integers | None
    intercepts: Floats
    coefficients: Floats
    learned: Mapping[str, pl.DataFrame]

    def predict(self, block: DesignBlock) -> Prediction:
        """Forecast each row: float64 (rows,); NaN and a failure for series without a fit.

        A row's forecast does not depend on the other rows of the block, to the last bit.
        """
        check_width(block, self.features)
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
        return Prediction(y_hat, failures=dict.fromkeys(unknown.tolist(), "no training rows"))

    def save(self, folder: Path) -> None:
        """Write `model.json`, `features.parquet`, `coefficients.parquet` and the learned tables."""
        folder.mkdir(parents=True, exist_ok=True)
        names = column_names(self.features, self.indicators)
        settings = {
            "format": FORMAT,
            "local": self.groups is not None,
            "indicators": self.indicators.tolist(),
            "learned": list(self.learned),
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
        values = pl.read_parquet(folder / "coefficients.parquet")
        groups = values["series"].to_numpy().astype(np.int64)
        return cls(
            features=tuple(features["feature"].to_list()),
            mean=features["mean"].to_numpy(),
            indicators=np.array(settings["indicators"], dtype=np.int64),
            groups=groups if settings["local"] else None,
            intercepts=values["intercept"].to_numpy(),
            coefficients=np.ascontiguousarray(values.drop("series", "intercept").to_numpy()),
            learned={
                name: pl.read_parquet(folder / f"learned_{name}.parquet")
                for name in settings["learned"]
            },
        )

    def tables(self) -> Mapping[str, pl.DataFrame]:
        """`coefficients`, and `penalties` with their scores if the penalty was chosen.

        Global: `feature, coefficient, standardized, standard_error`, in units of the target per
        unit or per standard deviation of the feature; errors take rows as independent. Local:
        `feature, mean, spread, standardized_mean, standardized_spread` over the series.
        """
        return self.learned

    def _groups_of(self, block: DesignBlock) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        rows = block.X.shape[0]
        if self.groups is None:
            return np.zeros(rows, dtype=np.int64), np.ones(rows, dtype=np.bool_)
        group = np.searchsorted(self.groups, block.series)
        group = np.minimum(group, self.groups.size - 1).astype(np.int64)
        return group, self.groups[group] == block.series

    def _columns(self, X: npt.NDArray[np.float32]) -> Floats:
        holes = np.isnan(X)
        columns = np.subtract(X, self.mean, dtype=np.float64, order="C")
        columns[holes] = 0.0
        if not self.indicators.size:
            return columns
        return np.hstack([columns, holes[:, self.indicators]])


def column_names(features: tuple[str, ...], indicators: Integers) -> list[str]:
    """Names of the coefficients: the features, then `missing(<feature>)`."""
    return [*features, *(f"missing({features[i]})" for i in indicators)]


def check_width(block: DesignBlock, features: tuple[str, ...]) -> None:
    """Raise a DataError unless the block has a column for every feature."""
    if block.X.ndim != 2 or block.X.shape[1] != len(features):
        raise DataError(
            f"ridge: a block of shape {block.X.shape} does not hold {len(features)} features",
            hint="predict with the features that the model was fitted on",
        )


def learned_tables(
    solution: Solution, features: tuple[str, ...], local: bool
) -> dict[str, pl.DataFrame]:
    """The tables that `FittedRidge.tables` describes."""
    names = column_names(features, solution.standardization.indicators)
    if local:
        columns = {
            "feature": names,
            "mean": solution.coefficients.mean(axis=0),
            "spread": solution.coefficients.std(axis=0),
            "standardized_mean": solution.standardized.mean(axis=0),
            "standardized_spread": solution.standardized.std(axis=0),
        }
    else:
        columns = {
            "feature": names,
            "coefficient": solution.coefficients[0],
            "standardized": solution.standardized[0],
            "standard_error": solution.standard_errors[0],
        }
    tables = {
        "coefficients": pl.DataFrame(columns).with_columns(pl.exclude("feature").fill_nan(None))
    }
    if solution.path is not None:
        path = solution.path
        tables["penalties"] = pl.DataFrame(
            {
                "penalty": path.penalties,
                "score": path.scores,
                "degrees_of_freedom": path.freedom,
                "chosen": np.arange(path.penalties.size) == path.chosen,
            }
        )
    return tables
