"""Small runs to report on, and a page as a browser would read it."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from engine.registry import Registry
from engine.runner import run as run_spec
from engine.spec.validate import validate_text

SPEC = """version: 1
name: tiny
seed: 3
data:
  source: {use: simulate, series: 8, stores: 2, periods: 400, future_periods: 7, noise: 0.05}
  columns: {unique_id: [store, item], ds: ds, y: units}
  freq: 1d
  covariates: {future: [price, promo], past: [stockout], static: [category]}
horizon: 7
quantiles: [0.1, 0.5, 0.9]
minimum: 0
features: [{use: lags, lags: [0], rolling: {mean: [7]}}, {use: promo, price: price, flags: [promo]}]
models:
  snaive: {use: seasonal_naive, season: 7}
  ridge: {use: ridge, target: log1p, buckets: [7]}
backtest: {folds: 3}
evaluate: {metrics: [wape, mae, bias, coverage, pinball], by: [category, store, step]}
select: {metric: wape, forecast: all}
write: [{use: report}]
"""


class Page(HTMLParser):
    """What a browser would read: tags with their attributes, tables by their caption.

    figures: (name, (value, detail)) of the numbers that stand side by side.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.figures: list[tuple[str, tuple[float | None, str]]] = []
        self._figure: list[str] = []
        self._open: list[str] = []
        self._caption = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self._open.append(tag)
        if tag == "caption":
            self._caption = ""
        if tag == "dt":
            self._figure = []
        if tag == "span" and attributes.get("class") == "value":
            self._figure.append(attributes.get("data-value") or "")
        if tag == "tr" and self._caption:
            self.tables.setdefault(self._caption, []).append([])
        if tag in ("td", "th") and self._caption:
            self.tables[self._caption][-1].append(attributes.get("data-value") or "")

    def handle_endtag(self, tag):
        if tag in self._open:
            while self._open.pop() != tag:
                pass
        if tag == "table":
            self._caption = ""
        if tag == "dd":
            name, value, *rest = [*self._figure, "", ""]
            number = float(value) if value else None
            self.figures.append((name, (number, rest[1])))

    def handle_data(self, data):
        if self._open and self._open[-1] in ("dt", "span") and "dl" in self._open:
            self._figure.append(data.strip())
        if self._open and self._open[-1] == "caption":
            self._caption += data.strip()
        elif self._caption and self._open and self._open[-1] in ("td", "th"):
            row = self.tables[self._caption][-1]
            row[-1] = row[-1] or data.strip()


def finished_run(home: Path, text: str = SPEC) -> Path:
    """The folder of a run of a spec."""
    registry = Registry.discover()
    loaded = validate_text(text, "tiny.yaml", registry)
    return run_spec(loaded, registry, output=home, base=home).folder
