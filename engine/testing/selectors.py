"""Checks of a selector of features, on designs whose useful and useless columns are known."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.contracts import Design, DesignBlock, Prediction, Selection
from engine.horizon import TabularModel
from engine.registry import build
from engine.selection import SelectingModel, checked_selection
from engine.testing.base import Conformance
from engine.testing.fitting import Asked
from engine.testing.panels import HORIZON, Case, cut, design_features

NAMES = ("signal", "copy", "noise", "constant", "holes", "wide")
Numbers = npt.NDArray[np.floating[Any]]


def table(
    rows: int = 400, seed: int = 3
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Features in the order of `NAMES`, and a target made of `signal` and `holes`."""
    rng = np.random.default_rng(seed)
    signal, holes, noise = rng.normal(size=(3, rows))
    y = 10 + 3 * signal + 1.5 * holes + 0.3 * rng.normal(size=rows)
    holes = np.where(rng.random(rows) < 0.1, np.nan, holes)
    columns = [
        signal,
        2 * signal + 1,
        noise,
        np.full(rows, 5.0),
        holes,
        1e6 * rng.normal(size=rows),
    ]
    return np.asfortranarray(np.column_stack(columns).astype(np.float32)), y


def design(
    X: npt.NDArray[np.float32],
    y: npt.NDArray[np.float64],
    names: Sequence[str] = NAMES,
    cuts: Sequence[int] = (),
) -> Design:
    """A training design of these rows, cut into blocks after the rows `cuts`."""
    edges = [0, *cuts, y.size]

    def block(first: int, last: int) -> DesignBlock:
        return DesignBlock(
            X=np.asfortranarray(X[first:last]),
            y=y[first:last],
            series=np.zeros(last - first, dtype=np.int32),
            step=np.ones(last - first, dtype=np.int16),
            age=np.arange(y.size - first, y.size - last, -1, dtype=np.int32) - 1,
        )

    return Design(
        features=tuple(names),
        series=pl.DataFrame({"unique_id": ["a"]}),
        quantiles=(),
        seed=7,
        blocks=lambda: iter([block(*pair) for pair in pairwise(edges)]),
        report=lambda event, fields: None,
    )


class _Mean:
    """A model that keeps the rows it is fitted on and forecasts their mean."""

    def __init__(self) -> None:
        self.seen: list[DesignBlock] = []
        self.asked: list[DesignBlock] = []

    def fit(self, given: Design) -> _Mean:
        self.seen += list(given.blocks())
        return self

    def predict(self, block: DesignBlock) -> Prediction:
        self.asked.append(block)
        return Prediction(np.full(block.X.shape[0], float(self.seen[0].y.mean())))

    def save(self, folder: Any) -> None:
        """Nothing is kept."""

    def tables(self) -> dict[str, pl.DataFrame]:
        return {}


class SelectorConformance(Conformance):
    """All checks of a selector: name the `component` and give it small `params`.

    Options that name features (`keep`) must fit the names in `engine.testing.selectors.NAMES`.
    """

    kind: ClassVar[str] = "selector"
    methods: ClassVar[tuple[str, ...]] = ("select",)

    def chosen(self, given: Design) -> Selection:
        """What a new selector chooses, checked as the engine checks it."""
        return checked_selection(self.make().select(given), given.features)

    def test_features_of_the_design_are_chosen(self) -> None:
        """At least one feature is kept, each once, by a name of the design."""
        made = self.make().select(design(*table()))
        assert len(set(made.features)) == len(made.features), f"named twice: {made.features}"
        checked_selection(made, NAMES)

    def test_something_is_left_out(self) -> None:
        """Of copies, noise and constants not everything is kept."""
        kept = self.chosen(design(*table())).features
        assert len(kept) < len(NAMES), "every feature was kept"

    def test_what_makes_the_target_is_kept(self) -> None:
        """A feature that explains most of the target, or its copy, stays."""
        kept = self.chosen(design(*table())).features
        assert {"signal", "copy"} & set(kept), f"kept {kept}, but signal explains most of y"

    def test_the_table_has_a_row_a_feature(self) -> None:
        """The table says of every feature whether it was kept, and why not."""
        made = self.chosen(design(*table()))
        assert {"feature", "kept", "reason"} <= set(made.table.columns), f"{made.table.columns}"
        assert made.table["feature"].to_list() == list(NAMES), "not one row a feature, in order"
        kept = made.table.filter("kept")["feature"].to_list()
        assert sorted(kept) == sorted(made.features), f"the table says {kept}"
        dropped = made.table.filter(~pl.col("kept"))
        assert (dropped["reason"].fill_null("") != "").all(), "no reason for what was left out"

    def test_the_same_rows_give_the_same_choice(self) -> None:
        """A second call chooses the same."""
        first, second = (self.chosen(design(*table())).features for _ in range(2))
        assert first == second, f"{first}, then {second}"

    def test_the_choice_does_not_depend_on_blocks(self) -> None:
        """The same rows in other blocks give the same features."""
        whole = self.chosen(design(*table())).features
        cut_up = self.chosen(design(*table(), cuts=(1, 50, 399))).features
        assert whole == cut_up, f"{whole} of one block, {cut_up} of four"

    def test_a_single_feature_is_kept(self) -> None:
        """A design of one column keeps it, whatever it is."""
        X, y = table()
        for column, name in enumerate(NAMES):
            given = design(X[:, [column]], y, [name])
            kept = self.make().select(given).features
            assert kept == (name,), f"kept {kept} of {name} alone"

    def test_few_rows(self) -> None:
        """One row and fewer rows than features are no error."""
        X, y = table()
        for rows in (1, 2, 4):
            self.chosen(design(X[:rows], y[:rows]))

    def test_a_constant_target(self) -> None:
        """A target that never moves is no error."""
        X, y = table()
        self.chosen(design(X, np.full_like(y, 3.0)))

    def test_a_feature_without_any_value(self) -> None:
        """A column that is missing everywhere is left out."""
        X, y = table()
        X[:, 2] = np.nan
        kept = self.chosen(design(X, y)).features
        assert "noise" not in kept, "a column without values was kept"

    def test_inputs_are_not_changed(self) -> None:
        """The design's arrays are left as they were."""
        X, y = table()
        before, target = X.copy(), y.copy()
        fixed = design(X, y)
        block = next(iter(fixed.blocks()))
        self.chosen(fixed)
        same = np.array_equal(block.X, before, equal_nan=True) and np.array_equal(block.y, target)
        assert same and np.array_equal(X, before, equal_nan=True), "the design was changed"

    def test_a_model_is_fitted_and_asked_with_what_was_kept(self) -> None:
        """Around a model of design rows, training and forecasting see the same columns."""
        history, future = cut(Case().panel())
        plan, model = design_features(), _Mean()
        selecting = SelectingModel(model, build(self.the_record(), self.the_params()))
        wrapped = TabularModel(selecting, plan, [HORIZON], None)
        wrapped.fit(Asked().training(history)).predict(history, future)
        widths = {block.X.shape[1] for block in (*model.seen, *model.asked)}
        assert len(widths) == 1 and model.asked, f"columns: {sorted(widths)}"
