"""The rows that a proof works on: a sample of a source's series, as they are or changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from engine.contracts import DataSource
from engine.data.panel import Panel
from engine.errors import DataError, first_line
from engine.ingest import open_source, read_panel
from engine.prove.disturb import Change
from engine.registry import Registry
from engine.spec.model import RunSpec


@dataclass(frozen=True)
class Fixed:
    """Rows at hand, as a `DataSource`."""

    rows: pl.DataFrame

    def scan(self) -> pl.LazyFrame:
        """The rows."""
        return self.rows.lazy()

    def artifacts(self) -> Mapping[str, pl.DataFrame]:
        """Nothing beside the rows."""
        return {}


class Sample:
    """A sample of the series of a spec's source.

    Where the source hands its raw rows to `SourceContext.raw`, a change is made there as well, so
    that whatever the source computes from them is part of the proof.
    """

    def __init__(self, spec: RunSpec, registry: Registry, base: Path, series: int) -> None:
        self._spec, self._registry, self._base = spec, registry, base
        self._hands_over = False
        source = self._open(self._watch)
        try:
            rows = source.scan()
            self._rows, self.schema = rows, rows.collect_schema()
            self._keys = _sampled(rows, spec, series)
            self.original = self._reduced(rows)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(
                f"source {spec.data.source.use!r} cannot be read: {first_line(error)}",
                hint="see whether `engine run` of the spec works",
            ) from error

    def changed(self, change: Change) -> pl.DataFrame:
        """The sampled rows after a change, made to the raw rows too where that is possible."""
        rows = self.original
        if self._hands_over:
            rows = self._reduced(self._open(change).scan())
        return change(rows.lazy()).collect()

    def only(self, panel: Panel, index: np.ndarray) -> None:
        """Keep only these series of a panel that was built from the sample."""
        names = self._spec.data.columns.keys
        kept = panel.series[index.tolist()].select(
            pl.col(k if k in panel.series.columns else "unique_id").alias(k) for k in names
        )
        self._keys = _with_types(kept, self._keys)
        self.original = self.original.join(self._keys, on=names, how="semi", maintain_order="left")

    def means_by(self, column: str) -> pl.DataFrame:
        """Over all series: each value of a column, how many `rows` have it and their `mean` y."""
        y = pl.col(self._spec.data.columns.y)
        seen = self._rows.filter(y.is_not_null(), pl.col(column).is_not_null())
        return seen.group_by(column).agg(rows=pl.len(), mean=y.cast(pl.Float64).mean()).collect()

    def _open(self, raw: Change) -> DataSource:
        return open_source(self._spec, self._registry, self._base, raw)

    def _watch(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        self._hands_over = True
        return rows

    def _reduced(self, rows: pl.LazyFrame) -> pl.DataFrame:
        """Only the sampled series and the columns that the spec names, in the source's order."""
        columns, covariates = self._spec.data.columns, self._spec.data.covariates
        roles = (*covariates.future, *covariates.past, *covariates.static)
        named = dict.fromkeys((*columns.keys, columns.ds, columns.y, *roles))
        keys = list(columns.keys)
        rows = rows.join(self._keys.lazy(), on=keys, how="semi", maintain_order="left")
        return rows.select(*named).collect()


def panel_of(rows: pl.DataFrame, spec: RunSpec) -> Panel:
    """The panel of some rows, built as a run builds it."""
    return read_panel(spec, Fixed(rows))


def _sampled(rows: pl.LazyFrame, spec: RunSpec, count: int) -> pl.DataFrame:
    """Keys of at most `count` series (0: all), evenly spread, of those observed to the end."""
    columns = spec.data.columns
    missing = [c for c in (*columns.keys, columns.ds, columns.y) if c not in rows.collect_schema()]
    if missing:
        raise DataError(
            f"the source has no column {missing[0]!r}", hint="see data.columns of the spec"
        )
    seen = (
        rows.filter(pl.col(columns.y).is_not_null())
        .group_by(*columns.keys)
        .agg(last_seen=pl.col(columns.ds).max())
        .collect()
    )
    if seen.is_empty():
        raise DataError("the source has no observed y", hint="check the target column and filters")
    keys = list(columns.keys)
    seen = seen.sort(*keys)
    if count <= 0 or seen.height <= count:
        return seen.select(keys)
    late = seen
    if spec.data.series.align == "none":
        late = seen.filter(pl.col("last_seen") == pl.col("last_seen").max())
    if late.height < count:
        late = seen.sort("last_seen", descending=True, maintain_order=True).head(count).sort(*keys)
    spread = np.linspace(0, late.height - 1, count).round().astype(int)
    return late.select(pl.col(keys).gather(np.unique(spread).tolist()))


def _with_types(keys: pl.DataFrame, like: pl.DataFrame) -> pl.DataFrame:
    return keys.select(pl.col(c).cast(like.schema[c]) for c in like.columns)
