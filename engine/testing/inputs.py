"""Checks of what a model takes: kinds of covariates, other series, missing values; true both ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl

from engine.abilities import columns_taken, plan_for, taken
from engine.contracts import Prediction
from engine.covariates import with_covariates
from engine.data.panel import Future, Panel
from engine.errors import EngineError
from engine.features import FeaturePlan
from engine.spec.model import ModelUse
from engine.testing.base import skip
from engine.testing.fitting import Asked, usual, wrapped
from engine.testing.merging import MergeableChecks
from engine.testing.models import checked, same_bits
from engine.testing.panels import ROLES, Case, cut, design_features

Change = Callable[[pl.DataFrame], pl.DataFrame]


class InputChecks(MergeableChecks):
    """Checks of the capabilities about what goes into a model.

    The kit hands over everything, so that a model that reads what it does not declare is found; the
    engine withholds it, so that the model must not need it either.
    """

    def test_future_covariates_as_declared(self) -> None:
        """Known covariates change the forecast if declared, and only then."""
        ahead = pl.col("y").is_null()
        self._as_declared(
            "future_covariates",
            lambda rows: rows.with_columns(
                promo=pl.when(ahead).then(1 - pl.col("promo")).otherwise("promo"),
                price=pl.when(ahead).then(pl.col("price") - 3).otherwise("price"),
            ),
        )

    def test_past_covariates_as_declared(self) -> None:
        """Observed covariates change the forecast if declared, and only then."""
        noise = (pl.int_range(pl.len()) * 37 % 17).cast(pl.Float64)
        self._as_declared(
            "past_covariates",
            lambda rows: rows.with_columns(temperature=pl.col("temperature") + noise),
        )

    def test_static_covariates_as_declared(self) -> None:
        """Attributes of series change the forecast if declared, and only then."""
        swapped = (
            pl.when(pl.col("store") > "store b").then(pl.lit("big")).otherwise(pl.lit("small"))
        )
        self._as_declared("static_covariates", lambda rows: rows.with_columns(kind=swapped))

    def test_scope_as_declared(self) -> None:
        """A local model forecasts a series alone as among others; a global one learns from all."""
        history, future = usual()
        whole = self.fitted().predict(history, future)
        store = pl.col("store") == "store a"
        alone = self.forecast(cut(Case().panel(lambda rows: rows.filter(store))))
        apart = np.array_equal(whole.y_hat[0], alone.y_hat[0])
        if whole.quantiles is not None and alone.quantiles is not None:
            apart &= np.array_equal(whole.quantiles[0], alone.quantiles[0])
        able = self.the_model().capabilities
        assert able.scope == "local" or not able.vectorized, "declares vectorized, but is not local"
        if able.scope == "local":
            assert apart, "declared local, but other series change the forecast of a series"
        else:
            assert not apart, "declared global, but no other series matters: declare it local"

    def test_missing_values_as_declared(self) -> None:
        """Holes in y are forecast over if declared, and only then."""
        hole = pl.int_range(pl.len()).over("store").is_in([5, 6, 20, 33, 34, 35, 42])
        history, future = cut(Case().panel(lambda r: r.with_columns(y=pl.when(~hole).then("y"))))
        able = self.the_model().capabilities
        model = wrapped(self.the_model(), self.make(), able=replace(able, missing_values=True))
        if able.missing_values:
            made = checked(model.fit(Asked().training(history)).predict(history, future), future)
            assert not made.failures, f"declares missing_values, but: {dict(made.failures)}"
            return
        try:
            made = model.fit(Asked().training(history)).predict(history, future)
        except Exception:  # noqa: BLE001 - the engine never hands it holes, so it may fail on them
            return
        lost = made.failures or not np.isfinite(made.y_hat).all()
        assert lost, "forecasts series with holes: declare missing_values"

    def test_what_is_not_declared_is_not_needed(self) -> None:
        """Without the covariates that it does not declare, which the engine withholds, it is the same."""
        able = self.the_model().capabilities
        if len(taken(able)) == 3:
            skip("the model declares every kind of covariate")
        use = ModelUse.model_validate({"use": self.the_model().name})
        plan = plan_for(able, use, design_features(), ROLES)
        made = self._on(usual(), columns_taken(able, ROLES), plan)
        same_bits(made, self.fitted().predict(*usual()), "without what is not declared, it")

    def test_a_panel_without_covariates(self) -> None:
        """Where the data have no covariates at all, it forecasts, or refuses with a message."""
        features = design_features()
        bare = {"last", "mean_7", "last_week"}
        plan = replace(features, features=tuple(f for f in features.features if f.name in bare))
        try:
            made = self._on(usual(), [], plan)
        except EngineError as error:
            assert error.message.strip(), "an error without a message"
            return
        assert not made.failures, f"healthy series failed: {dict(made.failures)}"

    def test_the_recursive_strategy(self) -> None:
        """A model of design rows fitted for one step forecasts all of them, one after another."""
        if self.the_model().capabilities.input == "panel":
            skip("a model of whole series makes all steps itself")
        history, future = usual()
        model = wrapped(self.the_model(), self.make(), recursive=True)
        made = checked(model.fit(Asked().training(history)).predict(history, future), future)
        assert not made.failures, f"healthy series failed: {dict(made.failures)}"
        assert made.quantiles is None, "quantiles of a single step are passed off as those of all"

    def _on(self, case: tuple[Panel, Future], columns: list[str], plan: FeaturePlan) -> Prediction:
        """A forecast from some of the covariates, or from some of the features."""
        history, future = case
        if self.the_model().capabilities.input == "panel":
            history, future = with_covariates(history, future, columns)
        model = wrapped(self.the_model(), self.make(), plan=plan)
        return checked(model.fit(Asked().training(history)).predict(history, future), future)

    def _moves(self, change: Change) -> bool:
        before: Prediction = self.fitted().predict(*usual())
        after = self.forecast(cut(Case().panel(change)))
        return not np.array_equal(before.y_hat, after.y_hat)

    def _as_declared(self, capability: str, change: Change) -> None:
        moves = self._moves(change)
        if getattr(self.the_model().capabilities, capability):
            assert moves, f"declares {capability}, but they change no forecast"
        else:
            assert not moves, f"{capability} change the forecast: declare it"
