from __future__ import annotations

import datetime as dt
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

from engine.contracts import FeatureSet
from engine.data.build import build_panel
from engine.data.calendar import Frequency
from engine.data.fill import Missing
from engine.data.panel import Panel, Roles
from engine.errors import DataError
from engine.features import (
    FeaturePlan,
    add_cross_sections,
    evaluate,
    feature_context,
    known_rows,
    plan_features,
)
from engine.registry import build
from engine_promo import engine_features
from tests.panels import history_and_future, panel, rows

NAN = float("nan")
EVERYTHING = {
    "price": "price",
    "change": [1, 4],
    "discount": [4],
    "flags": "promo",
    "lead": [1],
    "lag": [1, 2],
    "since": True,
    "since_cap": 5,
}
prices = st.lists(st.sampled_from([0.0, 1.0, 2.5, 4.0]), min_size=1, max_size=20)


def promo(whole: Panel, **options) -> FeatureSet:
    return build(next(engine_features()), options).build(feature_context(whole, 7, 0))


def plan_of(whole: Panel, **options) -> FeaturePlan:
    builder = build(next(engine_features()), options)
    return plan_features([("promo", builder)], feature_context(whole, 7, 0))


def values(whole: Panel, **options) -> dict[str, np.ndarray]:
    """Values of the features over all rows of a panel, by the engine's own pass."""
    plan = plan_of(whole, **options)
    wide = add_cross_sections(whole, plan.cross_sections)
    return dict(zip(plan.names, evaluate(wide.frame, plan.features), strict=True))


def shelf(price: dict[str, Sequence[float | None]], promo: Sequence[float] = ()) -> Panel:
    """Daily prices by `store/brand`, as a panel with those two keys and a `tier` for each brand."""
    frames = [
        pl.DataFrame(
            {
                "store": name.split("/")[0],
                "brand": name.split("/")[1],
                "tier": "cheap" if name.endswith(("a", "b")) else "dear",
                "ds": [dt.date(2024, 1, 1) + dt.timedelta(days=t) for t in range(len(column))],
                "y": 1.0,
                "price": pl.Series(column, dtype=pl.Float64),
                "promo": pl.Series(promo or [0.0] * len(column), dtype=pl.Float64),
            }
        )
        for name, column in price.items()
    ]
    return build_panel(
        pl.concat(frames),
        roles=Roles(("store", "brand"), ("price", "promo"), (), ("tier",)),
        ds="ds",
        y="y",
        freq=Frequency.parse("1d"),
        missing=Missing(columns={"price": "keep"}),
    )


def check(made: np.ndarray, expected: Sequence[float]) -> None:
    np.testing.assert_allclose(made, np.array(expected), rtol=1e-5, atol=1e-6)


def test_prices_are_logarithms_and_none_where_there_is_no_price():
    whole = shelf({"1/a": [1.0, np.e, 0.0, None]})
    check(values(whole, price="price")["promo_price_log"], [0, 1, NAN, NAN])
    check(values(whole, price="price", log=False)["promo_price"], [1, np.e, 0, NAN])


@given(prices)
@settings(max_examples=40, deadline=None)
def test_change_and_discount_compare_with_own_prices(column):
    made = values(shelf({"1/a": column}), price="price", change=[3], discount=[3])
    change, discount = [], []
    for t, price in enumerate(column):
        before = [p for p in column[max(0, t - 3) : t] if p > 0]
        window = [p for p in column[max(0, t - 2) : t + 1] if p > 0]
        change.append(price / np.mean(before) - 1 if price > 0 and before else NAN)
        discount.append(1 - price / max(window) if price > 0 else NAN)
    check(made["promo_price_change_3"], change)
    check(made["promo_price_discount_3"], discount)


def test_group_prices_leave_the_own_price_out_of_the_mean():
    whole = shelf({"1/a": [2.0], "1/b": [4.0], "1/c": [6.0], "2/a": [5.0]})
    made = values(whole, group={"by": ["store"], "of": "price", "stats": ["mean", "min", "rank"]})
    check(made["promo_price_to_store_mean"], [2 / 5 - 1, 0, 1, NAN])
    check(made["promo_price_to_store_min"], [0, 1, 2, 0])
    check(made["promo_price_to_store_rank"], [0, 0.5, 1, NAN])


