from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

from engine.contracts import FeatureSet
from engine.data.fill import Missing
from engine.data.panel import Panel
from engine.errors import DataError
from engine.features import evaluate, evaluate_static, feature_context, plan_features
from engine.registry import build
from engine_static import engine_features
from tests.panels import panel, rows


def static(whole: Panel, **options) -> FeatureSet:
    return build(next(engine_features()), options).build(feature_context(whole, 7, 0))


def values(whole: Panel, **options) -> dict[str, list[float]]:
    """Values per series, or per row for known categories, by the engine's own passes."""
    builder = build(next(engine_features()), options)
    plan = plan_features([("static", builder)], feature_context(whole, 7, 0))
    fixed, known = plan.of("static"), plan.of("known")
    made = [*evaluate_static(whole.series, fixed), *evaluate(whole.frame, known)]
    names = [feature.name for feature in (*fixed, *known)]
    return {name: column.tolist() for name, column in zip(names, made, strict=True)}


def stores(**columns: pl.Expr) -> Panel:
    """Four stores with more static columns, each an expression over `rows()`."""
    frame = rows(n_series=4, periods=10, future=7).with_columns(**columns)
    return panel(frame, static=("kind", *columns))


def events(frame: pl.DataFrame) -> Panel:
    """A panel whose only covariate is `event`, null on most days."""
    keep = Missing(columns={"event": "keep"})
    return panel(frame, future=("event",), past=(), static=(), missing=keep, ahead=0)


def test_all_static_columns_by_default():
    whole = stores(size=pl.col("store") * 10.5, old=pl.col("store") > 2)
    assert values(whole) == {
        "static_kind_big": [1, 0, 1, 0],
        "static_kind_small": [0, 1, 0, 1],
        "static_size": [10.5, 21, 31.5, 42],
        "static_old": [0, 0, 1, 1],
    }


def test_keys_are_names_even_if_they_are_integers():
    made = values(stores(), columns="store")
    assert list(made) == [f"static_store_{i}" for i in (1, 2, 3, 4)]
    np.testing.assert_array_equal(list(made.values()), np.eye(4))


def test_ordinal_numbers_the_sorted_levels():
    """Integers sort as numbers: 10 comes after 9, not after 1."""
    whole = panel(rows(n_series=11, periods=5), ahead=0)
    made = values(whole, columns=["store", "kind"], encode="ordinal")
    assert made["static_store"] == list(range(11))
    assert made["static_kind"][:2] == [0, 1]


@given(st.lists(st.sampled_from(["a", "b c", "d", None]), min_size=4, max_size=4))
@settings(max_examples=20, deadline=None)
def test_one_hot_sets_one_flag_for_a_value_and_none_for_no_value(kinds):
    if all(kind is None for kind in kinds):
        return
    whole = stores(place=pl.Series([kind for kind in kinds for _ in range(17)], dtype=pl.String))
    made = values(whole, columns=["place"])
    assert set(made) == {f"static_place_{kind}" for kind in kinds if kind is not None}
    for series, kind in enumerate(kinds):
        expected = {name: float(name == f"static_place_{kind}") for name in made}
        assert {name: column[series] for name, column in made.items()} == expected


def test_a_missing_value_has_no_place_among_the_levels():
    place = pl.when(pl.col("store") > 1).then(pl.col("store").cast(pl.String))
    made = values(stores(place=place), columns="place", encode="ordinal")
    np.testing.assert_array_equal(made["static_place"], [np.nan, 0, 1, 2])


def test_covariates_of_text_are_known_flags_of_each_date():
    event = pl.Series([None, "fair", "race", None, "fair"] * 2)
    whole = events(rows(n_series=2, periods=5, event=event))
    made = values(whole, columns=[], covariates="event")
    assert made == {
        "static_event_fair": [0, 1, 0, 0, 1] * 2,
        "static_event_race": [0, 0, 1, 0, 0] * 2,
    }
    features = static(whole, columns=[], covariates="event").features
    assert {(f.availability, f.lookback) for f in features} == {("known", 0)}
    numbers = values(whole, covariates="event", encode="ordinal")["static_event"]
    np.testing.assert_array_equal(numbers[:5], [np.nan, 0, 1, np.nan, 0])


def test_too_many_levels_are_an_error_with_a_way_out():
    whole = panel(rows(n_series=6, periods=5), ahead=0)
    with pytest.raises(DataError, match="column 'store' has 6 levels, more than max_levels 5") as e:
        static(whole, columns="store", max_levels=5)
    assert "encode: ordinal" in e.value.hint
    assert len(static(whole, columns="store", max_levels=6).features) == 6
    assert len(static(whole, columns="store", max_levels=5, encode="ordinal").features) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"columns": ["knid"]},
            "'knid' is not a static column or key\n  hint: did you mean 'kind'",
        ),
        ({"columns": ["price"]}, "'price' is not a static column or key"),
        ({"covariates": ["promos"]}, "did you mean 'promo'? columns: promo, price"),
        ({"covariates": ["promo"]}, "use a number as it is with promo: {flags: [promo]}"),
        ({"covariates": ["kind"]}, "'kind' is not a future covariate"),
    ],
)
def test_wrong_columns_are_explained(options, message):
    with pytest.raises(DataError) as caught:
        static(panel(), **options)
    assert message in str(caught.value)


def test_nothing_to_encode_advises_keys():
    with pytest.raises(DataError, match=r"(?s)no static column is declared.*columns: \[store\]"):
        static(panel(static=()))


def test_a_column_without_values_or_with_too_many_is_an_error():
    with pytest.raises(DataError, match="'place' has no levels, as all its values are missing"):
        static(stores(place=pl.lit(None, dtype=pl.String)))
    crowded = replace(feature_context(panel(), 7, 0), levels={})
    with pytest.raises(DataError, match="'store' has too many distinct values"):
        build(next(engine_features()), {"columns": "store"}).build(crowded)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": []}, "static makes no feature"),
        ({"columns": ["kind", "kind"]}, "name kind more than once"),
        ({"max_levels": 0}, "greater than or equal to 1"),
        ({"encode": "frequency"}, "'one_hot' or 'ordinal'"),
        ({"column": "kind"}, "Extra inputs"),
    ],
)
def test_options_are_validated(options, message):
    with pytest.raises(ValidationError, match=message):
        next(engine_features()).params.model_validate(options)


@pytest.mark.data
@pytest.mark.skipif("ENGINE_DATA" not in os.environ, reason="ENGINE_DATA is not set")
def test_event_names_of_the_m5_calendar():
    """Each date of the calendar has the flag of its event, and only that."""
    days = pl.read_parquet(Path(os.environ["ENGINE_DATA"]) / "m5" / "calendar.parquet")
    days = days.sort(pl.col("date").cast(pl.String)).select(
        store=pl.lit(1), ds=pl.col("date").cast(pl.String).str.to_date(), event="event_name_1"
    )
    frame = days.with_columns(y=1.0, event=pl.col("event").cast(pl.String))
    made = values(events(frame), columns=[], covariates=["event"])
    names = frame["event"].to_list()
    assert len(made) == len(set(names) - {None}) > 20
    assert np.sum(list(made.values()), axis=0).tolist() == [float(n is not None) for n in names]
    assert made["static_event_SuperBowl"] == [float(n == "SuperBowl") for n in names]
