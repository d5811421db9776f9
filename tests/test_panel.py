from __future__ import annotations

import datetime as dt
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from engine.contracts import Feature
from engine.data import order
from engine.data.fill import Missing
from engine.data.fingerprint import panel_fingerprint
from engine.data.panel import Panel
from engine.errors import DataError
from engine.features import evaluate
from engine.future import future_of
from tests.panels import START, panel, rows


def day(n: int) -> dt.date:
    return START + dt.timedelta(days=n)


def frame_of(values: dict[str, dict[int, float | None]], **columns: Any) -> pl.DataFrame:
    """Rows `store, ds, y` from {series: {day: y}}."""
    cells = [(s, day(n), y) for s, days in values.items() for n, y in days.items()]
    schema = {"store": pl.String, "ds": pl.Date, "y": pl.Float64}
    return pl.DataFrame(cells, schema=schema, orient="row").with_columns(**columns)


def plain(frame: pl.DataFrame, ahead: int = 0, **missing: Any) -> Panel:
    policies = Missing(**{"y": "drop", **missing})
    return panel(frame, future=(), past=(), static=(), missing=policies, ahead=ahead)


def y_of(built: Panel, name: str) -> list[float | None]:
    return built.frame.filter(pl.col("unique_id") == name)["y"].to_list()


Ragged = st.dictionaries(
    st.sampled_from("abcd"),
    st.dictionaries(
        st.integers(0, 14), st.floats(0, 9).map(lambda v: round(v, 2)), min_size=1, max_size=12
    ),
    min_size=1,
)


@settings(max_examples=30, deadline=None)
@given(values=Ragged)
def test_every_series_is_contiguous_from_its_first_observation_to_the_panels_end(
    values: dict[str, dict[int, float]],
):
    built = plain(frame_of(values))  # type: ignore[arg-type]
    last = max(n for days in values.values() for n in days)
    for name, days in values.items():
        expected = [days.get(n) for n in range(min(days), last + 1)]
        assert y_of(built, name) == expected
    assert built.cutoff == day(last)


Holed = st.dictionaries(
    st.sampled_from("abcd"),
    st.dictionaries(
        st.integers(0, 9), st.sampled_from([None, 0.0, 0.0, 1.5, 2.0]), min_size=1, max_size=9
    ),
    min_size=1,
)


@settings(max_examples=60, deadline=None)
@given(values=Holed, leading_zeros=st.sampled_from(["keep", "drop"]))
def test_a_series_begins_where_it_is_first_observed(
    values: dict[str, dict[int, float | None]], leading_zeros: str
):
    begun = {
        name: [n for n, y in days.items() if (y if leading_zeros == "drop" else y is not None)]
        for name, days in values.items()
    }
    if not any(begun.values()):
        with pytest.raises(DataError, match="no series has an observed y"):
            plain(frame_of(values), leading_zeros=leading_zeros)
        return
    built = plain(frame_of(values), leading_zeros=leading_zeros)
    last = max(n for days in values.values() for n, y in days.items() if y is not None)
    assert built.ids == sorted(name for name, days in begun.items() if days)
    for name in built.ids:
        expected = [values[name].get(n) for n in range(min(begun[name]), last + 1)]
        assert y_of(built, name) == expected
    assert built.ordinals.tolist() == [
        built.grid.ordinal_of(ds) for ds in built.frame["ds"].to_list()
    ]


@settings(max_examples=20, deadline=None)
@given(values=Ragged, seed=st.integers(0, 9))
def test_the_order_of_the_rows_does_not_matter(values: dict[str, dict[int, float]], seed: int):
    frame = frame_of(values)  # type: ignore[arg-type]
    key = next(name for name in frame.columns if frame.schema[name] == pl.String)
    names = frame[key].unique(maintain_order=True).sample(fraction=1, shuffle=True, seed=seed)
    by_series = pl.concat([frame.filter(pl.col(key) == name) for name in names])
    built = plain(frame)
    for other in (frame.sample(fraction=1, shuffle=True, seed=seed), by_series):
        shuffled = plain(other)
        assert built.frame.equals(shuffled.frame)
        assert built.series.equals(shuffled.series)


