from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from polars import selectors

from engine import horizon as horizon_module
from engine.components import Capabilities
from engine.contracts import Design, DesignBlock, Feature, Prediction, Training
from engine.data.panel import Future, Panel
from engine.errors import PluginError
from engine.features import FeaturePlan
from engine.future import future_of
from engine.horizon import FittedTabular, TabularModel, default_buckets
from tests.panels import history_and_future, panel, rows

NOW = Feature("now", pl.col("y"), "history", lookback=0)
PRICE = Feature("price", pl.col("price"), "known", lookback=0)
BEFORE = Feature("promo_before", pl.col("promo").shift(1), "known", lookback=1)
WEEK = Feature("week", pl.col("y"), "aligned", lookback=0, season=7)
BIG = Feature("big", pl.col("kind") == "big", "static")
PLAN = FeaturePlan((NOW, PRICE, WEEK, BEFORE, BIG))


@dataclass
class Recorder:
    """A model of design rows that keeps what it is given and forecasts with `rule`."""

    rule: Callable[[np.ndarray], np.ndarray] = lambda X: X[:, 0]
    designs: list[list[DesignBlock]] = field(default_factory=list)
    asked: list[DesignBlock] = field(default_factory=list)

    def fit(self, design: Design) -> Recorder:
        self.designs.append(list(design.blocks()))
        return self

    def predict(self, block: DesignBlock) -> Prediction:
        self.asked.append(block)
        return Prediction(self.rule(block.X).astype(np.float64))


def fitted(
    history: Panel,
    recorder: Recorder,
    plan: FeaturePlan = PLAN,
    buckets: list[int] | None = None,
    gap: int = 0,
    window: int | None = None,
    shard_rows: int | None = None,
    future: Future | None = None,
) -> FittedTabular:
    horizon = buckets[-1] if buckets else 7
    model: Any = TabularModel(recorder, plan, buckets, window, shard_rows)  # type: ignore[arg-type]
    made: FittedTabular = model.fit(
        Training(history, horizon, gap, (0.5,), 7, 0, lambda event, data: None, future=future)
    )
    return made


def uneven() -> Panel:
    """Three series of different lengths with holes in y, and 12 known future days."""
    frame = rows(periods=40, future=12)
    place = pl.int_range(pl.len()).over("store")
    frame = frame.filter(place >= pl.col("store") * 4)
    return panel(frame.with_columns(y=pl.when(place.mod(11) != 5).then("y")), ahead=12)


AHEAD = (
    Feature("lead", pl.col("promo").shift(-2), "known", lookback=0),
    Feature("far", pl.col("price").shift(-20), "known", lookback=0),
    Feature("around", pl.col("price").rolling_mean(5, center=True), "known", lookback=4),
    Feature("so_far", pl.col("price").cum_sum(), "known", lookback=None),
)


@pytest.mark.parametrize("features", [AHEAD, AHEAD[:3]], ids=["all rows", "last rows"])
@pytest.mark.parametrize("shard_rows", [None, 50])
def test_the_last_rows_of_a_history_see_what_is_known_after_it(features, shard_rows):
    """A promotion of tomorrow is known today: no row of the fit takes it for missing."""
    whole = uneven()
    history, future = history_and_future(whole, horizon=7)
    plan, recorder = FeaturePlan((NOW, BEFORE, *features)), Recorder()
    fitted(history, recorder, plan, [7], shard_rows=shard_rows, future=future)
    row = pl.int_range(pl.len())
    expected = whole.frame.select(
        "unique_id", row.alias("row"), *(f.expr.over("unique_id").alias(f.name) for f in features)
    )
    looked = 0
    for block in recorder.designs[0]:
        for X, series, age in zip(block.X, block.series, block.age, strict=True):
            place = int(whole.offsets[series + 1]) - 12 - 1 - int(age)
            values = [expected[f.name][place] for f in features]
            values[1] = values[1] if age >= 20 else None
            wanted = [np.nan if v is None else float(v) for v in values]
            np.testing.assert_allclose(X[2:], wanted, rtol=1e-5, err_msg=f"{series} {age}")
            looked += age < 2
    assert looked == 6 - (~np.isfinite(history.y().reshape(-1)[history.offsets[1:] - 1])).sum()


