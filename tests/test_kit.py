"""The kit itself: components with one fault each fail the check that is about it, and no other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
from pydantic import Field

from engine.components import Capabilities, Component, FeatureBuilder, Metric, Model, Params, Writer
from engine.contracts import (
    Feature,
    FeatureContext,
    FeatureSet,
    Prediction,
    Results,
    Training,
    Window,
)
from engine.data.panel import Future, Panel
from engine.testing import (
    FeatureConformance,
    MetricConformance,
    ModelConformance,
    WriterConformance,
)
from engine.testing.base import Conformance
from engine.testing.card import check_names, conformance_of, run_checks


class FaultParams(Params):
    """Which fault the component has."""

    fault: str = Field("", description="the fault")


@dataclass
class Fitted:
    """Forecasts the last value, with a fault."""

    fault: str
    calls: int = 0

    def predict(self, history: Panel, future: Future) -> Prediction:
        self.calls += 1
        y = history.frame["y"].forward_fill().backward_fill().fill_null(0.0).to_numpy()
        last = y[history.offsets[1:] - 1]
        y_hat = np.repeat(last[:, None], future.ahead_max, axis=1)
        match self.fault:
            case "shape":
                y_hat = y_hat[:, future.gap :]
            case "reversed":
                y_hat = y_hat[::-1].copy()
            case "nan":
                y_hat[0] = np.nan
            case "counts calls":
                y_hat += self.calls
            case "global random":
                np.random.seed(0)
            case "prints":
                print("fitting")
            case "reads promo":
                y_hat = y_hat + future.frame["promo"].to_numpy().reshape(y_hat.shape)
            case "reads temperature":
                y_hat = y_hat + float(history.frame["temperature"].sum())
            case "reads kind":
                y_hat = y_hat * np.where(history.series["kind"] == "big", 1.0, 1.1)[:, None]
            case "reads others":
                y_hat = y_hat + 1e-6 * last.mean()
            case "writes offsets":
                history.offsets[0] = 1
                history.offsets[0] = 0
                history.starts[0] += 1
            case "forgets":
                y_hat = y_hat + 1
            case "ignores history":
                y_hat = y_hat * 0 + 3.0
        quantiles = None
        if self.fault == "own quantiles":
            quantiles = np.stack([y_hat, y_hat, y_hat], axis=-1)
        return Prediction(y_hat, quantiles)

    def save(self, folder: Path) -> None:
        name = "model.pkl" if self.fault == "pickles" else "model.json"
        text = json.dumps("" if self.fault == "forgets" else self.fault)
        (folder / name).write_text(text)

    def tables(self) -> Mapping[str, pl.DataFrame]:
        return {}


class Naive:
    """A model with a fault."""

    def __init__(self, params: FaultParams) -> None:
        self._fault = params.fault

    def fit(self, train: Training) -> Fitted:
        """Fit."""
        return Fitted(self._fault)

    @staticmethod
    def load(folder: Path) -> Fitted:
        """Load."""
        files = list(folder.iterdir())
        if not files:
            raise FileNotFoundError(folder)
        return Fitted(json.loads(files[0].read_text()))


CAN = Capabilities(input="panel", scope="local", missing_values=True)
MODEL_FAULTS = {
    "shape": "test_the_gap_is_counted",
    "reversed": "test_series_are_not_mixed_up",
    "nan": "test_every_step_of_unequal_series",
    "counts calls": "test_predicting_twice_gives_the_same",
    "global random": "test_global_random_state_is_left_alone",
    "prints": "test_nothing_is_printed",
    "reads promo": "test_future_covariates_as_declared",
    "reads temperature": "test_past_covariates_as_declared",
    "reads kind": "test_static_covariates_as_declared",
    "reads others": "test_scope_as_declared",
    "writes offsets": "test_inputs_are_not_changed",
    "ignores history": "test_the_history_is_read",
    "own quantiles": "test_quantiles_as_declared",
    "pickles": "test_nothing_is_pickled",
}


def suite(kit: type[Conformance], record: Component, fault: str = "") -> type[Conformance]:
    members: dict[str, Any] = {"record": record, "params": {"fault": fault}}
    return type("Suite", (kit,), members)


def fails(kit: type[Conformance], check: str, tmp_path: Path) -> str:
    """The reason for which a check fails."""
    method = getattr(kit(), check)
    with pytest.raises(AssertionError) as caught:
        method(tmp_path) if "tmp_path" in method.__code__.co_varnames else method()
    return str(caught.value)


@pytest.mark.parametrize(("fault", "check"), MODEL_FAULTS.items(), ids=str)
def test_a_faulty_model_fails_the_check_about_its_fault(fault: str, check: str, tmp_path: Path):
    record = Model("naive", "tests.test_kit:Naive", FaultParams, "naive", capabilities=CAN)
    assert fails(suite(ModelConformance, record, fault), check, tmp_path)


@pytest.mark.parametrize(
    ("declared", "check"),
    [
        ({"future_covariates": True}, "test_future_covariates_as_declared"),
        ({"past_covariates": True}, "test_past_covariates_as_declared"),
        ({"static_covariates": True}, "test_static_covariates_as_declared"),
        ({"quantiles": True}, "test_quantiles_as_declared"),
        ({"missing_values": False}, "test_missing_values_as_declared"),
        ({"scope": "global"}, "test_scope_as_declared"),
    ],
    ids=str,
)
def test_a_capability_that_is_not_there_is_found(
    declared: dict[str, Any], check: str, tmp_path: Path
):
    able = Capabilities(**{"scope": "local", "missing_values": True, **declared})
    record = Model("naive", "tests.test_kit:Naive", FaultParams, "naive", capabilities=able)
    assert "declare" in fails(suite(ModelConformance, record), check, tmp_path)


def test_a_model_that_forgets_its_state_is_found_in_another_process(tmp_path: Path):
    record = Model("naive", "tests.test_kit:Naive", FaultParams, "naive", capabilities=CAN)
    check = "test_a_saved_model_gives_the_same_forecast_elsewhere"
    getattr(suite(ModelConformance, record)(), check)()
    assert "loaded" in fails(suite(ModelConformance, record, "forgets"), check, tmp_path)


class Leaky:
    """A feature builder with a fault."""

    def __init__(self, params: FaultParams) -> None:
        self._fault = params.fault

    def build(self, context: FeatureContext) -> FeatureSet:
        """Build."""
        y = pl.col("y")
        made = {
            "": Feature("f", y, "history", lookback=0),
            "centered mean": Feature("f", y.rolling_mean(5, center=True), "history", lookback=4),
            "scaled by all": Feature("f", y / y.mean(), "history"),
            "lead": Feature("f", y.shift(-1), "history", lookback=0),
            "short lookback": Feature("f", y.rolling_mean(5, min_samples=1), "history", lookback=1),
            "reads y": Feature("f", y, "known", lookback=0),
            "infinite": Feature("f", 1 / (y - y), "history", lookback=0),
            "right window": Feature.windowed("f", Window("y", "mean", 5), "history"),
            "other window": Feature(
                "f", y.rolling_sum(5), "history", lookback=4, window=Window("y", "mean", 5)
            ),
        }
        return FeatureSet((made[self._fault],))


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("centered mean", "test_history_features_do_not_look_ahead"),
        ("scaled by all", "test_history_features_do_not_look_ahead"),
        ("lead", "test_history_features_do_not_look_ahead"),
        ("short lookback", "test_lookback_is_enough"),
        ("infinite", "test_missing_zero_and_huge_values"),
        ("other window", "test_windows_are_what_their_expressions_are"),
    ],
)
def test_a_faulty_feature_fails_the_check_about_its_fault(fault: str, check: str, tmp_path: Path):
    record = FeatureBuilder("leaky", "tests.test_kit:Leaky", FaultParams, "leaky")
    right = "right window" if "window" in fault else ""
    getattr(suite(FeatureConformance, record, right)(), check)()
    assert fails(suite(FeatureConformance, record, fault), check, tmp_path)


class Score:
    """A metric with a fault: the mean absolute error over that of the last history value."""

    unit, pool = "units", "rows"

    def __init__(self, params: FaultParams) -> None:
        self.better = "higher" if params.fault == "wrong way" else "lower"
        self._fault = params.fault

    def scale(self, columns: object) -> pl.Expr | None:
        """No scale."""
        return None

    def terms(self, columns: object) -> dict[str, pl.Expr]:
        """Sums."""
        error = (pl.col("y_hat") - pl.col("y")).abs()
        error = error / pl.col("y") if self._fault == "divides by zero" else error
        return {"error": error, "count": error.is_not_null()}

    def value(self) -> pl.Expr:
        """Mean."""
        return pl.col("error") / pl.col("count")


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("wrong way", "test_better_forecasts_score_better"),
        ("divides by zero", "test_zeros_give_no_infinity"),
    ],
)
def test_a_faulty_metric_fails_the_check_about_its_fault(fault: str, check: str, tmp_path: Path):
    record = Metric("score", "tests.test_kit:Score", FaultParams, "score")
    getattr(suite(MetricConformance, record)(), check)()
    assert fails(suite(MetricConformance, record, fault), check, tmp_path)


class Notes:
    """A writer with a fault."""

    count: ClassVar[Iterator[int]] = iter(range(1000))

    def __init__(self, params: FaultParams) -> None:
        self._fault = params.fault

    def write(self, results: Results) -> list[Path]:
        """Write."""
        path = results.folder / "notes.json"
        text = results.tables["forecast"].write_json()
        path.write_text(text + str(next(self.count)) if self._fault == "counts" else text)
        if self._fault == "leaves":
            (results.folder / "notes.tmp").touch()
        return [results.folder / "other.json"] if self._fault == "other" else [path]


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("counts", "test_writing_again_gives_the_same_bytes"),
        ("leaves", "test_nothing_else_is_left_behind"),
        ("other", "test_it_returns_the_files_that_it_wrote"),
        ("", "test_a_missing_table_is_a_clear_error"),
    ],
)
def test_a_faulty_writer_fails_the_check_about_its_fault(fault: str, check: str, tmp_path: Path):
    record = Writer("notes", "tests.test_kit:Notes", FaultParams, "notes")
    with pytest.raises((AssertionError, KeyError)):
        getattr(suite(WriterConformance, record, fault)(), check)(tmp_path)


class Loose(Params):
    """Options with faults."""

    model_config = {"extra": "allow", "frozen": False}

    anything: Any = None


@pytest.mark.parametrize(
    "check",
    [
        "test_has_a_summary_of_one_line",
        "test_every_option_is_described",
        "test_an_unknown_option_is_refused",
        "test_options_of_a_wrong_type_are_refused",
        "test_options_cannot_be_changed",
    ],
)
def test_loose_options_fail_the_checks_about_them(check: str, tmp_path: Path):
    record = Model("naive", "tests.test_kit:Naive", Loose)
    kit = type("Suite", (ModelConformance,), {"record": record})
    assert fails(kit, check, tmp_path)


def test_a_card_has_a_line_for_every_check_and_a_reason_for_what_is_not_ok():
    record = Metric("score", "tests.test_kit:Score", FaultParams, "score")
    kit = suite(MetricConformance, record, "wrong way")
    lines = list(run_checks(kit))
    assert [line.name for line in lines] == check_names(kit)
    assert {line.name for line in lines if line.status == "failed"} == {
        "test_better_forecasts_score_better", "test_a_perfect_forecast_is_best",
    }  # fmt: skip
    assert all(line.reason for line in lines if line.status != "ok")


def test_the_kit_of_each_kind_has_the_checks_of_all_components():
    from engine.registry import Registry

    entry = Registry.discover().find("model", "seasonal_naive")
    names = check_names(conformance_of(entry.component))
    assert len(names) == len(set(names)) >= 45
    assert names[0] == "test_is_offered_by_a_plugin_that_loads"
