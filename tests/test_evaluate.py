from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from engine import hookimpl
from engine.choose import choose, chosen_models
from engine.components import Metric
from engine.contracts import MetricData
from engine.evaluate import Scores, coverage_of_rows, evaluate
from engine.gate.judge import Evidence, judge
from engine.registry import Registry
from engine.spec.model import RunSpec
from tests.panels import panel, rows

WHOLE = panel(rows(periods=30, future=0), past=(), ahead=0)
CUTOFFS = [WHOLE.end - 8, WHOLE.end - 4]


class TotalError:
    """A metric of whole panels: the error of the total of all series."""

    unit, better = "units", "lower"

    def __init__(self, params: object) -> None:
        del params

    def score(self, data: MetricData) -> pl.DataFrame:
        error = (pl.col("y").sum() - pl.col("y_hat").sum()).abs()
        return data.rows.group_by("model", maintain_order=True).agg(value=error).select(
            "model", pl.lit(None, dtype=pl.Int64).alias("cutoff"),
            pl.lit("all").alias("segment"), "value",
        )  # fmt: skip


@hookimpl
def engine_metrics() -> list[Metric]:
    return [Metric("total_error", "tests.test_evaluate:TotalError")]


@functools.cache
def registry() -> Registry:
    found = Registry.discover()
    found.add(sys.modules[__name__], "total")
    return found


def spec_of(metrics: list[Any], by: list[str] | None = None, **changes: Any) -> RunSpec:
    return RunSpec.model_validate(
        {
            "version": 1,
            "name": "t",
            "data": {
                "source": {"use": "simulate"},
                "columns": {"unique_id": "store", "ds": "ds", "y": "y"},
                "freq": "1d",
                "covariates": {"future": ["promo", "price"], "static": ["kind"]},
            },
            "horizon": 4,
            "quantiles": [0.1, 0.9],
            "models": {"bad": {"use": "seasonal_naive"}, "good": {"use": "ridge"}},
            "evaluate": {"metrics": metrics, "by": by or []},
            **changes,
        }
    )


def forecasts() -> pl.DataFrame:
    """Two models at two cutoffs: `good` errs by noise of 1, `bad` by noise of 5."""
    rng, parts = np.random.default_rng(4), []
    for model, spread in (("bad", 5.0), ("good", 1.0)):
        for cutoff in CUTOFFS:
            start, end = (WHOLE.grid.timestamp(cutoff + k) for k in (1, 4))
            part = WHOLE.frame.filter(pl.col("ds").is_between(start, end))
            parts.append(
                part.select(
                    "unique_id",
                    "ds",
                    pl.lit(cutoff, dtype=pl.Int64).alias("cutoff"),
                    step=pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("unique_id"),
                    model=pl.lit(model),
                    y_hat=pl.col("y") + pl.Series(rng.normal(0, spread, part.height)),
                ).with_columns(
                    (pl.col("y_hat") - 3).alias("q0.1"), (pl.col("y_hat") + 3).alias("q0.9")
                )
            )
    return pl.concat(parts)


def scored(
    metrics: list[Any], by: list[str] | None = None, made: pl.DataFrame | None = None
) -> Scores:
    known = WHOLE.frame.select("unique_id", "ds", "y")
    made = forecasts() if made is None else made
    return evaluate(made, known, WHOLE, spec_of(metrics, by), registry(), Path("."))


def value(scores: Scores, **place: Any) -> float:
    """One cell of the scores; over all folds and rows unless the place says otherwise."""
    place = {"segment": "all", **place}
    cutoff = place.pop("cutoff", None)
    found = scores.scores.filter(**place).filter(pl.col("cutoff").eq_missing(pl.lit(cutoff)))
    (only,) = found["value"].to_list()
    return float(only)


def pairs(**place: Any) -> tuple[np.ndarray, np.ndarray]:
    """Actuals and forecasts of the rows at a place."""
    known = WHOLE.frame.select("unique_id", "ds", "y").join(
        WHOLE.series.select("unique_id", "kind"), on="unique_id"
    )
    found = forecasts().join(known, on=["unique_id", "ds"]).filter(**place)
    return found["y"].to_numpy(), found["y_hat"].to_numpy()


def mae(y: np.ndarray, y_hat: np.ndarray) -> float:
    return float(np.abs(y - y_hat).mean())


FORMULAS = {
    "mae": mae,
    "rmse": lambda y, y_hat: np.sqrt(((y - y_hat) ** 2).mean()),
    "wape": lambda y, y_hat: np.abs(y - y_hat).sum() / np.abs(y).sum(),
    "bias": lambda y, y_hat: (y_hat - y).sum() / np.abs(y).sum(),
    "coverage": lambda y, y_hat: (np.abs(y - y_hat) <= 3).mean(),
}


@pytest.mark.parametrize("metric", list(FORMULAS))
def test_pooled_scores_are_their_formula_over_all_rows(metric: str):
    expected = FORMULAS[metric](*pairs(model="good"))
    assert value(scored([metric]), model="good", metric=metric) == pytest.approx(expected)


