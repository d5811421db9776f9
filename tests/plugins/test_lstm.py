from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

from engine.contracts import Prediction, Training
from engine.data.fill import Missing
from engine.data.panel import Future, Panel
from engine.errors import DataError
from engine.future import future_of
from engine_lstm.params import LstmParams
from tests.panels import history_and_future, panel, rows

pytest.importorskip("jax")

import jax.numpy as jnp

from engine_lstm import training
from engine_lstm.ahead import forecast
from engine_lstm.data import encode, learn_encoding
from engine_lstm.fitted import FittedLstm
from engine_lstm.model import Lstm
from engine_lstm.network import fork

ROOT = Path(__file__).parents[2]
HORIZON = 7
QUANTILES = (0.1, 0.5, 0.9)
HOLES = Missing(y="drop", columns={"price": "keep", "temperature": "keep"})
SMALL: dict[str, Any] = {
    "hidden": 8,
    "decoder_hidden": 8,
    "context": 16,
    "batch": 16,
    "epochs": 3,
    "batches_per_epoch": 5,
    "learning_rate": 0.01,
}


def training_of(
    history: Panel, quantiles: tuple[float, ...] = QUANTILES, gap: int = 0, **changes: Any
) -> Training:
    base = {"horizon": HORIZON - gap, "season": 7, "seed": 11, "report": lambda *_: None}
    return Training(panel=history, gap=gap, quantiles=quantiles, **{**base, **changes})


def fit(history: Panel, quantiles: tuple[float, ...] = QUANTILES, **options: Any) -> FittedLstm:
    return Lstm(LstmParams(**{**SMALL, **options})).fit(training_of(history, quantiles))


def case(
    n_series: int = 3, periods: int = 60, gap: int = 0, **columns: Any
) -> tuple[Panel, Future]:
    """A week ahead of daily sales; prices and temperatures have holes. One shape: one compilation."""
    whole = panel(holed(rows(n_series, periods, future=HORIZON, **columns)), missing=HOLES)
    return history_and_future(whole, gap, HORIZON - gap)


def holed(frame: pl.DataFrame) -> pl.DataFrame:
    time = pl.int_range(pl.len()).over("store")
    return frame.with_columns(
        temperature=pl.when(time % 3 > 0).then(pl.col("temperature")),
        price=pl.when(time % 4 > 0).then(pl.col("price")),
    )


def flagged(future: Future, promo: float) -> Future:
    changed = future.frame.with_columns(promo=pl.lit(promo))
    return Future(changed, future.n_series, future.gap, future.horizon)


def same(first: Prediction, second: Prediction) -> bool:
    assert first.quantiles is not None and second.quantiles is not None
    return bool((first.y_hat == second.y_hat).all() and (first.quantiles == second.quantiles).all())


@pytest.fixture(scope="module")
def fitted() -> FittedLstm:
    return fit(case()[0])


def test_naming_the_model_imports_none_of_its_libraries() -> None:
    code = (
        "import sys, engine_lstm; print(sorted(m for m in sys.modules if m in "
        "('jax', 'flax', 'optax', 'safetensors', 'pandas', 'engine_lstm.model')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_step_of_gap_and_horizon_is_forecast() -> None:
    history, future = case(gap=2)
    fitted = Lstm(LstmParams(**SMALL)).fit(training_of(history, gap=2))
    prediction = fitted.predict(history, future)
    assert prediction.y_hat.shape == (3, 7)
    assert prediction.quantiles is not None and prediction.quantiles.shape == (3, 7, 3)
    assert np.isfinite(prediction.y_hat).all() and not prediction.failures


def test_quantiles_come_in_the_asked_order_around_the_median() -> None:
    history, future = case()
    prediction = fit(history, (0.9, 0.1)).predict(history, future)
    assert prediction.quantiles is not None
    high, low = prediction.quantiles[..., 0], prediction.quantiles[..., 1]
    assert (low < prediction.y_hat).all() and (prediction.y_hat < high).all()


@pytest.mark.slow
def test_without_asked_quantiles_there_are_none() -> None:
    history, future = case()
    prediction = fit(history, ()).predict(history, future)
    assert prediction.quantiles is None and np.isfinite(prediction.y_hat).all()


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 3))
def test_fork_reads_the_dates_that_follow_each_origin(origins: int, steps: int, n: int) -> None:
    dates = np.arange(2 * (origins + steps - 1) * n).reshape(2, origins + steps - 1, n)
    forked = np.asarray(fork(jnp.asarray(dates), origins, steps))
    for origin in range(origins):
        assert (forked[:, origin] == dates[:, origin : origin + steps]).all()


