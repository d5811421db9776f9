"""Specs as regression tests: expectations, snapshots, and the commands and reports around them."""
