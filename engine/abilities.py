"""What a model of a spec is given and asked for, by what it declares.

A kind of covariate that a model does not declare is withheld from it, and so are series with missing
values: what a model cannot use, it cannot trip over or quietly read. The conformance kit holds models
to the same promises from the other side.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.components import Capabilities, Model
from engine.contracts import CrossSection, Feature
from engine.data.panel import Future, Panel, Roles
from engine.errors import DataError
from engine.features import FeaturePlan, section_is_known
from engine.spec.model import ModelUse

_LANDS = {"known": "future", "aligned": "future", "history": "past", "static": "static"}
"""As which kind of covariate a model of whole series gets a feature."""


def capabilities_of(component: Model, use: ModelUse) -> Capabilities:
    """What a model of a spec can do: as declared, but quantiles of one step are none of many steps.

    The spread of a recursion grows with every forecast that it feeds back, so that the engine
    calibrates it.
    """
    able = component.capabilities
    if use.aggregate is not None:
        # Sums are made over all series, and their quantiles say nothing of the parts.
        return replace(able, scope="global", quantiles=False)
    if able.input == "design" and use.strategy == "recursive":
        return replace(able, quantiles=False)
    return able


def taken(able: Capabilities) -> set[str]:
    """Kinds of covariates that a model takes: of `future`, `past`, `static`."""
    return {kind for kind in ("future", "past", "static") if getattr(able, f"{kind}_covariates")}


def columns_taken(able: Capabilities, roles: Roles) -> list[str]:
    """The covariates, of those with these roles, that a model takes."""
    return [column for kind in sorted(taken(able)) for column in getattr(roles, kind)]


def plan_for(able: Capabilities, use: ModelUse, plan: FeaturePlan, roles: Roles) -> FeaturePlan:
    """The features that a model gets: those the spec names, made of what the model takes.

    Models of design rows get all if the spec names none, models of whole series then get none.
    roles: of the panel without cross-sections.
    """
    design = able.input == "design"
    asked = plan.matching(use.features if design or use.features else [])
    sections, known = {s.name: s for s in plan.cross_sections}, taken(able)
    kept = tuple(f for f in asked.features if _kinds(f, design, roles, sections) <= known)
    return replace(asked, features=kept)


def check_features(
    name: str, able: Capabilities, use: ModelUse, plan: FeaturePlan, roles: Roles
) -> None:
    """DataError if nothing of what a pattern of `features:` names can be given to the model."""
    kept = set(plan_for(able, use, plan, roles).names)
    design, sections = able.input == "design", {s.name: s for s in plan.cross_sections}
    for pattern in use.features or ():
        found = [f for f in plan.features if fnmatch.fnmatch(f.name, pattern)]
        if kept & {f.name for f in found}:
            continue
        kinds = {kind for f in found for kind in _kinds(f, design, roles, sections)} - taken(able)
        raise DataError(
            f"model {name!r} ({use.use}) takes no {' and no '.join(sorted(kinds))} covariates, as "
            f"which it would get {', '.join(f.name for f in found[:3])}",
            hint=f"leave {pattern!r} out of the model's `features:`",
        )


def _kinds(
    feature: Feature, design: bool, roles: Roles, sections: Mapping[str, CrossSection]
) -> set[str]:
    """Kinds of covariates that a feature is for a model: as a column, or by what it is made of."""
    if not design:
        return {_LANDS[feature.availability]}
    found = set()
    for column in feature.expr.meta.root_names():
        if column in sections:
            found.add("future" if section_is_known(sections[column], roles) else "past")
        found |= {kind for kind in ("future", "past", "static") if column in getattr(roles, kind)}
    return found


def masked(history: Panel, flags: Sequence[str]) -> Panel:
    """The history with a missing `y` wherever one of the flags is positive."""
    if not flags:
        return history
    hidden = pl.any_horizontal(pl.col(f).cast(pl.Float64).fill_null(0.0) > 0 for f in flags)
    return history.with_frame(history.frame.with_columns(y=pl.when(~hidden).then(pl.col("y"))))


def without_holes(
    history: Panel, future: Future, window: int | None = None
) -> tuple[Panel, Future, dict[str, str]]:
    """The series without a missing `y`, for a model that takes none, and why others are left out.

    window: periods at the end of the history that count; None for all.
    """
    read = history if window is None else history.tail(window)
    holes = np.bincount(read.series_index[np.isnan(read.y())], minlength=read.n_series)
    if not holes.any():
        return history, future, {}
    index = np.flatnonzero(holes == 0)
    return history.select(index), future.select(index), dict(_reasons(history.ids, holes))


def _reasons(ids: list[str], holes: npt.NDArray[np.int64]) -> Iterator[tuple[str, str]]:
    for unique_id, count in zip(ids, holes.tolist(), strict=True):
        if count:
            values = "value" if count == 1 else "values"
            yield (
                unique_id,
                f"{count} missing {values} of y, and the model takes none: fill them with "
                "data.missing.y",
            )