def test_the_same_seed_gives_the_same_bits_and_another_does_not(fitted: FittedLstm) -> None:
    history, future = case()
    first = fitted.predict(history, future)
    assert same(first, fit(history).predict(history, future))
    other = Lstm(LstmParams(**SMALL)).fit(training_of(history, seed=12))
    assert not same(first, other.predict(history, future))


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param(
            {"loss": "mse", "layers": 2, "ensemble": 2, "log1p": True}, marks=pytest.mark.slow
        ),
    ],
)
def test_a_saved_model_forecasts_the_same_bits_elsewhere(tmp_path: Path, options: dict) -> None:
    history, future = case()
    fitted = fit(history, **options)
    fitted.save(tmp_path / "model")
    code = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from engine_lstm.model import Lstm; from tests.plugins.test_lstm import case\n"
        "p = Lstm.load(Path(sys.argv[1]) / 'model').predict(*case())\n"
        "np.savez(Path(sys.argv[1]) / 'out.npz', y_hat=p.y_hat, quantiles=p.quantiles)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=ROOT)
    with np.load(tmp_path / "out.npz") as out:
        assert same(fitted.predict(history, future), Prediction(out["y_hat"], out["quantiles"]))
    assert Lstm.load(tmp_path / "model").tables()["learning_curve"].equals(fitted.curve)
    assert not list((tmp_path / "model").glob("*.pkl"))


def test_a_model_of_another_version_is_refused(tmp_path: Path, fitted: FittedLstm) -> None:
    fitted.save(tmp_path)
    about = tmp_path / "model.json"
    about.write_text(about.read_text().replace('"format": 3', '"format": 99'))
    with pytest.raises(DataError, match=r"format 99[\s\S]*train the model again"):
        FittedLstm.load(tmp_path)


def test_fitting_and_forecasting_leave_the_inputs_alone() -> None:
    history, future = case()
    before = history.frame.clone(), history.series.clone(), future.frame.clone()
    fit(history).predict(history, future)
    assert history.frame.equals(before[0]) and history.series.equals(before[1])
    assert future.frame.equals(before[2])


def test_a_second_fold_with_a_new_series_compiles_nothing() -> None:
    late = (pl.col("store") != 3) | (pl.int_range(pl.len()).over("store") > 67)
    frame = holed(rows(3, 70, future=HORIZON)).filter(late)
    whole = panel(frame, missing=HOLES)
    functions = (
        training.first_states,
        training.run_epoch.jitted,
        training.validation_loss.jitted,
        training.better,
        forecast.jitted,
    )

    def compiled() -> list[int]:
        return [function._cache_size() for function in functions]

    def fold(end: int, **options: Any) -> int:
        history = whole.until(end)
        fit(history, **options).predict(history, future_of(whole, end, 0, HORIZON))
        return history.n_series

    assert fold(whole.end - 5) == 2
    after_first = compiled()
    assert min(after_first) > 0
    assert fold(whole.end, epochs=4, batches_per_epoch=7, learning_rate=0.02) == 3
    assert compiled() == after_first


def test_missing_values_and_short_or_empty_series_get_finite_forecasts() -> None:
    late = (pl.col("store") != 3) | (pl.int_range(pl.len()).over("store") > 56)
    frame = holed(rows(3, 60, future=HORIZON)).filter(late)
    history, future = history_and_future(panel(frame, missing=HOLES))
    lost = (pl.col("unique_id") == "2") | (pl.int_range(pl.len()) % 5 == 0)
    history = history.with_frame(history.frame.with_columns(y=pl.when(~lost).then(pl.col("y"))))
    prediction = fit(history).predict(history, future)
    assert history.lengths.tolist() == [60, 60, 3] and prediction.y_hat.shape == (3, HORIZON)
    assert prediction.quantiles is not None and np.isfinite(prediction.quantiles).all()
    assert np.isfinite(prediction.y_hat).all() and not prediction.failures


def test_a_constant_zero_target_is_forecast_as_zero() -> None:
    history, future = case(y=pl.when(pl.col("y").is_not_null()).then(0.0))
    assert (fit(history).predict(history, future).y_hat == 0).all()


def test_what_is_known_at_a_date_does_not_depend_on_later_values() -> None:
    history, _ = case()
    late = pl.int_range(pl.len()).over("unique_id") >= 40
    changed = history.with_frame(
        history.frame.with_columns(
            pl.when(late).then(pl.col(c) * 9 + 1).otherwise(c) for c in ("y", "temperature")
        )
    )
    encoding = learn_encoding(history, span=16, season=7, season_terms=3, static_keys=True)
    first, second = encode(history, encoding), encode(changed, encoding)
    for name in ("own", "known", "level", "scale"):
        before, after = getattr(first, name), getattr(second, name)
        assert (before[:, :40] == after[:, :40]).all(), name
    assert (first.own[:, 40:] != second.own[:, 40:]).any()