def test_without_the_future_the_last_rows_have_gaps_and_all_others_keep_their_bits():
    whole = uneven()
    history, future = history_and_future(whole, horizon=7)
    plan, blind, seeing = FeaturePlan((NOW, BEFORE, PRICE, *AHEAD[:1])), Recorder(), Recorder()
    fitted(history, blind, plan, [7])
    fitted(history, seeing, plan, [7], future=future)
    (without,), (with_it,) = blind.designs[0], seeing.designs[0]
    assert np.isnan(without.X[without.age < 2, 3]).all()
    without.X[without.age < 2, 3] = with_it.X[with_it.age < 2, 3]
    np.testing.assert_array_equal(without.X, with_it.X)


def naive_row(whole: Panel, series: int, cutoff: int, target: int) -> list[float]:
    """A design row, looked up cell by cell; rows count from the series' first one."""
    mine = whole.frame.filter(pl.col("unique_id") == whole.ids[int(series)])

    def cell(column: str, row: int) -> float:
        value = mine[column][int(row)] if 0 <= row < mine.height else None
        return np.nan if value is None else float(value)

    week = next(target - 7 * m for m in range(1, 99) if target - 7 * m <= cutoff)
    return [
        cell("y", cutoff),
        cell("price", target),
        cell("y", week),
        cell("promo", target - 1),
        float(whole.series["kind"][int(series)] == "big"),
    ]


@pytest.mark.parametrize(("buckets", "gap"), [([1, 2, 3], 0), ([3, 9], 0), ([2, 8], 3)])
def test_every_training_row_is_history_aligned_and_known_values_at_their_places(
    buckets: list[int], gap: int
):
    whole = uneven()
    history, recorder = whole.until(whole.end), Recorder()
    fitted(history, recorder, buckets=buckets, gap=gap)
    for blocks in recorder.designs:
        block = blocks[0]
        target = history.lengths[block.series] - 1 - block.age
        expected = [
            naive_row(history, s, t - k, t)
            for s, t, k in zip(block.series, target, block.step.astype(int), strict=True)
        ]
        np.testing.assert_allclose(block.X, np.array(expected, dtype=np.float32), equal_nan=True)
        assert np.array_equal(block.y, history.y()[history.offsets[:-1][block.series] + target])


@settings(max_examples=15, deadline=None)
@given(
    widths=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    gap=st.integers(0, 3),
)
def test_every_bucket_uses_every_target_once_and_only_its_own_steps(widths: list[int], gap: int):
    whole = panel(rows(n_series=2, periods=30, future=20), ahead=20)
    recorder = Recorder()
    buckets = np.cumsum(widths).tolist()
    fitted(whole.until(whole.end), recorder, FeaturePlan((NOW,)), buckets, gap)
    first = gap + 1
    for width, (block,) in zip(widths, recorder.designs, strict=True):
        places = set(zip(block.series.tolist(), block.age.tolist(), strict=True))
        assert len(places) == block.y.size
        assert {int(k) for k in block.step} <= set(range(first, first + width))
        newest = [(0, age) for age in range(5)]
        assert set(newest) <= places
        first += width


def test_a_selector_cannot_smuggle_the_target_into_a_known_feature():
    """Selectors name no column that could be checked; the column is simply not there."""
    sold = Feature("sold", selectors.by_name("y").as_expr(), "known")
    with pytest.raises(PluginError, match="'sold' cannot be evaluated"):
        fitted(panel().until(panel().end), Recorder(), FeaturePlan((NOW, sold)), [7])


def test_targets_older_than_the_window_are_not_trained_on():
    whole = uneven()
    history, recorder = whole.until(whole.end), Recorder()
    fitted(history, recorder, buckets=[7], window=10)
    ages = np.concatenate([b.age for b in recorder.designs[0]])
    assert ages.min() == 0
    assert ages.max() < 10


def test_missing_targets_are_never_in_a_design():
    whole = uneven()
    history, recorder = whole.until(whole.end), Recorder()
    fitted(history, recorder, buckets=[7])
    block = recorder.designs[0][0]
    assert np.isfinite(block.y).all()
    assert block.y.size < history.frame["y"].count() + 1


