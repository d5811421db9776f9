"""Plugins that look ahead, each in one way, offered as one installed plugin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from engine import hookimpl
from engine.components import Capabilities, FeatureBuilder, Model, Params, Source
from engine.contracts import (
    Feature,
    FeatureContext,
    FeatureSet,
    Prediction,
    SourceContext,
    Training,
)
from engine.data.panel import Future, Panel
from tests.panels import rows

MEMORY: dict[str, object] = {}


class ShopParams(Params):
    derive: str = "none"
    hands_over: bool = True
    zone: str | None = None
    periods: int = 60


def _derived(frame: pl.LazyFrame, how: str) -> pl.LazyFrame:
    y = pl.col("y")
    series, scaled = pl.col("store"), pl.col("y") / pl.col("y").mean().over("store")
    columns: dict[str, pl.Expr] = {
        "none": pl.col("temperature"),
        "centered": y.rolling_mean(7, center=True).over(series),
        "lead": y.shift(-3).over(series),
        "revised": pl.col("temperature") + pl.col("temperature").shift(-2, fill_value=0),
        "encoded": y.mean().over(series),
        "scaled": pl.col("temperature"),
        "short_lag": pl.col("temperature"),
    }
    if how == "encoded":
        return frame.with_columns(kind=columns[how])
    if how == "short_lag":
        return frame.with_columns(price=y.shift(1).over(series))
    derived = columns[how].over(series) if how == "revised" else columns[how]
    frame = frame.with_columns(temperature=derived)
    return frame.with_columns(y=scaled) if how == "scaled" else frame


class Shop:
    """A small panel with a column computed as `derive` says."""

    def __init__(self, params: ShopParams, context: SourceContext) -> None:
        self.params, self.context = params, context

    def scan(self) -> pl.LazyFrame:
        noise = np.random.default_rng(3)
        frame = rows(n_series=4, periods=self.params.periods, future=5)
        warm = pl.Series(noise.normal(15, 5, frame.height))
        frame = frame.with_columns(temperature=pl.when(pl.col("y").is_not_null()).then(warm)).lazy()
        if self.params.zone is not None:
            stamps = pl.col("ds").cast(pl.Datetime("us"))
            frame = frame.with_columns(stamps.dt.replace_time_zone(self.params.zone))
        if self.params.hands_over:
            frame = self.context.raw(frame)
        return _derived(frame, self.params.derive)

    def artifacts(self) -> Mapping[str, pl.DataFrame]:
        return {}


class PeekParams(Params):
    how: Literal[
        "memory", "short", "short_known", "random", "centered", "lead", "scaled", "encoded"
    ] = "memory"


def _remembered(y: pl.Series) -> pl.Series:
    """Scaled by the mean of the longest series ever seen: global state."""
    longest = MEMORY.get("longest")
    if not isinstance(longest, pl.Series) or len(y) > len(longest):
        MEMORY["longest"] = longest = y
    return y / longest.mean()


def _drawn(y: pl.Series) -> pl.Series:
    return pl.Series(np.random.default_rng().random(len(y)))


class Peek:
    """Features with one fault."""

    def __init__(self, params: PeekParams) -> None:
        self.params = params

    def build(self, context: FeatureContext) -> FeatureSet:
        how, y = self.params.how, pl.col("y")
        if how == "memory":
            value = y.map_batches(_remembered, return_dtype=pl.Float64)
            return FeatureSet((Feature("peek_memory", value, "history"),))
        if how == "short":
            mean = y.rolling_mean(14, min_samples=1)
            return FeatureSet((Feature("peek_short", mean, "history", lookback=6),))
        if how == "short_known":
            since = pl.col("price").rolling_sum(21, min_samples=1)
            return FeatureSet((Feature("peek_known", since, "known", lookback=0),))
        ahead = {
            "centered": y.rolling_mean(7, center=True),
            "lead": y.shift(-2),
            "scaled": (y - y.mean()) / y.std(),
            "encoded": y.mean().over(pl.col("ds").dt.weekday()),
        }
        if how in ahead:
            return FeatureSet((Feature(f"peek_{how}", ahead[how], "history"),))
        value = y.map_batches(_drawn, return_dtype=pl.Float64)
        return FeatureSet((Feature("peek_random", value, "history"),))


class RecallParams(Params):
    how: Literal["latest", "row_order", "crowd", "raises"] = "latest"


class Recall:
    """A naive model that remembers, or minds what it should not."""

    def __init__(self, params: RecallParams) -> None:
        self.params = params

    def fit(self, train: Training) -> Recall:
        if self.params.how == "raises":
            raise ValueError("no luck")
        if train.panel.end > int(str(MEMORY.get("end", -1))):
            MEMORY["end"], MEMORY["level"] = train.panel.end, float(np.nanmean(train.panel.y()))
        return self

    def predict(self, history: Panel, future: Future) -> Prediction:
        level = np.nanmean(history.y())
        if self.params.how == "latest":
            level = MEMORY["level"]
        return Prediction(np.full((history.n_series, future.ahead_max), level))

    def save(self, folder: Path) -> None:
        (folder / "recall.txt").write_text("nothing")

    def tables(self) -> Mapping[str, pl.DataFrame]:
        return {}


@hookimpl
def engine_sources() -> list[Source]:
    return [Source("shop", "tests.prove.plants:Shop", ShopParams)]


@hookimpl
def engine_features() -> list[FeatureBuilder]:
    return [FeatureBuilder("peek", "tests.prove.plants:Peek", PeekParams)]


@hookimpl
def engine_models() -> list[Model]:
    able = Capabilities(scope="local", missing_values=True)
    return [Model("recall", "tests.prove.plants:Recall", RecallParams, capabilities=able)]
