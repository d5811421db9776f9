"""Redundancy filter and backward elimination: against refits, and in whole runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from engine.cli.main import invoke
from engine.components import Params
from engine.contracts import Selection
from engine.errors import DataError, PluginError, SpecError
from engine.registry import Registry
from engine.rundir import list_runs
from engine.selection import FittedSelection, SelectingModel, checked_selection
from engine.spec.validate import validate_text
from engine.testing.selectors import design, table
from engine_ridge.fitted import FittedRidge
from engine_ridge.model import Ridge
from engine_ridge.params import RidgeParams
from engine_select.backward import PENALTY, Backward, eliminate, fit_of
from engine_select.moments import moments_of
from engine_select.params import BackwardParams, RedundancyParams
from engine_select.redundancy import Redundancy


def options(kind: type[Params], **values: Any) -> Any:
    return kind.model_validate(values)


def redundancy(**values: Any) -> Redundancy:
    return Redundancy(options(RedundancyParams, **values))


def backward(**values: Any) -> Backward:
    return Backward(options(BackwardParams, **values))


def filled(X: np.ndarray) -> np.ndarray:
    wide = X.astype(np.float64)
    return np.where(np.isnan(wide), np.nanmean(wide, axis=0), wide)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(1, 199), max_size=4, unique=True))
def test_moments_are_those_of_the_rows_with_means_where_values_are_missing(
    seed: int, cuts: list[int]
):
    X, y = table(200, seed)
    X[seed % 7 :: 3, seed % 6] = np.nan
    found = moments_of(design(X, y, cuts=sorted(cuts)))
    whole = np.column_stack([filled(X), y])
    centered = whole - whole.mean(axis=0)
    np.testing.assert_allclose(found.mean, whole.mean(axis=0), rtol=1e-9, atol=1e-9)
    scale = np.sqrt(np.outer(*[(centered**2).sum(axis=0)] * 2)) + 1e-9
    np.testing.assert_allclose(found.products / scale, centered.T @ centered / scale, atol=1e-9)


def refitted_score(X: np.ndarray, y: np.ndarray) -> float:
    """Generalized cross-validation of one fit, from its hat matrix."""
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    target = y - y.mean()
    gram = Z.T @ Z + PENALTY * y.size * np.eye(Z.shape[1])
    hat = Z @ np.linalg.solve(gram, Z.T)
    rest = target - hat @ target
    return float(rest @ rest / y.size / (1 - (1 + np.trace(hat)) / y.size) ** 2)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), correlated=st.floats(0, 1))
def test_every_removal_is_scored_as_a_new_fit_would_be(seed: int, correlated: float):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 5)).astype(np.float32)
    X[:, 1] += np.float32(5 * correlated) * X[:, 0]
    y = X[:, :3].astype(np.float64) @ [2.0, -1.0, 0.5] + rng.normal(size=60)
    wide = X.astype(np.float64)
    fit = fit_of(moments_of(design(X, y, "abcde")), np.arange(5))
    assert fit.score() == pytest.approx(refitted_score(wide, y), rel=1e-7)
    for place, score in enumerate(fit.scores_without()):
        without = np.delete(wide, place, axis=1)
        assert score == pytest.approx(refitted_score(without, y), rel=1e-7)
        assert fit.without(place).score() == pytest.approx(score, rel=1e-7)


def test_elimination_takes_the_lowest_score_at_every_step():
    X, y = table(300)
    X = X[:, [0, 2, 4, 5]]
    path = eliminate(moments_of(design(X, y, "abcd")), np.arange(4), np.zeros(4, dtype=bool))
    wide, present = filled(X), [0, 1, 2, 3]
    for gone in path.left:
        scores = {i: refitted_score(wide[:, [j for j in present if j != i]], y) for i in present}
        assert min(scores, key=scores.__getitem__) == gone
        present.remove(gone)
    assert present == [0]


def test_backward_keeps_what_makes_the_target_and_one_of_two_copies():
    kept = set(backward(tolerance=0.02).select(design(*table())).features)
    assert kept in ({"signal", "holes"}, {"copy", "holes"})


def test_a_limit_and_a_tolerance_leave_fewer_features():
    rows = design(*table())
    assert len(backward(max_features=1).select(rows).features) == 1
    sizes = [len(backward(tolerance=t).select(rows).features) for t in (0, 0.5, 50)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1


@pytest.mark.parametrize("make", [backward, redundancy])
def test_what_must_stay_stays(make: Any):
    found = make(keep=["noi*", "constant"]).select(design(*table()))
    assert {"noise", "constant"} <= set(found.features)
    with pytest.raises(DataError, match="keep: no feature of the model matches 'price'"):
        make(keep=["price"]).select(design(*table()))


def test_of_two_copies_the_one_closer_to_the_target_stays():
    rng = np.random.default_rng(0)
    y = rng.normal(size=500)
    near, far = y + 0.1 * rng.normal(size=500), y + 0.3 * rng.normal(size=500)
    X = np.column_stack([far, near]).astype(np.float32)
    found = redundancy(correlation=0.9).select(design(X, y, ["far", "near"]))
    assert found.features == ("near",)
    assert found.table["reason"].to_list()[0].startswith("correlation with near is 0.9")


def test_features_unrelated_to_the_target_can_be_dropped():
    found = redundancy(target_correlation=0.3).select(design(*table()))
    assert set(found.features) == {"signal", "holes"}


def test_infinite_values_are_an_error_that_names_the_feature():
    X, y = table()
    X[3, 2] = np.inf
    with pytest.raises(DataError, match="infinite values in noise"):
        backward().select(design(X, y))


def test_a_model_behind_a_selector_is_saved_with_its_columns(tmp_path: Path):
    X, y = table()
    ridge = Ridge(options(RidgeParams))
    made = SelectingModel(ridge, redundancy()).fit(design(X, y))
    block = next(iter(design(X, y).blocks()))
    made.save(tmp_path)
    loaded = FittedSelection.load(tmp_path, Ridge)
    assert np.array_equal(loaded.predict(block).y_hat, made.predict(block).y_hat)
    assert isinstance(loaded.fitted, FittedRidge)
    assert loaded.selection.features == made.selection.features
    alone = X[:, made.index]
    direct = ridge.fit(design(alone, y, made.selection.features))
    plain = next(iter(design(alone, y, made.selection.features).blocks()))
    assert np.array_equal(direct.predict(plain).y_hat, made.predict(block).y_hat)


@pytest.mark.parametrize(
    ("features", "message"), [((), "kept none of 2"), (("a", "c"), "chose 'c'")]
)
def test_a_selector_that_breaks_its_contract_is_an_error(features: Any, message: str):
    with pytest.raises(PluginError, match=message):
        checked_selection(Selection(features, pl.DataFrame()), ("a", "b"))


SPEC = """version: 1
name: tiny
data:
  source: {{use: simulate, series: 4, periods: 90, future_periods: 7, launches: 0}}
  columns: {{unique_id: [store, item], ds: ds, y: units}}
  freq: 1d
  covariates: {{future: [price, promo]}}
