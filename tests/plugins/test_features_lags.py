from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

from engine.contracts import Design, DesignBlock, FeatureContext, FeatureSet, Training
from engine.data.calendar import Frequency
from engine.data.panel import Roles
from engine.errors import DataError
from engine.features import evaluate, feature_context, plan_features
from engine.horizon import TabularModel
from engine.registry import build
from engine_lags import engine_features
from tests.panels import panel

NAN = float("nan")
EVERYTHING = {
    "lags": [0, 1, 5],
    "seasonal": [{"period": 3, "count": 3, "mean": True, "windows": [4]}],
    "rolling": {
        "mean": [1, 4],
        "std": [4],
        "min": [4],
        "max": [4],
        "median": [4],
        "sum": [4],
        "quantile": {0.9: [4]},
    },
    "ewm": [0.3],
    "zero_share": [4],
    "since_last_sale": True,
    "diff": [[0, 1], [2, 5]],
}
observations = st.lists(
    st.none() | st.integers(0, 3).map(float) | st.floats(-1e3, 1e3, width=32),
    min_size=1,
    max_size=25,
)


def lags(context: FeatureContext | None = None, **options) -> FeatureSet:
    numbers = {c: pl.Float64() for c in ("y", "price", "customers")}
    context = context or FeatureContext(
        roles=Roles(("store",), future=("price",), past=("customers", "event"), static=("size",)),
        freq=Frequency.parse("1d"),
        horizon=7,
        gap=0,
        dtypes={"ds": pl.Date(), "event": pl.Enum(["a", "b"]), **numbers},
        levels={},
    )
    return build(next(engine_features()), options).build(context)


def values(*series: list[float | None], column: str = "y", **options) -> dict[str, np.ndarray]:
    """Values of the features for series one below the other, by the engine's own pass."""
    features = lags(**options).features
    frame = pl.DataFrame(
        {
            "unique_id": [str(i) for i, y in enumerate(series) for _ in y],
            column: pl.Series([v for y in series for v in y], dtype=pl.Float64),
        }
    )
    made = evaluate(frame, features)
    return {feature.name: row for feature, row in zip(features, made, strict=True)}


def rolled(y: list[float | None], window: int, statistic: Callable, least: int = 1) -> list[float]:
    """A statistic of what is observed in each window, by plain loops."""
    out = []
    for t in range(len(y)):
        seen = [v for v in y[max(0, t - window + 1) : t + 1] if v is not None]
        out.append(statistic(seen) if len(seen) >= least else NAN)
    return out


def shifted(y: list[float | None], lag: int) -> list[float]:
    return [NAN if t < lag or y[t - lag] is None else y[t - lag] for t in range(len(y))]


def sample_deviation(seen: list[float]) -> float:
    return float(np.std(seen, ddof=1)) if len(seen) > 1 else NAN


def check(made: np.ndarray, expected: list[float], name: str = "") -> None:
    np.testing.assert_allclose(made, np.array(expected), rtol=1e-4, atol=1e-3, err_msg=name)


@given(observations)
@settings(max_examples=60, deadline=None)
def test_windows_summarise_what_is_observed_in_them(y):
    made = values(y, **EVERYTHING)
    for name, statistic in {
        "mean_4": np.mean,
        "std_4": sample_deviation,
        "min_4": min,
        "max_4": max,
        "median_4": np.median,
        "sum_4": sum,
        "q0.9_4": lambda seen: np.quantile(seen, 0.9),
        "zero_share_4": lambda seen: sum(v == 0 for v in seen) / len(seen),
        "season_3_mean_4": np.mean,
    }.items():
        check(made[f"lags_y_{name}"], rolled(y, 4, statistic), name)
    check(made["lags_y_mean_1"], shifted(y, 0))


@given(observations)
@settings(max_examples=60, deadline=None)
def test_lags_are_earlier_rows_of_the_same_series(y):
    made = values(y, **EVERYTHING)
    for lag in (0, 1, 5):
        check(made[f"lags_y_{lag}"], shifted(y, lag))
    check(made["lags_y_diff_2_5"], np.subtract(shifted(y, 2), shifted(y, 5)))
    seasons = np.array([shifted(y, lag) for lag in (0, 3, 6)])
    for j in (1, 2, 3):
        check(made[f"lags_y_season_3_{j}"], seasons[j - 1])
    seen = np.isfinite(seasons).sum(axis=0)
    mean = np.where(seen, np.nansum(seasons, axis=0) / np.maximum(seen, 1), NAN)
    check(made["lags_y_season_3_mean"], mean)


