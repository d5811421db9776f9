from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from engine.calibrate import FEW, Calibration, calibrate, conformal_quantiles, history_size
from engine.data.forecast import ordered_quantiles
from engine.data.panel import Panel
from tests.panels import START, panel

QUANTILES = [0.1, 0.5, 0.9]
NAMES = ["q0.1", "q0.5", "q0.9"]
STEPS = 4
PERIODS = 60


def world(n_series: int = 50, seed: int = 0, level: float = 100.0) -> Panel:
    """Series of independent noise around one level, so that errors are exchangeable."""
    noise = np.random.default_rng(seed).normal(0, 10, (n_series, PERIODS))
    frame = pl.DataFrame(
        {
            "store": np.repeat(np.arange(n_series), PERIODS),
            "ds": [START + dt.timedelta(days=i) for i in range(PERIODS)] * n_series,
            "y": level + noise.ravel(),
        }
    )
    return panel(frame, future=(), past=(), static=(), ahead=0)


def forecasts(whole: Panel, cutoffs: list[int], y_hat: float = 100.0) -> pl.DataFrame:
    """The same forecast everywhere, without quantiles; cutoffs count days back from the end."""
    rows = [
        (uid, whole.grid.timestamp(whole.end - back + step), whole.end - back, step, "m", y_hat)
        for back in cutoffs
        for uid in whole.ids
        for step in range(1, STEPS + 1)
    ]
    schema = {
        "unique_id": pl.String,
        "ds": pl.Date,
        "cutoff": pl.Int64,
        "step": pl.Int32,
        "model": pl.String,
        "y_hat": pl.Float64,
    }
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    frame = frame.with_columns(pl.col("unique_id").cast(whole.frame.schema["unique_id"]))
    return frame.with_columns(pl.lit(None, dtype=pl.Float64).alias(n) for n in NAMES)


def calibrated(
    whole: Panel,
    rows: pl.DataFrame,
    actual: pl.DataFrame | None = None,
    minimum: float | None = None,
) -> Calibration:
    actual = whole.frame.select("unique_id", "ds", "y") if actual is None else actual
    return calibrate(rows, rows, actual, whole, QUANTILES, minimum)


def test_coverage_of_exchangeable_data_is_near_the_nominal_one():
    whole = world(n_series=150)
    made = calibrated(whole, forecasts(whole, [12, 8, 4])).forecasts
    scored = made.filter(cutoff=whole.end - 4).join(whole.frame, on=["unique_id", "ds"])
    below = [float((scored["y"] <= scored[name]).mean()) for name in NAMES]  # type: ignore[arg-type]
    assert below == pytest.approx(QUANTILES, abs=0.06)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99), level=st.sampled_from([-50.0, 0.0, 3.0, 1e4]))
def test_quantiles_never_cross(seed: int, level: float):
    whole = world(n_series=5, seed=seed, level=level)
    made = calibrated(whole, forecasts(whole, [12, 8, 4], y_hat=level)).forecasts
    values = made.filter(cutoff=whole.end - 4).select(NAMES).to_numpy()
    assert (np.diff(values, axis=1) >= 0).all()
    assert np.isfinite(values).all()


def test_only_residuals_known_at_the_cutoff_are_used():
    whole = world()
    rows = forecasts(whole, [8, 6, 4])
    cutoff = whole.end - 6
    later = pl.col("ds") > pl.lit(whole.grid.timestamp(cutoff))
    actual = whole.frame.select("unique_id", "ds", "y")
    spoiled = actual.with_columns(y=pl.when(later).then(1e6).otherwise("y"))
    made = [
        calibrated(whole, rows, each).forecasts.filter(cutoff=cutoff) for each in (actual, spoiled)
    ]
    assert made[0].equals(made[1])
    assert made[0]["q0.5"].null_count() == 0


def test_actuals_known_at_the_cutoff_do_change_its_quantiles():
    whole = world()
    rows, cutoff = forecasts(whole, [8, 4]), whole.end - 4
    actual = whole.frame.select("unique_id", "ds", "y")
    made = [
        calibrated(whole, rows, each).forecasts.filter(cutoff=cutoff)["q0.9"][0]
        for each in (actual, actual.with_columns(pl.col("y") + 50))
    ]
    assert made[1] > made[0] + 40


