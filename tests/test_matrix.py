"""`engine features`: the rows of the file are those that models see, in bounded memory."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from engine import design
from engine.cli.main import invoke

SPEC = """version: 1
name: tiny
data:
  source: {use: files, path: shop.parquet}
  columns: {unique_id: [store, item], ds: day, y: sold}
  freq: 1d
  covariates: {future: [price]}
horizon: 4
gap: 1
features:
  - {use: lags, lags: [0, 1], seasonal: {period: 7, count: 1}}
  - {use: promo, price: price}
models:
  snaive: {use: seasonal_naive, season: 7}
  ridge: {use: ridge, target: log1p, features: ["lags_*", "promo_*"]}
  chain: {use: ridge, strategy: recursive}
evaluate: {metrics: [mae]}
"""
KEYS = ["store", "item"]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pl.DataFrame:
    """A working folder with the spec and 5 series of 40 days; the last 5 have no sales yet."""
    rng = np.random.default_rng(0)
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 2, 9), eager=True)
    frame = pl.concat(
        pl.DataFrame(
            {
                "store": f"s{number % 2}",
                "item": f"i{number}",
                "day": days,
                "sold": [*rng.integers(0, 50, 35).astype(float), *[None] * 5],
                "price": 10 + rng.random(40),
            }
        )
        for number in range(5)
    )
    frame.write_parquet(tmp_path / "shop.parquet")
    (tmp_path / "tiny.yaml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    return frame


def matrix(*arguments: str) -> pl.DataFrame:
    assert invoke(["features", "tiny.yaml", "--output", "m.parquet", *arguments]) == 0
    return pl.read_parquet("m.parquet")


def test_every_value_is_where_the_spec_says(shop: pl.DataFrame):
    made = matrix()
    assert made.columns[:7] == ["unique_id", *KEYS, "cutoff", "ds", "step", "y"]
    assert sorted(made["step"].unique()) == [1, 2, 3, 4]
    assert (made["ds"] - made["cutoff"] == (made["step"] + 1) * timedelta(days=1)).all()
    logs = shop.select(*KEYS, "day", value=pl.col("sold").log1p())

    def at(column: str, back: str = "0d") -> pl.Series:
        placed = made.select(*KEYS, day=pl.col(column).dt.offset_by(f"-{back}"))
        return placed.join(logs, on=[*KEYS, "day"], how="left", maintain_order="left")["value"]

    def same(name: str, expected: pl.Series) -> None:
        a, b = (s.cast(pl.Float64).fill_null(-1).to_numpy() for s in (made[name], expected))
        np.testing.assert_allclose(a, b, rtol=1e-6, err_msg=name)

    same("y", at("ds"))
    same("lags_y_0", at("cutoff"))
    same("lags_y_1", at("cutoff", "1d"))
    seasonal = next(c for c in made.columns if c.startswith("lags_y_") and "7" in c)
    same(seasonal, at("ds", "7d"))


def test_the_file_says_what_its_columns_are(shop: pl.DataFrame):
    made = matrix()
    meta = pl.read_parquet_metadata("m.parquet")
    features = {f["name"]: f for f in json.loads(meta["engine.features"])}
    assert list(features) == made.columns[7:]
    assert features["lags_y_1"] == {
        "name": "lags_y_1",
        "availability": "history",
        "lookback": 1,
        "season": None,
    }
    design = json.loads(meta["engine.design"])
    assert (design["model"], design["target"], design["cutoff"]) == ("ridge", "log1p", "2024-02-04")


def test_rows_to_forecast_are_what_training_rows_are_later(shop: pl.DataFrame):
    ahead = matrix("--forecast-rows", "--cutoff", "2024-01-30").filter(pl.col("y").is_null())
    later = matrix()
    assert ahead.height == 5 * 4
    both = later.join(ahead, on=[*KEYS, "cutoff", "ds", "step"], suffix="_ahead")
    assert both.height == ahead.height
    for name in later.columns[7:]:
        assert both[name].equals(both[f"{name}_ahead"], null_equal=True), name


def test_shards_hold_few_rows_and_give_the_same_matrix(
    shop: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
):
    whole = matrix()
    heights: list[int] = []
    plain = design.evaluate

    def recording(frame: pl.DataFrame, *rest: Any) -> Any:
        heights.append(frame.height)
        return plain(frame, *rest)

    monkeypatch.setattr(design, "evaluate", recording)
    pieces = matrix("--set", "run.shard_rows=80")
    assert heights and max(heights) <= 80
    order = [*KEYS, "step", "ds"]
    assert pieces.sort(order).equals(whole.sort(order), null_equal=True)


def test_a_recursive_model_is_fitted_on_one_step(shop: pl.DataFrame):
    made = matrix("--model", "chain")
    assert made["step"].unique().to_list() == [1]
    assert (made["ds"] - made["cutoff"] == timedelta(days=1)).all()


@pytest.mark.parametrize(
    ("ds", "cutoff"),
    [
        (pl.col("day").cast(pl.Datetime).dt.replace_time_zone("America/New_York"), "2024-01-20"),
        (pl.col("day").cast(pl.Datetime), "2024-01-20 00:00"),
        (pl.col("day").cast(pl.Int32) + 1 - pl.date(2024, 1, 1).cast(pl.Int32), "20"),
    ],
    ids=["zone", "datetime", "integer"],
)
def test_a_cutoff_is_written_as_ds_is_shown(shop: pl.DataFrame, ds: pl.Expr, cutoff: str):
    shop.with_columns(day=ds).write_parquet("shop.parquet")
    freq = "1" if cutoff == "20" else "1d"
    made = matrix("--cutoff", cutoff, "--set", f"data.freq={freq}")
    known = shop.with_columns(place=ds).filter(pl.col("day") == pl.date(2024, 1, 20))
    place = known["place"][0]
    # Days of a time zone are those on its clock.
    assert made["ds"].max() == (place if isinstance(place, int) else place.replace(tzinfo=None))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--cutoff", "soon"], 2, "cutoff 'soon' is not a date like 2024-12-31"),
        (["--cutoff", "2025-01-01"], 2, "from 2024-01-02 to 2024-02-04"),
        (["--model", "snaive"], 2, "models of rows: ridge, chain"),
        (["--model", "rigde"], 4, "no model 'rigde'"),
        (["--model", "chain", "--forecast-rows"], 2, "hold its own forecasts"),
        (["--set", 'models.ridge.features=["lags_y_9"]'], 5, "no feature matches 'lags_y_9'"),
        (["--cutoff", "2024-01-02"], 5, "the design has no rows"),
    ],
)
def test_what_cannot_be_written_says_why(
    shop: pl.DataFrame, capsys: Any, arguments: list[str], code: int, message: str
):
    Path("m.parquet").write_text("old")
    assert invoke(["features", "tiny.yaml", "--output", "m.parquet", *arguments]) == code
    assert message in capsys.readouterr().err
    assert Path("m.parquet").read_text() == "old"
    assert sorted(p.name for p in Path().iterdir()) == ["m.parquet", "shop.parquet", "tiny.yaml"]


def test_one_json_document_says_what_was_written(shop: pl.DataFrame, capsys: Any):
    assert invoke(["features", "tiny.yaml", "--json", "--cutoff", "2024-01-20"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["path"] == "tiny.features.parquet"
    assert document["rows"] == pl.read_parquet("tiny.features.parquet").height
    assert document["cutoff"] == "2024-01-20"
