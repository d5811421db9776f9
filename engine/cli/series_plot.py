"""Draws a series with characters: Braille dots where the terminal can, plain letters elsewhere."""

from __future__ import annotations

import datetime as dt
import math
import os
import shutil
import sys
from typing import Any

import polars as pl

from engine.data.forecast import quantiles_of
from engine.errors import MissingDependencyError

MARGIN = 21
"""Columns beside the picture: labels of the axes and their arrows."""

DAYS = 20
"""Days; over fewer the ticks of datetimes show the hour and not the year."""

STEPS = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 15, 20)
"""What a line of the picture may stand for, times a power of ten."""

SLACK = 1e-9

COLORS = {"actual": "white", "forecast": "bright_cyan", "interval": "blue"}
BLANK = "\N{BRAILLE PATTERN BLANK}"


def draw(title: str, actual: pl.DataFrame, forecast: pl.DataFrame) -> list[str]:
    """Lines of a picture as wide as the terminal.

    actual: `ds, y`. forecast: `ds, cutoff, y_hat` and quantiles; the lowest and the highest one
    make the interval. MissingDependencyError without the plotting library.
    """
    plotille = _library()
    size = shutil.get_terminal_size()
    figure = plotille.Figure()
    figure.width = max(size.columns - MARGIN, 20)
    figure.height = min(max(size.lines - 8, 6), 20)
    figure.with_colors = _colored()
    figure.origin = False
    dates = pl.concat([actual["ds"], forecast["ds"]]).unique().sort()
    if not dates.len():
        return [title, "nothing to draw: neither actuals nor forecasts"]
    place = {ds: float(i) for i, ds in enumerate(dates.to_list())}
    _set_axes(figure, dates.to_list(), _round(*_range(actual, forecast), figure.height))
    dots = _encodable(BLANK)
    low, high = _interval(forecast)
    if low:
        for ds, bottom, top in forecast.select("ds", low, high).drop_nulls().iter_rows():
            _stroke(figure, place[ds], bottom, top, dots)
    _line(figure, [(place[d], y) for d, y in actual.iter_rows()], "actual", "." if not dots else "")
    for part in forecast.partition_by("cutoff", maintain_order=True):
        known = part.select("ds", "y_hat").drop_nulls()
        _line(figure, [(place[d], y) for d, y in known.iter_rows()], "forecast", "o")
    lines = str(figure.show()).replace(BLANK, " ").splitlines()
    cutoffs = [str(c) for c in forecast["cutoff"].unique().sort().to_list()]
    lines[0] = ""
    return [title, *(line.rstrip() for line in lines), *_legend(low, high, cutoffs)]


def _library() -> Any:
    try:
        import plotille
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "drawing in the terminal needs the package 'plotille', which is not installed",
            hint="pip install 'engine-forecast[terminal]'",
        ) from error
    return plotille


def _set_axes(figure: Any, dates: list[Any], limits: tuple[float, float]) -> None:
    """Dates and short numbers at the ticks, in the width that the library gives them."""
    last = len(dates) - 1
    form = "" if isinstance(dates[0], int) else "%y-%m-%d"
    if isinstance(dates[0], dt.datetime) and dates[-1] - dates[0] < dt.timedelta(days=DAYS):
        form = "%m-%dT%H"

    def day(value: float, following: float) -> str:
        ds = dates[min(max(round(value), 0), last)]
        return (ds.strftime(form) if form else str(ds)).ljust(9)

    def amount(value: float, following: float) -> str:
        return f"{value:.4g}".rjust(10)

    figure.x_ticks_fkt, figure.y_ticks_fkt = day, amount
    figure.x_label, figure.y_label = "ds", "y"
    figure.set_x_limits(min_=0.0, max_=float(max(last, 1)))
    figure.set_y_limits(min_=limits[0], max_=limits[1])


def _range(actual: pl.DataFrame, forecast: pl.DataFrame) -> tuple[float, float]:
    columns = ["y_hat", *quantiles_of(forecast.columns).values()]
    values = [actual["y"].cast(pl.Float64), *(forecast[c].cast(pl.Float64) for c in columns)]
    shown = pl.concat([v.alias("v") for v in values]).drop_nulls().drop_nans()
    low, high = (float(shown.min() or 0), float(shown.max() or 0)) if shown.len() else (0.0, 1.0)  # type: ignore[arg-type]
    low = min(low, 0.0) if low < 0.3 * high else low
    return (low, high) if high > low else (low - 1.0, high + 1.0)


def _round(low: float, high: float, lines: int) -> tuple[float, float]:
    """Wider limits, so that each line of the picture stands for a number that can be read."""
    least = (high - low) / lines
    power = 10.0 ** math.floor(math.log10(least))
    for step in (m * power for m in STEPS):
        first = math.floor(low / step + SLACK) * step
        if step >= least * (1 - SLACK) and first + step * lines >= high - SLACK * (high - low):
            return first, first + step * lines
    return low, high


def _interval(forecast: pl.DataFrame) -> tuple[str, str]:
    """Columns of the lowest and the highest quantile; empty if there are not two."""
    found = quantiles_of(forecast.columns)
    ordered = [found[q] for q in sorted(found)]
    return (ordered[0], ordered[-1]) if len(ordered) > 1 else ("", "")


def _stroke(figure: Any, x: float, bottom: float, top: float, dots: bool) -> None:
    """One step's interval: a vertical line, or its two ends where only letters can be drawn."""
    color = COLORS["interval"]
    if dots:
        figure.plot([x, x], [bottom, top], lc=color)
    else:
        figure.scatter([x, x], [bottom, top], lc=color, marker="-")


def _line(figure: Any, points: list[tuple[float, float]], what: str, mark: str) -> None:
    if not points:
        return
    x, y = [p[0] for p in points], [p[1] for p in points]
    if mark:
        figure.scatter(x, y, lc=COLORS[what], marker=mark)
    else:
        figure.plot(x, y, lc=COLORS[what])


def _legend(low: str, high: str, cutoffs: list[str]) -> list[str]:
    actual = "line: actual" if _encodable(BLANK) else ".: actual"
    bars = "bars" if _encodable(BLANK) else "-"
    parts = [actual, "o: forecast", *([f"{bars}: {low} to {high}"] if low else [])]
    lines = ["   ".join(parts)]
    if cutoffs:
        lines.append("cutoffs: " + ", ".join(cutoffs))
    return lines


def _encodable(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _colored() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