def test_scores_of_a_fold_are_their_formula_over_its_rows():
    expected = mae(*pairs(model="good", cutoff=CUTOFFS[1]))
    found = value(scored(["mae"]), model="good", cutoff=CUTOFFS[1])
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("by", "segment", "place"),
    [
        ("kind", "kind=big", {"kind": "big"}),
        ("store", "store=2", {"unique_id": "2"}),
        ("step", "step=3", {"step": 3}),
    ],
)
def test_scores_of_a_segment_are_their_formula_over_its_rows(
    by: str, segment: str, place: dict[str, Any]
):
    scores = scored(["wape"], [by])
    expected = FORMULAS["wape"](*pairs(model="bad", **place))
    assert value(scores, model="bad", segment=segment) == pytest.approx(expected)


def test_segments_do_not_change_the_headline():
    plain, cut = scored(["mae"]), scored(["mae"], ["kind", "store", "step"])
    assert value(plain, model="good") == pytest.approx(value(cut, model="good"))


def test_scores_per_series_are_their_formula_over_its_rows():
    found = scored(["mae"]).series.filter(model="good", unique_id="2")["value"].to_list()
    assert found == [pytest.approx(mae(*pairs(model="good", unique_id="2")))]


def test_a_scaled_error_is_scaled_by_the_history_up_to_its_own_cutoff():
    """MASE (Hyndman & Koehler 2006) with season 7, averaged over series and cutoffs."""
    ratios = []
    for cutoff in CUTOFFS:
        for uid in WHOLE.ids:
            y = WHOLE.until(cutoff).frame.filter(pl.col("unique_id") == uid)["y"].to_numpy()
            error = mae(*pairs(model="good", unique_id=uid, cutoff=cutoff))
            ratios.append(error / np.abs(y[7:] - y[:-7]).mean())
    assert value(scored(["mase"]), model="good") == pytest.approx(np.mean(ratios))


def test_rows_without_an_actual_are_not_scored():
    beyond = forecasts().with_columns(pl.col("ds") + pl.duration(days=2))
    scores = scored(["mae"], made=beyond)
    assert scores.counts == {"bad": 18, "good": 18}


def test_a_metric_of_whole_panels_stands_beside_the_others():
    scores = scored(["mae", "total_error"])
    y, y_hat = pairs(model="bad")
    found = value(scores, model="bad", metric="total_error")
    assert found == pytest.approx(abs(y.sum() - y_hat.sum()))


def without(model: str, n: int) -> pl.DataFrame:
    """The forecasts, the first `n` of one model left out."""
    made = forecasts()
    return pl.concat([made.filter(pl.col("model") != model), made.filter(model=model)[n:]])


def test_the_share_of_rows_counts_against_the_fullest_model():
    assert coverage_of_rows(scored(["mae"], made=without("good", 6))) == {"bad": 1.0, "good": 0.75}


def test_the_model_with_the_best_score_is_chosen():
    choice = choose(scored(["mae"]), spec_of(["mae"]))
    assert (choice.best, choice.incomplete) == ("good", ())


def test_an_incomplete_model_is_left_out_of_the_comparison():
    choice = choose(scored(["mae"], made=without("good", 6)), spec_of(["mae"]))
    assert (choice.best, choice.incomplete) == ("bad", ("good",))


def test_a_model_without_any_forecast_is_incomplete():
    choice = choose(scored(["mae"], made=without("good", 24)), spec_of(["mae"]))
    assert (choice.best, choice.incomplete) == ("bad", ("good",))


def test_a_metric_of_whole_panels_alone_can_decide():
    choice = choose(scored(["total_error"]), spec_of(["total_error"]))
    assert choice.best in ("good", "bad")
    assert choice.incomplete == ()


def test_without_any_forecast_nothing_is_chosen_and_every_model_goes_on():
    spec = spec_of(["mae", "total_error"])
    choice = choose(scored(["mae", "total_error"], made=forecasts().clear()), spec)
    assert choice.best is None
    assert chosen_models(spec, choice) == ["bad", "good"]


def test_a_metric_without_an_order_chooses_nothing():
    choice = choose(scored(["coverage"]), spec_of(["coverage"]))
    assert choice.best is None
    assert "no order" in choice.reason


@pytest.mark.parametrize(
    ("expected", "holds"),
    [
        ({"model": "good", "max": 5.0}, [True]),
        ({"model": "good", "max": 0.0}, [False]),
        ({"model": "bad", "min": 0.1, "max": 0.2}, [False, True]),
        ({"model": "good", "better_than": "bad"}, [True]),
        ({"model": "bad", "better_than": "good"}, [False]),
        ({"model": "absent", "max": 9.0}, [False]),
        ({"model": "good", "better_than": "absent"}, [False]),
    ],
)
def test_the_gate_holds_only_what_is_true(expected: dict[str, Any], holds: list[bool]):
    spec = spec_of(["mae"], expect=[{"metric": "mae", **expected}])
    assert sorted(v.holds for v in judge(spec.expect, Evidence(scored(["mae"])))) == sorted(holds)
