from __future__ import annotations

import datetime as dt
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

from engine.contracts import Training
from engine.data.fill import Missing
from engine.data.panel import Future, Panel
from engine.errors import DataError, NotFoundError
from engine.future import future_of
from engine.registry import Registry
from engine_naive.model import FittedSeasonalNaive, SeasonalNaive
from engine_naive.params import SeasonalNaiveParams
from tests.panels import START, panel

ROOT = Path(__file__).parents[2]
NONE = None


def cut(
    series: Sequence[Sequence[float | None]], gap: int = 0, horizon: int = 7
) -> tuple[Panel, Future]:
    """Daily series that end on the same day, and the steps after it."""
    longest = max(map(len, series))
    ahead = gap + horizon + longest  # y may end null, and the panel counts days from the last value
    frames = []
    for number, y in enumerate(series):
        first = longest - len(y)
        days = [START + dt.timedelta(days=first + t) for t in range(len(y) + ahead)]
        values = [*y, *([None] * ahead)]
        frames.append(pl.DataFrame({"store": number, "ds": days, "y": values}))
    frame = pl.concat([f.with_columns(pl.col("y").cast(pl.Float64)) for f in frames])
    whole = panel(frame, future=(), past=(), static=(), missing=Missing(y="drop"), ahead=ahead)
    end = int(whole.starts[0]) + len(series[0]) - 1
    return whole.until(end), future_of(whole, end, gap, horizon)


def training(history: Panel, horizon: int = 7, gap: int = 0, season: int = 7) -> Training:
    return Training(history, horizon, gap, (), season, 0, lambda event, fields: None)


def forecast(series, gap: int = 0, horizon: int = 7, **options) -> np.ndarray:
    history, future = cut(series, gap, horizon)
    fitted = SeasonalNaive(SeasonalNaiveParams(**options)).fit(training(history, horizon, gap))
    return fitted.predict(history, future).y_hat


def test_each_step_repeats_the_value_of_one_season_before() -> None:
    assert forecast([range(1, 15)], horizon=9).tolist() == [[8, 9, 10, 11, 12, 13, 14, 8, 9]]


def test_steps_of_the_gap_count() -> None:
    y_hat = forecast([range(1, 15)], gap=2, horizon=3)
    assert y_hat.tolist() == [[8, 9, 10, 11, 12]]


def test_the_season_can_be_stated() -> None:
    assert forecast([[1, 2, 3, 4, 5]], horizon=4, season=2).tolist() == [[4, 5, 4, 5]]


def test_season_one_repeats_the_last_value() -> None:
    assert forecast([[1, 2, 3]], horizon=3, season=1).tolist() == [[3, 3, 3]]


def test_the_default_season_is_that_of_the_frequency() -> None:
    history, _ = cut([range(30)])
    fitted = SeasonalNaive(SeasonalNaiveParams()).fit(training(history, season=12))
    assert fitted.season == 12


def test_the_mean_of_several_seasons() -> None:
    y_hat = forecast([[100, 100, 1, 2, 3, 4]], horizon=2, season=2, seasons=2)
    assert y_hat.tolist() == [[2, 3]]


def test_a_missing_value_gives_way_to_the_season_before() -> None:
    y_hat = forecast([[1, 2, 3, 4, NONE, 6]], horizon=2, season=2)
    assert y_hat.tolist() == [[3, 6]]


def test_missing_values_do_not_count_as_seasons() -> None:
    y_hat = forecast([[1, 2, 3, 4, NONE, 6]], horizon=2, season=2, seasons=2)
    assert y_hat.tolist() == [[2, 5]]


def test_fewer_seasons_than_asked_are_averaged() -> None:
    assert forecast([[1, 2, 3, 4]], horizon=2, season=2, seasons=9).tolist() == [[2, 3]]


def test_a_place_never_observed_takes_the_last_observed_value() -> None:
    y_hat = forecast([[5, NONE, 7, NONE]], horizon=2, season=2)
    assert y_hat.tolist() == [[7, 7]]


def test_a_series_shorter_than_the_season_is_filled_with_its_last_value() -> None:
    assert forecast([[1, 2, 3]], horizon=7).tolist() == [[3, 3, 3, 3, 1, 2, 3]]


