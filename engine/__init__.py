"""Engine: demand forecasts from one YAML spec, through plugins, backtested honestly."""

from pluggy import HookimplMarker

__version__ = "0.1.0"

hookimpl = HookimplMarker("engine")
"""Marks a plugin's functions as implementations of the hooks in `engine.hookspecs`."""

__all__ = ["__version__", "hookimpl"]
