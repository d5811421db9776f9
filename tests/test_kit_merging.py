"""The checks of mergeable models: each fault fails the check about it, and ridge adds up over any shards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from engine.components import Capabilities, Model, Params
from engine.contracts import Design, DesignBlock, Prediction
from engine.design import SharedDesign
from engine.testing import ModelConformance
from engine.testing.fitting import Asked, usual, wrapped
from engine.testing.merging import Sharded, near

SHARDS = "test_any_sharding_of_the_series_gives_the_same_forecast"


class MeanParams(Params):
    fault: str = ""


class FittedMean:
    def __init__(self, mean: float) -> None:
        self._mean = mean

    def predict(self, block: DesignBlock) -> Prediction:
        return Prediction(np.full(block.X.shape[0], self._mean))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "mean.json").write_text(json.dumps(self._mean))

    def tables(self) -> Mapping[str, pl.DataFrame]:
        return {}


class Mean:
    """The mean of all targets, from their sum and number, with a fault."""

    def __init__(self, params: MeanParams) -> None:
        self._fault = params.fault

    def fit(self, design: Design) -> FittedMean:
        fitted = self.solve(design, self.statistics(design))
        return FittedMean(7.0) if self._fault == "fits otherwise" else fitted

    def statistics(self, design: Design) -> Mapping[str, Any]:
        y = np.concatenate([block.y for block in design.blocks()])
        made: dict[str, Any] = {"sum": np.array(y.sum()), "rows": np.array(float(y.size))}
        if self._fault == "objects":
            made["design"] = np.array([design.series], dtype=object)
        return made | {"y": y} if self._fault == "keeps rows" else made

    def merge(self, left: Mapping[str, Any], right: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._fault == "loses a shard":
            return right
        return {
            key: np.concatenate([left[key], right[key]]) if key == "y" else left[key] + right[key]
            for key in left
        }

    def solve(self, design: Design, statistics: Mapping[str, Any]) -> FittedMean:
        if self._fault == "reads rows":
            return FittedMean(float(np.mean([b.y.mean() for b in design.blocks()])))
        return FittedMean(float(statistics["sum"] / statistics["rows"]))

    @staticmethod
    def load(folder: Path) -> FittedMean:
        return FittedMean(json.loads((folder / "mean.json").read_text()))


class Cumulative(Mean):
    """A mean that serves later fits, which one that counts newer targets more must not."""

    cumulative = True

    def statistics_all(self, shared: SharedDesign) -> list[Mapping[str, Any]]:
        return [self._aged(design) for design in shared.designs]

    def _aged(self, design: Design) -> Mapping[str, Any]:
        kept = 0.9 if self._fault == "weighs by age" else 1.0
        weighted = [(b.y * kept**b.age, kept**b.age) for b in design.blocks()]
        total, rows = (
            sum(float(part.sum()) for part in parts) for parts in zip(*weighted, strict=True)
        )
        return {"sum": np.array(total), "rows": np.array(rows)}


class Unmergeable:
    """A model of design rows without statistics."""


def suite(fault: str, able: Capabilities, factory: str = "Mean") -> ModelConformance:
    record = Model("mean", f"{__name__}:{factory}", MeanParams, capabilities=able)
    members = {"record": record, "params": {"fault": fault}}
    return type("Suite", (ModelConformance,), members)()  # type: ignore[return-value]


CAN = Capabilities(input="design", scope="global", missing_values=True, mergeable=True)
CANNOT = Capabilities(input="design", scope="global", missing_values=True)


def test_vectorized_is_said_of_local_models_only():
    able = replace(CAN, vectorized=True)
    with pytest.raises(AssertionError, match="declares vectorized, but is not local"):
        suite("", able).test_scope_as_declared()


def test_a_model_of_sums_passes():
    kit = suite("", CAN)
    kit.test_mergeable_as_declared()
    kit.test_any_sharding_of_the_series_gives_the_same_forecast()
    kit.test_statistics_do_not_grow_with_the_rows()


@pytest.mark.parametrize(
    ("fault", "check", "said"),
    [
        ("loses a shard", SHARDS, "forecasts differ by"),
        ("fits otherwise", SHARDS, "forecasts differ by"),
        ("reads rows", SHARDS, "`solve` reads rows"),
        ("objects", SHARDS, "not named arrays of plain types"),
        ("keeps rows", "test_statistics_do_not_grow_with_the_rows", "bytes for 60 periods"),
    ],
)
def test_a_fault_fails_the_check_about_it(fault: str, check: str, said: str):
    with pytest.raises(AssertionError, match=said):
        getattr(suite(fault, CAN), check)()


def test_sums_that_depend_on_the_newest_target_serve_no_later_fit():
    later = "test_sums_of_an_earlier_fit_serve_a_later_one"
    getattr(suite("", CAN, "Cumulative"), later)()
    with pytest.raises(AssertionError, match="old sums and new rows: forecasts differ by"):
        getattr(suite("weighs by age", CAN, "Cumulative"), later)()


@pytest.mark.parametrize(
    ("able", "factory", "said"),
    [
        (CANNOT, "Mean", "has statistics, merge and solve: declare mergeable"),
        (CAN, "Unmergeable", "declares mergeable, but has no statistics, merge, solve"),
        (Capabilities(mergeable=True), "Mean", "is not a model of design rows"),
    ],
)
def test_the_capability_is_true_both_ways(able: Capabilities, factory: str, said: str):
    with pytest.raises(AssertionError, match=said):
        suite("", able, factory).test_mergeable_as_declared()


@given(
    owner=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    order=st.permutations(range(4)),
    scope=st.sampled_from(["global", "local", "partial"]),
    penalty=st.sampled_from([0.5, "auto"]),
)
@settings(max_examples=25, deadline=None)
def test_ridge_forecasts_the_same_however_the_series_are_spread(
    owner: list[int], order: list[int], scope: str, penalty: float | str
):
    members = {"component": "ridge", "params": {"scope": scope, "penalty": penalty}}
    kit: Any = type("Suite", (ModelConformance,), members)
    shards = [[s for s in range(4) if owner[s] == machine] for machine in order]
    history, future = usual()
    asked = Asked(quantiles=())
    whole, parts = (
        wrapped(kit.the_model(), model).fit(asked.training(history)).predict(history, future)
        for model in (kit.make(), Sharded(kit.make(), [s for s in shards if s]))
    )
    near(parts, whole, f"{scope} {shards}")
