"""Combinations of models: their numbers, what they cost, what fails with them, and whole runs."""

from __future__ import annotations

import statistics

import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from polars.testing import assert_frame_equal

from engine.combine import combined, combined_costs, combined_failures
from engine.execute import FAILURE_SCHEMA
from engine.registry import Registry
from engine.runner import Outcome
from engine.spec.model import Combination
from engine.spec.narrow import with_models
from tests.spec_text import SPEC, load
from tests.test_runner import run_tiny

PLACE = ["unique_id", "ds", "cutoff", "step"]
VALUES = st.floats(-1e6, 1e6)
BOTH = Combination.model_validate({"models": ["a", "b"]})
MEDIAN = Combination.model_validate({"models": ["a", "b", "c"], "by": "median"})


def rows(**forecasts: list[float | None]) -> pl.DataFrame:
    """One series' forecasts by model, a step each, and the median a tenth above y_hat."""
    parts = [
        pl.DataFrame(
            {
                "unique_id": "x",
                "ds": range(11, 11 + len(values)),
                "cutoff": 10,
                "step": pl.Series(range(1, 1 + len(values)), dtype=pl.Int32),
                "model": model,
                "y_hat": pl.Series(values, dtype=pl.Float64),
            }
        )
        for model, values in forecasts.items()
    ]
    return pl.concat(parts).with_columns((pl.col("y_hat") + 0.1).alias("q0.5"))


def of(frame: pl.DataFrame, model: str) -> list[float]:
    return frame.filter(model=model).sort("step")["y_hat"].to_list()


@given(st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=5))
@settings(deadline=None, max_examples=40)
def test_a_combination_is_the_mean_or_the_median_row_by_row(steps: list[tuple[float, ...]]):
    a, b, c = (list(values) for values in zip(*steps, strict=True))
    made = combined(rows(a=a, b=b, c=c), {"both": BOTH, "middle": MEDIAN})
    assert of(made, "both") == pytest.approx([(x + y) / 2 for x, y in zip(a, b, strict=True)])
    assert of(made, "middle") == [statistics.median(values) for values in steps]
    assert (made["q0.5"] - made["y_hat"]).to_list() == pytest.approx([0.1] * made.height, abs=1e-6)


@given(st.permutations(["a", "b", "c"]))
@settings(deadline=None)
def test_the_order_of_the_rows_does_not_matter(order: list[str]):
    whole = rows(a=[0.1, 1.0], b=[0.7, 1e9], c=[0.3, 3.3])
    shuffled = pl.concat([whole.filter(model=model).reverse() for model in order])
    uses = {"both": BOTH, "middle": MEDIAN}
    assert_frame_equal(combined(shuffled, uses), combined(whole, uses), check_exact=True)


def test_what_one_of_them_has_not_forecast_the_combination_has_not_either():
    made = combined(rows(a=[1.0, 2.0, 3.0], b=[5.0]), {"both": BOTH})
    assert of(made, "both") == [3.0]
    assert of(made, "a") == [1.0, 2.0, 3.0]


def test_a_quantile_that_one_of_them_has_not_is_none():
    bare = pl.when(pl.col("model") == "b").then(None).otherwise(pl.col("q0.5")).alias("q0.5")
    made = combined(rows(a=[1.0], b=[2.0]).with_columns(bare), {"both": BOTH})
    assert made.filter(model="both").select("y_hat", "q0.5").rows() == [(1.5, None)]


def test_where_a_model_fails_so_do_the_combinations_made_of_it():
    lost = [
        ("failed", "a", 10, "x", "no luck", None),
        ("failed", "b", 10, "x", "singular", None),
        ("failed", "c", 10, None, "ended", None),
    ]
    failures = pl.DataFrame(lost, schema=FAILURE_SCHEMA, orient="row")
    found = combined_failures(failures, {"both": BOTH, "middle": MEDIAN})
    rest = found.filter(pl.col("model").is_in(["both", "middle"]))
    assert rest.select("model", "unique_id", "reason").rows() == [
        ("both", "x", "a: no luck"),
        ("middle", "x", "a: no luck"),
        ("middle", None, "c: ended"),
    ]


def test_it_takes_the_time_of_all_and_the_memory_of_the_largest():
    seconds, megabytes = combined_costs(
        {"a": 1.0, "b": 2.0, "c": 4.0}, {"a": 10.0, "b": 30.0}, {"both": BOTH, "middle": MEDIAN}
    )
    assert (seconds["both"], seconds["middle"]) == (3.0, 7.0)
    assert megabytes == {"a": 10.0, "b": 30.0, "both": 30.0}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A run that chooses the mean of two weeks before: it has half the noise of either."""
    return run_tiny(
        tmp_path_factory.mktemp("combined"),
        models={
            "snaive": {"use": "seasonal_naive", "season": 7},
            "older": {"use": "seasonal_naive", "season": 14},
            "spare": {"use": "seasonal_naive", "season": 1},
        },
        combine={"mix": {"models": ["older", "snaive"]}},
        expect=[
            {"model": "mix", "metric": "wape", "better_than": "spare"},
            {"model": "mix", "time_ratio": 1e6, "than": "spare"},
            {"model": "mix", "no_failures": True},
        ],
    )


def test_a_combination_is_scored_beside_its_models(outcome: Outcome):
    rows = pl.read_parquet(outcome.folder / "backtest.parquet")
    mine = rows.filter(model="mix").sort(*PLACE)
    parts = [rows.filter(model=m).sort(*PLACE) for m in ("older", "snaive")]
    assert mine["y_hat"].to_numpy() == pytest.approx(
        (parts[0]["y_hat"].to_numpy() + parts[1]["y_hat"].to_numpy()) / 2
    )
    assert mine["q0.1"].null_count() == 0
    assert outcome.scores.headline()["model"].unique(maintain_order=True).to_list() == [
        "snaive", "older", "spare", "mix",
    ]  # fmt: skip
    assert all(row["holds"] for row in outcome.gate)


def test_only_its_models_are_fitted_for_its_forecast(outcome: Outcome):
    assert outcome.choice.best == "mix"
    forecast = pl.read_parquet(outcome.folder / "forecast.parquet")
    assert forecast["model"].unique().to_list() == ["mix"]
    final = {t["name"].split("/")[0] for t in outcome.manifest["tasks"] if "/final/" in t["name"]}
    assert final == {"older", "snaive"}


def test_a_part_of_a_spec_keeps_what_a_combination_is_made_of():
    text = SPEC.replace(
        "  snaive: {use: seasonal_naive, season: 7}\n",
        "  snaive: {use: seasonal_naive, season: 7}\n  last: {use: seasonal_naive, season: 1}\n"
        "  other: {use: seasonal_naive, season: 2}\ncombine: {mix: {models: [last, snaive]}}\n",
    )
    loaded = load(text, registry=Registry.discover())
    narrow = with_models(loaded, ["mix"])
    assert narrow.spec.contenders == ("snaive", "last", "mix")
    assert list(narrow.resolved["models"]) == ["snaive", "last"]
    assert with_models(loaded, ["last", "snaive"]).spec.contenders == ("snaive", "last")