def test_series_do_not_look_into_each_other() -> None:
    together = forecast([[1, 2], range(10, 30), [7, NONE, 8, NONE]], horizon=8)
    for number, y in enumerate([[1, 2], range(10, 30), [7, NONE, 8, NONE]]):
        assert forecast([y], horizon=8)[0].tolist() == together[number].tolist()


def test_a_series_without_any_value_fails_alone() -> None:
    history, future = cut([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    y = history.y().copy()
    y[3:6] = math.nan
    history = history.with_frame(
        history.frame.with_columns(pl.Series("y", y).fill_nan(None).cast(pl.Float64))
    )
    found = FittedSeasonalNaive(7, 1).predict(history, future)
    assert list(found.failures) == [1]
    assert "no observed y" in found.failures[1]
    assert np.isnan(found.y_hat[1]).all()
    assert np.isfinite(found.y_hat[[0, 2]]).all()


def reference(y: Sequence[float | None], ahead: int, season: int, seasons: int) -> list[float]:
    """The definition, one value at a time."""
    seen = [v for v in y if v is not None]
    out = []
    for step in range(1, ahead + 1):
        place = len(y) - 1 + step
        same = [y[t] for t in range(place - season, -1, -season) if t < len(y)]
        values = [v for v in same if v is not None][:seasons]
        out.append(sum(values) / len(values) if values else seen[-1])
    return out


number = st.one_of(st.none(), st.integers(-50, 50).map(float))
observed = st.lists(number, min_size=1, max_size=25).filter(lambda y: y[0] is not None)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(observed, min_size=1, max_size=4),
    st.integers(1, 9),
    st.integers(1, 4),
    st.integers(1, 12),
    st.integers(0, 3),
)
def test_it_is_the_definition(series, season, seasons, horizon, gap) -> None:
    y_hat = forecast(series, gap, horizon, season=season, seasons=seasons)
    expected = [reference(y, gap + horizon, season, seasons) for y in series]
    np.testing.assert_allclose(y_hat, expected, rtol=1e-12)


def test_a_longer_history_moves_the_forecast_along() -> None:
    history, _ = cut([range(14)], horizon=3)
    fitted = SeasonalNaive(SeasonalNaiveParams()).fit(training(history, 3))
    later, future = cut([range(20)], horizon=3)
    assert fitted.predict(later, future).y_hat.tolist() == [[13, 14, 15]]


def test_it_leaves_quantiles_to_the_engine() -> None:
    history, future = cut([range(14)])
    assert FittedSeasonalNaive(7, 1).predict(history, future).quantiles is None
    model = Registry.discover().find("model", "seasonal_naive").component
    assert not model.capabilities.quantiles
    assert model.capabilities.missing_values


def test_nothing_that_is_given_changes() -> None:
    history, future = cut([[1, NONE, 3, 4], range(9)])
    before = history.frame.clone(), future.frame.clone(), history.offsets.copy()
    FittedSeasonalNaive(3, 2).predict(history, future)
    assert history.frame.equals(before[0])
    assert future.frame.equals(before[1])
    assert np.array_equal(history.offsets, before[2])


def test_a_saved_model_is_the_same_model(tmp_path) -> None:
    fitted = FittedSeasonalNaive(52, 3)
    fitted.save(tmp_path / "model")
    assert SeasonalNaive.load(tmp_path / "model") == fitted


def test_loading_from_an_empty_folder_names_the_file(tmp_path) -> None:
    with pytest.raises(NotFoundError, match=r"seasonal_naive\.json"):
        SeasonalNaive.load(tmp_path)


def test_history_and_future_of_different_series_are_rejected() -> None:
    history, _ = cut([range(9)])
    _, future = cut([range(9), range(9)])
    with pytest.raises(DataError, match="1 series, the future has 2"):
        FittedSeasonalNaive(7, 1).predict(history, future)


@pytest.mark.parametrize("options", [{"season": 0}, {"seasons": 0}, {"seasnos": 1}])
def test_impossible_options_are_rejected(options) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        SeasonalNaiveParams(**options)


def test_the_package_imports_nothing_heavy() -> None:
    code = "import engine_naive, sys; print({'polars', 'numpy'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "set()"
