"""Checks of metrics: order, nulls, scale, and that nothing after a cutoff weighs in."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl

from engine.data.panel import Panel
from engine.errors import EngineError
from engine.evaluate import Scores, evaluate, is_row_metric
from engine.registry import Registered, Registry
from engine.spec.model import RunSpec
from engine.testing.base import Conformance, installed, skip
from engine.testing.panels import HORIZON, QUANTILES, Case

Change = Callable[[pl.DataFrame], pl.DataFrame]
_QUANTILES = {q: f"q{q!r}" for q in QUANTILES}


class MetricConformance(Conformance):
    """All checks of a metric: name the `component` and give it small `params`.

    The panel has the key `store` and the covariates `promo`, `price`, `temperature`, `kind`.
    """

    kind: ClassVar[str] = "metric"
    methods: ClassVar[tuple[str, ...]] = ()

    def panel(self) -> Panel:
        """The panel whose last rows are scored, without a known future."""
        return Case(ahead=0).panel()

    def rows(self, panel: Panel, error: float = 0.1) -> pl.DataFrame:
        """Forecasts at two cutoffs: model `good` errs by `error`, model `bad` five times as much."""
        rng, parts = np.random.default_rng(3), []
        for back in (2 * HORIZON, HORIZON):
            cutoff = panel.end - back
            ordinal = pl.Series("ordinal", panel.ordinals)
            part = panel.frame.select("unique_id", "ds", "y").with_columns(ordinal)
            part = part.filter(pl.col("ordinal").is_between(cutoff + 1, cutoff + HORIZON))
            sign = np.where(rng.random(part.height) < 0.5, -1.0, 1.0)
            for model, factor in (("good", 1.0), ("bad", 5.0)):
                off = pl.Series(sign * error * factor)
                parts.append(
                    part.select(
                        "unique_id",
                        "ds",
                        pl.lit(cutoff, dtype=pl.Int64).alias("cutoff"),
                        (pl.col("ordinal") - cutoff).cast(pl.Int32).alias("step"),
                        pl.lit(model).alias("model"),
                        (pl.col("y") * (1 + off)).alias("y_hat"),
                        *(
                            (pl.col("y") * (1 + off + (q - 0.5) * error * factor)).alias(name)
                            for q, name in _QUANTILES.items()
                        ),
                    )
                )
        return pl.concat(parts)

    def score(
        self,
        rows: pl.DataFrame | None = None,
        panel: Panel | None = None,
        change: Change | None = None,
    ) -> dict[str, float | None]:
        """The headline score of each model; `change` is applied to the scored rows."""
        panel = panel or self.panel()
        rows = self.rows(panel) if rows is None else rows
        scores = self.scores(rows if change is None else change(rows), panel)
        return dict(scores.headline().select("model", "value").iter_rows())

    def scores(self, rows: pl.DataFrame, panel: Panel, truth: Panel | None = None) -> Scores:
        """All scores; `truth` holds the actuals, by default the panel itself."""
        actuals = (truth or panel).frame.select("unique_id", "ds", "y").drop_nulls("y")
        with tempfile.TemporaryDirectory() as base:
            return evaluate(rows, actuals, panel, self._spec(), self._registry(), Path(base))

    def _spec(self) -> RunSpec:
        params = self.the_params().model_dump(mode="json", exclude_unset=True)
        return RunSpec.model_validate(
            {
                "version": 1,
                "name": "kit",
                "data": {
                    "source": {"use": "none"},
                    "columns": {"unique_id": "store", "ds": "ds", "y": "y"},
                    "freq": "1d",
                },
                "horizon": HORIZON,
                "quantiles": list(QUANTILES),
                "models": {"good": {"use": "none"}, "bad": {"use": "none"}},
                "evaluate": {"metrics": [{"use": self.the_record().name, **params}]},
            }
        )

    def _registry(self) -> Registry:
        record = self.the_record()
        entry = Registered(record, "kit", "", "")
        known = installed()
        return replace(known, components={**known.components, ("metric", record.name): [entry]})

    # ------------------------------------------------------------------- checks

    def test_it_declares_unit_and_order(self) -> None:
        """The metric says its unit, what is better, and how series are pooled."""
        metric = self.make()
        assert getattr(metric, "unit", ""), "no unit"
        assert metric.better in ("lower", "higher", "none"), f"better: {metric.better!r}"
        if is_row_metric(metric):
            assert metric.pool in ("rows", "series"), f"pool: {metric.pool!r}"
        else:
            assert callable(getattr(metric, "score", None)), "neither terms and value, nor score"

    def test_every_model_has_a_finite_score(self) -> None:
        """Ordinary forecasts have finite scores, over all folds and for each."""
        panel = self.panel()
        frame = self.scores(self.rows(panel), panel).scores
        assert set(frame["model"]) == {"good", "bad"}, f"{frame}"
        assert frame["value"].is_finite().all(), f"{frame}"
        head = frame.filter(pl.col("segment") == "all", pl.col("cutoff").is_null())
        assert head.height == 2, f"no headline score for each model: {frame}"

    def test_better_forecasts_score_better(self) -> None:
        """A forecast with a fifth of the error is ranked above, in the declared direction."""
        better = self.make().better
        if better == "none":
            skip("the metric declares no order")
        made = self.score()
        good, bad = made["good"], made["bad"]
        assert good is not None and bad is not None
        assert good < bad if better == "lower" else good > bad, f"better is {better}: {made}"

    def test_a_perfect_forecast_is_best(self) -> None:
        """A perfect forecast has a finite score that nothing beats."""
        panel = self.panel()
        perfect = self.score(self.rows(panel, error=0.0), panel)["good"]
        assert perfect is not None and np.isfinite(perfect), f"score {perfect}"
        good, better = self.score()["good"], self.make().better
        assert good is not None
        if better != "none":
            assert perfect <= good if better == "lower" else perfect >= good, f"{perfect}, {good}"

    def test_missing_forecasts_do_not_count(self) -> None:
        """Rows without a forecast leave the others' score finite."""
        names = ["y_hat", *_QUANTILES.values()]
        hole = pl.int_range(pl.len()).over("model", "unique_id") == 0
        self._finite_or_null(
            lambda rows: rows.with_columns(pl.when(~hole).then(c).alias(c) for c in names)
        )

    def test_zeros_give_no_infinity(self) -> None:
        """Actuals of zero give a finite score, a null, or an error that says why."""
        panel = self.panel()
        late = pl.Series(panel.ordinals) > panel.end - 2 * HORIZON
        zero = panel.frame.with_columns(y=pl.when(late).then(0.0).otherwise("y"))
        quiet = panel.with_frame(zero)
        rows = self.rows(panel)
        try:
            found = self.scores(rows, quiet).headline()["value"]
        except EngineError as error:
            assert error.message.strip(), "an error without a message"
            return
        assert not (found.is_infinite() | found.is_nan()).any(), f"scores {found.to_list()}"

    def test_huge_and_tiny_values(self) -> None:
        """Values of 1e9 and of 1e-6 have finite scores."""
        for level in (1e9, 1e-6):
            panel = Case(ahead=0, level=level).panel()
            made = self.score(panel=panel)
            assert all(v is not None and np.isfinite(v) for v in made.values()), f"{level}: {made}"

    def test_the_order_of_rows_does_not_matter(self) -> None:
        """Shuffled rows have the same score, up to the rounding of sums."""
        usual = self.score()
        shuffled = self.score(change=lambda rows: rows.sample(fraction=1.0, shuffle=True, seed=1))
        for model, value in usual.items():
            other = shuffled[model]
            assert value is not None and other is not None
            assert np.isclose(value, other, rtol=1e-9), f"{model}: {value} and {other}"

    def test_models_do_not_touch(self) -> None:
        """A model alone has the score that it has beside another."""
        alone = self.score(change=lambda rows: rows.filter(pl.col("model") == "good"))["good"]
        among = self.score()["good"]
        assert alone is not None and among is not None
        assert np.isclose(alone, among, rtol=1e-12), f"alone {alone}, beside another {among}"

    def test_nothing_after_the_first_target_weighs_in(self) -> None:
        """Scales and weights come from the history up to each cutoff, not from what follows."""
        panel = self.panel()
        cutoff = panel.end - 2 * HORIZON
        rows = self.rows(panel).filter(pl.col("cutoff") == cutoff)
        later = pl.Series(panel.ordinals) > cutoff
        names = ("y", "price", "temperature")
        spoiled = panel.with_frame(
            panel.frame.with_columns(
                pl.when(later).then(pl.col(c) * 7 + 1).otherwise(c).alias(c) for c in names
            )
        )
        before = self.scores(rows, panel).headline()
        after = self.scores(rows, spoiled, truth=panel).headline()
        assert before.equals(after), f"before: {before['value']}, after: {after['value']}"

    def test_a_single_row(self) -> None:
        """One scored row has a score that is not infinite."""
        self._finite_or_null(lambda rows: rows.filter(pl.col("model") == "good").head(1))

    def test_inputs_are_not_changed(self) -> None:
        """Scored rows and panel are left as they were."""
        panel = self.panel()
        rows = self.rows(panel)
        before = (rows.clone(), panel.frame.clone())
        self.scores(rows, panel)
        assert before[0].equals(rows) and before[1].equals(panel.frame), "the inputs were changed"

    def _finite_or_null(self, change: Change) -> None:
        try:
            made = self.score(change=change)
        except EngineError as error:
            assert error.message.strip(), "an error without a message"
            return
        bad: dict[str, Any] = {
            k: v for k, v in made.items() if v is not None and not np.isfinite(v)
        }
        assert not bad, f"scores {bad}"
