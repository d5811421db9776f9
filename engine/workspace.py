"""What a task needs, as files in a folder: the panel and the spec; results go there too.

Any process that can read the folder can run any task; nothing depends on shared memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from engine.abilities import check_features
from engine.components import Model
from engine.contracts import FeatureSelector
from engine.data.calendar import Frequency, TimeGrid
from engine.data.checks import negative_target
from engine.data.panel import Panel, Roles
from engine.errors import DataError
from engine.features import FeaturePlan, add_cross_sections, feature_context, plan_features
from engine.ingest import declared_roles
from engine.registry import Registry, build
from engine.spec.model import RunSpec, SelectorUse

PANEL = "panel.arrow"


@dataclass(frozen=True)
class Workspace:
    """A run's data in memory: everything that is the same for all of its tasks."""

    folder: Path
    panel: Panel
    spec: RunSpec
    plan: FeaturePlan
    registry: Registry

    @property
    def panel_file(self) -> Path:
        """The panel's rows on disk."""
        return self.folder / PANEL

    def keep_forecasts(self, frame: pl.DataFrame, path: Path) -> None:
        """Write a task's forecast rows, series by number: names in every file are slow to read."""
        frame.with_columns(pl.col("unique_id").to_physical()).write_ipc(path)

    def kept_forecasts(self, paths: Iterable[str]) -> pl.DataFrame:
        """Forecast rows that tasks have kept, in the order of `paths`, of which there is one."""
        frame = pl.concat([pl.read_ipc(path) for path in paths])
        names = self.panel.frame.schema["unique_id"]
        return frame.with_columns(pl.col("unique_id").cat.to(names))

    def model_component(self, name: str) -> Model:
        """The installed component behind a model of the spec."""
        component = self.registry.find("model", self.spec.models[name].use).component
        assert isinstance(component, Model)
        return component

    def selector(self, use: SelectorUse) -> FeatureSelector:
        """A selector of the spec, ready to choose."""
        component = self.registry.find("selector", use.use).component
        made: FeatureSelector = build(component, use.options)
        return made


def plan_of(panel: Panel, spec: RunSpec, registry: Registry) -> FeaturePlan:
    """The features of a spec on a panel."""
    context = feature_context(panel, spec.horizon, spec.gap)
    builders = []
    for number, use in enumerate(spec.features, start=1):
        component = registry.find("features", use.use).component
        builders.append((f"features[{number}] {use.use}", build(component, use.options)))
    return plan_features(builders, context)


def check_models(panel: Panel, spec: RunSpec, registry: Registry) -> None:
    """What every fold of a model would fail on: features that are unknown or of no use to it,
    negative y under log1p."""
    plan = plan_of(panel, spec, registry)
    for name, use in spec.models.items():
        plan.matching(use.features)
        component = registry.find("model", use.use).component
        assert isinstance(component, Model)
        check_features(name, component.capabilities, use, plan, panel.roles)
        words = sorted(set(use.mask) - set(panel.numeric(use.mask)))
        if words:
            raise DataError(
                f"model {name!r} has the mask {words[0]!r}, which is not a number or a flag",
                hint="make a 0/1 column of it",
            )
        if use.target == "log1p":
            negative_target(panel.frame["y"], panel.frame["unique_id"], name)


def prepare(folder: Path, panel: Panel, spec: RunSpec, registry: Registry) -> Workspace:
    """Plan the features, add cross-sectional columns, and write the folder that tasks read.

    Those made of `y` are left to the tasks: they depend on the model's transform and the cutoff.
    """
    plan = plan_of(panel, spec, registry)
    panel = add_cross_sections(panel, plan.sections_of_covariates)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results").mkdir(exist_ok=True)
    panel.frame.write_ipc(folder / PANEL, compression="uncompressed")
    panel.series.write_ipc(folder / "series.arrow", compression="uncompressed")
    np.save(folder / "offsets.npy", panel.offsets, allow_pickle=False)
    np.save(folder / "starts.npy", panel.starts, allow_pickle=False)
    roles = panel.roles
    meta = {
        "roles": [roles.keys, roles.future, roles.past, roles.static],
        "freq": str(panel.grid.freq),
        "phase": panel.grid.phase,
        "end": panel.end,
        "notes": panel.notes,
        "fill": panel.fill,
    }
    (folder / "panel.json").write_text(json.dumps(meta))
    (folder / "spec.json").write_text(spec.model_dump_json())
    return Workspace(folder, panel, spec, plan, registry)


@lru_cache(maxsize=1)
def open_workspace(folder: Path) -> Workspace:
    """Read a prepared folder; kept in memory, since a worker runs many tasks of one run."""
    spec = RunSpec.model_validate_json((folder / "spec.json").read_text(), strict=True)
    registry = Registry.discover()
    panel = _read_panel(folder)
    declared = replace(panel, roles=declared_roles(spec))
    plan = plan_of(declared, spec, registry)
    return Workspace(folder, panel, spec, plan, registry)


def _read_panel(folder: Path) -> Panel:
    meta: dict[str, Any] = json.loads((folder / "panel.json").read_text())
    frame = pl.read_ipc(folder / PANEL)
    roles = Roles(*(tuple(part) for part in meta["roles"]))
    grid = TimeGrid(Frequency.parse(meta["freq"]), frame.schema["ds"], int(meta["phase"]))
    return Panel(
        frame=frame,
        series=pl.read_ipc(folder / "series.arrow"),
        roles=roles,
        grid=grid,
        offsets=np.load(folder / "offsets.npy", allow_pickle=False),
        starts=np.load(folder / "starts.npy", allow_pickle=False),
        end=int(meta["end"]),
        notes=tuple(meta["notes"]),
        fill=meta["fill"],
    )
