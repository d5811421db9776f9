"""Rows that are no demand: missing to the models that say so, and scored as they are."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from engine.abilities import masked
from engine.errors import SpecError
from engine.registry import Registry
from engine.spec.validate import validate_text
from tests.panels import panel, rows

SPEC = """version: 1
name: t
data:
  source: {use: simulate, series: 3, periods: 90, future_periods: 7, stockouts: 0.2}
  columns: {unique_id: [store, item], ds: ds, y: units}
  freq: 1d
  covariates: {future: [price], past: [stockout]}
horizon: 7
features: [{use: lags, lags: [0]}]
models: {ridge: {use: ridge, mask: [stockout]}}
evaluate: {metrics: [wape]}
"""


def test_y_is_missing_where_a_flag_is_positive():
    whole = panel(rows(n_series=2, periods=20), ahead=0)
    hidden = whole.frame["promo"].to_numpy() > 0
    found = masked(whole, ["promo"]).y()
    assert hidden.any()
    assert np.isnan(found[hidden]).all()
    np.testing.assert_array_equal(found[~hidden], whole.y()[~hidden])


def test_an_unknown_flag_is_one_problem_that_names_it():
    with pytest.raises(SpecError, match="stokout") as error:
        validate_text(SPEC.replace("[stockout]}}", "[stokout]}}"), "t.yaml", Registry.discover())
    assert [p.path for p in error.value.problems] == ["models.ridge.mask.0"]


def test_masked_rows_change_the_fit_and_not_what_is_scored(tmp_path, monkeypatch):
    from engine.cli.main import invoke
    from engine.rundir import list_runs

    monkeypatch.chdir(tmp_path)
    found = []
    for text in (SPEC, SPEC.replace(", mask: [stockout]", "")):
        (tmp_path / "t.yaml").write_text(text)
        assert invoke(["run", "t.yaml", "--quiet", "--output", f"runs{len(found)}"]) == 0
        (run,) = list_runs(tmp_path / f"runs{len(found)}")
        found.append(pl.read_parquet(run.path / "backtest.parquet").sort("unique_id", "ds"))
    assert found[0]["y"].equals(found[1]["y"])
    assert found[0]["y_hat"].mean() > found[1]["y_hat"].mean()
