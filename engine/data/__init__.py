"""Panels: many series on one regular time grid, checked before anyone uses them."""
