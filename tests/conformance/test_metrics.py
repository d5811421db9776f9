"""The built-in metrics through the kit: one class for each."""

from __future__ import annotations

import pytest

from engine.testing import MetricConformance
from engine.testing.base import installed

NAMES = [
    "mae", "mse", "rmse", "rmspe", "mape", "smape", "wape", "bias", "mase", "rmsse", "pinball",
    "wql", "coverage", "width", "wrmsse",
]  # fmt: skip

for _name in NAMES:
    _title = "Test" + _name.capitalize()
    globals()[_title] = type(_title, (MetricConformance,), {"component": _name})


class TestPinballOfOneQuantile(MetricConformance):
    component = "pinball"
    params = {"quantiles": [0.9]}


def test_every_metric_of_the_distribution_is_here():
    ours = [e for e in installed().listing() if e.component.kind == "metric"]
    found = {e.component.name for e in ours if e.distribution == "engine-forecast"}
    if not found:
        pytest.fail("the distribution engine-forecast offers no metric")
    assert found == set(NAMES)