@settings(max_examples=50, deadline=None)
@given(values=Ragged, seed=st.integers(0, 9), cuts=st.lists(st.integers(0, 48), max_size=6))
def test_the_pieces_that_rows_come_in_do_not_matter(
    values: dict[str, dict[int, float]], seed: int, cuts: list[int]
):
    """Also empty ones, and such as begin or end in the middle of a series."""
    frame = frame_of(values).sample(fraction=1.0, shuffle=seed > 4, seed=seed)  # type: ignore[arg-type]
    ends = [0, *sorted(min(cut, frame.height) for cut in cuts), frame.height]
    pieces = [frame[a:b] for a, b in pairwise(ends)]
    whole, pieced = plain(frame), plain(pl.concat(pieces, rechunk=False))
    assert pieced.frame.equals(whole.frame, null_equal=True)
    assert pieced.series.equals(whole.series)
    assert [c.n_chunks() for c in pieced.frame.get_columns()] == [1, 1, 1]


@settings(max_examples=30, deadline=None)
@given(
    values=Ragged,
    other=st.lists(st.none() | st.floats(0, 99), min_size=15, max_size=15),
    end=st.integers(0, 14),
    policy=st.sampled_from(["drop", "zero", "forward_fill", "interpolate"]),
)
def test_what_is_known_until_a_day_never_depends_on_later_rows(
    values: dict[str, dict[int, float]], other: list[float | None], end: int, policy: str
):
    """Both panels have the same last row, so that they end on the same day."""
    first = min(n for days in values.values() for n in days)
    end = max(end, first)
    spoiled: dict[str, dict[int, float | None]] = {
        name: {
            **{n: y for n, y in days.items() if n <= end},
            **{n: other[n] for n in range(end + 1, 15) if min(days) <= end or n in days},
        }
        for name, days in values.items()
    }
    built = [
        plain(frame_of({**kind, "z": {first: 1.0, 15: 1.0}}), y=policy)
        for kind in (values, spoiled)  # type: ignore[dict-item]
    ]
    cut = [whole.until(whole.grid.ordinal_of(day(end))) for whole in built]
    named = [c.frame.with_columns(pl.col("unique_id").cast(pl.String)) for c in cut]
    assert named[0].equals(named[1])


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("drop", [1.0, None, None, 4.0, None, 7.0]),
        ("zero", [1.0, 0.0, 0.0, 4.0, 0.0, 7.0]),
        ("forward_fill", [1.0, 1.0, 1.0, 4.0, 4.0, 7.0]),
        ("interpolate", [1.0, 2.0, 3.0, 4.0, 5.5, 7.0]),
    ],
)
def test_gaps_of_y_are_filled_by_the_stated_policy(policy: str, expected: list[float | None]):
    built = plain(frame_of({"a": {0: 1, 3: 4, 5: 7}}), y=policy)
    assert y_of(built.until(built.end), "a") == expected


def test_an_interpolated_gap_that_is_open_at_the_cutoff_stays_missing():
    built = plain(frame_of({"a": {0: 1, 3: 4}}), y="interpolate")
    assert y_of(built.until(built.end - 1), "a") == [1.0, None, None]


def test_a_gap_without_a_policy_is_an_error_that_names_series_and_day():
    with pytest.raises(DataError, match=r"2 missing values of y in 1 series .*: a at 2024-01-02"):
        plain(frame_of({"a": {0: 1, 3: 4}}), y="error")


def test_a_series_that_ends_early_is_no_gap():
    built = plain(frame_of({"a": {0: 1, 1: 2}, "b": {0: 1, 1: 1, 2: 1}}), y="error")
    assert y_of(built, "a") == [1.0, 2.0, None]


def test_series_never_observed_are_left_out_with_a_note():
    built = plain(frame_of({"a": {0: 1}, "b": {0: None, 1: None}}))
    assert built.ids == ["a"]
    assert "1 series without any observed y were left out: b" in built.notes


def test_leading_zeros_are_dropped_only_if_stated():
    frame = frame_of({"a": {0: 0, 1: 0, 2: 3, 3: 0}})
    assert y_of(plain(frame), "a") == [0.0, 0.0, 3.0, 0.0]
    assert y_of(plain(frame, leading_zeros="drop"), "a") == [3.0, 0.0]


@pytest.mark.parametrize(
    ("horizon", "price", "promo"),
    [
        ("forward_fill", [3.0, 3.0], [1.0, 1.0]),
        ("zero", [0.0, 0.0], [0.0, 0.0]),
        ({"price": "forward_fill", "promo": "zero"}, [3.0, 3.0], [0.0, 0.0]),
    ],
)
def test_covariates_unknown_for_the_horizon_follow_their_policy(
    horizon: Any, price: list[float], promo: list[float]
):
    frame = frame_of({"a": {0: 1, 1: 2}}, price=3.0, promo=1.0)
    built = panel(frame, past=(), static=(), missing=Missing(horizon=horizon), ahead=2)
    future = future_of(built, built.end, 0, 2).frame
    assert future["price"].to_list() == price
    assert future["promo"].to_list() == promo