def test_groups_are_made_of_keys_statics_and_everything():
    whole = shelf({"1/a": [2.0], "1/b": [4.0], "1/c": [6.0], "2/a": [5.0]})
    made = values(whole, price="price", group=[{"by": ["store", "tier"]}, {"by": []}])
    check(made["promo_price_to_store_tier_mean"], [2 / 4 - 1, 4 / 2 - 1, NAN, NAN])
    check(made["promo_price_to_all_mean"], [2 / 5 - 1, 4 * 3 / 13 - 1, 6 * 3 / 11 - 1, 5 / 4 - 1])


def test_missing_prices_count_for_nobody():
    made = values(
        shelf({"1/a": [2.0], "1/b": [None], "1/c": [3.0], "1/d": [0.0]}),
        price="price",
        group={"by": ["store"], "stats": ["mean", "rank"]},
    )
    check(made["promo_price_to_store_mean"], [2 / 3 - 1, NAN, 0.5, NAN])
    check(made["promo_price_to_store_rank"], [0, NAN, 1, NAN])


def test_group_prices_see_their_own_date_alone():
    one = values(shelf({"1/a": [2.0, 2.0], "1/b": [4.0, 4.0]}), price="price", group={"by": []})
    two = values(shelf({"1/a": [2.0, 9.0], "1/b": [4.0, 1.0]}), price="price", group={"by": []})
    name = "promo_price_to_all_mean"
    np.testing.assert_array_equal(one[name][[0, 2]], two[name][[0, 2]])
    assert (one[name][[1, 3]] != two[name][[1, 3]]).all()


def test_flags_with_their_leads_and_lags():
    whole = shelf({"1/a": [1.0] * 5}, promo=[0, 1, 0.5, 0, 0])
    made = values(whole, flags=["promo"], lead=[1], lag=[2])
    check(made["promo_promo"], [0, 1, 0.5, 0, 0])
    check(made["promo_promo_lead_1"], [1, 0.5, 0, 0, NAN])
    check(made["promo_promo_lag_2"], [NAN, NAN, 0, 1, 0.5])


@given(st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.3, 1.0]), min_size=1, max_size=25))
@settings(max_examples=40, deadline=None)
def test_since_counts_steps_up_to_the_cap(flags):
    whole = shelf({"1/a": [1.0] * len(flags)}, promo=flags)
    expected, last = [], -100
    for t, flag in enumerate(flags):
        last = t if flag > 0 else last
        expected.append(min(t - last, 4))
    check(values(whole, flags="promo", since=True, since_cap=4)["promo_promo_since"], expected)


def test_other_prices_are_levels_alone():
    made = values(panel(), price="price", change=[2], other=["temperature"])
    assert list(made) == ["promo_price_log", "promo_price_change_2", "promo_temperature_log"]


def test_future_covariates_are_known_and_past_ones_history():
    options = {"price": ["price", "temperature"], "flags": "promo", "group": {"by": ["kind"]}}
    features = promo(panel(), **options).features
    assert {f.name: f.availability for f in features} == {
        "promo_price_log": "known",
        "promo_temperature_log": "history",
        "promo_promo": "known",
        "promo_price_to_kind_mean": "known",
    }
    past = panel(future=(), past=("promo", "price"), missing=Missing(y="drop"))
    made = promo(past, **EVERYTHING | {"lead": [], "group": {"by": ["kind"]}})
    assert {f.availability for f in made.features} == {"history"}
    assert plan_of(past, price="price", group={"by": ["kind"]}).of("history")


@given(prices)
@settings(max_examples=15, deadline=None)
def test_lookback_rows_are_enough(column):
    """The engine cuts history to the lookback before it predicts."""
    flags = [float(p == 1.0) for p in column]
    whole = values(shelf({"1/a": column}, promo=flags), **EVERYTHING)
    for feature in promo(shelf({"1/a": column}), **EVERYTHING).features:
        first = max(len(column) - feature.lookback - 1, 0)
        short = values(shelf({"1/a": column[first:]}, promo=flags[first:]), **EVERYTHING)
        check(short[feature.name][-1:], whole[feature.name][-1:])


