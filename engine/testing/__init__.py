"""The conformance kit: subclass the class of your component's kind, and some fifty checks run.

    from engine.testing import ModelConformance

    class TestDrift(ModelConformance):
        component = "drift"
        params = {"damping": 0.5}

The checks are plain methods named `test_*`, so pytest collects them and `engine plugins check` runs
them without it. A check that does not apply is skipped with its reason.
"""

from engine.testing.base import Conformance
from engine.testing.capabilities import ModelConformance
from engine.testing.executors import ExecutorConformance
from engine.testing.features import FeatureConformance
from engine.testing.metrics import MetricConformance
from engine.testing.selectors import SelectorConformance
from engine.testing.sources import SourceConformance
from engine.testing.writers import WriterConformance

__all__ = [
    "Conformance",
    "ExecutorConformance",
    "FeatureConformance",
    "MetricConformance",
    "ModelConformance",
    "SelectorConformance",
    "SourceConformance",
    "WriterConformance",
]
