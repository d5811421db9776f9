"""The engine gives a model what it declares and nothing else; a spec that asks for more is told so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from engine import hookimpl
from engine.abilities import capabilities_of
from engine.components import Capabilities, Model, Params
from engine.contracts import Design, DesignBlock, Prediction, Training
from engine.data.panel import Future, Panel
from engine.errors import DataError, SpecError
from engine.registry import Registry
from engine.runner import Outcome, run
from engine.spec.validate import validate_text
from tests.panels import rows

SEEN: dict[str, Any] = {}
SPEC = """version: 1
name: able
data:
  source: {use: files, path: shop.parquet}
  columns: {unique_id: store, ds: ds, y: y}
  freq: 1d
  covariates: {future: [promo, price], past: [temperature], static: [kind]}
  missing: {y: drop}
horizon: 3
quantiles: [0.1, 0.9]
features: [{use: lags, lags: [0]}, {use: promo, flags: promo}, {use: static}]
models:
  m: {use: MODEL}
backtest: {folds: 2}
evaluate: {metrics: [mae]}
"""


class WitnessParams(Params):
    pass


class Witness:
    """A model of whole series that writes down what it is given, and forecasts 1."""

    def __init__(self, params: WitnessParams) -> None:
        pass

    def fit(self, train: Training) -> Witness:
        SEEN["fit"] = train.panel
        return self

    def predict(self, history: Panel, future: Future) -> Prediction:
        SEEN["predict"], SEEN["future"] = history, future
        return Prediction(np.ones((history.n_series, future.ahead_max)))

    def save(self, folder: Path) -> None:
        (folder / "witness.json").write_text(json.dumps({}))

    def tables(self) -> Mapping[str, pl.DataFrame]:
        return {}


class RowWitness:
    """A model of design rows that writes down what it is given, and forecasts 1."""

    def __init__(self, params: WitnessParams) -> None:
        self.quantiles = 0

    def fit(self, design: Design) -> RowWitness:
        SEEN["design"] = design
        SEEN["missing"] = any(np.isnan(block.X).any() for block in design.blocks())
        self.quantiles = len(design.quantiles)
        return self

    def predict(self, block: DesignBlock) -> Prediction:
        y_hat = np.ones(block.X.shape[0])
        return Prediction(y_hat, np.repeat(y_hat[:, None], self.quantiles, axis=1))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "witness.json").write_text(json.dumps({}))

    def tables(self) -> Mapping[str, pl.DataFrame]:
        return {}


DECLARED = {
    "blind": Capabilities(missing_values=True),
    "ahead": Capabilities(future_covariates=True, missing_values=True),
    "behind": Capabilities(past_covariates=True, missing_values=True),
    "still": Capabilities(static_covariates=True, missing_values=True),
    "strict": Capabilities(scope="local"),
    "blind_rows": Capabilities(input="design", quantiles=True),
    "row_ahead": Capabilities(input="design", quantiles=True, future_covariates=True),
}


@hookimpl
def engine_models() -> list[Model]:
    return [
        Model(
            name,
            f"{__name__}:{'Witness' if able.input == 'panel' else 'RowWitness'}",
            WitnessParams,
            capabilities=able,
        )
        for name, able in DECLARED.items()
    ]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The installed plugins, and this module as one of them."""
    real = metadata.entry_points

    def entry_points(*, group: str) -> metadata.EntryPoints:
        fake = metadata.EntryPoint("witness", __name__, "engine")
        return metadata.EntryPoints([*real(group=group), fake])

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    SEEN.clear()
    return Registry.discover()


def go(registry: Registry, folder: Path, model: str, holes: pl.Expr | None = None) -> Outcome:
    frame = rows(periods=40, future=3)
    if holes is not None:
        frame = frame.with_columns(y=pl.when(~holes).then("y"))
    frame.write_parquet(folder / "shop.parquet")
    loaded = validate_text(SPEC.replace("MODEL", model), "able.yaml", registry)
    return run(loaded, registry, output=folder, base=folder)


@pytest.mark.parametrize(
    ("model", "history", "ahead", "static"),
    [
        ("blind", [], [], []),
        ("ahead", ["promo", "price"], ["promo", "price"], []),
        ("behind", ["temperature"], [], []),
        ("still", [], [], ["kind"]),
    ],
)
def test_a_model_of_whole_series_gets_the_kinds_it_declares(
    tmp_path: Path, registry: Registry, model: str, history: list[str], ahead: list[str],
    static: list[str],
):  # fmt: skip
    assert go(registry, tmp_path, model).exit_code == 0
    for panel in (SEEN["fit"], SEEN["predict"]):
        assert panel.frame.columns == ["unique_id", "ds", "y", *history]
        assert panel.roles.static == tuple(static)
        assert ("kind" in panel.series.columns) == bool(static)
    assert SEEN["future"].frame.columns == ["unique_id", "ds", "ahead", *ahead]


