from __future__ import annotations

import time

import pytest

from engine.errors import EngineError
from engine_report import drawing as made
from engine_report.drawing import drawing, drawn_beside

WRONG = {"mark": "no such mark", "data": {"values": []}}


def points(count: int) -> dict:
    values = [{"a": i, "b": i * i} for i in range(count)]
    encoding = {"x": {"field": "a", "type": "quantitative"}, "y": {"field": "b"}}
    return {"data": {"values": values}, "mark": "point", "encoding": encoding}


def test_pictures_drawn_beside_are_those_drawn_here():
    here = [str(drawing(points(count))) for count in range(1, 6)]
    with drawn_beside():
        begun = [drawing(points(count)) for count in range(1, 6)]
        assert [str(picture) for picture in begun] == here
    assert len(set(here)) == 5
    assert all(svg.startswith("<svg ") and svg.endswith("</svg>") for svg in here)


def test_a_picture_that_cannot_be_drawn_says_why_and_costs_no_other():
    with drawn_beside():
        bad, good = drawing(WRONG), drawing(points(2))
        with pytest.raises(EngineError, match="picture of the report cannot be drawn"):
            str(bad)
        assert "<svg" in str(good)


def test_a_process_that_dies_is_an_error_with_its_exit_code():
    with drawn_beside():
        studio = made._STUDIO.get()
        studio._process.kill()
        studio._process.wait()
        with pytest.raises(EngineError, match=r"ended \(exit code -?\d+\)"):
            str(drawing(points(2)))


def test_pictures_that_nobody_waits_for_hold_nothing_up():
    started = time.perf_counter()
    with drawn_beside():
        studio = made._STUDIO.get()
        for _ in range(300):
            drawing(points(50))
    assert time.perf_counter() - started < 10
    assert studio._process.returncode is not None


def test_without_a_process_pictures_are_drawn_here(monkeypatch):
    monkeypatch.setattr("sys.executable", "")
    with drawn_beside():
        assert made._STUDIO.get() is None
        assert "<svg" in str(drawing(points(2)))