def test_forecasts_scale_with_the_target() -> None:
    history, future = case()
    larger = history.with_frame(history.frame.with_columns(pl.col("y") * 1024))
    small, large = (fit(h).predict(h, future).y_hat for h in (history, larger))
    np.testing.assert_allclose(large, small * 1024, rtol=1e-3)


def test_text_covariates_are_left_out() -> None:
    whole = rows(future=HORIZON).with_columns(event=pl.lit("none"))
    whole = panel(holed(whole), future=("promo", "price", "event"), missing=HOLES)
    history, future = history_and_future(whole)
    plain_history, plain_future = case()
    with_text = fit(history).predict(history, future)
    assert same(with_text, fit(plain_history).predict(plain_history, plain_future))


def test_series_are_forecast_alike_alone_and_in_chunks(monkeypatch, fitted: FittedLstm) -> None:
    history, future = case(n_series=70)
    at_once = fitted.predict(history, future).y_hat
    monkeypatch.setattr("engine_lstm.fitted._CHUNK", 64)
    np.testing.assert_allclose(fitted.predict(history, future).y_hat, at_once, rtol=1e-5)
    alone = Future(future.frame[-HORIZON:], 1, 0, HORIZON)
    np.testing.assert_allclose(
        fitted.predict(history.select([69]), alone).y_hat, at_once[69:], rtol=1e-5
    )


def test_another_horizon_than_the_trained_one_is_an_error(fitted: FittedLstm) -> None:
    whole = panel(holed(rows(future=HORIZON)), missing=HOLES)
    history, future = history_and_future(whole, horizon=5)
    with pytest.raises(DataError, match=r"asked for 5 steps .* trained for 7"):
        fitted.predict(history, future)


def test_a_panel_without_a_target_is_an_error() -> None:
    history, _ = case()
    empty = history.with_frame(history.frame.with_columns(y=pl.lit(None, pl.Float64)))
    with pytest.raises(DataError, match="none of the 3 series has an observed y"):
        fit(empty)
    with pytest.raises(DataError, match="none of the 3 series has two observed values"):
        fit(history.tail(1))


def test_a_warm_up_as_long_as_the_context_is_refused() -> None:
    with pytest.raises(ValidationError, match="must be smaller than context"):
        LstmParams(context=10, warm_up=10)


def test_each_epoch_is_reported_and_kept_in_the_learning_curve() -> None:
    history, _ = case()
    events: list[tuple[str, dict]] = []
    train = training_of(history, report=lambda name, values: events.append((name, dict(values))))
    curve = Lstm(LstmParams(**SMALL)).fit(train).tables()["learning_curve"]
    assert curve.columns == ["epoch", "train_loss", "validation_loss"]
    assert [(name, e["epoch"], e["of"]) for name, e in events] == [
        ("epoch", i, 3) for i in (1, 2, 3)
    ]
    assert [e["validation_loss"] for _, e in events] == curve["validation_loss"].to_list()


def test_training_stops_when_validation_no_longer_improves() -> None:
    history, _ = case(y=pl.when(pl.col("y").is_not_null()).then(pl.col("y").shuffle(seed=1)))
    curve = fit(history, epochs=200, patience=2, learning_rate=0.03).curve
    assert curve.height < 200
    best = curve["validation_loss"].arg_min()
    assert best == curve.height - 3


def test_without_validation_all_epochs_run_and_none_is_scored() -> None:
    curve = fit(case()[0], validation=0, patience=1).curve
    assert curve.height == 3 and curve["validation_loss"].null_count() == 3


def test_refitting_on_everything_sees_the_newest_targets(fitted: FittedLstm) -> None:
    history, future = case()
    again = fit(history, refit_all=True)
    assert again.curve.equals(fitted.curve)
    assert not same(again.predict(history, future), fitted.predict(history, future))


def test_a_promotion_ahead_raises_the_forecast() -> None:
    history, future = case(periods=100)
    fitted = fit(history, epochs=15, batches_per_epoch=20, validation=0)
    on = fitted.predict(history, flagged(future, 1.0)).y_hat
    off = fitted.predict(history, flagged(future, 0.0)).y_hat
    assert (on > off).all() and on.mean() > 1.2 * off.mean()


@pytest.mark.slow
def test_it_beats_the_seasonal_naive_where_promotions_drive_sales() -> None:
    whole = panel(rows(10, 300, seed=5), ahead=0)
    cutoff = whole.end - 28
    history, future = whole.until(cutoff), future_of(whole, cutoff, 0, 28)
    train = training_of(history, horizon=28)
    fitted = Lstm(LstmParams(hidden=32, decoder_hidden=32, epochs=6)).fit(train)
    y = whole.dense(["y"])[..., 0]
    actual, last_week = y[:, -28:], np.tile(y[:, -35:-28], 4)
    error = np.abs(fitted.predict(history, future).y_hat - actual).sum()
    assert error < 0.5 * np.abs(last_week - actual).sum()
