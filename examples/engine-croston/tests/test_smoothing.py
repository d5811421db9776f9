"""The methods against a loop over one series, and against what their papers say of them."""

import numpy as np
import pytest
from engine_croston.smoothing import bias_corrected_rate, interval_rate, probability_rate


def by_hand(y: list[float], alpha: float, beta: float) -> float:
    """Croston's method as the paper states it, one series, one period after the other."""
    size = interval = None
    since = 1
    for value in y:
        if np.isnan(value):
            continue
        if value == 0:
            since += 1
            continue
        if size is None or interval is None:
            size, interval = value, float(since)
        else:
            size += alpha * (value - size)
            interval += beta * (since - interval)
        since = 1
    return 0.0 if size is None or interval is None else size / interval


def random_demand(n_series: int = 20, time: int = 60) -> np.ndarray:
    rng = np.random.default_rng(5)
    y = np.where(rng.random((n_series, time)) < 0.3, rng.integers(1, 9, (n_series, time)), 0.0)
    y[rng.random(y.shape) < 0.1] = np.nan
    y[0] = 0.0
    return y


def test_all_series_at_once_is_a_loop_over_one() -> None:
    y = random_demand()
    assert interval_rate(y, 0.2, 0.1) == pytest.approx([by_hand(row, 0.2, 0.1) for row in y])


def test_a_demand_every_third_period_is_a_third_of_its_size() -> None:
    y = np.tile([0.0, 0.0, 6.0], 20)[None, :]
    assert interval_rate(y, 0.1, 0.1) == pytest.approx([2.0])
    assert bias_corrected_rate(y, 0.1, 0.1) == pytest.approx([1.9])


def test_sba_corrects_the_bias_of_croston() -> None:
    rng = np.random.default_rng(1)
    y = np.where(rng.random((4000, 200)) < 0.2, 5.0, 0.0)
    assert abs(bias_corrected_rate(y, 0.3, 0.3).mean() - 1) < 0.03
    assert interval_rate(y, 0.3, 0.3).mean() > 1.1


def test_tsb_follows_an_item_that_dies_out_and_croston_does_not() -> None:
    alive = np.tile([0.0, 4.0], 20)
    dead = np.concatenate([alive, np.zeros(30)])[None, :]
    assert probability_rate(dead, 0.1, 0.1)[0] < 0.1
    assert interval_rate(dead, 0.1, 0.1)[0] == pytest.approx(2.0)


def test_tsb_by_hand() -> None:
    y = np.array([[0.0, 4.0, np.nan, 0.0, 8.0]])
    # d: 1/2, (missing), 1/4, 5/8; z: 4, then 4 + 0.5 * 4
    assert probability_rate(y, 0.5, 0.5) == pytest.approx([0.625 * 6])


def test_no_demand_is_a_forecast_of_zero() -> None:
    y = np.zeros((1, 5))
    for rate in (interval_rate, bias_corrected_rate, probability_rate):
        assert rate(y, 0.1, 0.1).tolist() == [0.0]