@pytest.mark.parametrize(("at_once", "calls"), [(1, 9), (7, 5), (1000, 2)])
@pytest.mark.parametrize("gap", [0, 2])
def test_prediction_rows_are_what_training_rows_would_be(monkeypatch, gap, at_once, calls):
    monkeypatch.setattr(horizon_module, "_PREDICT_ROWS", at_once)
    whole = uneven()
    history, future = history_and_future(whole, gap=gap, horizon=9)
    recorder = Recorder()
    fitted(history, recorder, buckets=[3, 9], gap=gap).predict(history, future)
    assert len(recorder.asked) == calls
    assert sum(block.series.size for block in recorder.asked) == 9 * history.n_series
    for block in recorder.asked:
        for s, k, row in zip(block.series, block.step.astype(int), block.X, strict=True):
            last = int(history.lengths[s]) - 1
            np.testing.assert_allclose(
                row, np.float32(naive_row(whole, s, last, last + k)), equal_nan=True
            )


@dataclass
class Picky(Recorder):
    """Gives quantiles, and fails for the second series."""

    def predict(self, block: DesignBlock) -> Prediction:
        y_hat = block.X[:, 1].astype(np.float64) + block.step
        failures = {1: "not this one"} if (block.series == 1).any() else {}
        return Prediction(y_hat, np.stack([y_hat - 1, y_hat, y_hat + 1], axis=1), failures)


def test_steps_that_are_forecast_together_are_forecast_as_alone(monkeypatch):
    history, future = history_and_future(uneven(), horizon=9)
    able = Capabilities(input="design", static_covariates=True, quantiles=True)

    def made() -> Prediction:
        model: Any = TabularModel(Picky(), PLAN, [2, 9], None, able=able)  # type: ignore[arg-type]
        request = Training(history, 9, 0, (0.1, 0.5, 0.9), 7, 0, lambda event, data: None)
        prediction: Prediction = model.fit(request).predict(history, future)
        return prediction

    together = made()
    monkeypatch.setattr(horizon_module, "_PREDICT_ROWS", 1)
    alone = made()
    np.testing.assert_array_equal(together.y_hat, alone.y_hat)
    np.testing.assert_array_equal(together.quantiles, alone.quantiles)
    assert together.failures == alone.failures
    assert together.failures[1] == "not this one"


def test_predicting_at_an_earlier_cutoff_gives_the_rows_trained_on_later():
    whole = uneven()
    early = whole.end - 4
    before, future = whole.until(early), future_of(whole, early, 0, 4)
    trained, asked = Recorder(), Recorder()
    fitted(whole.until(whole.end), trained, buckets=[4])
    fitted(before, asked, buckets=[4]).predict(before, future)
    block = trained.designs[0][0]
    recent = block.age < 4
    learned = {
        (int(s), int(k)): row
        for s, k, row in zip(block.series[recent], block.step[recent], block.X[recent], strict=True)
    }
    made = {
        (int(s), int(k)): row
        for b in asked.asked
        for s, k, row in zip(b.series, b.step, b.X, strict=True)
    }
    assert learned
    for place, row in learned.items():
        np.testing.assert_array_equal(row, made[place])


@pytest.mark.parametrize(("ahead", "back"), [(1, 7), (7, 7), (8, 14), (14, 14), (15, 21)])
def test_aligned_takes_the_smallest_multiple_of_the_season_that_is_known(ahead: int, back: int):
    whole = panel(rows(n_series=1, periods=40, future=15), ahead=15)
    history, future = history_and_future(whole, horizon=15)
    recorder = Recorder()
    fitted(history, recorder, FeaturePlan((WEEK,)), [15]).predict(history, future)
    (block,) = recorder.asked
    assert block.X[ahead - 1, 0] == pytest.approx(history.y()[40 - 1 + ahead - back])


def test_the_steps_of_the_gap_are_not_forecast_by_direct_models():
    history, future = history_and_future(panel(), gap=3, horizon=4)
    made = fitted(history, Recorder(), FeaturePlan((NOW,)), [4], gap=3).predict(history, future)
    assert np.isnan(made.y_hat[:, :3]).all()
    assert np.isfinite(made.y_hat[:, 3:]).all()