@pytest.mark.parametrize(
    ("model", "features"),
    [("blind_rows", ("lags_y_0",)), ("row_ahead", ("lags_y_0", "promo_promo"))],
)
def test_a_model_of_rows_gets_features_of_the_kinds_it_declares(
    tmp_path: Path, registry: Registry, model: str, features: tuple[str, ...]
):
    assert go(registry, tmp_path, model).exit_code == 0
    assert SEEN["design"].features == features
    assert SEEN["design"].series.columns == ["unique_id", "store"]


def problem(registry: Registry, model: str) -> tuple[int, str]:
    text = SPEC.replace("{use: MODEL}", model)
    with pytest.raises(SpecError) as caught:
        validate_text(text, "able.yaml", registry)
    (found,) = caught.value.problems
    return found.line, found.message


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("{use: ahead, covariates: [temp*]}", "takes only future covariates, but 'temperature' is a past one"),
        ("{use: blind, covariates: [kind]}", "takes no covariates, but 'kind' is a static one"),
        ("{use: seasonal_naive, features: [promo*]}", "takes no covariates, so that it cannot use features"),
    ],
)  # fmt: skip
def test_a_spec_that_names_what_a_model_does_not_take_is_refused(
    registry: Registry, model: str, said: str
):
    line, message = problem(registry, model)
    assert line == 13
    assert said in message


def test_a_pattern_of_which_something_can_be_used_is_no_fault(tmp_path: Path, registry: Registry):
    assert go(registry, tmp_path, 'ahead, covariates: ["p*", "*"]').exit_code == 0
    assert SEEN["fit"].roles.covariates == ("promo", "price")


def test_features_that_a_model_cannot_get_are_named(tmp_path: Path, registry: Registry):
    with pytest.raises(
        DataError, match=r"'m' \(ahead\) takes no past covariates.*lags_y_0"
    ) as caught:
        go(registry, tmp_path, 'ahead, features: ["*lag*"]')
    assert "leave '*lag*' out" in str(caught.value.hint)


HOLE = (pl.col("store") == 2) & (pl.col("ds").dt.day() == 12)


def test_series_with_holes_are_kept_from_a_model_that_takes_none(
    tmp_path: Path, registry: Registry
):
    done = go(registry, tmp_path, "strict", HOLE)
    assert done.exit_code == 7
    assert done.failures["unique_id"].unique().to_list() == ["2"]
    assert "1 missing value of y, and the model takes none" in done.failures["reason"][0]
    assert SEEN["predict"].ids == ["1", "3"]
    made = pl.read_parquet(done.folder / "backtest.parquet")
    assert sorted(made["unique_id"].cast(pl.String).unique()) == ["1", "3"]


def test_only_holes_inside_of_the_window_count(tmp_path: Path, registry: Registry):
    assert go(registry, tmp_path, "strict, window: 14", HOLE).exit_code == 0
    assert SEEN["fit"].ids == ["1", "2", "3"]


def test_rows_with_holes_are_kept_from_a_model_that_takes_none(tmp_path: Path, registry: Registry):
    last = (pl.col("store") == 2) & (pl.col("ds").dt.day() == 9) & (pl.col("ds").dt.month() == 2)
    done = go(registry, tmp_path, "blind_rows", HOLE | last)
    assert not SEEN["missing"], "rows without a feature were trained on"
    reasons = done.failures.filter(pl.col("unique_id") == "2")["reason"]
    assert "is missing, and the model takes no missing values" in reasons[0]
    assert done.failures["unique_id"].unique().to_list() == ["2"]


def test_quantiles_of_a_recursion_are_the_engines(tmp_path: Path, registry: Registry):
    done = go(registry, tmp_path, "row_ahead, strategy: recursive")
    assert done.exit_code == 0
    made = pl.read_parquet(done.folder / "backtest.parquet")
    assert made["y_hat"].unique().to_list() == [1.0]
    assert made["q0.1"].min() > 10.0, "its own would be 1; those of the residuals are near y"


def test_a_recursion_declares_no_quantiles(registry: Registry):
    loaded = validate_text(SPEC.replace("MODEL", "row_ahead"), "able.yaml", registry)
    use = loaded.spec.models["m"]
    record = registry.find("model", "row_ahead").component
    assert isinstance(record, Model)
    assert capabilities_of(record, use).quantiles
    assert not capabilities_of(record, use.model_copy(update={"strategy": "recursive"})).quantiles
