"""Checks of feature builders: what they may read, and that values are the same however they are asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import numpy as np
import polars as pl

from engine.contracts import Feature, FeatureContext, FeatureSet
from engine.data.panel import Panel
from engine.errors import EngineError
from engine.features import (
    FeaturePlan,
    Matrix,
    add_cross_sections,
    evaluate,
    evaluate_static,
    feature_context,
    known_rows,
    plan_features,
)
from engine.testing.base import Conformance, skip
from engine.testing.panels import HORIZON, Case, cut, frozen_copy

Change = Callable[[pl.DataFrame], pl.DataFrame]
_CLOSE = {"rtol": 1e-4, "atol": 1e-4}


class FeatureConformance(Conformance):
    """All checks of a feature builder: name the `component` and give it small `params`.

    The options are for the kit's columns: future `promo` and `price`, past `temperature`, static
    `kind`, key `store`.
    """

    kind: ClassVar[str] = "features"
    methods: ClassVar[tuple[str, ...]] = ("build",)

    def context(self, panel: Panel | None = None) -> FeatureContext:
        """What the builder is told of a panel."""
        return feature_context(panel or Case().panel(), HORIZON, 0)

    def plan(self, panel: Panel | None = None) -> FeaturePlan:
        """The builder's features, checked by the engine for what they read."""
        return plan_features([(self.the_record().name, self.make())], self.context(panel))

    def prepared(self, case: Case | None = None, change: Change | None = None) -> Panel:
        """A panel with the builder's cross-sectional columns."""
        panel = (case or Case()).panel(change)
        return add_cross_sections(panel, self.plan(panel).cross_sections)

    def values(self, panel: Panel) -> Matrix:
        """Features of whole series evaluated on every row, shape (features, rows)."""
        return evaluate(panel.frame, self._of(panel, "history", "aligned", "known"))

    def _of(self, panel: Panel, *availability: str) -> tuple[Feature, ...]:
        declared = Case(integer=panel.frame.schema["ds"].is_integer()).panel()
        return self.plan(declared).of(*availability)

    # ----------------------------------------------------------------- building

    def test_features_are_named_once(self) -> None:
        """There are features, with distinct, tidy names that are not those of columns."""
        names = [feature.name for feature in self.plan().features]
        assert names, "the builder makes no feature with these options"
        assert len(set(names)) == len(names), f"names occur twice: {names}"
        taken = set(names) & {"unique_id", "ds", "y", "store", "temperature", "kind", "ahead"}
        assert not taken, f"features named like columns: {taken}"
        assert all(name == name.strip() and name for name in names), f"untidy names: {names}"

    def test_the_result_is_a_feature_set(self) -> None:
        """`build` returns a FeatureSet of Features with expressions."""
        made = self.make().build(self.context())
        assert isinstance(made, FeatureSet), f"build returned {type(made).__name__}"
        for feature in made.features:
            assert isinstance(feature, Feature), f"{feature!r} is not a Feature"
            assert isinstance(feature.expr, pl.Expr), f"{feature.name}: expr is no expression"
            assert feature.lookback is None or feature.lookback >= 0, f"{feature.name}: lookback"

    def test_building_twice_gives_the_same(self) -> None:
        """The same options and columns give the same names and expressions."""
        one, two = self.plan().features, self.plan().features
        assert [f.name for f in one] == [f.name for f in two], "other names"
        same = all(a.expr.meta.eq(b.expr) for a, b in zip(one, two, strict=True))
        assert same, "other expressions"

    def test_names_do_not_depend_on_the_values(self) -> None:
        """A longer panel of other values gives the same features."""
        other = Case(lengths=(80, 70, 80, 65), level=300.0).panel()
        assert self.plan().names == self.plan(other).names, "features depend on the values"

    def test_integer_time_works_or_is_refused(self) -> None:
        """Integer time gives features, or an error that says why not."""
        try:
            panel = self.prepared(Case(integer=True))
            self.values(panel)
        except EngineError as error:
            assert error.message.strip(), "an error without a message"

    def test_a_panel_without_covariates_is_refused_by_name(self) -> None:
        """If an option's column is not declared, the error names it."""
        roles = type(Case().panel().roles)(("store",))
        panel = Case().panel()
        bare = panel.with_frame(panel.frame.select("unique_id", "ds", "y"), roles)
        inputs = {c for f in self.plan().features for c in f.expr.meta.root_names()}
        lost = inputs & {"promo", "price", "temperature", "kind"}
        try:
            self.plan(bare)
        except EngineError as error:
            stated = {c for c in lost if repr(c) in str(self.the_params().model_dump())}
            named = not stated or any(column in str(error) for column in stated)
            assert named, f"the error names none of {sorted(stated)}: {error}"
        else:
            assert not lost, f"features read {sorted(lost)}, which the panel does not have"

    # ------------------------------------------------------------------ values

    def test_one_value_a_row(self) -> None:
        """Every feature gives one number a row, on series of unequal lengths."""
        panel = self.prepared()
        self.values(panel)
        static = self._of(panel, "static")
        assert evaluate_static(panel.series, static).shape == (len(static), panel.n_series)

    def test_values_are_finite_or_missing(self) -> None:
        """No feature is infinite, and none is missing in every row of an ordinary panel."""
        panel = self.prepared()
        values = self.values(panel)
        infinite = np.isinf(values).any(axis=1)
        empty = np.isnan(values).all(axis=1)
        names = [f.name for f in self._of(panel, "history", "aligned", "known")]
        assert not infinite.any(), f"infinite: {[names[i] for i in np.flatnonzero(infinite)]}"
        assert not empty.any(), f"always missing: {[names[i] for i in np.flatnonzero(empty)]}"

    def test_short_series(self) -> None:
        """Series of one row give values or missing ones."""
        self.values(self.prepared(Case(lengths=(1, 60, 2))))

    def test_missing_zero_and_huge_values(self) -> None:
        """Holes, zeros and values of 1e12 give no infinity."""
        day = pl.int_range(pl.len()).over("store")
        for y in (
            pl.when(day % 5 > 0).then("y"),
            pl.when(pl.col("y").is_not_null()).then(0.0),
            pl.col("y") * 1e11,
        ):
            values = self.values(self.prepared(change=lambda rows, y=y: rows.with_columns(y=y)))  # type: ignore[misc]
            assert not np.isinf(values).any(), "infinite values"

    def test_series_do_not_touch(self) -> None:
        """Without cross sections a series alone has the features it has among others."""
        if self.plan().cross_sections:
            skip("the builder makes cross-sectional columns, which read other series")
        whole = self.prepared()
        alone = whole.select([1])
        rows = slice(int(whole.offsets[1]), int(whole.offsets[2]))
        same = np.array_equal(self.values(alone), self.values(whole)[:, rows], equal_nan=True)
        assert same, "features of a series depend on the series before it"

    def test_windows_are_what_their_expressions_are(self) -> None:
        """A feature that says it is a window has the values of its expression."""
        panel = self.prepared(Case(lengths=(1, 60, 17, 2)))
        said = [f for f in self._of(panel, "history", "aligned", "known") if f.window]
        if not said:
            skip("the builder makes no feature with a window")
        frame = panel.frame.with_columns(
            pl.when(pl.int_range(pl.len()) % 5 > 0).then(pl.col(name)).alias(name)
            for name in {f.window.column for f in said if f.window}
        )
        made = evaluate(frame, said)
        plain = evaluate(frame, [replace(feature, window=None) for feature in said])
        far = ~np.isclose(made, plain, equal_nan=True, **_CLOSE).all(axis=1)
        names = [said[i].name for i in np.flatnonzero(far)]
        assert not names, f"windows that are not their expressions: {', '.join(names)}"

    # ----------------------------------------------------------------- leakage

    def test_history_features_do_not_look_ahead(self) -> None:
        """A feature of the history is the same whether later rows are there or not."""
        panel = self.prepared()
        features = self._of(panel, "history", "aligned")
        if not features:
            skip("the builder makes no feature of the history")
        history = panel.until(panel.end - 10)
        kept = np.concatenate(
            [
                np.arange(int(panel.offsets[i]), int(panel.offsets[i]) + int(length))
                for i, length in enumerate(history.lengths)
            ]
        )
        long = evaluate(panel.frame, features)[:, kept]
        short = evaluate(history.frame, features)
        moved = ~np.isclose(long, short, equal_nan=True, **_CLOSE).all(axis=1)
        names = [features[i].name for i in np.flatnonzero(moved)]
        assert not names, f"features that read later rows: {', '.join(names)}"

    def test_known_features_read_only_what_is_known(self) -> None:
        """Other targets and past covariates leave known features as they are."""
        panel = self.prepared()
        known = self._of(panel, "known")
        if not known:
            skip("the builder makes no known feature")
        other = self.prepared(
            change=lambda rows: rows.with_columns(pl.col("y", "temperature") * -3 + 7)
        )
        before, after = (evaluate(known_rows(*cut(p), None)[0], known) for p in (panel, other))
        assert np.array_equal(before, after, equal_nan=True), "known features read y"
        assert not np.isnan(before[:, -1]).all(), "known features are missing in the future"

    def test_lookback_is_enough(self) -> None:
        """The last rows alone, as many as `lookback` says, give the last row's value."""
        panel = self.prepared()
        history = panel.until(panel.end)
        for feature in self._of(panel, "history", "aligned"):
            if feature.lookback is None:
                continue
            tail = history.tail(feature.lookback + 1)
            whole = evaluate(history.frame, [feature])[0][history.offsets[1:] - 1]
            part = evaluate(tail.frame, [feature])[0][tail.offsets[1:] - 1]
            same = np.isclose(whole, part, equal_nan=True, **_CLOSE).all()
            assert same, f"{feature.name} reads more than lookback={feature.lookback} rows back"

    def test_inputs_are_not_changed(self) -> None:
        """Building and evaluating leave the panel as it was."""
        panel = self.prepared()
        before = frozen_copy(panel)
        self.values(panel)
        assert frozen_copy(panel) == before, "the panel was changed"
