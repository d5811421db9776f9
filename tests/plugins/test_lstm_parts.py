"""Panels that are turned into arrays a part at a time."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jax")

from engine_lstm import course, data
from engine_lstm.course import most_at_once
from engine_lstm.data import Arrays, encode, learn_encoding
from engine_lstm.encoding import Encoding
from engine_lstm.sampling import StretchSize, to_device
from tests.plugins.test_lstm import case, fit, same

OPTIONS: list[dict[str, Any]] = [
    {},
    {"effects": (4, 9)},
    {"effects": (4,), "offset": "price", "robust": True},
    {"offset": "price", "season_terms": 0, "log1p": True},
]


def learned(history: Any, options: dict[str, Any]) -> Encoding:
    base = {"span": 16, "season": 7, "season_terms": 3, "static_keys": True}
    return learn_encoding(history, **{**base, **options})


@pytest.mark.parametrize("options", OPTIONS)
def test_a_part_of_the_series_is_encoded_as_among_all(options: dict[str, Any]) -> None:
    history, _ = case(n_series=5)
    encoding = learned(history, options)
    whole = encode(history, encoding)
    part = encode(history.select([1, 3, 4]), encoding, periods=whole.y.shape[1])
    for field in fields(Arrays):
        one, other = getattr(whole, field.name)[[1, 3, 4]], getattr(part, field.name)
        np.testing.assert_array_equal(one, other, err_msg=field.name)


def test_more_periods_are_empty_dates_in_front() -> None:
    history, _ = case(n_series=2)
    encoding = learned(history, {"effects": (4,)})
    plain = encode(history, encoding)
    longer = encode(history, encoding, periods=plain.y.shape[1] + 9)
    assert longer.first.tolist() == (plain.first + 9).tolist()
    for name in ("own", "known", "y", "seen", "offset"):
        values = getattr(longer, name)
        assert not values[:, :9].any(), name
        np.testing.assert_array_equal(values[:, 9:], getattr(plain, name))


@pytest.mark.parametrize("options", OPTIONS)
def test_the_width_of_an_encoding_is_that_of_its_arrays(options: dict[str, Any]) -> None:
    history, _ = case(n_series=2)
    encoding = learned(history, options)
    arrays = encode(history, encoding)
    over_time = ("own", "known", "y", "seen", "level", "scale", "offset")
    shapes = [getattr(arrays, name).shape[2:] for name in over_time]
    assert encoding.width == sum(int(np.prod(shape)) for shape in shapes)


def test_series_at_once_are_full_sets_that_the_limit_holds() -> None:
    history, _ = case(n_series=64)
    encoding, size = learned(history, {"effects": (4,)}), StretchSize(16, 8, 7)
    periods = int(history.lengths.max())
    on_device = to_device([encode(history, encoding)], np.ones(64, np.float32), 16, 7)
    over_time = [values.nbytes for values in on_device if values.ndim > 1 and values.shape[1] > 60]
    # `seen` takes a byte and not four.
    a_set = sum(over_time) + 3 * on_device.seen.nbytes
    fitting = most_at_once(encoding, periods, size)
    assert fitting % 64 == 0
    assert fitting // 64 * a_set <= course.MOST_BYTES < (fitting // 64 + 1) * a_set
    assert most_at_once(encoding, 10**9, size) == 64


def test_a_large_panel_is_learned_from_as_if_it_had_been_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    history, future = case(n_series=70)
    asked = fit(history, device_series=64).predict(history, future)
    assert not same(asked, fit(history).predict(history, future))
    monkeypatch.setattr(course, "MOST_BYTES", 1)
    assert same(asked, fit(history).predict(history, future))


def test_series_encoded_in_parts_are_learned_from_as_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    history, future = case(n_series=7)
    whole = fit(history).predict(history, future)
    monkeypatch.setattr(data, "_PART", 1)
    assert same(whole, fit(history).predict(history, future))


def test_series_forecast_in_parts_are_forecast_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    history, future = case(n_series=7)
    model = fit(history)
    whole, explained = model.predict(history, future), model.explain(history, future)
    monkeypatch.setattr(data, "_PART", 3 * model.encoding.width * int(history.lengths.max()))
    assert same(whole, model.predict(history, future))
    assert model.explain(history, future)["attribution"].equals(explained["attribution"])
