"""The built-in selectors through the kit."""

from __future__ import annotations

from engine.testing import SelectorConformance


class TestRedundancy(SelectorConformance):
    component = "redundancy"


class TestRedundancyWithWhatIsUnrelated(SelectorConformance):
    component = "redundancy"
    params = {"correlation": 0.5, "target_correlation": 0.2}


class TestBackward(SelectorConformance):
    component = "backward"


class TestBackwardToAFew(SelectorConformance):
    component = "backward"
    params = {"max_features": 2}