@pytest.mark.parametrize("horizon", ["error", {"price": "zero"}])
def test_covariates_unknown_for_the_horizon_without_a_policy_are_an_error(horizon: Any):
    frame = frame_of({"a": {0: 1, 1: 2}}, price=3.0, promo=1.0)
    with pytest.raises(DataError, match="is not known for 2 steps to forecast in 1 series: a at"):
        panel(frame, past=(), static=(), missing=Missing(horizon=horizon), ahead=2)


def test_skipping_the_horizon_keeps_no_rows_after_the_end():
    frame = frame_of({"a": {0: 1, 1: 2}}, price=3.0, promo=1.0)
    built = panel(frame, past=(), static=(), missing=Missing(horizon="skip"), ahead=2)
    assert built.frame.height == 2


def test_what_is_known_ahead_is_filled_on_both_sides_but_the_past_only_forwards():
    late = pl.when(pl.col("ds") >= day(1)).then(5.0)
    once = pl.when(pl.col("ds") == day(1)).then(5.0)
    frame = frame_of({"a": {0: 1, 1: 2, 2: 3}}, price=late, temperature=once)
    policies = Missing(columns={"price": "forward_fill", "temperature": "forward_fill"})
    built = panel(frame, future=("price",), static=(), missing=policies, ahead=0)
    assert built.frame["price"].to_list() == [5.0, 5.0, 5.0]
    assert built.frame["temperature"].to_list() == [None, 5.0, 5.0]


def test_every_key_is_kept_and_names_the_series():
    frame = rows(n_series=2, periods=3).with_columns(item=pl.lit("x"))
    built = panel(frame, future=(), past=(), keys=("store", "item"), ahead=0)
    assert built.series.select("unique_id", "store", "item").rows() == [
        ("1/x", 1, "x"),
        ("2/x", 2, "x"),
    ]


def test_integer_keys_are_in_the_order_of_numbers():
    built = panel(rows(n_series=11, periods=3), future=(), past=(), ahead=0)
    assert built.ids == [str(i) for i in range(1, 12)]


@settings(max_examples=25, deadline=None)
@given(values=Ragged, periods=st.integers(1, 20), end=st.integers(0, 16))
def test_cuts_agree_with_a_naive_group_by(
    values: dict[str, dict[int, float]], periods: int, end: int
):
    built = plain(frame_of(values))  # type: ignore[arg-type]
    assert built.tail(periods).frame.equals(
        built.frame.group_by("unique_id", maintain_order=True).tail(periods)
    )
    kept = built.until(built.grid.ordinal_of(day(end))).frame
    assert kept.equals(built.frame.filter(pl.col("ds") <= day(end)))
    some = [i for i in range(built.n_series) if i != 1]
    chosen = built.select(some)
    names = [built.ids[i] for i in some]
    assert chosen.frame.equals(built.frame.filter(pl.col("unique_id").is_in(names)))
    assert chosen.ids == names


@settings(max_examples=25, deadline=None)
@given(values=Ragged, size=st.integers(1, 40))
def test_shards_are_whole_series_in_order(values: dict[str, dict[int, float]], size: int):
    built = plain(frame_of(values))  # type: ignore[arg-type]
    shards = list(built.shards(size))
    assert pl.concat([s.frame for s in shards]).equals(built.frame)
    assert [i for s in shards for i in s.ids] == built.ids
    assert all(s.n_series == 1 or s.frame.height <= size for s in shards)


@settings(max_examples=20, deadline=None)
@given(values=Ragged)
def test_dense_arrays_are_aligned_at_the_end(values: dict[str, dict[int, float]]):
    built = plain(frame_of(values))  # type: ignore[arg-type]
    dense = built.dense(["y"])[..., 0]
    for i, name in enumerate(built.ids):
        expected = np.array(y_of(built, name), dtype=np.float32)
        padded = np.concatenate([np.full(dense.shape[1] - expected.size, np.nan), expected])
        np.testing.assert_array_equal(dense[i], padded.astype(np.float32))


