"""Checks of the leader's residuals: autocorrelation, by step, by level, calibration."""

from __future__ import annotations

import math

import polars as pl

from engine_report import charts
from engine_report.document import Chart
from engine_report.drawing import Drawing
from engine_report.reading import Run

LAGS = 14
TIES = 0.02
"""Share of the values that may equal a quantile before a reader has to be told."""


def pictures(run: Run) -> list[Chart]:
    """One chart a check."""
    rows = run.rows.filter(pl.col("model") == run.leader)
    made = [_calibration(run), _by_step(run, rows), _by_level(run, rows), _acf(run, rows)]
    return [one for one in made if one is not None]


def calibration_values(run: Run) -> pl.DataFrame:
    """`model, nominal, below, observed`: shares of actual values below, and at or below, each quantile."""
    parts = [
        run.rows.filter(pl.col(column).is_not_null())
        .group_by("model", maintain_order=True)
        .agg(
            observed=(pl.col("y") <= pl.col(column)).mean(),
            below=(pl.col("y") < pl.col(column)).mean(),
        )
        .with_columns(nominal=pl.lit(level))
        for level, column in run.quantiles.items()
    ]
    floats = ("observed", "below", "nominal")
    empty = pl.DataFrame(schema={"model": pl.String, **dict.fromkeys(floats, pl.Float64)})
    return pl.concat([empty, *parts]).sort("model", "nominal")


def _calibration(run: Run) -> Chart | None:
    values = calibration_values(run)
    if values.is_empty():
        return None
    said = "Share of actual values at or below each quantile; on the diagonal is right"
    note = "Below the line: that quantile was too low."
    ties = (
        values.filter(model=run.leader).select((pl.col("observed") - pl.col("below")).max()).item()
    )
    if ties is not None and ties > TIES:
        note += (
            f" Upright strokes begin at the share below: many values of {run.leader} equal the "
            "quantile, such as 0, and the line should cross the stroke."
        )
    return Chart("Calibration", charts.calibration(values, run.models), said, note)


def _by_step(run: Run, rows: pl.DataFrame) -> Chart | None:
    if rows["step"].n_unique() < 2:
        return None
    values = rows.group_by("step", maintain_order=True).agg(
        value=pl.col("error").sum() / pl.col("y").abs().sum()
    )
    frame = values.filter(pl.col("value").is_finite()).with_columns(model=pl.lit(run.leader))
    if frame.is_empty():
        return None
    svg = charts.lines(frame.sort("step"), "step", "value", run.models, ("step ahead", "bias"))
    return Chart("Bias by step", svg, f"Bias of {run.leader} by step", "Above 0: too much.")


def _by_level(run: Run, rows: pl.DataFrame) -> Chart | None:
    values = level_values(rows)
    if values is None:
        return None
    frame = values.with_columns(model=pl.lit(run.leader))
    titles = ("tenth of the volume, smallest forecasts first", "bias per unit forecast")
    svg = charts.lines(frame, "group", "value", run.models, titles)
    said = f"Bias of {run.leader} by the size of its forecasts"
    note = "Each tenth holds the same forecast volume, so the mean of the line is the whole bias."
    return Chart("Bias by level", svg, said, note)


def level_values(rows: pl.DataFrame) -> pl.DataFrame | None:
    """`group, value`: bias in ten groups of rows by the size of the forecast.

    The groups hold the same volume and not the same number of rows: the many forecasts near 0 are
    one group, where their large bias relative to their size weighs what it weighs in units.
    """
    total = float(str(rows["y_hat"].clip(lower_bound=0).sum()))
    if rows.height < 100 or total <= 0:
        return None
    volume = pl.col("y_hat").clip(lower_bound=0)
    before = volume.cum_sum() - volume
    return (
        rows.sort("y_hat", "unique_id", "ds", "cutoff")
        .with_columns(group=(before * 10 / total).floor().clip(0, 9).cast(pl.Int32) + 1)
        .group_by("group", maintain_order=True)
        .agg(value=pl.col("error").sum() / pl.col("y_hat").abs().sum())
        .filter(pl.col("value").is_finite())
    )


def autocorrelation(rows: pl.DataFrame, lags: int = LAGS) -> pl.DataFrame:
    """`lag, value`: correlation of errors of the same series and fold that lie `lag` steps apart.

    Errors are taken over their series' root mean square, so that every series counts alike, and not
    relative to a mean within the fold: in few steps that mean would be most of the error, and white
    noise of n steps would show -1 / (n - 1) at every lag.
    """
    keys = ["unique_id", "cutoff"]
    usual = (pl.col("error") ** 2).mean().sqrt().over("unique_id")
    error = pl.when(usual > 0).then(pl.col("error") / usual).otherwise(0.0)
    frame = rows.sort(*keys, "step").select(*keys, "step", e=error)
    variance = float(str(frame.select((pl.col("e") ** 2).sum()).item()))
    found = []
    for lag in range(1, lags + 1):
        later = frame.with_columns(step=pl.col("step") + lag)
        both = frame.join(later, on=[*keys, "step"], how="inner", suffix="_before")
        if both.height < 20 or variance <= 0:
            break
        scale = float((both["e"] ** 2).sum()) * float((both["e_before"] ** 2).sum())
        value = float((both["e"] * both["e_before"]).sum()) / math.sqrt(scale) if scale else 0.0
        found.append({"lag": str(lag), "value": value})
    return pl.DataFrame(found, schema={"lag": pl.String, "value": pl.Float64})


def _acf(run: Run, rows: pl.DataFrame) -> Chart | None:
    if rows["step"].n_unique() < 4:
        return None
    some = (
        rows["unique_id"]
        .unique(maintain_order=True)
        .gather_every(max(rows["unique_id"].n_unique() // 2000, 1))
    )
    values = autocorrelation(rows.filter(pl.col("unique_id").is_in(some.to_list())))
    if values.is_empty():
        return None
    said = f"Correlation of errors of {run.leader} that lie 1 to {values.height} steps apart"
    note = (
        "Errors of one fold, so many steps apart. Above 0 throughout: a forecast that is off stays "
        "off. A peak, as at 7 of days: a pattern that the model misses."
    )
    return Chart("Autocorrelation of errors", _bars(values), said, note)


def _bars(values: pl.DataFrame) -> Drawing:
    """On a scale from 0 or -1 to 1, so that a small correlation looks small."""
    lowest = -1.0 if float(str(values["value"].min())) < -0.2 else -0.2
    return charts.columns(values, "lag", "value", (lowest, 1.0))
