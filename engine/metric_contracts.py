"""What a metric must offer; `engine.contracts` holds the other kinds and offers these as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import polars as pl

from engine.data.panel import Panel


@dataclass(frozen=True)
class MetricColumns:
    """Columns of the scored rows: `y`, `y_hat`, and the name of each quantile's column.

    season: steps of the usual season, for scaled errors.
    """

    quantiles: Mapping[float, str]
    season: int


class RowMetric(Protocol):
    """A score made of sums over rows, so that it can be pooled over any set of them exactly.

    unit: e.g. `units`, `ratio`, `percent`. better: `lower`, `higher`, or `none` (no order, such as
    coverage). pool: `rows` pools the terms over all rows and takes the value once; `series` takes
    the value per series (and cutoff) and averages those that are finite.
    """

    unit: str
    better: Literal["lower", "higher", "none"]
    pool: Literal["rows", "series"]

    def scale(self, columns: MetricColumns) -> pl.Expr | None:
        """A number per series from its history (`y` in order of ds), offered to `terms` as `scale`."""
        ...

    def terms(self, columns: MetricColumns) -> dict[str, pl.Expr]:
        """Named row-wise expressions that are summed over a group; null rows do not count."""
        ...

    def value(self) -> pl.Expr:
        """The score from the summed terms."""
        ...


@dataclass(frozen=True)
class MetricData:
    """All scored rows for a metric that needs more than sums.

    rows: `model, cutoff, unique_id, ds, y, y_hat` and quantiles. panel: the whole panel; use only
    rows up to a cutoff to scale or weight. base: folder that relative paths start from.
    """

    rows: pl.DataFrame
    panel: Panel
    columns: MetricColumns
    base: Path


class PanelMetric(Protocol):
    """A score of whole panels, such as one over aggregation levels."""

    unit: str
    better: Literal["lower", "higher", "none"]

    def score(self, data: MetricData) -> pl.DataFrame:
        """Rows `model, cutoff (null = all folds), segment, value`; segment "all" is the headline."""
        ...
