from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

from engine.registry import Registry
from engine.spec.validate import load_spec

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def scale() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scale", ROOT / "benchmarks" / "scale.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scale"] = module
    spec.loader.exec_module(module)
    return module


def test_the_spec_of_scale_is_valid_and_asks_for_weekly_buckets(monkeypatch, tmp_path):
    monkeypatch.setenv("ENGINE_SCALE", str(tmp_path))
    spec = load_spec(ROOT / "specs" / "scale" / "m5_shape.yaml", Registry.discover()).spec
    assert spec.name == "m5_shape"
    assert spec.models["ridge"].buckets == [7, 14, 21, 28]


def test_generated_files_hold_every_series_with_its_known_future(scale, tmp_path, monkeypatch):
    monkeypatch.setattr("engine_simulate.source.CHUNK_ROWS", 5_000)
    scale.generate(5, tmp_path / "made")
    assert len(list((tmp_path / "made").iterdir())) == 3
    rows = pl.read_parquet(tmp_path / "made" / "*.parquet")
    assert rows.select("store", "item").n_unique() == 5
    ahead = rows.filter(pl.col("units").is_null())
    assert ahead.height == 5 * scale.HORIZON
    assert not (tmp_path / "made.tmp").exists()


def test_a_measured_run_is_a_row_of_the_table(scale):
    line = scale.Measured(2_000_000, 10.0, 11.0, 18.0, 2**30, 2**31).line()
    assert line.count("|") == scale.HEADER.splitlines()[0].count("|")
    assert "5.00" in line
