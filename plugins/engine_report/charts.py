"""Charts as SVG: Altair describes them, vl-convert draws them, CSS variables color them.

Nothing is drawn in the browser, so a report needs no script to be seen and prints as it looks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import polars as pl
import vl_convert

WIDTH, HEIGHT = 400, 170
MOST_TICKS = 14
PALETTE = tuple(f"var(--c{i})" for i in range(1, 9))
"""Colors of models, in the order of the spec; style.css gives them for light and dark."""
INK, FAINT, SHADE = "var(--ink)", "var(--rule)", "var(--shade)"
VEGA_LITE = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])

_CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    # Labels keep to their ticks: pushed inwards, the last one runs into the one before.
    "axisX": {"labelFlush": False, "labelOverlap": "greedy", "labelSeparation": 6},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "gridColor": FAINT,
        "domainColor": FAINT,
        "tickColor": FAINT,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
    },
    "legend": {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 11,
        "orient": "top",
        "title": None,
        "symbolStrokeWidth": 2,
        "symbolOpacity": 1,
        "columnPadding": 16,
    },
}
_PLACES = re.compile(r' (?:d|transform|x|y|x1|x2|y1|y2|width|height)="[^"]*"')
_NUMBER = re.compile(r"-?\d+\.\d{2,}")
_TAG = re.compile(r"<[a-z][^>]*>")
_UNUSED = re.compile(r' (?:(?:aria-\w+|role|class|pointer-events)="[^"]*"|opacity="1")')
_SIZE = re.compile(r'^<svg ([^>]*?)width="[\d.]+" height="[\d.]+"')


def draw(chart: Any, width: int = WIDTH, height: int = HEIGHT) -> str:
    """An SVG of a chart: no size of its own, places to a tenth of a pixel, texts as they are."""
    spec = chart.properties(width=width, height=height).to_dict(validate=False)
    spec["config"] = _CONFIG
    svg = vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE)
    # The page names the whole picture; what Vega says of each of its parts is a third of the text.
    svg = _TAG.sub(lambda tag: _UNUSED.sub("", tag[0]), _SIZE.sub(r"<svg \1", svg, count=1))
    return _PLACES.sub(lambda place: _NUMBER.sub(_tenth, place[0]), svg)


def _tenth(found: re.Match[str]) -> str:
    return f"{float(found[0]):.1f}"


def data(frame: pl.DataFrame) -> alt.Data:
    """Rows as a chart reads them: dates as texts, no NaN."""
    temporal = [c for c, kind in frame.schema.items() if kind.is_temporal()]
    floats = [c for c, kind in frame.schema.items() if kind.is_float()]
    plain = frame.with_columns(pl.col(temporal).cast(pl.String), pl.col(floats).fill_nan(None))
    return alt.Data(values=plain.to_dicts())


def time_axis(frame: pl.DataFrame, column: str) -> alt.X:
    """The x axis of a time column, dates or integers."""
    kind = "temporal" if frame.schema[column].is_temporal() else "quantitative"
    axis = alt.Axis(labelOverlap=True, grid=False, tickCount=6)
    return alt.X(column, type=kind, title=None, axis=axis, scale=alt.Scale(zero=False, nice=False))


def model_colors(models: Sequence[str], drawn: Sequence[str]) -> alt.Color:
    """One color a model, the same in every chart; only what is drawn is in the legend."""
    shown = [m for m in models if m in drawn]
    colors = [PALETTE[list(models).index(m) % len(PALETTE)] for m in shown]
    scale = alt.Scale(domain=shown, range=colors)
    return alt.Color("model", type="nominal", scale=scale, legend=alt.Legend(columns=4))


def lines(
    frame: pl.DataFrame, x: str, y: str, models: Sequence[str], titles: tuple[str, str]
) -> str:
    """One line a model over the numbers of `x`; titles of the x and the y axis."""
    places = frame[x].unique().sort().to_list()
    # Few places get a tick each: Vega would else put ticks between them and name them twice.
    few = {"values": places} if len(places) <= MOST_TICKS else {"tickMinStep": 1}
    axis = alt.Axis(grid=False, format="d", **few)
    scale = alt.Scale(zero=False, nice=False)
    chart = (
        alt.Chart(data(frame))
        .mark_line(point={"size": 25, "filled": True})
        .encode(
            x=alt.X(x, type="quantitative", title=titles[0], axis=axis, scale=scale),
            y=alt.Y(y, type="quantitative", title=titles[1]),
            color=model_colors(models, frame["model"].unique().to_list()),
        )
    )
    return draw(chart)


def bars(
    rows: Sequence[Mapping[str, Any]], label: str, value: str, title: str, *, interval: bool = False
) -> str:
    """Horizontal bars in the order of the rows; `low` and `high` of a row are its interval."""
    order = [row[label] for row in rows]
    base = alt.Chart(alt.Data(values=list(rows)))
    axis = alt.Axis(labelLimit=190)
    y = alt.Y(label, type="nominal", sort=order, title=None, axis=axis)
    x = alt.X(value, type="quantitative", title=title, axis=alt.Axis(tickCount=5))
    chart: Any = base.mark_bar(color=PALETTE[0], height={"band": 0.7}).encode(x=x, y=y)
    if interval:
        rule = base.mark_rule(color=INK, strokeWidth=1.5)
        chart = chart + rule.encode(x=alt.X("low", type="quantitative"), x2="high", y=y)
    return draw(chart, width=300, height=max(20 * len(rows), 40))


def dots(rows: Sequence[Mapping[str, Any]], models: Sequence[str], title: str) -> str:
    """One dot a model and segment (`model, segment, value`), segments in the order of the rows."""
    order = list(dict.fromkeys(row["segment"] for row in rows))
    color = model_colors(models, [row["model"] for row in rows])
    y = alt.Y(
        "segment", type="nominal", sort=order, title=None, axis=alt.Axis(labelLimit=160, grid=True)
    )
    x = alt.X("value", type="quantitative", title=title, axis=alt.Axis(tickCount=5))
    base = alt.Chart(alt.Data(values=list(rows)))
    chart = base.mark_point(filled=True, size=70, opacity=1).encode(x=x, y=y, color=color)
    return draw(chart, width=280, height=max(22 * len(order), 44))


def fans(
    history: pl.DataFrame,
    tested: pl.DataFrame,
    ahead: pl.DataFrame,
    shades: pl.DataFrame,
    interval: tuple[str, str] | None,
) -> str:
    """One series: actual values, forecasts of each fold with their interval, forecast ahead.

    history: `ds, y`. tested, ahead: `ds, cutoff, y_hat` and the interval's columns. shades:
    stretches `start, end`.
    """
    low, high = interval or ("y_hat", "y_hat")
    parts = [(tested, "forecast of a fold"), (ahead, "forecast ahead")]
    rows = [
        part.select(
            "ds", "y_hat", low=low, high=high, kind=pl.lit(kind),
            fold=pl.format("{} {}", pl.lit(kind), pl.col("cutoff").cast(pl.String)),
        )
        for part, kind in parts
        if part.height
    ]  # fmt: skip
    forecasts = pl.concat(rows).with_columns(pl.exclude("ds", "kind", "fold").cast(pl.Float64))
    actual = history.with_columns(kind=pl.lit("actual"))
    names = ["actual", *(kind for part, kind in parts if part.height)]
    scale = alt.Scale(domain=names, range=[INK, PALETTE[0], PALETTE[1]][: len(names)])
    color = alt.Color("kind", type="nominal", scale=scale)
    x = time_axis(history, "ds")
    y = alt.Y("y_hat", type="quantitative", title=None)
    base = alt.Chart(data(forecasts)).encode(x=x)
    fan = base.mark_area(opacity=0.22).encode(
        y=alt.Y("low", type="quantitative"), y2="high", color=color, detail="fold:N"
    )
    line = base.mark_line(strokeWidth=1.8).encode(y=y, color=color, detail="fold:N")
    seen = alt.Chart(data(actual)).mark_line(strokeWidth=1, interpolate="linear")
    layers = [fan, seen.encode(x=x, y=alt.Y("y", type="quantitative"), color=color), line]
    if shades.height:
        marked = alt.Chart(data(shades)).mark_rect(color=SHADE, opacity=1)
        layers.insert(0, marked.encode(x=alt.X("start", type=x.to_dict()["type"]), x2="end"))
    return draw(alt.layer(*layers), width=420)


def calibration(frame: pl.DataFrame, models: Sequence[str]) -> str:
    """Observed against nominal share, `model, nominal, observed`, with the diagonal."""
    diagonal = alt.Chart(
        alt.Data(values=[{"nominal": 0, "observed": 0}, {"nominal": 1, "observed": 1}])
    )
    x = alt.X("nominal", type="quantitative", title="quantile", axis=alt.Axis(format=".1f"))
    y = alt.Y("observed", type="quantitative", title="share at or below")
    line = alt.Chart(data(frame)).mark_line(point={"size": 30, "filled": True})
    rule = diagonal.mark_line(color=INK, strokeDash=[4, 3], strokeWidth=1).encode(x=x, y=y)
    return draw(rule + line.encode(x=x, y=y, color=model_colors(models, frame["model"].to_list())))


def columns(frame: pl.DataFrame, x: str, y: str) -> str:
    """Upright bars in the order of the rows."""
    axis = alt.X(x, type="nominal", sort=None, title=x, axis=alt.Axis(labelAngle=0))
    bar = alt.Chart(data(frame)).mark_bar(color=PALETTE[0])
    return draw(bar.encode(x=axis, y=alt.Y(y, type="quantitative", title=None)))
