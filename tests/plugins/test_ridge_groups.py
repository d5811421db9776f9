"""The ridge's groups of series with shared coefficients, and the coefficient that is pulled to 1."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from engine.contracts import Design, DesignBlock
from engine.errors import DataError
from engine_ridge.fitted import FittedRidge
from engine_ridge.model import Ridge
from engine_ridge.params import RidgeParams
from tests.plugins.test_ridge import block_of, data, rows_of

NAN = float("nan")
KINDS = ["big", "small", "big", "small"]
NUMBER = np.array([0, 1, 0, 1])


def design_of(*blocks: DesignBlock) -> Design:
    names = [f"s{i}" for i in range(4)]
    return Design(
        features=tuple(f"f{j}" for j in range(blocks[0].X.shape[1])),
        series=pl.DataFrame({"unique_id": names, "kind": KINDS}),
        quantiles=(),
        seed=0,
        blocks=lambda: iter(blocks),
        report=lambda event, values: None,
    )


def four_series(seed: int = 0) -> DesignBlock:
    block = data(seed, rows=120)
    return block_of(block.X, block.y, series=np.repeat(np.arange(4), 30), age=block.age)


def fit(*blocks: DesignBlock, **options) -> FittedRidge:
    return Ridge(RidgeParams(**options)).fit(design_of(*blocks))


def test_series_of_a_group_share_the_coefficients_of_their_rows_together():
    block = four_series()
    shared = fit(block, scope="local", by=("kind",), penalty=0.0).predict(block).y_hat
    for kind in (0, 1):
        rows = NUMBER[block.series] == kind
        alone = fit(rows_of(block, rows), penalty=0.0).predict(block).y_hat
        np.testing.assert_allclose(shared[rows], alone[rows], rtol=1e-7)


@pytest.mark.parametrize("scope", ["local", "partial"])
def test_a_group_may_lie_in_several_blocks(scope):
    block = four_series()
    options = {"scope": scope, "by": ("kind",), "penalty": 2.0}
    whole = fit(block, **options).predict(block).y_hat
    parts = [rows_of(block, block.series == i) for i in (2, 0, 3, 1)]
    np.testing.assert_allclose(fit(*parts, **options).predict(block).y_hat, whole, rtol=1e-9)


def test_a_saved_fit_by_groups_forecasts_the_same(tmp_path):
    block = four_series()
    made = fit(block, scope="local", by=("kind",))
    made.save(tmp_path)
    again = FittedRidge.load(tmp_path).predict(block).y_hat
    np.testing.assert_array_equal(again, made.predict(block).y_hat)


def test_an_unseen_series_fails_by_groups_too():
    block = four_series()
    made = fit(block, scope="local", by=("kind",))
    unseen = block_of(block.X[:2], block.y[:2], series=[-1, 0])
    assert made.predict(unseen).failures == {-1: "no training rows"}


def test_effects_are_told_by_group():
    made = fit(four_series(), scope="local", by=("kind",), elasticity=("f0",))
    assert made.tables()["elasticity"]["unique_id"].to_list() == ["big", "small"]


def test_by_an_unknown_column_names_it():
    with pytest.raises(DataError, match="by names 'sort'"):
        fit(four_series(), scope="local", by=("sort",))


def test_by_without_a_scope_is_refused():
    with pytest.raises(ValidationError, match="by goes with scope"):
        RidgeParams(by=("kind",))


@pytest.mark.parametrize("scope", ["global", "local"])
def test_a_strong_penalty_leaves_the_offset_and_a_level(scope):
    block = four_series()
    got = fit(block, offset="f1", penalty=1e12, scope=scope).predict(block).y_hat - block.X[:, 1]
    level = np.array([got[block.series == i].mean() for i in range(4)])
    np.testing.assert_allclose(got, level[block.series], rtol=1e-4)


def test_without_a_penalty_an_offset_changes_nothing():
    block = four_series()
    plain, pulled = (fit(block, penalty=0.0, offset=offset) for offset in (None, "f1"))
    np.testing.assert_allclose(
        pulled.predict(block).y_hat, plain.predict(block).y_hat, rtol=1e-8
    )  # fmt: skip
    one, other = (fitted.tables()["coefficients"] for fitted in (plain, pulled))
    np.testing.assert_allclose(other["coefficient"], one["coefficient"], rtol=1e-6)
    np.testing.assert_allclose(other["standard_error"], one["standard_error"], rtol=1e-6)


def test_rows_without_the_offset_are_not_trained_on():
    block = four_series()
    holes = block.X.copy()
    holes[::3, 1] = NAN
    part = rows_of(block, np.arange(120) % 3 > 0)
    broken = block_of(holes, block.y, series=block.series, age=block.age)
    got = fit(broken, offset="f1", penalty=1.0).predict(block).y_hat
    np.testing.assert_allclose(got, fit(part, offset="f1", penalty=1.0).predict(block).y_hat)


def test_an_offset_that_matches_several_features_is_refused():
    with pytest.raises(DataError, match=r"offset 'f\*' matches 4 features"):
        fit(four_series(), offset="f*")
