"""What is learned from a training panel about turning panels into arrays: statistics and names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

LIMIT = 10.0  # deviations, or usual distances, beyond which an input says no more

_CONSTANT = 1e30  # deviation of a column that never changed

_PIECE = 1 << 25  # values at a time


@dataclass(frozen=True)
class Columns:
    """Numeric columns and their training statistics, as parallel tuples.

    gaps: True for a column with missing values in training; it gets a channel of its own for them.
    """

    names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    gaps: tuple[bool, ...] = ()

    @classmethod
    def of(cls, names: tuple[str, ...], values: Float32) -> Columns:
        """Statistics of values (rows, column), ignoring NaN.

        What was constant in training has taught nothing: it reads as 0 whatever it does later.
        """
        observed, total, squares = (np.zeros(len(names)) for _ in range(3))
        for rows in _pieces(values):
            present = ~np.isnan(values[rows])
            observed += present.sum(0)
            total += np.where(present, values[rows], 0).sum(0, dtype=np.float64)
        count = np.maximum(observed, 1)
        mean = total / count
        for rows in _pieces(values):
            present = ~np.isnan(values[rows])
            squares += (np.where(present, values[rows] - mean, 0.0) ** 2).sum(0)
        deviation = np.sqrt(squares / count)
        deviation = np.where(deviation > 1e-6 * np.abs(mean) + 1e-12, deviation, _CONSTANT)
        gaps: list[bool] = np.asarray(observed < len(values)).tolist()
        return cls(names, tuple(map(float, mean)), tuple(map(float, deviation)), tuple(gaps))

    def standardised(self, values: Float32) -> tuple[Float32, Float32]:
        """Values (..., column) in deviations with 0 where missing, and the channels of gaps."""
        scaled = np.empty(values.shape, dtype=np.float32)
        for rows in _pieces(values):
            missing = np.isnan(values[rows])
            exact = (values[rows] - np.array(self.mean)) / np.array(self.deviation)
            scaled[rows] = np.where(missing, 0.0, np.clip(exact, -LIMIT, LIMIT))
        return scaled, np.isnan(values[..., np.array(self.gaps, dtype=bool)]).astype(np.float32)


def _pieces(values: Float32) -> Iterator[slice]:
    """The first axis in pieces: what is calculated of one in double precision is far smaller than all."""
    size = max(_PIECE * len(values) // max(values.size, 1), 1)
    return (slice(first, first + size) for first in range(0, len(values), size))


@dataclass(frozen=True)
class Encoding:
    """What was learned from the training panel about turning panels into arrays.

    span: steps over which levels are averaged. season, season_terms: Fourier terms of the date.
    log1p, robust, censored, offset: as in the options. categories: for each static column of categories its
    name and its levels (code 0 = unknown). unit: usual distance of y from its level, as a share of
    its size. level, size: those of a typical series, for one that was never observed. log_size: mean
    and deviation of log size.
    """

    span: int
    season: int
    season_terms: int
    effects: tuple[int, ...] | None
    log1p: bool
    robust: bool
    censored: str | None
    future: Columns
    past: Columns
    numbers: Columns
    categories: tuple[tuple[str, tuple[str, ...]], ...]
    unit: float = 1.0
    level: float = 0.0
    size: float = 1.0
    log_size: tuple[float, float] = (0.0, 1.0)
    offset: str | None = None


def encoding_from_json(data: dict[str, Any]) -> Encoding:
    """The encoding from what `dataclasses.asdict` and JSON made of it."""
    columns = {
        role: Columns(**{name: tuple(values) for name, values in data[role].items()})
        for role in ("future", "past", "numbers")
    }
    categories = tuple((name, tuple(levels)) for name, levels in data["categories"])
    log_size = (float(data["log_size"][0]), float(data["log_size"][1]))
    effects = None if data["effects"] is None else tuple(data["effects"])
    made = {"categories": categories, "log_size": log_size, "effects": effects}
    return Encoding(**{**data, **columns, **made})
