"""Checks of models whose training adds up over shards of the series (`engine.mergeable`)."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np

from engine import mergeable
from engine.blocks import rows_of
from engine.contracts import Design, DesignBlock, FittedDesignModel, Prediction
from engine.mergeable import MergeableDesignModel, Statistics
from engine.registry import load_factory
from engine.testing.base import skip
from engine.testing.fitting import Asked, usual, wrapped
from engine.testing.models import ModelChecks, checked
from engine.testing.panels import HORIZON, Case, cut

NEAR = 1e-8
"""Share of the largest forecast by which another order of summation may move one."""

_SHARDINGS = (((0,), (1,), (2,), (3,)), ((3, 1), (2, 0)), ((2,), (0, 1, 3)), ((3,), (0, 1, 2)))
"""Ways to spread the four series of the kit's usual panel over machines."""


class MergeableChecks(ModelChecks):
    """Checks of the capability `mergeable`, true both ways."""

    def test_mergeable_as_declared(self) -> None:
        """A model of design rows has `statistics`, `merge` and `solve` if declared, and only then."""
        able, factory = self.the_model().capabilities, load_factory(self.the_model())
        if able.mergeable:
            assert able.input == "design", "declares mergeable, but is not a model of design rows"
            lost = [name for name in mergeable.METHODS if not hasattr(factory, name)]
            assert not lost, f"declares mergeable, but has no {', '.join(lost)}"
        elif able.input == "design":
            assert not mergeable.offers(factory), (
                "has statistics, merge and solve: declare mergeable"
            )

    def test_any_sharding_of_the_series_gives_the_same_forecast(self) -> None:
        """Statistics of shards, stored, merged and solved, forecast as one fit on all series."""
        whole: Prediction = self.fitted().predict(*usual())
        for shards in _SHARDINGS:
            near(self._sharded(shards), whole, f"shards {shards}")

    def test_sums_of_an_earlier_fit_serve_a_later_one(self) -> None:
        """A cumulative model forecasts the same from old sums and new rows as from all rows."""
        model, asked = wrapped(self.the_model(), self._mergeable()), Asked()
        if not model.grows:
            skip("the model does not say that it is cumulative")
        history, future = usual()
        before = model.sums(asked.training(history.until(history.end - HORIZON)))
        train = asked.training(history)
        grown = model.solved(train, model.sums(train, before)).predict(history, future)
        near(grown, model.fit(train).predict(history, future), "old sums and new rows")

    def test_statistics_do_not_grow_with_the_rows(self) -> None:
        """Twice the history gives statistics of the same size: they are sums, not rows."""
        short, long = (self._size(Case(lengths=(n, n, n, n))) for n in (60, 120))
        assert long <= 1.2 * short, f"{short} bytes for 60 periods, {long} for 120"

    def _mergeable(self) -> Any:
        if not self.the_model().capabilities.mergeable:
            skip("the model does not declare mergeable")
        return self.make()

    def _sharded(self, shards: Sequence[Sequence[int]]) -> Prediction:
        history, future = usual()
        model = wrapped(self.the_model(), Sharded(self._mergeable(), shards))
        asked = Asked()
        return checked(model.fit(asked.training(history)).predict(history, future), future, asked)

    def _size(self, case: Case) -> int:
        model = Sharded(self._mergeable(), ((0, 1, 2, 3),))
        wrapped(self.the_model(), model).fit(Asked().training(cut(case.panel())[0]))
        return sum(value.nbytes for value in model.seen[0].values())


def near(made: Prediction, whole: Prediction, what: str) -> None:
    """Forecasts are the same but for the rounding of sums in another order."""
    pairs = [(made.y_hat, whole.y_hat)]
    assert (made.quantiles is None) == (whole.quantiles is None), f"{what}: quantiles"
    if made.quantiles is not None and whole.quantiles is not None:
        pairs.append((made.quantiles, whole.quantiles))
    for one, other in pairs:
        apart = np.abs(one - other).max(initial=0.0) / max(np.abs(other).max(initial=0.0), 1e-300)
        assert apart <= NEAR, f"{what}: forecasts differ by {apart:.1e}, more than {NEAR:.0e}"


@dataclass(frozen=True)
class Sharded:
    """A mergeable model fitted as if its series lay on several machines; a `DesignModel`.

    seen: the merged statistics of every fit.
    """

    model: MergeableDesignModel
    shards: Sequence[Sequence[int]]
    seen: list[Statistics] = field(default_factory=list)

    def fit(self, design: Design) -> FittedDesignModel:
        """Statistics of each shard, stored and read again, merged in order, then solved."""
        parts = [self._stored(_only(design, shard)) for shard in self.shards]
        merged = reduce(self.model.merge, parts)
        self.seen.append(merged)
        return self.model.solve(replace(design, blocks=_no_rows), merged)

    def _stored(self, design: Design) -> Statistics:
        statistics = self.model.statistics(design)
        assert mergeable.is_plain(statistics), "statistics are not named arrays of plain types"
        file = io.BytesIO()
        np.savez(file, **statistics)  # type: ignore[arg-type]
        file.seek(0)
        with np.load(file, allow_pickle=False) as stored:
            return dict(stored)


def _only(design: Design, series: Sequence[int]) -> Design:
    """The rows of some series."""

    def blocks() -> Iterator[DesignBlock]:
        for block in design.blocks():
            rows = np.isin(block.series, series)
            if rows.any():
                yield rows_of(block, rows)

    return replace(design, blocks=blocks)


def _no_rows() -> Iterator[DesignBlock]:
    raise AssertionError("`solve` reads rows; it has only the statistics")
