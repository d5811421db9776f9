"""A small spec whose better model is known: the simulated demand has a weekly season."""

from __future__ import annotations

from pathlib import Path

BASE = """version: 1
name: weekly
data:
  source: {use: simulate, series: 12, periods: 90, future_periods: 7, launches: 0}
  columns: {unique_id: [store, item], ds: ds, y: units}
  freq: 1d
horizon: 7
models:
  weekly: {use: seasonal_naive, season: 7}
  last: {use: seasonal_naive, season: 1}
  spare: {use: seasonal_naive, season: 2}
backtest: {folds: 2}
evaluate: {metrics: [mae, wape]}
"""
GOOD = "- {model: weekly, metric: wape, better_than: last}"
BAD = "- {model: last, metric: wape, better_than: weekly}"
KEPT = "- {model: weekly, metric: wape, better_than: last, tolerance: 0.05}"


def write_spec(folder: Path, *expect: str, name: str = "weekly", base: str = BASE) -> Path:
    """A spec file with these expectations, each one line of YAML."""
    path = folder / f"{name}.yaml"
    lines = "".join(f"  {line}\n" for line in expect)
    path.write_text(base + (f"expect:\n{lines}" if expect else ""))
    return path