@given(observations)
@settings(max_examples=60, deadline=None)
def test_ewm_weighs_by_age_in_steps_and_repeats_over_gaps(y):
    expected, last = [], NAN
    for t, value in enumerate(y):
        if value is not None:
            weights = {i: 0.7 ** (t - i) for i in range(t + 1) if y[i] is not None}
            last = sum(w * y[i] for i, w in weights.items()) / sum(weights.values())
        expected.append(last)
    check(values(y, ewm=[0.3])["lags_y_ewm_0.3"], expected)


@given(observations)
@settings(max_examples=60, deadline=None)
def test_since_last_sale_counts_steps(y):
    expected, last = [], None
    for t, value in enumerate(y):
        last = t if value is not None and value > 0 else last
        expected.append(NAN if last is None else t - last)
    check(values(y, since_last_sale=True)["lags_y_since_sale"], expected)


@given(observations, observations)
@settings(max_examples=40, deadline=None)
def test_series_do_not_see_each_other(first, second):
    both = values(first, second, **EVERYTHING)
    for name, alone in values(second, **EVERYTHING).items():
        check(both[name][len(first) :], alone, name)


@given(observations, st.data())
@settings(max_examples=40, deadline=None)
def test_no_value_depends_on_later_rows(y, data):
    cut = data.draw(st.integers(1, len(y)))
    whole = values(y, **EVERYTHING)
    for name, known in values(y[:cut], **EVERYTHING).items():
        np.testing.assert_array_equal(whole[name][:cut], known, err_msg=name)


@given(observations)
@settings(max_examples=15, deadline=None)
def test_lookback_rows_are_enough(y):
    """The engine cuts history to the lookback before it predicts."""
    whole = values(y, **EVERYTHING)
    for feature in lags(**EVERYTHING).features:
        if feature.lookback is not None:
            short = values(y[-feature.lookback - 1 :], **EVERYTHING)
            check(short[feature.name][-1:], whole[feature.name][-1:], feature.name)


def test_min_samples_leaves_thin_windows_empty():
    y = [None, 1.0, None, 3.0, 5.0]
    made = values(y, rolling={"mean": [3]}, zero_share=[3], min_samples=2)
    check(made["lags_y_mean_3"], rolled(y, 3, np.mean, least=2))
    check(made["lags_y_zero_share_3"], [NAN, NAN, NAN, 0, 0])
    assert np.isnan(made["lags_y_mean_3"][:3]).all()


def test_large_values_leave_no_trace_in_later_windows():
    made = values([1e9, 1e9, 0.0, 0.0, 0.1, 0.1], rolling={"mean": [2], "std": [2]})
    np.testing.assert_allclose(made["lags_y_mean_2"][3:], [0, 0.05, 0.1], atol=1e-7)
    assert made["lags_y_std_2"][-1] == pytest.approx(0, abs=1e-6)


def test_availability_is_history_but_aligned_for_seasons():
    features = {f.name: f for f in lags(**EVERYTHING).features}
    aligned = {name for name, f in features.items() if f.availability == "aligned"}
    assert aligned == {f"lags_y_season_3_{what}" for what in (1, 2, 3, "mean", "mean_4")}
    assert {features[name].season for name in aligned} == {3}
    assert {f.availability for name, f in features.items() if name not in aligned} == {"history"}
    assert {name for name, f in features.items() if f.lookback is None} == {
        "lags_y_ewm_0.3",
        "lags_y_since_sale",
    }


class Recorder:
    """A model that only keeps the rows it is given."""

    def __init__(self) -> None:
        self.blocks: list[DesignBlock] = []

    def fit(self, design: Design) -> Recorder:
        self.blocks += design.blocks()
        return self


