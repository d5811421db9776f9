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