def test_the_future_holds_known_columns_only():
    future = future_of(panel(), panel().end, 2, 5)
    assert future.frame.columns == ["unique_id", "ds", "ahead", "promo", "price"]
    assert future.frame["ahead"].to_list() == list(range(1, 8)) * 3


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
@pytest.mark.parametrize("freq", ["1d", "1mo"])
def test_days_and_months_in_a_time_zone_are_those_on_its_clock(zone: str, freq: str):
    plain = rows(periods=120).filter((pl.col("ds").dt.day() == 1) | (freq == "1d"))
    stamps = pl.col("ds").cast(pl.Datetime("us"))
    zoned = plain.with_columns(stamps.dt.replace_time_zone(zone))
    made, expected = panel(zoned, freq=freq, ahead=0), panel(plain, freq=freq, ahead=0)
    assert made.frame["ds"].cast(pl.Date).equals(expected.frame["ds"])
    assert made.frame.drop("ds").equals(expected.frame.drop("ds"))
    assert made.cutoff.date() == expected.cutoff
    assert any("local time without its zone" in note for note in made.notes)


def test_hours_keep_their_time_zone():
    hours = pl.datetime_range(
        pl.datetime(2024, 3, 9), pl.datetime(2024, 3, 11), "1h", time_zone="America/New_York",
        eager=True,
    )  # fmt: skip
    n = len(hours)
    frame = rows(n_series=1, periods=n).with_columns(ds=hours)
    made = panel(frame, freq="1h", ahead=0)
    assert made.frame.height == n == 48, "the night of the change is an hour shorter"
    assert made.frame.schema["ds"] == pl.Datetime("us", "America/New_York")


def test_a_hole_on_the_last_days_of_the_history_is_no_unknown_horizon():
    late = pl.col("ds").is_between(pl.date(2024, 2, 27), pl.date(2024, 2, 29))
    frame = rows(periods=60).with_columns(price=pl.when(~late).then("price"))
    with pytest.raises(DataError, match="'price' is missing in 9 rows"):
        panel(frame, ahead=0, missing=Missing(columns={}, horizon="forward_fill"))
    filled = panel(
        frame, ahead=2, missing=Missing(columns={"price": "zero"}, horizon="forward_fill"),
        future=("price",),
    )  # fmt: skip
    one = filled.select([0]).frame["price"].to_list()
    assert one[-4:] == [0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("zero", [1, 0, 0, 1]), ("forward_fill", [1, 1, 1, 1]), ("interpolate", [1, 1, 1, 1])],
)
def test_a_flag_with_holes_follows_its_policy(policy: str, expected: list[int]):
    frame = rows(1, 4).with_columns(promo=pl.Series([True, None, None, True]))
    built = panel(frame, ahead=0, missing=Missing(columns={"promo": policy}))
    assert built.frame["promo"].cast(pl.Int8).to_list() == expected


def test_flags_and_the_same_numbers_give_the_same_features_future_and_fingerprint():
    numbers = rows(3, 30, future=7)
    flags = numbers.with_columns(pl.col("promo") > 0)
    as_numbers, as_flags = (panel(frame, past=()) for frame in (numbers, flags))
    assert as_flags.frame.schema["promo"] == pl.Boolean
    lagged = Feature("promo_before", pl.col("promo").shift(1) * 2, "history", lookback=1)
    here = [evaluate(p.frame, [lagged]) for p in (as_numbers, as_flags)]
    assert np.array_equal(*here, equal_nan=True)
    ahead = [future_of(p, p.end, 0, 7).dense(["promo"]) for p in (as_numbers, as_flags)]
    assert np.array_equal(*ahead)
    assert panel_fingerprint(as_flags) == panel_fingerprint(as_numbers)


def test_series_years_apart_are_put_in_order_without_a_place_for_every_day_between():
    far = {"a": {9_000: 3.0, 0: 1.0}, "b": {9_000: 5.0, 8_999: 4.0}}
    built = plain(frame_of(far))  # type: ignore[arg-type]
    assert built.lengths.tolist() == [9_001, 2]
    assert built.frame["y"].drop_nulls().to_list() == [1.0, 3.0, 4.0, 5.0]


def test_more_places_than_a_number_of_days_can_hold_are_sorted():
    """A thousand series from the year 1 to 8000 have three thousand million days between them."""
    ordinals = pl.Series([2_200_000, -719_162] * 1_000, dtype=pl.Int32)
    numbers = pl.Series([i for i in range(1_000) for _ in range(2)], dtype=pl.UInt16)
    built = order._sorted(pl.DataFrame({"series": numbers, "ordinal": ordinals}))
    assert built["ordinal"].to_list() == [-719_162, 2_200_000] * 1_000
    assert built["series"].to_list() == numbers.to_list()
