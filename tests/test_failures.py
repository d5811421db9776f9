"""Fake models that fail on purpose, run through the real stages."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pytest

from engine import hookimpl
from engine.backtest import backtest_tasks, make_folds
from engine.components import Capabilities, Model, Params
from engine.contracts import Prediction, Training
from engine.data.panel import Future, Panel
from engine.errors import EngineError
from engine.execute import Execution, TaskError, Workers
from engine.failures import Filled, fill_from_fallback, skipped_series
from engine.observers import Observers
from engine.registry import Registry
from engine.runner import capabilities
from engine.spec.model import RunSpec
from engine.workspace import Workspace, prepare
from tests.panels import START, panel, rows


class FragileParams(Params):
    series: str = "2"
    how: Literal["reports", "nan", "raises", "shape", "late"] = "reports"


class Fragile:
    """Forecasts 1 everywhere, but fails on one series, or as a whole."""

    def __init__(self, params: FragileParams) -> None:
        self.params = params
        self.fits_until = 0

    def fit(self, train: Training) -> Fragile:
        if self.params.how == "raises":
            raise ValueError("singular matrix\nsecond line")
        self.fits_until = train.panel.end
        return self

    def predict(self, history: Panel, future: Future) -> Prediction:
        y_hat = np.ones((history.n_series, future.ahead_max))
        bad = history.ids.index(self.params.series)
        if self.params.how == "shape":
            return Prediction(y_hat[:-1])
        if self.params.how == "late" and history.end > self.fits_until:
            raise ValueError("too late")
        if self.params.how == "nan":
            y_hat[bad, -1] = np.nan
        return Prediction(y_hat, failures={bad: "no luck"} if self.params.how == "reports" else {})

    def save(self, folder: Path) -> None:
        (folder / "fragile.txt").write_text("fragile")

    def tables(self) -> Mapping[str, pl.DataFrame]:
        return {}


@hookimpl
def engine_models() -> list[Model]:
    able = Capabilities(scope="global")
    return [Model("fragile", "tests.test_failures:Fragile", FragileParams, capabilities=able)]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The installed plugins, and this module as one of them."""
    real = metadata.entry_points

    def entry_points(*, group: str) -> metadata.EntryPoints:
        fake = metadata.EntryPoint("fragile", __name__, "engine")
        return metadata.EntryPoints([*real(group=group), fake])

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    return Registry.discover()


def spec_of(models: Mapping[str, Any], **changes: Any) -> RunSpec:
    return RunSpec.model_validate(
        {
            "version": 1,
            "name": "t",
            "data": {
                "source": {"use": "simulate"},
                "columns": {"unique_id": "store", "ds": "ds", "y": "y"},
                "freq": "1d",
                "covariates": {"future": ["promo", "price"]},
                "missing": {"y": "drop"},
                "series": changes.pop("series", {}),
            },
            "horizon": 3,
            "models": dict(models),
            "backtest": {"folds": 2, "calibration": 0, **changes.pop("backtest", {})},
            "evaluate": {"metrics": ["mae"]},
            **changes,
        }
    )


SNAIVE = {"use": "seasonal_naive"}


def fragile(how: str = "reports", series: str = "2") -> dict[str, Any]:
    return {"use": "fragile", "how": how, "series": series}


def back_test(
    folder: Path, registry: Registry, spec: RunSpec, frame: pl.DataFrame | None = None
) -> tuple[Workspace, Execution]:
    whole = panel(rows(periods=30, future=3) if frame is None else frame, past=(), ahead=3)
    work = prepare(folder, whole, spec, registry)
    tasks = backtest_tasks(whole, spec, make_folds(whole, spec), capabilities(spec, registry))
    with Workers(spec, registry, Observers(registry)) as workers:
        return work, workers.run(work, tasks, Execution())


def filled(folder: Path, registry: Registry, spec: RunSpec) -> tuple[Workspace, Filled]:
    work, done = back_test(folder, registry, spec)
    return work, fill_from_fallback(done.forecasts(work), done.failures(), spec)


@pytest.mark.parametrize(
    ("how", "reason"), [("reports", "no luck"), ("nan", "the forecast is not finite")]
)
def test_a_failed_series_is_recorded_once_a_cutoff(
    tmp_path: Path, registry: Registry, how: str, reason: str
):
    work, done = back_test(tmp_path, registry, spec_of({"m": fragile(how)}))
    end = work.panel.end
    found = done.failures().sort("cutoff")
    assert found.select("kind", "model", "cutoff", "unique_id", "reason", "fallback").rows() == [
        ("failed", "m", cutoff, "2", reason, None) for cutoff in (end - 6, end - 3)
    ]


def test_the_other_series_of_a_failed_one_keep_their_forecasts(tmp_path: Path, registry: Registry):
    work, done = back_test(tmp_path, registry, spec_of({"m": fragile()}))
    made = done.forecasts(work)
    assert made["unique_id"].cast(pl.String).unique().sort().to_list() == ["1", "3"]
    assert made.height == 2 * 2 * 3


@pytest.mark.parametrize(
    ("how", "reason"),
    [("raises", "ValueError: singular matrix"), ("shape", "returned y_hat of shape")],
)
def test_a_model_that_fails_as_a_whole_is_recorded_for_every_cutoff(
    tmp_path: Path, registry: Registry, how: str, reason: str
):
    work, done = back_test(tmp_path, registry, spec_of({"m": fragile(how), "s": SNAIVE}))
    found = done.failures()
    assert found["unique_id"].null_count() == found.height == 2
    assert found["reason"].str.contains(reason, literal=True).all()
    assert done.forecasts(work)["model"].unique().to_list() == ["s"]


