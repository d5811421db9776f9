from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from engine.contracts import SourceContext
from engine.data.build import build_panel
from engine.data.calendar import Frequency
from engine.data.fill import Missing
from engine.data.panel import Roles
from engine.errors import DataError
from engine_simulate import source as source_module
from engine_simulate.params import SimulateParams
from engine_simulate.source import Simulate

PLAIN = {
    "noise": 0,
    "intermittent": 0,
    "launches": 0,
    "stockouts": 0,
    "promotions": 0,
    "price_changes": 0,
    "weekly": 0,
    "yearly": 0,
    "trend": [0, 0],
}


def source(seed: int = 1, /, **options) -> Simulate:
    return Simulate(SimulateParams(**options), SourceContext(seed, Path()))


def rows(seed: int = 1, /, **options) -> pl.DataFrame:
    """The rows with names as texts, since the Enums hold as many names as there are items."""
    return source(seed, **options).scan().with_columns(pl.col(pl.Enum).cast(pl.String)).collect()


def truth(name: str = "truth", **options) -> pl.DataFrame:
    table = source(**options).artifacts()[name]
    return table.with_columns(pl.col(pl.Enum).cast(pl.String))


def test_importing_the_plugin_loads_no_heavy_module():
    code = (
        "import sys, engine_simulate; "
        "sys.exit(bool({'polars', 'numpy', 'holidays', 'engine_simulate.source'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 2**32 - 1),
    few=st.integers(1, 8),
    more=st.integers(0, 8),
    freq=st.sampled_from(["1d", "1w"]),
)
def test_more_series_leave_the_first_ones_as_they_were(seed, few, more, freq):
    options = {"stores": 3, "periods": 40, "future_periods": 5, "freq": freq, "launches": 0.5}
    small = rows(seed, series=few, **options)
    large = rows(seed, series=few + more, **options)
    assert_frame_equal(large.head(small.height), small)


def test_the_chunks_do_not_show_in_the_rows(monkeypatch):
    whole, whole_truth = rows(series=7, periods=30), truth("truth_rows", series=7, periods=30)
    monkeypatch.setattr(source_module, "CHUNK_ROWS", 100)
    assert_frame_equal(rows(series=7, periods=30), whole)
    assert_frame_equal(truth("truth_rows", series=7, periods=30), whole_truth)


def test_the_same_seed_gives_the_same_rows_and_another_seed_others():
    assert_frame_equal(rows(5, series=4), rows(5, series=4))
    assert_frame_equal(rows(9, series=4, seed=5), rows(5, series=4))
    assert not rows(6, series=4)["units"].equals(rows(5, series=4)["units"])


def test_only_the_known_future_lacks_units_and_stockouts():
    frame = rows(series=10, periods=50, future_periods=6, start="2024-02-01", country="US")
    ahead = pl.col("ds") > dt.date(2024, 3, 21)
    past, future = frame.filter(~ahead), frame.filter(ahead)
    assert future.height == 10 * 6
    assert future["units"].null_count() == future["stockout"].null_count() == future.height
    assert sum(past.null_count().row(0)) == 0
    assert future.drop("units", "stockout").null_count().sum_horizontal().item() == 0


def test_the_rows_make_a_panel():
    frame = source(series=12, periods=60, future_periods=7, launches=0.5)
    panel = build_panel(
        frame.scan(),
        roles=Roles(("item", "store"), ("price", "promo", "holiday"), ("stockout",), ("category",)),
        ds="ds",
        y="units",
        freq=Frequency.parse("1d"),
        missing=Missing(),
        ahead=7,
    )
    assert panel.n_series == 12
    assert panel.lengths.max() == 67


def test_units_scatter_around_the_mean_as_the_noise_says():
    options = {**PLAIN, "series": 1, "level": [20, 20], "periods": 100_000, "future_periods": 0}
    for noise in (0.0, 0.5):
        units = rows(start="1900-01-01", **options | {"noise": noise})["units"]
        variance = 20 + noise * 20**2
        assert units.mean() == pytest.approx(20, abs=5 * np.sqrt(variance / 100_000))
        assert units.var() == pytest.approx(variance, rel=0.04)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_the_mean_is_the_baseline_with_price_and_promotion(seed):
    options = {"series": 3, "periods": 120, "launches": 0.5, "promotions": 12}
    made = source(seed, **options)
    table = made.artifacts()["truth_rows"].join(made.artifacts()["truth"], on=["store", "item"])
    frame = table.join(made.scan().collect(), on=["store", "item", "ds"])
    assert frame.height == made.scan().collect().height
    price = pl.col("price").cast(pl.Float64).round(2) / pl.col("base_price")
    expected = (
        pl.col("baseline")
        * price ** pl.col("elasticity")
        * pl.col("promotion_lift") ** pl.col("promo")
    )
    errors = frame.select((pl.col("mean") / expected - 1).abs().max()).item()
    assert errors < 1e-9
    assert (
        frame.select((pl.col("mean") - pl.col("baseline") - pl.col("uplift")).abs().max()).item()
        == 0
    )


