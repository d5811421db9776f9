"""Charts as SVG: Altair describes them, `drawing` has them drawn, CSS variables color them.

Nothing is drawn in the browser, so a report needs no script to be seen and prints as it looks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import altair as alt
import polars as pl

from engine_report.drawing import Drawing, drawing
from engine_report.views import ROOM

WIDTH, HEIGHT, WIDE = 420, 170, 1000
MOST_TICKS = 14
FEW_STEPS = 3
FAR_APART = 2.5
"""Times the lowest value that the highest is, from which on lines are drawn on a log scale."""
SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down")
"""Of models, in the order of the spec, where their lines may lie on each other."""
PALETTE = tuple(f"var(--c{i})" for i in range(1, 9))
"""Colors of models, in the order of the spec; style.css gives them for light and dark."""
KINDS = ("actual", "forecast of a fold", "forecast ahead")
INK, FAINT, SHADE = "var(--ink)", "var(--rule)", "var(--shade)"

_CONFIG: dict[str, Any] = {
    "background": "transparent",
    "padding": {"left": 14, "right": 6, "top": 4, "bottom": 4},
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    # Labels keep to their ticks: pushed inwards, the last one runs into the one before.
    "axisX": {"labelFlush": False, "labelOverlap": "greedy", "labelSeparation": 6},
    # Room for labels that the reader's font makes wider than the one they were measured in.
    "axisY": {"titlePadding": 10},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "gridColor": FAINT,
        "domainColor": FAINT,
        "tickColor": FAINT,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    },
    "legend": {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 12,
        "orient": "top",
        "title": None,
        "symbolStrokeWidth": 2,
        "symbolOpacity": 1,
        "columnPadding": 30,
    },
}


def draw(chart: Any, width: int = WIDTH, height: int = HEIGHT) -> Drawing:
    """A picture of a chart, `width` with its labels, so that the letters of all charts are alike."""
    return _svg(chart.properties(width=width, height=height).to_dict(validate=False))


def _svg(spec: dict[str, Any]) -> Drawing:
    fitted = {**spec, "autosize": {"type": "fit-x", "contains": "padding"}, "config": _CONFIG}
    return drawing(fitted)


def data(frame: pl.DataFrame) -> alt.Data:
    """Rows as a chart reads them."""
    return alt.Data(values=_values(frame))  # type: ignore[no-untyped-call]


def _values(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON types: dates as texts, no NaN."""
    temporal = [c for c, kind in frame.schema.items() if kind.is_temporal()]
    floats = [c for c, kind in frame.schema.items() if kind.is_float()]
    # A bare date would be midnight in Greenwich, and another day further west.
    days = [
        pl.format("{}T00:00:00", pl.col(c)).alias(c) for c in temporal if frame.schema[c] == pl.Date
    ]
    times = [pl.col(c).cast(pl.String) for c in temporal if frame.schema[c] != pl.Date]
    plain = frame.with_columns(*days, *times, pl.col(floats).fill_nan(None))
    return plain.to_dicts()


def model_colors(models: Sequence[str], drawn: Sequence[str]) -> alt.Color:
    """One color a model, the same in every chart; only what is drawn is in the legend."""
    shown = [m for m in models if m in drawn]
    colors = [PALETTE[list(models).index(m) % len(PALETTE)] for m in shown]
    scale = alt.Scale(domain=shown, range=colors)
    return alt.Color("model", type="nominal", scale=scale, legend=alt.Legend(columns=4))


def model_shapes(models: Sequence[str], drawn: Sequence[str]) -> alt.Shape:
    """One shape a model, the same in every chart."""
    shown = [m for m in models if m in drawn]
    shapes = [SHAPES[list(models).index(m) % len(SHAPES)] for m in shown]
    return alt.Shape("model", type="nominal", scale=alt.Scale(domain=shown, range=shapes),
                     legend=alt.Legend(columns=4))  # fmt: skip


def lines(
    frame: pl.DataFrame, x: str, y: str, models: Sequence[str], titles: tuple[str, str]
) -> Drawing:
    """One line a model over the numbers of `x`; titles of the x and the y axis."""
    places = frame[x].unique().sort().to_list()
    # Few places get a tick each: Vega would else put ticks between them and name them twice.
    few = {"values": places} if len(places) <= MOST_TICKS else {"tickMinStep": 1}
    axis = alt.Axis(grid=False, format="d", **few)
    scale = alt.Scale(zero=False, nice=False)
    place = alt.X(x, type="quantitative", title=titles[0], axis=axis, scale=scale)
    return draw(_models(frame, place, y, models, titles[1]))


