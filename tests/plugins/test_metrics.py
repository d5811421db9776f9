"""Row metrics: each against its formula in plain numpy, for any rows, and what does not count."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

from engine.components import NoParams
from engine.contracts import MetricColumns
from engine.data.forecast import quantile_column
from engine.errors import DataError
from engine_metrics import engine_metrics, params, points, quantiles, scaled

QUANTILES = (0.1, 0.5, 0.9)
COLUMNS = MetricColumns({q: quantile_column(q) for q in QUANTILES}, season=2)
POINTS = {
    "mae": points.MeanAbsoluteError,
    "mse": points.MeanSquaredError,
    "rmse": points.RootMeanSquaredError,
    "rmspe": points.RootMeanSquaredPercentageError,
    "mape": points.MeanAbsolutePercentageError,
    "smape": points.SymmetricPercentageError,
    "wape": points.WeightedAbsolutePercentageError,
    "bias": points.Bias,
}
ALL_METRICS: dict[str, Any] = {
    **{name: made(NoParams()) for name, made in POINTS.items()},
    "mase": scaled.MeanAbsoluteScaledError(params.MaseParams()),
    "rmsse": scaled.RootMeanSquaredScaledError(params.RmsseParams()),
    "pinball": quantiles.Pinball(params.QuantileParams()),
    "wql": quantiles.WeightedQuantileLoss(params.QuantileParams()),
    "coverage": quantiles.Coverage(params.IntervalParams()),
    "width": quantiles.Width(params.IntervalParams()),
}


def score(metric: Any, rows: pl.DataFrame, columns: MetricColumns = COLUMNS) -> float | None:
    """The score of rows as one group, from sums per series that are added up."""
    terms = {k: e.cast(pl.Float64) for k, e in metric.terms(columns).items()}
    sums = rows.with_columns(**terms).group_by("unique_id").agg(pl.col(list(terms)).sum())
    value: float | None = sums.select(pl.all().exclude("unique_id").sum()).select(
        metric.value().alias("value")
    )["value"][0]
    return value


def scale(metric: Any, history: list[float | None], columns: MetricColumns = COLUMNS) -> Any:
    """The scale of a history."""
    return (
        pl.DataFrame({"y": history}, schema={"y": pl.Float64}).select(metric.scale(columns)).item()
    )


def rows_of(y: Any, y_hat: Any, **more: Any) -> pl.DataFrame:
    """Rows of one series, with quantiles at a distance from `y_hat` unless given."""
    frame = pl.DataFrame(
        {"y": y, "y_hat": y_hat, "unique_id": ["a"] * len(y)},
        schema_overrides={"y": pl.Float64, "y_hat": pl.Float64},
    )
    own = {"q0.1": pl.col("y_hat") - 1, "q0.5": pl.col("y_hat"), "q0.9": pl.col("y_hat") + 1}
    return frame.with_columns(**own, scale=2.0).with_columns(**more)


def expected(name: str, a: dict[str, np.ndarray]) -> float:
    """The formula in numpy, over rows that count; NaN where there is nothing to divide by."""
    y, f = a["y"], a["y_hat"]
    e = f - y
    with np.errstate(all="ignore"):
        nonzero = y != 0
        both = np.where(np.abs(y) + np.abs(f) == 0, 1, np.abs(y) + np.abs(f))
        size = np.abs(y).sum()
        losses = [np.maximum(q * (y - a[f"q{q}"]), (q - 1) * (y - a[f"q{q}"])) for q in QUANTILES]
        known = a["scale"] > 0
        value = {
            "mae": np.abs(e).mean(),
            "mse": (e**2).mean(),
            "rmse": np.sqrt((e**2).mean()),
            "rmspe": np.sqrt(((e / y)[nonzero] ** 2).mean()),
            "mape": 100 * np.abs((e / y)[nonzero]).mean(),
            "smape": (200 * np.abs(e) / both).mean(),
            "wape": np.abs(e).sum() / size,
            "bias": e.sum() / size,
            "mase": (np.abs(e) / a["scale"])[known].mean(),
            "rmsse": np.sqrt((e**2 / a["scale"])[known].mean()),
            "pinball": np.mean(losses),
            "wql": np.mean([2 * loss.sum() / size for loss in losses]),
            "coverage": ((a["q0.1"] <= y) & (y <= a["q0.9"])).mean(),
            "width": (a["q0.9"] - a["q0.1"]).sum() / size,
        }[name]
    return float(value) if np.isfinite(value) else math.nan


number = st.one_of(
    st.just(0.0), st.floats(0.01, 1e4), st.floats(-1e4, -0.01), st.none(), st.just(math.nan)
)
any_rows = st.lists(
    st.fixed_dictionaries(
        {
            "unique_id": st.sampled_from(["a", "b", "c"]),
            "y": number,
            "y_hat": number,
            "q0.1": number,
            "q0.5": number,
            "q0.9": number,
            "scale": st.one_of(st.none(), st.just(0.0), st.floats(0.01, 100)),
        }
    ),
    min_size=1,
    max_size=25,
)
SCHEMA = {
    "unique_id": pl.String,
    **dict.fromkeys(["y", "y_hat", "q0.1", "q0.5", "q0.9", "scale"], pl.Float64),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", list(ALL_METRICS))
@given(data=any_rows)
@settings(max_examples=40, deadline=None)
def test_pooled_sums_give_the_formula(name: str, data: list[dict[str, Any]]) -> None:
    rows = pl.DataFrame(data, schema=SCHEMA)
    needed = ["y", "y_hat"]
    needed += {"coverage": ["q0.1", "q0.9"], "width": ["q0.1", "q0.9"]}.get(name, [])
    needed += ["q0.1", "q0.5", "q0.9"] if name in ("pinball", "wql") else []
    good = rows.fill_nan(None).drop_nulls(needed)
    arrays = {c: good[c].fill_null(math.nan).to_numpy() for c in list(SCHEMA)[1:]}
    value = score(ALL_METRICS[name], rows)
    wanted = expected(name, arrays)
    if math.isnan(wanted):
        assert value is None
    else:
        assert value == pytest.approx(wanted, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", list(ALL_METRICS))
@given(data=any_rows, seed=st.integers(0, 100))
@settings(max_examples=15, deadline=None)
def test_the_order_of_rows_changes_nothing(name: str, data: Any, seed: int) -> None:
    rows = pl.DataFrame(data, schema=SCHEMA)
    shuffled = rows.sample(fraction=1.0, shuffle=True, seed=seed).select(reversed(rows.columns))
    before, after = score(ALL_METRICS[name], rows), score(ALL_METRICS[name], shuffled)
    assert after == (None if before is None else pytest.approx(before, rel=1e-9, abs=1e-12))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mae", 7 / 3),
        ("mse", 7.0),
        ("rmse", math.sqrt(7)),
        ("rmspe", math.sqrt((0.25 + 0.01) / 2)),
        ("mape", 30.0),
        ("smape", (40 + 200 / 19 + 200) / 3),
        ("wape", 0.5),
        ("bias", 5 / 14),
    ],
)
def test_hand_computed_values(name: str, value: float) -> None:
    rows = rows_of([4.0, 10.0, 0.0], [6.0, 9.0, 4.0])  # errors 2, -1, 4
    assert score(ALL_METRICS[name], rows) == pytest.approx(value)


def test_smape_of_zero_and_zero_is_zero_and_counts() -> None:
    assert score(ALL_METRICS["smape"], rows_of([0.0, 1.0], [0.0, 3.0])) == pytest.approx(50.0)


@pytest.mark.parametrize("name", list(ALL_METRICS))
def test_nothing_that_counts_is_null_and_not_nan(name: str) -> None:
    assert score(ALL_METRICS[name], rows_of([None, 3.0], [2.0, None])) is None


def test_mase_scale_is_the_seasonal_naive_error_of_the_history() -> None:
    metric = ALL_METRICS["mase"]
    assert scale(metric, [1.0, 5.0, 2.0, 9.0]) == pytest.approx((1 + 4) / 2)
    daily = scaled.MeanAbsoluteScaledError(params.MaseParams(season=1))
    assert scale(daily, [1.0, None, 2.0, 9.0]) == pytest.approx(7.0)
    assert scale(metric, [1.0, 5.0]) is None


def test_rmsse_scale_begins_with_the_first_sale() -> None:
    metric = ALL_METRICS["rmsse"]
    assert scale(metric, [0.0, 0.0, 3.0, 1.0, 1.0]) == pytest.approx((4 + 0) / 2)
    assert scale(metric, [None, 0.0, 3.0, None, 1.0, 4.0]) == pytest.approx(9.0)
    assert scale(metric, [0.0, 0.0]) is None


def test_series_with_a_constant_history_do_not_count_in_scaled_errors() -> None:
    rows = rows_of([1.0, 2.0], [2.0, 4.0], scale=pl.Series([0.0, 4.0]))
    assert score(ALL_METRICS["mase"], rows) == pytest.approx(0.5)
    assert score(ALL_METRICS["rmsse"], rows) == pytest.approx(1.0)
    assert ALL_METRICS["mase"].pool == ALL_METRICS["rmsse"].pool == "series"


def test_pinball_at_the_median_is_half_the_absolute_error() -> None:
    metric = quantiles.Pinball(params.QuantileParams(quantiles=[0.5]))
    rows = rows_of([3.0, 8.0], [5.0, 4.0])
    assert score(metric, rows) == pytest.approx(score(ALL_METRICS["mae"], rows) / 2)  # type: ignore[operator]


def test_pinball_is_smallest_at_the_true_quantile() -> None:
    y = np.arange(1.0, 101.0)
    metric = quantiles.Pinball(params.QuantileParams(quantiles=[0.9]))
    at = {x: score(metric, rows_of(y, y, **{"q0.9": pl.lit(x)})) for x in (80.0, 90.0, 97.0)}
    assert min(at, key=at.__getitem__) == 90.0  # type: ignore[arg-type]


def test_coverage_takes_the_outermost_symmetrical_interval_or_a_named_one() -> None:
    columns = MetricColumns({q: f"q{q}" for q in (0.05, 0.1, 0.25, 0.5, 0.75, 0.9)}, season=1)
    rows = rows_of([5.0] * 4, [5.0] * 4).with_columns(
        pl.lit(9.0).alias("q0.05"),
        pl.Series("q0.25", [4.0, 4.0, 6.0, 6.0]),
        pl.lit(6.0).alias("q0.75"),
        pl.Series("q0.9", [6.0, 4.0, 6.0, 6.0]),
    )

    def covered(**options: float) -> float | None:
        return score(quantiles.Coverage(params.IntervalParams(**options)), rows, columns)

    assert covered() == pytest.approx(0.75)
    assert covered(level=0.8) == pytest.approx(0.75)
    assert covered(level=0.5) == pytest.approx(0.5)
    assert covered(lower=0.05, upper=0.9) == 0.0


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (quantiles.Pinball(params.QuantileParams(quantiles=[0.3, 0.5])), "needs quantiles 0.3;"),
        (quantiles.WeightedQuantileLoss(params.QuantileParams(quantiles=[0.7])), "0.7"),
        (quantiles.Coverage(params.IntervalParams(level=0.9)), "0.05, 0.95"),
        (quantiles.Width(params.IntervalParams(lower=0.1, upper=0.8)), "0.8"),
    ],
)
def test_quantiles_that_are_not_there_are_named(metric: Any, said: str) -> None:
    with pytest.raises(DataError) as caught:
        metric.terms(COLUMNS)
    assert said in caught.value.message and caught.value.hint


@pytest.mark.parametrize("columns", [{}, {0.1: "q0.1"}])
def test_without_a_pair_of_quantiles_there_is_no_interval(columns: dict[float, str]) -> None:
    with pytest.raises(DataError, match="needs two quantiles q and 1 - q"):
        ALL_METRICS["coverage"].terms(MetricColumns(columns, season=1))


def test_a_run_without_quantiles_has_no_pinball_loss() -> None:
    with pytest.raises(DataError, match="the run makes none"):
        ALL_METRICS["pinball"].terms(MetricColumns({}, season=1))


@pytest.mark.parametrize(
    ("made", "options"),
    [
        (params.MaseParams, {"season": 0}),
        (params.QuantileParams, {"quantiles": [0.1, 1.0]}),
        (params.QuantileParams, {"quantiles": [0.1, 0.1]}),
        (params.QuantileParams, {"quantiles": []}),
        (params.IntervalParams, {"level": 80}),
        (params.IntervalParams, {"lower": 0.1}),
        (params.IntervalParams, {"lower": 0.9, "upper": 0.1}),
        (params.IntervalParams, {"level": 0.8, "lower": 0.1, "upper": 0.9}),
        (params.RmsseParams, {"seasons": 7}),
    ],
)
def test_options_out_of_range_are_refused(made: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        made.model_validate(options)


def test_records_name_classes_that_exist_and_say_how_to_read_them() -> None:
    for record in engine_metrics():
        module, _, name = record.factory.partition(":")
        made = getattr(__import__(module, fromlist=[name]), name)
        assert made.unit and made.better in ("lower", "higher", "none"), record.name
        assert (made.__doc__ and "=" in made.__doc__) or record.name == "pinball"


def test_records_import_nothing_heavy() -> None:
    code = "import engine_metrics, sys; print('polars' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
