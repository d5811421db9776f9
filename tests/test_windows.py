"""Windows are computed apart from expressions: they must be the same numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from engine import rolling
from engine.contracts import Feature, Window
from engine.features import Matrix, evaluate
from engine.rolling import statistics_of_last
from engine.windows import Statistic

SUMS: tuple[Statistic, ...] = ("mean", "sum", "std", "zeros")


@st.composite
def any_window(draw: st.DrawFn) -> Window:
    shift = draw(st.integers(0, 9))
    kind = draw(st.sampled_from(("value", "spaced", *SUMS)))
    rows = draw(st.integers(1, 20))
    if kind == "value":
        return Window("y", shift=shift)
    if kind == "spaced":
        return Window("y", "mean", rows, shift, every=draw(st.integers(2, 8)))
    statistic = next(s for s in SUMS if s == kind)
    return Window("y", statistic, rows, shift, min_samples=draw(st.integers(1, rows)))


@st.composite
def any_frame(draw: st.DrawFn) -> pl.DataFrame:
    lengths = draw(st.lists(st.integers(1, 60), min_size=1, max_size=5))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    scale = draw(st.sampled_from((1.0, 0.01, 1e6)))
    values = rng.poisson(2, sum(lengths)) * scale
    observed = rng.random(values.size) >= draw(st.sampled_from((0.0, 0.3, 0.95)))
    names = np.repeat([f"s{i}" for i in range(len(lengths))], lengths)
    y = pl.Series(values).set(pl.Series(~observed), None)
    frame = pl.DataFrame({"unique_id": names, "y": y})
    return frame.cast({"unique_id": pl.Enum(frame["unique_id"].unique(maintain_order=True))})


def feature(window: Window) -> Feature:
    return Feature.windowed("f", window, "history")


def plain(window: Window) -> Feature:
    return replace(feature(window), window=None)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rolling, "_BLOCK_ROWS", 16)


@settings(max_examples=150, deadline=None)
@given(frame=any_frame(), many=st.lists(any_window(), min_size=1, max_size=4))
def test_windows_are_what_their_expressions_are(frame: pl.DataFrame, many: list[Window]) -> None:
    found = evaluate(frame, [feature(w) for w in many])
    expected = evaluate(frame, [plain(w) for w in many])
    size = float(frame["y"].drop_nulls().max() or 1.0)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * size)


@settings(max_examples=60, deadline=None)
@given(frame=any_frame(), window=any_window())
def test_a_value_depends_on_its_own_window_alone_to_the_bit(
    frame: pl.DataFrame, window: Window
) -> None:
    def of(frame: pl.DataFrame) -> Matrix:
        return evaluate(frame, [feature(window)])[0]

    whole, place = of(frame), 0
    for rows in frame.partition_by("unique_id", maintain_order=True):
        own = whole[place : place + rows.height]
        np.testing.assert_array_equal(of(rows), own)
        np.testing.assert_array_equal(of(rows.head(rows.height // 2)), own[: rows.height // 2])
        assert np.array_equal(of(rows.tail(window.lookback + 1))[-1:], own[-1:], equal_nan=True)
        place += rows.height


@pytest.mark.parametrize("value", [0.1, 1e6 + 0.1, 1e-9, 3.0])
def test_equal_values_deviate_by_nothing(value: float) -> None:
    frame = pl.DataFrame({"unique_id": ["a"] * 40, "y": [0.0, *[value] * 39]})
    made = evaluate(frame, [feature(Window("y", "std", 7, min_samples=7))])[0]
    assert np.isnan(made[:6]).all() and made[6] > 0
    assert (made[7:] == 0).all()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"rows": 2}, "name a statistic"),
        ({"statistic": "sum", "rows": 2, "every": 7}, "lie apart"),
        ({"statistic": "mean", "rows": 0}, "1 or more"),
        ({"shift": -1}, "0 or more"),
        ({"statistic": "mean", "rows": 3, "min_samples": 4}, "of 3 rows"),
    ],
)
def test_a_window_that_means_nothing_is_refused(options: dict[str, int], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Window("y", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1e12, 1e30])
def test_deviations_of_tiny_and_huge_values_are_those_of_ordinary_ones(size: float) -> None:
    y = np.array([1.0, 4.0, 2.0, 7.0, 5.0, 3.0])
    frame = pl.DataFrame({"unique_id": ["a"] * 6, "y": y * size})
    window = Window("y", "std", 3, min_samples=3)
    (found,) = evaluate(frame, (Feature.windowed("deviation", window, "history"),))
    expected = [np.std(y[i - 2 : i + 1], ddof=1) * size for i in range(2, 6)]
    np.testing.assert_allclose(found[2:], expected, rtol=1e-6)


def test_a_feature_reads_what_its_window_says() -> None:
    window = Window("y", "mean", 7)
    for wrong in ({"expr": pl.col("price")}, {"lookback": 0}, {"lookback": None}):
        with pytest.raises(ValueError, match="window"):
            replace(feature(window), **wrong)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    many=st.lists(any_window(), min_size=1, max_size=4),
    seed=st.integers(0, 99),
    gaps=st.sampled_from((0.0, 0.3)),
)
def test_the_last_rows_of_all_series_have_the_same_bits(many, seed, gaps):
    rng = np.random.default_rng(seed)
    length = max(w.reach for w in many) + 1
    # The windows of the rows that are compared must not begin before their series.
    table = rng.gamma(2.0, size=(length, 3))
    table[rng.random(table.shape) < gaps] = np.nan
    plain = [replace(w, shift=0) for w in many]
    long = np.concatenate([np.ones((200, 3)), table])
    frame = pl.DataFrame({"unique_id": np.repeat(["a", "b", "c"], len(long)), "y": long.T.ravel()})
    frame = frame.with_columns(pl.col("y").fill_nan(None))
    whole = evaluate(frame, [feature(w) for w in plain])
    np.testing.assert_array_equal(
        statistics_of_last(table, plain), whole[:, len(long) - 1 :: len(long)]
    )