def test_the_first_cutoff_has_no_residuals_and_stays_null():
    whole = world()
    made = calibrated(whole, forecasts(whole, [8, 4]))
    first = made.forecasts.filter(cutoff=whole.end - 8)
    assert first.select(NAMES).null_count().row(0) == (first.height,) * 3
    counts = {whole.end - r["cutoff"]: r["residuals"] for r in made.records}
    assert counts == {8: 0, 4: 50 * STEPS}


def test_no_row_is_lost_or_reordered():
    whole = world(n_series=3)
    rows = forecasts(whole, [12, 8, 4])
    place = ["model", "cutoff", "unique_id", "step", "y_hat"]
    assert calibrated(whole, rows).forecasts.select(place).equals(rows.sort(place).select(place))


def test_quantiles_do_not_go_below_the_minimum():
    whole = world(level=5.0)
    made = calibrated(whole, forecasts(whole, [8, 4], y_hat=5.0), minimum=0.0).forecasts
    last = made.filter(cutoff=whole.end - 4)
    assert last["q0.1"].min() == 0.0
    free = calibrated(whole, forecasts(whole, [8, 4], y_hat=5.0)).forecasts
    assert free["q0.1"].min() < 0.0  # type: ignore[operator]


def test_models_with_their_own_quantiles_are_left_alone():
    whole = world(n_series=4)
    bare = forecasts(whole, [8, 4])
    own = bare.with_columns(
        pl.lit("own").alias("model"),
        *(pl.lit(v).alias(n) for n, v in zip(NAMES, (1.0, 2.0, 3.0), strict=True)),
    )
    made = calibrated(whole, pl.concat([bare, own]))
    kept = made.forecasts.filter(model="own")
    assert kept.select(NAMES).unique().rows() == [(1.0, 2.0, 3.0)]
    assert {r["model"] for r in made.records} == {"m"}


def test_each_step_has_its_own_residuals_once_there_are_enough():
    whole = world(n_series=FEW)
    rows = forecasts(whole, [8, 4])
    far = whole.frame.select("unique_id", "ds", "y").with_columns(
        y=pl.when(pl.col("ds") == whole.grid.timestamp(whole.end - 4)).then(500.0).otherwise("y")
    )
    made = calibrated(whole, rows, far).forecasts.filter(cutoff=whole.end - 4)
    by_step = made.group_by("step").agg(pl.col("q0.9").min()).sort("step")["q0.9"].to_list()
    assert by_step[3] > 400
    assert max(by_step[:3]) < 200


def test_the_size_of_a_series_is_that_of_its_history():
    whole = world(n_series=2)
    (cutoff,) = [whole.end - 10]
    sizes = history_size(whole, [cutoff])["size"].to_numpy()
    y = whole.y().reshape(2, PERIODS)[:, : PERIODS - 10]
    np.testing.assert_allclose(sizes, np.abs(y).mean(axis=1))


@pytest.mark.parametrize(
    ("n", "quantile", "expected"),
    [(9, 0.1, 1), (9, 0.5, 5), (9, 0.9, 9), (19, 0.1, 2), (19, 0.95, 19), (4, 0.9, 4), (4, 0.1, 1)],
)
def test_order_statistics_have_the_finite_sample_correction(n: int, quantile: float, expected: int):
    """ceil((n + 1) q)-th smallest, as in Vovk, Gammerman & Shafer (2005)."""
    scores = np.arange(n, 0, -1.0)
    assert conformal_quantiles(scores, [quantile]) == [expected]


@settings(max_examples=20, deadline=None)
@given(values=st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 3), min_size=1, max_size=5))
def test_quantiles_of_models_are_put_in_order(values: list[tuple[float, ...]]):
    made = ordered_quantiles(pl.DataFrame(values, schema=NAMES, orient="row"))
    assert made.rows() == [tuple(sorted(row)) for row in values]
