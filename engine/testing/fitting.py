"""Builds, fits and asks models of both kinds in the way the engine does, here or in a fresh process."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.components import Capabilities, Model
from engine.contracts import Prediction, Training
from engine.data.panel import Future, Panel
from engine.features import FeaturePlan
from engine.horizon import FittedTabular, TabularModel
from engine.registry import build, load_factory
from engine.testing.panels import HORIZON, QUANTILES, Case, cut, design_features

SEED = 7


@dataclass(frozen=True)
class Asked:
    """What a model is asked for in a check, and the events that it reports on the way."""

    quantiles: tuple[float, ...] = QUANTILES
    gap: int = 0
    horizon: int = HORIZON
    seed: int = SEED
    events: list[tuple[Any, Any]] = field(default_factory=list)

    def training(self, panel: Panel) -> Training:
        """The request to fit."""
        return Training(
            panel=panel,
            horizon=self.horizon,
            gap=self.gap,
            quantiles=self.quantiles,
            season=panel.grid.freq.season,
            seed=self.seed,
            report=lambda name, fields: self.events.append((name, fields)),
        )


def wrapped(
    record: Model,
    model: Any,
    *,
    plan: FeaturePlan | None = None,
    recursive: bool = False,
    able: Capabilities | None = None,
) -> Any:
    """A model that makes all steps: models of design rows get the kit's features and `direct`.

    plan: other features. able: what the model is taken to accept instead of what it declares.
    """
    if record.capabilities.input == "panel":
        return model
    buckets = None if recursive else list(range(1, HORIZON + 1))
    able = able or replace(record.capabilities, static_covariates=True)
    return TabularModel(model, plan or design_features(), buckets, None, able=able)


def load(record: Model, folder: Path) -> Any:
    """The fitted model of a folder."""
    factory = load_factory(record)
    if record.capabilities.input == "panel":
        return factory.load(folder)
    return FittedTabular.load(folder, factory, design_features())


def usual() -> tuple[Panel, Future]:
    """The panel and future that most checks use: unequal lengths, all covariates."""
    return cut(Case().panel())


def arrays(prediction: Prediction) -> dict[str, Any]:
    """A prediction as exact texts of its numbers, to be compared across processes."""
    quantiles = prediction.quantiles
    return {
        "y_hat": [float(v).hex() for v in np.ravel(prediction.y_hat)],
        "quantiles": None if quantiles is None else [float(v).hex() for v in np.ravel(quantiles)],
        "failures": {str(i): why for i, why in prediction.failures.items()},
    }


def plain_record(record: Model, params: Mapping[str, Any]) -> str:
    """A record and its options as JSON, so that a fresh process can build the same model."""
    return json.dumps(
        {
            "name": record.name,
            "factory": record.factory,
            "params": [record.params.__module__, record.params.__qualname__],
            "capabilities": asdict(record.capabilities),
            "options": params,
        }
    )


def main(text: str, folder: Path) -> None:
    """In a fresh process: load the model of `folder` and fit a new one; print both forecasts."""
    plain = json.loads(text)
    module, name = plain["params"]
    record = Model(
        plain["name"],
        plain["factory"],
        getattr(importlib.import_module(module), name),
        capabilities=Capabilities(**plain["capabilities"]),
    )
    history, future = usual()
    loaded = load(record, folder).predict(history, future)
    model = wrapped(record, build(record, plain["options"]))
    fitted = model.fit(Asked().training(history)).predict(history, future)
    print(json.dumps({"loaded": arrays(loaded), "fitted": arrays(fitted)}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
