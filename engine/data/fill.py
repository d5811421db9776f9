"""What happens to values that are not there, and to covariates of steps that are not known yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from engine.data import checks
from engine.data.panel import Roles


@dataclass(frozen=True, slots=True)
class Missing:
    """What happens to values that are not there; nothing is filled unless it is stated.

    y: `error`, `drop` (stays missing: not trained on, not scored), `zero`, `forward_fill`, or
        `interpolate` (linear). The last two fill each history after it is cut at its cutoff, so
        that no later value leaks into a gap, and what was filled is never scored.
    columns: the same for covariates by name: `error`, `keep` (stays missing), `zero`,
        `forward_fill`, and for future ones `interpolate`; what is known ahead is also back-filled
        at the start. Unnamed ones: `error` for future covariates, `keep` for past ones.
    horizon: future covariates of the steps after the last date on which they are known:
        `error`, `forward_fill`, `zero`, or `skip` (no forecast beyond the data is made); or one
        of the first three by column, `error` for those not named.
    leading_zeros: `keep`, or `drop` so that a series begins at its first non-zero `y`.
    """

    y: str = "error"
    columns: Mapping[str, str] = field(default_factory=dict)
    horizon: str | Mapping[str, str] = "error"
    leading_zeros: str = "keep"


STRICT = Missing()
"""Whatever is missing is an error, except past covariates, which stay missing."""


def fill_missing(
    frame: pl.DataFrame,
    roles: Roles,
    missing: Missing,
    ids: pl.Series,
    end: int,
    known: Mapping[str, int],
    notes: list[str],
) -> pl.DataFrame:
    """Apply the policies for missing values; what has none and is missing is an error."""
    past = pl.col("ordinal") <= end
    if missing.y == "error":
        if frame["y"].null_count():
            checks.no_gaps(frame.filter(past), ids)
    else:
        empty = _missing(frame, "y", past)
        if empty:
            fate = "stay missing" if missing.y == "drop" else f"filled by {missing.y}"
            notes.append(f"y: {empty:,} missing values {fate}")
        if missing.y == "zero":
            frame = frame.with_columns(pl.when(past).then(pl.col("y").fill_null(0)).alias("y"))
    for column in roles.covariates:
        is_future = column in roles.future
        policy = missing.columns.get(column, "error" if is_future else "keep")
        until = pl.col("ordinal") <= (known[column] if is_future else end)
        empty = _missing(frame, column, until)
        if empty and policy == "error":
            checks.covariate_missing(frame.filter(until), column, ids)
        if empty and policy not in ("keep", "error"):
            notes.append(f"{column}: {empty:,} missing values filled by {policy}")
            frame = frame.with_columns(
                pl.when(until).then(_filled(column, policy, back=is_future)).alias(column)
            )
        ahead_policy = _horizon_policy(missing, column)
        if is_future and (policy != "keep" or ahead_policy in ("forward_fill", "zero")):
            frame = _fill_horizon(frame, column, ahead_policy, ids, notes)
    return frame


def _missing(frame: pl.DataFrame, column: str, where: pl.Expr) -> int:
    """Rows without a value of a column."""
    if not frame[column].null_count():
        return 0
    return int(frame.select((pl.col(column).is_null() & where).sum()).item())


def _horizon_policy(missing: Missing, column: str) -> str:
    if isinstance(missing.horizon, str):
        return missing.horizon
    return missing.horizon.get(column, "error")


def _fill_horizon(
    frame: pl.DataFrame, column: str, policy: str, ids: pl.Series, notes: list[str]
) -> pl.DataFrame:
    """Future covariates after the last date on which they are known."""
    if not frame[column].null_count():
        return frame
    empty = frame.filter(pl.col(column).is_null())
    if policy == "error":
        checks.horizon_unknown(empty, column, ids)
    notes.append(
        f"{column}: unknown for {empty['ordinal'].n_unique()} steps of {empty['series'].n_unique()} "
        f"series, filled by {policy}"
    )
    return frame.with_columns(_filled(column, policy))


def _filled(column: str, policy: str, back: bool = False) -> pl.Expr:
    value = pl.col(column)
    if policy == "zero":
        return value.fill_null(strategy="zero")
    if policy == "interpolate":
        return value.cast(pl.Float32).interpolate().over("series")
    forward = value.forward_fill()
    return (forward.backward_fill() if back else forward).over("series")
