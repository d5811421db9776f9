"""A model of the spec with the engine's part around it; what it is given is cut at the cutoff first."""

from __future__ import annotations

import fnmatch
from dataclasses import replace
from typing import Any

import numpy as np

from engine import drivers
from engine.abilities import capabilities_of, columns_taken, masked, plan_for, without_holes
from engine.aggregate import Aggregated, aggregated
from engine.backtest import Task, eligible
from engine.contracts import Prediction
from engine.covariates import panel_with_features, with_covariates
from engine.data.panel import Future, Panel
from engine.features import add_cross_sections
from engine.future import future_of
from engine.horizon import TabularModel, default_buckets
from engine.ingest import declared_roles
from engine.registry import build
from engine.selection import SelectingModel
from engine.spec.model import ModelUse, RunSpec
from engine.transforms import TargetTransform, target_transform
from engine.workspace import Workspace


class Wrapped:
    """A model of the spec with the engine's part around it: cut, transform, features, strategy."""

    def __init__(self, work: Workspace, task: Task, use: ModelUse) -> None:
        self._work, self._task, self._use = work, task, use
        self.component = work.model_component(task.model)
        self.able = capabilities_of(self.component, use)
        self._design = self.able.input == "design"
        self._plan = plan_for(self.able, use, work.plan, declared_roles(work.spec))
        self._raw: dict[int, tuple[Panel, Future, dict[str, str]]] = {}
        self._sums: dict[int, Aggregated] = {}
        self._transforms: dict[int, TargetTransform] = {}

    def build(self) -> Any:
        """The model, ready to fit; models of design rows get a horizon strategy."""
        spec = self._work.spec
        model = build(self.component, self._use.options)
        if not self._design:
            return model
        if self._use.select_features is not None:
            model = SelectingModel(model, self._work.selector(self._use.select_features))
        direct = self._use.strategy == "direct"
        buckets = (self._use.buckets or default_buckets(spec.horizon)) if direct else None
        return TabularModel(
            model, self._plan, buckets, self._use.window, spec.run.shard_rows, self.able
        )

    def inputs(self, cutoff: int) -> tuple[Panel, Future]:
        """History up to a cutoff and its known future, transformed, with features added."""
        history, future = self._seen(cutoff)
        history = self.transform(cutoff).apply(history)
        if self._plan.sections_of_y:
            history = self._with_sections(history, cutoff)
        if self._design:
            return history, future
        history, future = panel_with_features(history, future, self._plan)
        history, future = with_covariates(history, future, self._visible(history))
        if self._use.window is not None:
            history = history.tail(self._use.window)
        return history, future

    def transform(self, cutoff: int) -> TargetTransform:
        """What is done to y at a cutoff."""
        if cutoff not in self._transforms:
            self._transforms = {cutoff: self._transform_of(self._seen(cutoff)[0])}
        return self._transforms[cutoff]

    def _transform_of(self, history: Panel) -> TargetTransform:
        use = self._use
        return target_transform(history, use.target, use.scale, self._task.model)

    def _with_sections(self, history: Panel, cutoff: int) -> Panel:
        """Cross-sections of the transformed `y`, over all series, also where a task has a part."""
        sections, work = self._plan.sections_of_y, self._work
        if self._task.series is None:
            return add_cross_sections(history, sections)
        whole = masked(cut(work.panel, work.spec, cutoff, None)[0], self._use.mask)
        whole = self._transform_of(whole).apply(whole)
        whole = add_cross_sections(whole, sections)
        return whole.select(np.flatnonzero(whole.series["unique_id"].is_in(history.ids)))

    def _visible(self, history: Panel) -> list[str]:
        """Columns a model of whole series sees: what it takes and asked for, and its features.

        Cross-sectional columns only feed features; they are not covariates of their own.
        """
        internal = {section.name for section in self._work.plan.cross_sections}
        roles = history.roles
        columns = [c for c in columns_taken(self.able, roles) if c not in internal]
        asked = ["*"] if self._use.covariates is None else self._use.covariates
        seen = [c for c in columns if any(fnmatch.fnmatchcase(c, p) for p in asked)]
        return [*seen, *self._plan.names]

    def left_out(self, cutoff: int) -> dict[str, str]:
        """Series that the model is not given at a cutoff, and why."""
        return self._cut(cutoff)[2]

    def _cut(self, cutoff: int) -> tuple[Panel, Future, dict[str, str]]:
        if cutoff not in self._raw:
            history, future = cut(self._work.panel, self._work.spec, cutoff, self._task.series)
            whole = masked(history, self._use.mask), future
            bare = self._design or self.able.missing_values
            self._raw = {cutoff: (*whole, {}) if bare else without_holes(*whole, self._use.window)}
        return self._raw[cutoff]

    def _seen(self, cutoff: int) -> tuple[Panel, Future]:
        """What the model works on: the series, or sums of them."""
        history, future, _ = self._cut(cutoff)
        use = self._use.aggregate
        if use is None or not history.n_series:
            return history, future
        if cutoff not in self._sums:
            self._sums = {cutoff: aggregated(history, future, use.by, use.share)}
        return self._sums[cutoff].history, self._sums[cutoff].future

    def in_units(self, fitted: Any, cutoff: int) -> drivers.Predict:
        """Point forecasts in the units of y, also of some of the series of the cutoff."""
        everyone = {name: i for i, name in enumerate(self._cut(cutoff)[0].ids)}

        def predict(history: Panel, future: Future) -> drivers.Floats:
            found = fitted.predict(history, future).y_hat
            rows = [everyone[name] for name in history.ids]
            whole = np.full((len(everyone), found.shape[1]), np.nan)
            whole[rows] = found
            inverted = self.inverted(Prediction(whole), cutoff)[0].y_hat[rows]
            lowest = self._work.spec.minimum
            return inverted if lowest is None else np.maximum(inverted, lowest)

        return predict

    def inverted(self, prediction: Prediction, cutoff: int) -> tuple[Prediction, list[str], Future]:
        """Back to the units of y and to the series, with their names and future rows."""
        history, future = self._seen(cutoff)
        transform = self.transform(cutoff)
        quantiles = prediction.quantiles
        prediction = replace(
            prediction,
            y_hat=transform.invert(prediction.y_hat),
            quantiles=None if quantiles is None else transform.invert(quantiles),
        )
        if self._use.aggregate is not None:
            history, future, _ = self._cut(cutoff)
            prediction = self._sums[cutoff].shared_out(prediction)
        return prediction, history.ids, future


def cut(
    panel: Panel, spec: RunSpec, cutoff: int, series: tuple[int, int] | None
) -> tuple[Panel, Future]:
    """The history of the eligible series up to a cutoff, and the future covariates after it."""
    if series is not None:
        panel = panel.select(np.arange(*series))
    panel = panel.select(eligible(panel, cutoff, spec).index)
    return history_of(panel, spec, cutoff), future_of(panel, cutoff, spec.gap, spec.horizon)


def history_of(panel: Panel, spec: RunSpec, cutoff: int) -> Panel:
    """What models are fitted on at a cutoff: all of the past, or the end of a sliding window."""
    history = panel.until(cutoff)
    return history if spec.backtest.size is None else history.tail(spec.backtest.size)
