"""Plugins that are broken, each module in its own way; none is installed with the engine."""
