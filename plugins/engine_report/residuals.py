"""Checks of the leader's residuals: autocorrelation, by step, by level, calibration."""

from __future__ import annotations

import math

import polars as pl

from engine_report import charts
from engine_report.document import Chart
from engine_report.reading import Run

LAGS = 14


def pictures(run: Run) -> list[Chart]:
    """One chart a check."""
    rows = run.rows.filter(pl.col("model") == run.leader)
    made = [_calibration(run), _by_step(run, rows), _by_level(run, rows), _acf(run, rows)]
    return [one for one in made if one is not None]


def calibration_values(run: Run) -> pl.DataFrame:
    """`model, nominal, observed`: share of actual values at or below each quantile."""
    parts = [
        run.rows.filter(pl.col(column).is_not_null())
        .group_by("model", maintain_order=True)
        .agg(observed=(pl.col("y") <= pl.col(column)).mean())
        .with_columns(nominal=pl.lit(level))
        for level, column in run.quantiles.items()
    ]
    empty = pl.DataFrame(schema={"model": pl.String, "observed": pl.Float64, "nominal": pl.Float64})
    return pl.concat([empty, *parts]).sort("model", "nominal")


def _calibration(run: Run) -> Chart | None:
    values = calibration_values(run)
    if values.is_empty():
        return None
    said = "Share of actual values at or below each quantile; on the diagonal is right"
    svg = charts.calibration(values, run.models)
    return Chart("Calibration", svg, said, "Below the line: that quantile was too low.")


def _by_step(run: Run, rows: pl.DataFrame) -> Chart | None:
    if rows["step"].n_unique() < 2:
        return None
    values = rows.group_by("step", maintain_order=True).agg(
        value=pl.col("error").sum() / pl.col("y").abs().sum()
    )
    frame = values.filter(pl.col("value").is_finite()).with_columns(model=pl.lit(run.leader))
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

    Errors are taken relative to each series' and fold's mean and pooled over all of them.
    """
    keys = ["unique_id", "cutoff"]
    error = pl.col("error") - pl.col("error").mean().over(keys)
    frame = rows.sort(*keys, "step").select(*keys, "step", e=error)
    variance = float(str(frame.select((pl.col("e") ** 2).sum()).item()))
    found = []
    for lag in range(1, lags + 1):
        later = frame.with_columns(step=pl.col("step") + lag)
        both = frame.join(later, on=[*keys, "step"], how="inner", suffix="_before")
        if both.height < 20 or variance <= 0:
            break
        scale = (both["e"] ** 2).sum() * (both["e_before"] ** 2).sum()
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
    note = "Within a fold. Far from 0: the model misses something that lasts or repeats."
    return Chart("Autocorrelation of errors", charts.columns(values, "lag", "value"), said, note)
