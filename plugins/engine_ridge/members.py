"""Which series share coefficients: each has its own, or those with the same values of some columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.contracts import DesignBlock
from engine.errors import DataError
from engine_ridge.statistics import Integers

_FILE = "members.parquet"


@dataclass(frozen=True)
class Members:
    """Groups of the series of a design.

    names: of the groups, sorted by their texts. number: int64 (n_series,), the group of each series.
    """

    names: tuple[str, ...]
    number: Integers

    def grouped(self, block: DesignBlock) -> DesignBlock:
        """The block with numbers of groups for those of series; -1 stays, for an unseen series."""
        return replace(block, series=self.of(block.series).astype(np.int32))

    def of(self, series: npt.NDArray[np.int32]) -> Integers:
        """The group of every row: int64 (rows,)."""
        return np.where(series >= 0, self.number[np.maximum(series, 0)], -1)

    def save(self, folder: Path) -> None:
        """Write `members.parquet`: one row a series with the name of its group."""
        names = pl.Series("group", self.names, dtype=pl.String)
        pl.DataFrame({"number": self.number, "group": names.gather(self.number)}).write_parquet(
            folder / _FILE
        )

    @classmethod
    def load(cls, folder: Path) -> Members | None:
        """Read what `save` wrote; None if each series has a group of its own."""
        if not (folder / _FILE).exists():
            return None
        table = pl.read_parquet(folder / _FILE)
        names = table.unique("number").sort("number")["group"]
        return cls(tuple(names.to_list()), table["number"].to_numpy())


def members_of(series: pl.DataFrame, by: Sequence[str]) -> Members | None:
    """Groups of the series with the same values of `by`; None without `by`.

    series: one row a series with keys and static columns. DataError for a column that is not there.
    """
    if not by:
        return None
    lost = [column for column in by if column not in series.columns]
    if lost:
        raise DataError(
            f"ridge: by names {lost[0]!r}, which is not a key or static column",
            hint=f"columns: {', '.join(series.columns)}",
        )
    texts = [pl.col(c).cast(pl.String).fill_null("null") for c in by]
    label = series.select(pl.concat_str(texts, separator="/")).to_series()
    names = label.unique().sort()
    number = label.cast(pl.Enum(names)).to_physical().to_numpy().astype(np.int64)
    return Members(tuple(names.to_list()), number)
