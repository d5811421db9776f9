"""What a model of design rows offers whose training adds up: statistics of shards, merged, then solved.

A declared promise (`Capabilities(mergeable=True)`): however the series are spread over machines, the
merged statistics give the forecasts of one fit on all of them, to rounding. It is a contract as those
of `engine.contracts`, and the conformance kit holds a model to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engine.contracts import Design, DesignModel, FittedDesignModel

Statistics = Mapping[str, npt.NDArray[Any]]
"""What a fit needs of its rows, as named arrays of numbers or texts, never of objects.

Their size depends on features and series, not on rows, so that they can be stored (`numpy.savez`) and
sent between machines.
"""

METHODS = ("statistics", "merge", "solve")
"""What a mergeable model has beside `fit`."""


class MergeableDesignModel(DesignModel, Protocol):
    """A model of design rows with `fit(design) == solve(design, statistics(design))`.

    The designs of all shards have the same features and the same table `series`; `DesignBlock.series`
    and `DesignBlock.age` count from the same first series and the same newest target.
    """

    def statistics(self, design: Design) -> Statistics:
        """Statistics of all rows of one shard's design."""
        ...

    def merge(self, left: Statistics, right: Statistics) -> Statistics:
        """Statistics of the rows of both, in any order and grouping; a DataError if they differ
        in what cannot differ, such as their features."""
        ...

    def solve(self, design: Design, statistics: Statistics) -> FittedDesignModel:
        """The fitted model; nothing of `design` is read but what is the same for all shards: its
        features, series, quantiles and seed."""
        ...


def offers(factory: Any) -> bool:
    """Whether the class of a model has the methods of `MergeableDesignModel`."""
    return all(callable(getattr(factory, name, None)) for name in METHODS)


def is_plain(statistics: Statistics) -> bool:
    """Whether statistics are named arrays that can be stored without pickle."""
    return all(
        isinstance(name, str) and isinstance(value, np.ndarray) and not value.dtype.hasobject
        for name, value in statistics.items()
    )