def test_seasonal_lags_count_whole_seasons_back_from_the_target():
    whole = panel()
    history = whole.until(whole.end)
    builder = build(next(engine_features()), {"lags": [0], "seasonal": {"period": 3, "count": 2}})
    plan = plan_features([("lags", builder)], feature_context(whole, 5, 2))
    recorder = Recorder()
    training = Training(history, 5, 2, (), 7, 0, lambda event, values: None)
    TabularModel(recorder, plan, buckets=[5], window=None).fit(training)
    y = history.frame["y"].to_numpy().reshape(history.n_series, -1)
    (block,) = recorder.blocks
    assert set(block.step) == {3, 4, 5, 6, 7}
    for row, series, step, age in zip(block.X, block.series, block.step, block.age, strict=True):
        target = y.shape[1] - 1 - age
        back = 3 * math.ceil(step / 3)
        places = [target - step, target - back, target - back - 3]
        expected = [y[series, place] if place >= 0 else NAN for place in places]
        np.testing.assert_allclose(row, expected, rtol=1e-6)


def test_covariates_are_summarised_like_the_target():
    made = values([1.0, None, 5.0], column="customers", columns="customers", rolling={"sum": [3]})
    check(made["lags_customers_sum_3"], [1, 1, 6])
    names = [f.name for f in lags(columns=["y", "price"], lags=[0]).features]
    assert names == ["lags_y_0", "lags_price_0"]


def test_the_engine_accepts_the_features_of_a_panel():
    whole = panel()
    builder = build(next(engine_features()), EVERYTHING | {"columns": ["y", "price"]})
    plan = plan_features([("lags", builder)], feature_context(whole, 7, 0))
    history = whole.until(whole.end)
    made = evaluate(history.frame, plan.features)
    assert made.shape == (len(plan.features), history.frame.height)
    ends = history.offsets[1:] - 1
    last = history.frame["y"].gather(ends).to_numpy()
    np.testing.assert_allclose(made[plan.names.index("lags_y_0")][ends], last, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": "custmers"}, "'custmers' is not declared\n  hint: did you mean 'customers'?"),
        ({"columns": "size"}, "'size' does not change over time"),
        ({"columns": ["y", "event"]}, "'event' has type Enum"),
    ],
)
def test_wrong_columns_are_explained(options, message):
    with pytest.raises(DataError) as caught:
        lags(lags=[0], **options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "lags makes no feature"),
        ({"rolling": {}}, "lags makes no feature"),
        ({"lags": [1, 1]}, "lags names 1 more than once"),
        ({"lags": [-1]}, "greater than or equal to 0"),
        ({"columns": [], "lags": [0]}, "columns is empty"),
        ({"diff": [[1, 1]]}, "always zero"),
        ({"rolling": {"mean": [3]}, "min_samples": 4}, "more than mean window 3"),
        ({"rolling": {"std": [1]}}, "greater than or equal to 2"),
        ({"rolling": {"quantile": {1.5: [3]}}}, "less than or equal to 1"),
        ({"ewm": [0]}, "greater than 0"),
        ({"lag": [0]}, "Extra inputs"),
    ],
)
def test_options_are_validated(options, message):
    with pytest.raises(ValidationError, match=message):
        next(engine_features()).params.model_validate(options)


def test_options_survive_the_way_to_another_process():
    """Tasks travel as JSON, where the levels of quantiles become text."""
    params = next(engine_features()).params
    options = params.model_validate(EVERYTHING)
    assert params.model_validate_json(options.model_dump_json()) == options


@pytest.mark.data
@pytest.mark.skipif("ENGINE_DATA" not in os.environ, reason="ENGINE_DATA is not set")
def test_intermittent_sales_with_gaps():
    """Monthly car parts hold nulls and mostly zeros: shares are shares, sums skip the gaps."""
    parts = pl.read_parquet(Path(os.environ["ENGINE_DATA"]) / "carparts.parquet")
    frame = parts.sort("unique_id", "ds").select("unique_id", "y")
    features = lags(zero_share=[12], rolling={"sum": [39]}, since_last_sale=True).features
    total, share, since = evaluate(frame, features)
    assert np.nanmin(share) == 0 and np.nanmax(share) == 1
    assert 0 <= np.nanmin(since) <= np.nanmax(since) < 39
    ends = np.cumsum(frame.group_by("unique_id", maintain_order=True).len()["len"].to_numpy()) - 1
    sums = frame.group_by("unique_id", maintain_order=True).agg(pl.col("y").sum())["y"]
    np.testing.assert_allclose(np.nan_to_num(total[ends]), sums.to_numpy())