def over_time(
    frame: pl.DataFrame, models: Sequence[str], title: str, width: int = WIDTH
) -> Drawing:
    """One line a model over dates: `ds, model, value`."""
    ds = frame["ds"]
    form: dict[str, Any] = (
        {"format": _date_form(ds, wide=width > WIDTH)} if ds.dtype.is_temporal() else {}
    )
    axis = alt.Axis(labelOverlap=True, grid=False, tickCount=width // 125, **form)
    time: Any = "temporal" if form else "quantitative"
    scale = alt.Scale(zero=False, nice=False)
    place = alt.X("ds", type=time, title=None, axis=axis, scale=scale)
    return draw(_models(frame, place, "value", models, title), width=width)


def _models(frame: pl.DataFrame, x: alt.X, y: str, models: Sequence[str], title: str) -> alt.Chart:
    """One line a model, with points of its own shape: lines that lie on each other stay apart.

    Values that lie far apart are drawn on a logarithmic scale, which the title says.
    """
    drawn = frame["model"].unique().to_list()
    values = frame[y].drop_nulls().to_numpy()
    apart = values.size and 0 < FAR_APART * values.min() < values.max()
    far: dict[str, Any] = {"scale": alt.Scale(type="log", nice=False)} if apart else {}
    title = f"{title} (log scale)" if far else title
    lines_: alt.Chart = alt.Chart(data(frame)).mark_line(point={"size": 30, "filled": True})
    return lines_.encode(
        x=x,
        y=alt.Y(y, type="quantitative", title=title, axis=alt.Axis(tickCount=5), **far),
        color=model_colors(models, drawn),
        shape=model_shapes(models, drawn),
    )


def bars(
    rows: Sequence[Mapping[str, Any]], label: str, value: str, title: str, *, interval: bool = False
) -> Drawing:
    """Horizontal bars in the order of the rows; `low` and `high` of a row are its interval."""
    order = [row[label] for row in rows]
    base = alt.Chart(alt.Data(values=list(rows)))  # type: ignore[no-untyped-call]
    axis = alt.Axis(labelLimit=190)
    y = alt.Y(label, type="nominal", sort=order, title=None, axis=axis)
    x = alt.X(value, type="quantitative", title=title, axis=alt.Axis(tickCount=5))
    chart: Any = base.mark_bar(color=PALETTE[0], height={"band": 0.7}).encode(x=x, y=y)
    if interval:
        rule = base.mark_rule(color=INK, strokeWidth=1.5)
        chart = chart + rule.encode(x=alt.X("low", type="quantitative"), x2="high", y=y)
    return draw(chart, height=max(20 * len(rows), 40))


def dots(rows: Sequence[Mapping[str, Any]], models: Sequence[str], title: str) -> Drawing:
    """One dot a model and segment (`model, segment, value`), segments in the order of the rows."""
    order = list(dict.fromkeys(row["segment"] for row in rows))
    color = model_colors(models, [row["model"] for row in rows])
    y = alt.Y(
        "segment", type="nominal", sort=order, title=None, axis=alt.Axis(labelLimit=160, grid=True)
    )
    x = alt.X("value", type="quantitative", title=title, axis=alt.Axis(tickCount=5))
    base = alt.Chart(alt.Data(values=list(rows)))  # type: ignore[no-untyped-call]
    chart = base.mark_point(filled=True, size=70, opacity=1).encode(x=x, y=y, color=color)
    return draw(chart, height=max(22 * len(order), 44))


def fans(
    history: pl.DataFrame,
    tested: pl.DataFrame,
    ahead: pl.DataFrame,
    shades: pl.DataFrame,
    interval: tuple[str, str] | None,
    width: int = WIDTH,
) -> Drawing:
    """One series: actual values, forecasts of each fold with their interval, forecast ahead.

    history: `ds, y`. tested, ahead: `ds, cutoff, y_hat` and the interval's columns. shades:
    stretches `start, end`. An interval is cut where it would press everything else flat.
    """
    low, high = interval or ("y_hat", "y_hat")
    parts = [(part, kind) for part, kind in ((tested, KINDS[1]), (ahead, KINDS[2])) if part.height]
    rows = [
        part.select(
            "ds", "y_hat", low=low, high=high, kind=pl.lit(kind),
            fold=pl.format("{} {}", pl.lit(kind), pl.col("cutoff").cast(pl.String)),
        )
        for part, kind in parts
    ]  # fmt: skip
    forecasts = pl.concat(rows).with_columns(pl.exclude("ds", "kind", "fold").cast(pl.Float64))
    forecasts = _within_reach(forecasts, history["y"].cast(pl.Float64))
    seen = {
        "actual": history.with_columns(kind=pl.lit(KINDS[0])),
        "forecasts": forecasts,
        "shades": shades,
    }
    ends = pl.concat([history["ds"], forecasts["ds"]])
    spec = json.loads(
        _fan(
            tuple(kind for _, kind in parts),
            _date_form(ends) if ends.dtype.is_temporal() else "",
            interval is not None,
            shades.height > 0,
            max(int(str(part.group_by("cutoff").len()["len"].max())) for part, _ in parts)
            <= FEW_STEPS,
            width,
        )
    )
    spec["datasets"] = {name: _values(frame) for name, frame in seen.items()}
    return _svg(spec)


def _within_reach(forecasts: pl.DataFrame, actual: pl.Series) -> pl.DataFrame:
    """Bands that end a little beyond the actual values and forecasts."""
    lines = pl.concat([actual, forecasts["y_hat"]]).drop_nulls().drop_nans()
    low, high = (float(str(v)) for v in (lines.min(), lines.max()))
    room = ROOM * (high - low)
    if room <= 0:
        return forecasts
    return forecasts.with_columns(pl.col("low", "high").clip(low - room, high + room))


@cache
def _fan(
    kinds: tuple[str, ...], form: str, band: bool, shaded: bool, points: bool, width: int
) -> str:
    """The description of a fan without its data, as JSON: a report has many alike.

    form: how dates are written; empty where time is a number. points: forecasts of so few steps that
    their lines are hardly seen.
    """
    shown = (KINDS[0], *kinds)
    colors = dict(zip(KINDS, (INK, PALETTE[0], PALETTE[1]), strict=True))
    scale = alt.Scale(domain=list(shown), range=[colors[kind] for kind in shown])
    color = alt.Color("kind", type="nominal", scale=scale)
    time: Any = "temporal" if form else "quantitative"
    ticks: dict[str, Any] = {"format": form} if form else {}
    axis = alt.Axis(labelOverlap=True, grid=False, tickCount=5 if width <= WIDTH else 8, **ticks)
    x = alt.X("ds", type=time, title=None, axis=axis, scale=alt.Scale(zero=False, nice=False))
    y = alt.Y("y_hat", type="quantitative", title=None)
    base = alt.Chart(alt.NamedData(name="forecasts")).encode(x=x)
    dots: dict[str, Any] = {"point": {"size": 18, "filled": True}} if points else {}
    line = base.mark_line(strokeWidth=1.8, strokeCap="round", **dots).encode(
        y=y, color=color, detail="fold:N"
    )
    actual = alt.Chart(alt.NamedData(name="actual")).mark_line(strokeWidth=1, strokeCap="round")
    layers: list[Any] = [
        actual.encode(x=x, y=alt.Y("y", type="quantitative"), color=color),
        line,
    ]
    if band:
        fan = base.mark_area(opacity=0.22).encode(
            y=alt.Y("low", type="quantitative"), y2="high", color=color, detail="fold:N"
        )
        layers.insert(0, fan)
    if shaded:
        marked = alt.Chart(alt.NamedData(name="shades")).mark_rect(color=SHADE, opacity=1)
        layers.insert(0, marked.encode(x=alt.X("start", type=time), x2="end"))
    chart = alt.layer(*layers).properties(width=width, height=HEIGHT)
    return json.dumps(chart.to_dict(validate=False))


def _date_form(ds: pl.Series, *, wide: bool = False) -> str:
    """How the ticks of a stretch of time are written: always with the year; wide: more of them."""
    first, last = ds.min(), ds.max()
    days = (last - first).total_seconds() / 86_400  # type: ignore[operator, union-attr]
    if days > 3 * 365:
        return "%Y"
    if days > (730 if wide else 100):
        return "%b %Y"
    return "%d %b %Y" if days > 4 else "%d %b %H:%M"


def calibration(frame: pl.DataFrame, models: Sequence[str]) -> Drawing:
    """Observed against nominal share, `model, nominal, below, observed`, with the diagonal.

    A stroke reaches from the share below a quantile to that at or below it.
    """
    corners = [{"nominal": 0, "observed": 0}, {"nominal": 1, "observed": 1}]
    diagonal = alt.Chart(alt.Data(values=corners))  # type: ignore[no-untyped-call]
    x = alt.X("nominal", type="quantitative", title="quantile", axis=alt.Axis(format=".1f"))
    y = alt.Y("observed", type="quantitative", title="share at or below")
    color = model_colors(models, frame["model"].to_list())
    base = alt.Chart(data(frame)).encode(x=x, color=color)
    line = base.mark_line(point={"size": 30, "filled": True}).encode(y=y)
    ties = base.mark_rule(strokeWidth=1, opacity=0.6).encode(
        y=alt.Y("below", type="quantitative"), y2="observed"
    )
    rule = diagonal.mark_line(color=INK, strokeDash=[4, 3], strokeWidth=1).encode(x=x, y=y)
    return draw(rule + ties + line)


def columns(frame: pl.DataFrame, x: str, y: str, limits: tuple[float, float]) -> Drawing:
    """Upright bars in the order of the rows, on a scale with these ends."""
    axis = alt.X(x, type="nominal", sort=None, title=x, axis=alt.Axis(labelAngle=0))
    bar = alt.Chart(data(frame)).mark_bar(color=PALETTE[0])
    scale = alt.Scale(domain=list(limits), nice=False)
    return draw(bar.encode(x=axis, y=alt.Y(y, type="quantitative", title=None, scale=scale)))