horizon: 7
features: [{{use: lags, lags: [0, 1], rolling: {{mean: [7, 8]}}}}, {{use: promo, flags: [promo]}}]
models:
  small: {{use: {model}, select_features: {selector}}}
evaluate: {{metrics: [mae]}}
run: {{shard_rows: 100}}
"""
BACKWARD = "{use: backward, max_features: 2}"


def test_a_run_selects_for_every_fit_and_keeps_what_it_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(SPEC.format(model="ridge", selector=BACKWARD))
    assert invoke(["run", "tiny.yaml", "--quiet"]) == 0
    (run,) = list_runs(tmp_path / "runs")
    chosen = pl.read_parquet(run.path / "models" / "small" / "selection.parquet")
    counts = chosen.group_by("ahead_first").agg(pl.col("kept").sum())
    assert counts["kept"].to_list() == [2] * 7
    used = pl.read_parquet(run.path / "models" / "small" / "coefficients.parquet")
    assert used.filter(pl.col("ahead_first") == 1)["feature"].n_unique() <= 3
    assert {"kind": "selector", "name": "backward"}.items() <= {
        k: v for p in run.manifest["plugins"] for k, v in p.items() if p["kind"] == "selector"
    }.items()


def test_a_selection_looks_at_nothing_after_the_cutoff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(SPEC.format(model="ridge", selector=BACKWARD))
    assert invoke(["prove", "tiny.yaml", "--quiet", "--series", "3"]) == 0


@pytest.mark.parametrize(
    ("model", "selector", "message"),
    [
        ("ridge", "{use: backwards}", "no selector named 'backwards'.*did you mean 'backward'"),
        ("ridge", "{use: backward, most: 2}", "selector 'backward' has no option 'most'"),
        ("ridge", "{use: backward, max_features: 0}", "greater than or equal to 1"),
        ("seasonal_naive", BACKWARD, "gets whole series, not rows of features"),
    ],
)
def test_a_wrong_selector_is_found_before_data_is_read(model: str, selector: str, message: str):
    text = SPEC.format(model=model, selector=selector)
    with pytest.raises(SpecError, match=f"(?s)tiny.yaml:11:.*{message}"):
        validate_text(text, "tiny.yaml", Registry.discover())


def test_the_resolved_spec_holds_the_selector_s_defaults():
    text = SPEC.format(model="ridge", selector=BACKWARD)
    resolved = validate_text(text, "tiny.yaml", Registry.discover()).resolved
    assert resolved["models"]["small"]["select_features"] == {
        "use": "backward",
        "tolerance": 0.0,
        "max_features": 2,
        "keep": [],
    }
