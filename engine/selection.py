"""Puts a feature selector in front of a model of design rows.

The selector is asked anew for every fit, with the rows of that fit and no others, so that what it
chooses depends on nothing after the cutoff.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.contracts import (
    Design,
    DesignBlock,
    DesignModel,
    FeatureSelector,
    FittedDesignModel,
    Prediction,
    Selection,
)
from engine.errors import PluginError


@dataclass(frozen=True)
class SelectingModel:
    """A model of design rows that is fitted on the selected features; implements `DesignModel`."""

    model: DesignModel
    selector: FeatureSelector

    def fit(self, design: Design) -> FittedSelection:
        """Select from the design's rows, then fit on what was kept.

        PluginError if the selector names features that are not there, or none.
        """
        selection = checked_selection(self.selector.select(design), design.features)
        index = np.array([design.features.index(name) for name in selection.features])
        design.report("selection", {"features": index.size, "of": len(design.features)})

        def blocks() -> Iterator[DesignBlock]:
            return (_narrowed(block, index) for block in design.blocks())

        narrow = replace(design, features=selection.features, blocks=blocks)
        return FittedSelection(self.model.fit(narrow), index, selection)


def checked_selection(selection: Any, features: tuple[str, ...]) -> Selection:
    """The selection with its features in the design's order; PluginError if it breaks the contract."""
    if not isinstance(selection, Selection):
        raise PluginError(f"a selector returned {type(selection).__name__}, not a Selection")
    unknown = sorted(set(selection.features) - set(features))
    if unknown:
        raise PluginError(
            f"a selector chose {', '.join(map(repr, unknown))}, not among the design's features",
            hint="return names of `design.features`",
        )
    if not selection.features:
        raise PluginError(
            f"a selector kept none of {len(features)} features", hint="keep at least one"
        )
    kept = set(selection.features)
    return replace(selection, features=tuple(name for name in features if name in kept))


@dataclass(frozen=True)
class FittedSelection:
    """A fitted model with the columns it sees; implements `FittedDesignModel`.

    index: numbers of the kept columns in the whole design, increasing.
    """

    fitted: FittedDesignModel
    index: npt.NDArray[np.int64]
    selection: Selection

    def predict(self, block: DesignBlock) -> Prediction:
        """Forecast rows of the whole design."""
        return self.fitted.predict(_narrowed(block, self.index))

    def save(self, folder: Path) -> None:
        """The model in `model`, beside the selection."""
        folder.mkdir(parents=True, exist_ok=True)
        meta = {"features": list(self.selection.features), "index": self.index.tolist()}
        (folder / "selection.json").write_text(json.dumps(meta, indent=1))
        self.selection.table.write_parquet(folder / "selection.parquet")
        self.fitted.save(folder / "model")

    @classmethod
    def load(cls, folder: Path, factory: Any) -> FittedSelection:
        """Read what `save` wrote; `factory` is the model's class."""
        meta = json.loads((folder / "selection.json").read_text())
        table = pl.read_parquet(folder / "selection.parquet")
        selection = Selection(tuple(meta["features"]), table)
        index = np.array(meta["index"], dtype=np.int64)
        return cls(factory.load(folder / "model"), index, selection)

    def tables(self) -> Mapping[str, pl.DataFrame]:
        """The model's own tables, and `selection`: what was kept, what was not, and why."""
        return {**self.fitted.tables(), "selection": self.selection.table}


def _narrowed(block: DesignBlock, index: npt.NDArray[np.int64]) -> DesignBlock:
    """The block with some of its columns, column-major as models expect it."""
    return replace(block, X=block.X.T[index].T)
