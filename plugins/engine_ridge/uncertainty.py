"""Quantiles from the posterior: the noise of a row and the doubt about the coefficients together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
import polars as pl

from engine_ridge.solve import Solution
from engine_ridge.statistics import Floats, Integers

INTERVAL_ROWS = 256
"""Rows at a time where every row has a covariance matrix of its own."""


@dataclass(frozen=True)
class Uncertainty:
    """What quantiles need: their levels, and arrays of the g groups.

    center, scale: float64 (p,), that standardize the columns; noise: (g,), variance of a row;
    covariance: (g, 1 + p, 1 + p), posterior of level and standardized coefficients.
    """

    quantiles: tuple[float, ...]
    center: Floats
    scale: Floats
    noise: Floats
    covariance: Floats

    @classmethod
    def of(cls, solution: Solution, quantiles: tuple[float, ...]) -> Uncertainty:
        """The part of a solution that quantiles need."""
        assert solution.covariance is not None
        standard = solution.standardization
        return cls(quantiles, standard.center, standard.scale, solution.noise, solution.covariance)

    def around(self, y_hat: Floats, columns: Floats, group: Integers) -> Floats:
        """Normal quantiles of a new row, noise and doubt about coefficients together: (rows, q)."""
        rows = np.ones((columns.shape[0], 1 + columns.shape[1]))
        rows[:, 1:] = (columns - self.center) / self.scale
        variance = self.noise[group] + np.einsum(
            "ri,rij,rj->r", rows, self.covariance[group], rows, optimize=True
        )
        spread = np.sqrt(np.maximum(variance, 0.0))
        normal = NormalDist()
        return np.stack([y_hat + normal.inv_cdf(q) * spread for q in self.quantiles], axis=1)

    def save(self, folder: Path) -> None:
        """Write `columns.parquet` and `uncertainty.parquet`."""
        pl.DataFrame({"center": self.center, "scale": self.scale}).write_parquet(
            folder / "columns.parquet"
        )
        flat = self.covariance.reshape(self.noise.size, -1)
        table = {f"covariance_{i}": flat[:, i] for i in range(flat.shape[1])}
        pl.DataFrame({"noise": self.noise} | table).write_parquet(folder / "uncertainty.parquet")

    @classmethod
    def load(cls, folder: Path, quantiles: tuple[float, ...]) -> Uncertainty:
        """Read what `save` wrote."""
        columns = pl.read_parquet(folder / "columns.parquet")
        table = pl.read_parquet(folder / "uncertainty.parquet")
        width = 1 + columns.height
        flat = np.ascontiguousarray(table.drop("noise").to_numpy())
        return cls(
            quantiles,
            columns["center"].to_numpy(),
            columns["scale"].to_numpy(),
            table["noise"].to_numpy(),
            flat.reshape(-1, width, width),
        )
