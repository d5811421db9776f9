"""Engine's conformance kit on each variant."""

from engine.testing import ModelConformance


class TestSba(ModelConformance):
    component = "croston"


class TestCroston(ModelConformance):
    component = "croston"
    params = {"variant": "croston", "alpha": 0.3, "beta": 0.1}


class TestTsb(ModelConformance):
    component = "croston"
    params = {"variant": "tsb"}
