"""The built-in executors through the kit."""

from __future__ import annotations

from engine.testing import ExecutorConformance


class TestSerial(ExecutorConformance):
    component = "serial"


class TestProcess(ExecutorConformance):
    component = "process"
    other = {"workers": 1}