def test_recursive_trains_on_one_step_ahead():
    history, _ = history_and_future(uneven())
    recorder = Recorder()
    fitted(history, recorder, buckets=None)
    assert [set(b.step.tolist()) for blocks in recorder.designs for b in blocks] == [{1}]


def test_recursive_feeds_its_forecasts_back():
    history, future = history_and_future(panel(rows(periods=20, future=7)))
    doubling = Recorder(rule=lambda X: 2 * X[:, 0])
    made = fitted(history, doubling, FeaturePlan((NOW,))).predict(history, future)
    last = history.y()[history.offsets[1:] - 1].astype(np.float32)
    np.testing.assert_allclose(made.y_hat, last[:, None] * 2.0 ** np.arange(1, 8), rtol=1e-6)


def test_recursive_reads_known_values_at_each_target_date():
    whole = uneven()
    history, future = history_and_future(whole)
    echo = Recorder(rule=lambda X: X[:, 1])
    made = fitted(history, echo).predict(history, future)
    np.testing.assert_allclose(made.y_hat, future.dense(["price"])[..., 0])


def test_recursive_seasonal_lags_come_from_the_forecasts_after_one_season():
    whole = panel(rows(n_series=2, periods=30, future=10), ahead=10)
    history, future = history_and_future(whole, horizon=10)
    echo = Recorder(rule=lambda X: X[:, 0] + 1000)
    made = fitted(history, echo, FeaturePlan((WEEK,)), buckets=None).predict(history, future)
    np.testing.assert_allclose(made.y_hat[:, 7:], made.y_hat[:, :3] + 1000, rtol=1e-6)


@settings(max_examples=10, deadline=None)
@given(horizon=st.integers(1, 200))
def test_default_buckets_increase_and_end_in_the_horizon(horizon: int):
    buckets = default_buckets(horizon)
    assert buckets[-1] == horizon
    assert buckets == sorted(set(buckets))
    assert buckets[0] >= 1


def test_series_keep_their_training_numbers_when_others_come_or_go():
    whole = uneven()
    history, recorder = whole.until(whole.end), Recorder()
    rest = whole.select(np.arange(1, whole.n_series))
    middle = rest.until(whole.end)
    made = fitted(history, recorder, buckets=[1])
    made.predict(middle, future_of(rest, whole.end, 0, 1))
    assert recorder.asked[0].series.tolist() == list(range(1, history.n_series))
    fitted(middle, recorder, buckets=[1]).predict(history, future_of(whole, whole.end, 0, 1))
    assert recorder.asked[1].series.tolist() == [-1, *range(history.n_series - 1)]


def test_shards_are_whole_series_of_so_many_rows_and_the_same_design():
    whole = panel(rows(n_series=5, periods=20, future=7))
    whole = whole.until(whole.end)
    pieces, one = Recorder(), Recorder()
    fitted(whole, pieces, buckets=[7], shard_rows=45)
    fitted(whole, one, buckets=[7])
    assert [sorted(set(b.series.tolist())) for b in pieces.designs[0]] == [[0, 1], [2, 3], [4]]
    (block,) = one.designs[0]
    X = np.concatenate([b.X for b in pieces.designs[0]])
    np.testing.assert_array_equal(X, block.X)


def test_another_history_or_future_is_read_anew():
    whole = uneven()
    history, future = history_and_future(whole, horizon=7)
    other = replace(future, frame=future.frame.with_columns(price=pl.col("price") + 1))
    earlier = history.until(history.end - 7)
    its_future = future_of(whole, earlier.end, 0, 7)
    asked = [(history, future), (history, other), (earlier, its_future), (history, future)]
    recorder = Recorder(rule=lambda X: np.nan_to_num(X).sum(axis=1))
    model = fitted(history, recorder, buckets=[7])
    together = [model.predict(*both).y_hat for both in asked]
    alone = [fitted(history, recorder, buckets=[7]).predict(*both).y_hat for both in asked]
    np.testing.assert_array_equal(together, alone)
    assert len({made.tobytes() for made in together}) == 3