def test_a_regression_on_the_rows_finds_elasticity_and_lift_again():
    options = {**PLAIN, "series": 1, "level": [500, 500], "periods": 1500, "promotions": 15}
    options |= {"price_changes": 6}
    known = truth(**options).row(0, named=True)
    frame = rows(**options).drop_nulls()
    X = np.column_stack(
        [np.ones(frame.height), frame["price"].cast(pl.Float64).log().to_numpy(), frame["promo"]]
    )
    found = np.linalg.lstsq(X, frame["units"].cast(pl.Float64).log().to_numpy(), rcond=None)[0]
    assert found[1] == pytest.approx(known["elasticity"], abs=0.1)
    assert np.exp(found[2]) == pytest.approx(known["promotion_lift"], rel=0.03)


def test_prices_fall_in_promotions_only_and_some_promotions_days_keep_the_price():
    frame = rows(series=20, price_changes=0).with_columns(
        base=pl.col("price").max().over("store", "item")
    )
    outside = frame.filter(pl.col("promo") == 0)
    inside = frame.filter(pl.col("promo") == 1)
    assert (outside["price"] == outside["base"]).all()
    reduced = (inside["price"] < inside["base"]).mean()
    assert 0.3 < reduced < 0.95


def test_stockouts_cut_the_sales_and_take_their_share():
    options = {"series": 40, "intermittent": 0, "stockouts": 0.1, "level": [50, 50]}
    frame = rows(**options).drop_nulls()
    known = truth("truth_rows", **options)
    both = frame.join(known, on=["store", "item", "ds"])
    assert both["stockout"].mean() == pytest.approx(0.1, abs=0.01)
    ratio = both.group_by("stockout").agg(pl.col("units").sum() / pl.col("mean").sum())
    by_flag = dict(ratio.rows())
    assert by_flag[0] == pytest.approx(1, abs=0.02)
    assert by_flag[1] == pytest.approx(0.25, abs=0.03)


def test_intermittent_series_sell_in_their_share_of_periods():
    options = {**PLAIN, "series": 5, "level": [30, 30], "intermittent": 1, "periods": 4000}
    shares = (
        rows(**options).drop_nulls().group_by("store", "item").agg((pl.col("units") > 0).mean())
    )
    both = shares.join(truth(**options), on=["store", "item"])
    assert (both["units"] - both["occurrence"]).abs().max() < 0.04
    assert both["occurrence"].max() <= 0.5


def test_launches_begin_at_the_date_in_the_truth():
    options = {"series": 30, "launches": 0.5, "periods": 100}
    first = rows(**options).group_by("store", "item").agg(pl.col("ds").min())
    both = first.join(truth(**options), on=["store", "item"])
    assert (both["ds"] == both["launch"]).all()
    late = (both["launch"] > dt.date(2022, 1, 3)).sum()
    assert 5 < late < 25
    assert both["launch"].max() < dt.date(2022, 1, 3) + dt.timedelta(days=60)


def test_holidays_of_a_country_are_flagged_by_day_and_by_week():
    days = rows(series=1, launches=0, start="2024-01-01", periods=366, country="US")
    flagged = days.filter(pl.col("holiday") == 1)["ds"].to_list()
    assert dt.date(2024, 7, 4) in flagged and dt.date(2024, 7, 5) not in flagged
    weeks = rows(series=1, launches=0, start="2024-01-01", periods=52, freq="1w", country="US")
    assert weeks.filter(pl.col("ds") == dt.date(2024, 7, 1))["holiday"].item() == 1
    assert weeks["ds"].diff().drop_nulls().unique().to_list() == [dt.timedelta(days=7)]
    assert rows(series=1)["holiday"].sum() == 0


def test_an_unknown_country_is_an_error_with_a_near_code():
    with pytest.raises(DataError, match="no country 'USS'") as error:
        source(country="USS").scan()
    assert "US" in error.value.hint


def test_units_beyond_all_bounds_are_an_error():
    with pytest.raises(DataError, match="would sell"):
        source(series=1, level=[1e6, 1e6], trend=[2, 2], periods=10_000).scan()


def test_a_large_truth_is_left_out(monkeypatch):
    monkeypatch.setattr(source_module, "MOST_TRUTH_ROWS", 1_000)
    tables = source(series=2, periods=600).artifacts()
    assert set(tables) == {"truth"}
    assert tables["truth"].height == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"elasticity": [-1, -2]}, "is empty"),
        ({"elasticity": [-1, 1]}, "must lie within"),
        ({"noise": -1}, "greater than or equal"),
        ({"serie": 3}, "Extra inputs"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        SimulateParams(**options)