def test_steps_ahead_continue_the_history():
    """Known features of the future rows, read with a short tail, equal those of the whole panel."""
    whole = panel(rows(n_series=3, periods=40, future=7))
    plan = plan_of(whole, **EVERYTHING | {"group": {"by": ["kind"], "stats": ["mean", "rank"]}})
    wide = add_cross_sections(whole, plan.cross_sections)
    full = evaluate(wide.frame, plan.features)
    history, future = history_and_future(wide)
    tail = 1 + max(f.lookback for f in plan.features)
    frame, first = known_rows(history, future, tail)
    made = evaluate(frame, plan.features)
    for series in range(3):
        end = wide.offsets[series + 1]
        ahead = made[:, first[series] : first[series] + 7]
        np.testing.assert_allclose(ahead, full[:, end - 7 : end], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"price": "prise"}, "'prise' is not a declared future or past covariate\n  hint: did you"),
        ({"price": "prise"}, "did you mean 'price'? declared: promo, price, temperature"),
        ({"flags": ["promo", "y"]}, "'y' is not a declared"),
        ({"other": ["price1"]}, "did you mean 'price'?"),
        ({"price": "price", "group": {"by": ["stroe"]}}, "did you mean 'store'? columns: store,"),
        ({"price": "price", "group": {"by": ["temperature"]}}, "not a key, static or future"),
        ({"flags": "temperature", "lead": [1]}, "under covariates.future, or leave out lead"),
    ],
)
def test_wrong_columns_are_explained(options, message):
    with pytest.raises(DataError) as caught:
        promo(panel(), **options)
    assert message in str(caught.value)


def test_text_is_no_flag():
    whole = panel(rows(future=7, event=pl.lit("fair")), future=("event",))
    with pytest.raises(DataError, match=r"(?s)has type Enum.*static: \{covariates: \[event\]\}"):
        promo(whole, flags="event")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "promo makes no feature"),
        ({"flags": "promo", "change": [4]}, "change needs a price column"),
        ({"price": "price", "since": True}, "since needs flags"),
        ({"group": {"by": []}}, "group needs a price column"),
        ({"price": ["a", "a"]}, "names a more than once"),
        ({"price": "a", "group": [{"by": []}, {"by": []}]}, "group names a by : mean more"),
        ({"price": "a", "discount": [1]}, "greater than or equal to 2"),
        ({"price": "a", "group": {"by": [], "stats": ["max"]}}, "'mean', 'min' or 'rank'"),
        ({"flag": "promo"}, "Extra inputs"),
    ],
)
def test_options_are_validated(options, message):
    with pytest.raises(ValidationError, match=message):
        next(engine_features()).params.model_validate(options)


@pytest.mark.data
@pytest.mark.skipif("ENGINE_DATA" not in os.environ, reason="ENGINE_DATA is not set")
def test_orange_juice_prices_relative_to_their_store():
    """The own price and the eleven prices of the store tell the same relative price."""
    juice = pl.read_parquet(Path(os.environ["ENGINE_DATA"]) / "orange_juice.parquet")
    others = [f"price{i}" for i in range(1, 12)]
    whole = build_panel(
        juice,
        roles=Roles(("store", "brand"), ("price", "deal", "feat", *others)),
        ds="week_start",
        y="units",
        freq=Frequency.parse("1w"),
        missing=Missing(
            y="drop", columns=dict.fromkeys(("price", "deal", "feat", *others), "keep")
        ),
    )
    group = {"by": ["store"], "stats": ["mean", "min"]}
    made = values(whole, price="price", group=group, other=others, flags=["deal", "feat"])
    store = whole.frame.select(others).to_numpy()
    full = np.isfinite(store).all(axis=1) & np.isfinite(made["promo_price_log"])
    price = np.exp(made["promo_price_log"])
    rest = (store.sum(axis=1) - price) / 10
    difference = np.abs(made["promo_price_to_store_mean"] - (price / rest - 1))[full]
    assert full.mean() > 0.9
    assert np.median(difference) < 1e-4
    assert np.nanmin(made["promo_price_to_store_min"]) == 0
