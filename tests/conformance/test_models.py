"""The built-in models through the kit, as any third party's."""

from __future__ import annotations

import pytest

from engine.testing import ModelConformance


class TestSeasonalNaive(ModelConformance):
    component = "seasonal_naive"


class TestSeasonalNaiveMean(ModelConformance):
    component = "seasonal_naive"
    params = {"season": 5, "seasons": 3}


class TestRidge(ModelConformance):
    component = "ridge"


class TestArima(ModelConformance):
    component = "arima"

    @pytest.fixture(autouse=True)
    def _needs(self) -> None:
        pytest.importorskip("statsforecast")


@pytest.mark.slow
class TestLstm(ModelConformance):
    component = "lstm"

    @pytest.fixture(autouse=True)
    def _needs(self) -> None:
        pytest.importorskip("jax")


class TestRidgePerSeries(ModelConformance):
    component = "ridge"
    params = {"scope": "local", "penalty": 1.0}

    def test_static_covariates_as_declared(self) -> None:
        pytest.skip(
            "an attribute is the same in all rows of a series: its own fit has no use for it"
        )


class TestRidgeBetween(ModelConformance):
    component = "ridge"
    params = {"scope": "partial", "decay": 30.0, "interactions": ["promo x big"]}


class TestRidgeOfGroups(ModelConformance):
    component = "ridge"
    params = {"scope": "local", "by": ["kind"], "penalty": 1.0, "offset": "last_week"}
