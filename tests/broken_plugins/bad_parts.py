"""A source, a feature builder, a metric, a writer and an executor with one fault each, by an option."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from engine import hookimpl
from engine.components import Executor, FeatureBuilder, Metric, Params, Source, Writer
from engine.contracts import (
    Feature,
    FeatureContext,
    FeatureSet,
    MetricColumns,
    Report,
    Results,
    SourceContext,
)
from tests.panels import rows


class PartParams(Params):
    fault: str = ""


class Part:
    """Raises when it is built, if that is its fault."""

    def __init__(self, params: PartParams, context: SourceContext | None = None) -> None:
        self.fault = params.fault
        if self.fault == "factory":
            raise RuntimeError("broken in factory")


class BadSource(Part):
    """A small panel."""

    def scan(self) -> pl.LazyFrame:
        frame = rows(periods=40, future=3).lazy()
        day = pl.col("ds")
        match self.fault:
            case "scan":
                raise RuntimeError("broken in scan")
            case "none":
                return None  # type: ignore[return-value]
            case "unsorted":
                return frame.sort("temperature", "store", descending=True)
            case "lazily":
                return frame.with_columns(y=pl.col("y").str.to_uppercase())
            case "no rows":
                return frame.filter(day.is_null())
            case "twice":
                return pl.concat([frame, frame])
            case "infinite":
                return frame.with_columns(
                    y=pl.when(pl.col("store") == 1).then(pl.lit(float("inf"))).otherwise("y")
                )
        return frame

    def artifacts(self) -> Mapping[str, pl.DataFrame]:
        if self.fault == "artifacts":
            raise RuntimeError("broken in artifacts")
        return {}


class BadFeatures(Part):
    """One feature."""

    def build(self, context: FeatureContext) -> FeatureSet:
        y = pl.col("y")
        match self.fault:
            case "build":
                raise RuntimeError("broken in build")
            case "none":
                return None  # type: ignore[return-value]
            case "shorter":
                y = y.head(3)
            case "text":
                y = pl.lit("much")
            case "raises":
                y = y.map_batches(_raise, return_dtype=pl.Float64)
        return FeatureSet((Feature("bad", y, "history", lookback=0),))


def _raise(values: pl.Series) -> pl.Series:
    raise RuntimeError("broken in an expression")


class BadMetric(Part):
    """The mean of errors."""

    unit, better, pool = "units", "lower", "rows"

    def scale(self, columns: MetricColumns) -> pl.Expr | None:
        return None

    def terms(self, columns: MetricColumns) -> dict[str, pl.Expr]:
        if self.fault == "terms":
            raise RuntimeError("broken in terms")
        if self.fault == "no column":
            return {"error": pl.col("nothing")}
        return {"error": (pl.col("y_hat") - pl.col("y")).abs(), "count": pl.lit(1.0)}

    def value(self) -> pl.Expr:
        if self.fault == "value":
            raise RuntimeError("broken in value")
        return pl.col("error") / pl.col("count")


class BadWriter(Part):
    """Writes one file."""

    def write(self, results: Results) -> list[Path]:
        if self.fault == "write":
            raise RuntimeError("broken in write")
        if self.fault == "none":
            return None  # type: ignore[return-value]
        path = results.folder / "bad.txt"
        path.write_text("written")
        return [path]


class BadExecutor(Part):
    """Runs one task after another."""

    def map(
        self, function: str, folder: Path, tasks: Sequence[Mapping[str, Any]], report: Report
    ) -> Iterable[Mapping[str, Any]]:
        from engine.tasks import run_task

        if self.fault == "map":
            raise RuntimeError("broken in map")
        for number, task in enumerate(tasks):
            if self.fault == "loses" and number == 0:
                continue
            done = run_task(folder, task, report)
            yield {"what": 1} if self.fault == "junk" else done
            if self.fault == "halfway":
                raise RuntimeError("broken halfway")


@hookimpl
def engine_sources() -> list[Source]:
    return [Source("bad", f"{__name__}:BadSource", PartParams)]


@hookimpl
def engine_features() -> list[FeatureBuilder]:
    return [FeatureBuilder("bad", f"{__name__}:BadFeatures", PartParams)]


@hookimpl
def engine_metrics() -> list[Metric]:
    return [Metric("bad", f"{__name__}:BadMetric", PartParams)]


@hookimpl
def engine_writers() -> list[Writer]:
    return [Writer("bad", f"{__name__}:BadWriter", PartParams)]


@hookimpl
def engine_executors() -> list[Executor]:
    return [Executor("bad", f"{__name__}:BadExecutor", PartParams)]