def test_a_task_that_fails_midway_keeps_what_it_made(tmp_path: Path, registry: Registry):
    spec = spec_of({"m": fragile("late")}, backtest={"refit": False})
    work, done = back_test(tmp_path, registry, spec)
    assert [r["status"] for r in done.results] == ["failed"]
    last = work.panel.end - 3
    assert done.failures().select("cutoff", "unique_id").rows() == [(last, None)]
    assert done.forecasts(work)["cutoff"].unique().to_list() == [last - 3]


@pytest.mark.parametrize("how", ["reports", "raises"])
def test_the_fallback_stands_in_and_is_named(tmp_path: Path, registry: Registry, how: str):
    spec = spec_of({"m": fragile(how), "s": SNAIVE}, run={"fallback": "s"})
    _, made = filled(tmp_path, registry, spec)
    place = ["unique_id", "cutoff", "step"]
    mine, spare = (made.forecasts.filter(model=m).sort(place) for m in ("m", "s"))
    assert mine.select(place).equals(spare.select(place))
    stood_in = pl.col("unique_id") == "2" if how == "reports" else pl.lit(True)
    assert mine.filter(stood_in)["y_hat"].equals(spare.filter(stood_in)["y_hat"])
    assert made.failures["fallback"].to_list() == ["s", "s"]


def test_forecasts_that_did_not_fail_are_not_replaced(tmp_path: Path, registry: Registry):
    spec = spec_of({"m": fragile(), "s": SNAIVE}, run={"fallback": "s"})
    _, made = filled(tmp_path, registry, spec)
    own = made.forecasts.filter(pl.col("model") == "m", pl.col("unique_id") != "2")
    assert own["y_hat"].unique().to_list() == [1.0]


def test_a_fallback_that_fails_on_the_same_series_is_not_named(tmp_path: Path, registry: Registry):
    spec = spec_of({"m": fragile(), "s": fragile()}, run={"fallback": "s"})
    _, made = filled(tmp_path, registry, spec)
    assert made.failures["fallback"].to_list() == [None] * 4
    assert made.forecasts.filter(pl.col("unique_id") == "2").is_empty()


def test_without_a_fallback_nothing_stands_in(tmp_path: Path, registry: Registry):
    _, made = filled(tmp_path, registry, spec_of({"m": fragile("raises"), "s": SNAIVE}))
    assert made.forecasts.filter(model="m").is_empty()
    assert made.failures["fallback"].to_list() == [None, None]


def test_only_the_models_wanted_are_kept(tmp_path: Path, registry: Registry):
    spec = spec_of({"m": fragile("raises"), "s": SNAIVE}, run={"fallback": "s"})
    work, done = back_test(tmp_path, registry, spec)
    made = fill_from_fallback(done.forecasts(work), done.failures(), spec, keep=["m"])
    assert made.forecasts["model"].unique().to_list() == ["m"]


def test_on_error_stop_raises_with_model_series_and_reason(tmp_path: Path, registry: Registry):
    spec = spec_of({"m": fragile()}, run={"on_error": "stop"})
    with pytest.raises(TaskError, match=r"task m/backtest/\d+ failed for series 2: no luck"):
        back_test(tmp_path, registry, spec)


def test_a_data_error_of_a_model_keeps_its_hint_and_exit_code(tmp_path: Path, registry: Registry):
    frame = rows(periods=30, future=3).with_columns(pl.col("y") - 1000)
    spec = spec_of({"s": {**SNAIVE, "target": "log1p"}}, run={"on_error": "stop"})
    with pytest.raises(EngineError, match="y is negative in") as caught:
        back_test(tmp_path, registry, spec, frame)
    assert caught.value.exit_code == 5
    assert "target: none" in caught.value.hint


def skipped(frame: pl.DataFrame, **rules: Any) -> list[tuple[int, str, str]]:
    """Days before the end, series and reason, of what no model was asked for."""
    whole = panel(frame, past=(), ahead=3)
    spec = spec_of({"s": SNAIVE}, series=rules)
    found = skipped_series(whole, spec, make_folds(whole, spec))
    return [
        (whole.end - c, u, r) for c, u, r in found.select("cutoff", "unique_id", "reason").rows()
    ]


def late_start(day: int) -> pl.DataFrame:
    """Series 2 begins on this day of 30."""
    late = (pl.col("store") == 2) & (pl.col("ds") < START + pl.duration(days=day))
    return rows(periods=30, future=3).filter(~late)


def test_series_that_have_not_begun_are_listed_a_cutoff():
    assert skipped(late_start(24)) == [(6, "2", "not begun: its first observation is later")]


def test_series_that_are_too_short_are_listed_a_cutoff():
    assert skipped(late_start(22), min_history=4) == [
        (6, "2", "too short: 2 observed values, min_history is 4"),
    ]


def test_a_series_that_is_long_enough_everywhere_is_not_listed():
    assert skipped(late_start(0), min_history=4) == []


def test_a_series_that_was_skipped_has_no_forecast(tmp_path: Path, registry: Registry):
    work, done = back_test(tmp_path, registry, spec_of({"s": SNAIVE}), late_start(24))
    early = done.forecasts(work).filter(cutoff=work.panel.end - 6)
    assert early["unique_id"].cast(pl.String).unique().sort().to_list() == ["1", "3"]
