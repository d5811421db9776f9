"""What is learned from a training panel about turning panels into arrays: statistics and names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

LIMIT = 10.0  # deviations, or usual distances, beyond which an input says no more

_CONSTANT = 1e30  # deviation of a column that never changed


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
    def of(cls, names: tuple[str, ...], columns: Iterable[Float32]) -> Columns:
        """Statistics of the values (rows,) of each column, ignoring NaN; one is held at a time.

        What was constant in training has taught nothing: it reads as 0 whatever it does later.
        """
        means, deviations, gaps = [], [], []
        for values in columns:
            seen = values[~np.isnan(values)]
            mean = float(seen.mean(dtype=np.float64)) if seen.size else 0.0
            squares = np.square(seen - np.float64(mean)).sum()
            deviation = float(np.sqrt(squares / max(seen.size, 1)))
            known = deviation > 1e-6 * abs(mean) + 1e-12
            means.append(mean)
            deviations.append(deviation if known else _CONSTANT)
            gaps.append(seen.size < values.size)
        return cls(names, tuple(means), tuple(deviations), tuple(gaps))

    @property
    def width(self) -> int:
        """Channels: one a column and one for the gaps of each that has any."""
        return len(self.names) + sum(self.gaps)

    def standardised(self, values: Float32) -> tuple[Float32, Float32]:
        """Values (..., column) in deviations with 0 where missing, and the channels of gaps."""
        missing = np.isnan(values)
        exact = (values - np.array(self.mean)) / np.array(self.deviation)
        scaled = np.where(missing, 0.0, np.clip(exact, -LIMIT, LIMIT))
        flags = missing[..., np.array(self.gaps, dtype=bool)]
        return scaled.astype(np.float32), flags.astype(np.float32)


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

    @property
    def width(self) -> int:
        """Numbers that `data.Arrays` holds of a series and a date."""
        known = self.future.width + 1 + 2 * self.season_terms
        own = 4 + self.past.width + len(self.future.names)
        if self.effects is not None:
            own += known + len(self.effects) * (1 + known)
        if self.offset is not None:
            own += 3 + len(self.effects or ())
        plain = 4  # y, seen, level, scale
        return own + known + plain + (0 if self.offset is None else 2)


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
