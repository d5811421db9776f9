"""Plain words for scores, for the baseline and for periods, for readers who know none of them."""

from __future__ import annotations

import math

from engine_report.document import Column, Table
from engine_report.reading import Run

PERIODS = {"min": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "q": "quarter",
           "y": "year"}  # fmt: skip
"""Unit of a frequency -> what one period of it is called."""

MEANINGS = {
    "wape": "sum of absolute errors over the sum of actual values",
    "mae": "mean absolute error, in units",
    "mse": "mean squared error, in squared units; large errors count more",
    "rmse": "root of the mean squared error, in units; large errors count more",
    "rmspe": "root of the mean squared |error| / actual; periods without sales are left out",
    "mape": "mean of |error| / actual; periods without sales are left out",
    "smape": "mean of |error| over the mean of actual and forecast",
    "mase": "mean absolute error over that of the seasonal naive forecast within the history",
    "rmsse": "root of the squared error over that of the naive forecast within the history",
    "wrmsse": "root of the squared error over that of the naive forecast within the history, weighed "
    "by revenue over all levels of the hierarchy",
    "bias": "sum of errors over the sum of actual values; above 0 is too much forecast",
    "pinball": "error of the quantiles, in units; too low and too high weigh by the quantile",
    "wql": "pinball error over the sum of actual values",
    "coverage": "share of actual values inside the widest interval",
    "width": "width of the widest interval over the actual values",
}

GOOD = {
    "wape": "0 is perfect, 1 as bad as forecasting 0; below that of the baseline",
    "mae": "below that of the baseline",
    "mse": "below that of the baseline",
    "rmse": "below that of the baseline",
    "rmspe": "0 is perfect, 0.1 about 10 % off; below that of the baseline",
    "mape": "0 is perfect, 10 is 10 % off; below that of the baseline",
    "smape": "0 is perfect, 200 the worst; below that of the baseline",
    "mase": "below 1: better than repeating the season before",
    "rmsse": "below 1: better than repeating the last value",
    "wrmsse": "below 1: better than repeating the last value",
    "bias": "near 0; -0.1 is 10 % too little in sum",
    "pinball": "below that of the baseline",
    "wql": "0 is perfect; below that of the baseline",
    "width": "narrow, at the intended coverage",
}
"""What value of a score is good."""


def good(metric: str, nominal: float | None) -> str:
    """What value of a score is good; that of coverage is the run's own."""
    if metric == "coverage" and nominal is not None:
        return f"near {nominal:g}, the share intended"
    return GOOD.get(metric, "")


def periods(run: Run, count: int) -> str:
    """A number of periods in the words of the data's rhythm: 2 weeks."""
    name = PERIODS.get(run.freq.unit) if run.freq.every == 1 else None
    name = name or "period"
    return f"{count:,} {name}{'' if count == 1 else 's'}"


def baseline(run: Run) -> str:
    """What the baseline does; empty if its component is not known."""
    use = (run.spec.get("models") or {}).get(run.baseline) or {}
    season = use.get("season")
    if "naive" not in str(use.get("use", "")) or not isinstance(season, int | float):
        return ""
    if season <= 1:
        return f"{run.baseline}, the baseline, repeats the last value"
    count = math.ceil(season)
    return f"{run.baseline}, the baseline, repeats the value of {periods(run, count)} before"


def combination(run: Run) -> str:
    """What the leader is made of; empty if it is no combination."""
    use = (run.spec.get("combine") or {}).get(run.leader)
    if use is None:
        return ""
    return f"{run.leader} is the {use['by']} of what {listed(use['models'])} forecast"


def listed(names: list[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def target(run: Run) -> str:
    """The column that is forecast."""
    return str((run.spec.get("data", {}).get("columns") or {}).get("y") or "y")


def meanings(run: Run) -> Table | None:
    """What each score of the run is and which value is good, for a reader who does not know it."""
    nominal = run.interval[2] if run.interval else None
    rows = [[m, MEANINGS[m], good(m, nominal)] for m in run.metrics if m in MEANINGS]
    columns = [Column(name, numeric=False) for name in ("score", "meaning", "a good value")]
    return Table("What the scores mean", columns, rows, folded=True) if rows else None
