"""Metrics of quantile forecasts: losses, and what an interval holds and how wide it is.

A row counts if it has `y`, `y_hat` and all the quantiles that are scored; NaN means null. So a model
without quantiles has a null score, and quantiles that the run does not make are an error.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from engine.contracts import MetricColumns
from engine.errors import DataError
from engine_metrics.params import IntervalParams, QuantileParams
from engine_metrics.points import Better, Pool
from engine_metrics.rows import counts, number, one, ratio, size, where

# 1 - 0.9 is not 0.1 in binary; quantiles closer than this are the same one.
_SAME = 1e-9


class _QuantileLoss:
    """What losses of quantiles share: lower is better, rows are pooled, no history is needed."""

    better: Better = "lower"
    pool: Pool = "rows"

    def __init__(self, params: QuantileParams) -> None:
        self.quantiles = params.quantiles

    def scale(self, columns: MetricColumns) -> pl.Expr | None:
        """Nothing of the history is needed."""
        return None


class Pinball(_QuantileLoss):
    """Pinball loss, the mean over rows and quantiles of max(q * (y - x), (q - 1) * (y - x)), in units.

    x is the forecast of quantile q. It is smallest in expectation at the true quantile, and half the
    absolute error at q = 0.5 (Koenker & Bassett 1978; Gneiting & Raftery 2007, section 6.1).
    """

    unit: str = "units"

    def terms(self, columns: MetricColumns) -> dict[str, pl.Expr]:
        """Sum over rows of the mean loss of the quantiles, and number of rows."""
        loss = _mean_loss(_chosen(self.quantiles, columns, "pinball"))
        return {"loss": loss, "count": one(loss)}

    def value(self) -> pl.Expr:
        """Mean loss."""
        return ratio("loss", "count")


class WeightedQuantileLoss(_QuantileLoss):
    """wQL = 2 * sum of pinball losses / sum |y|, averaged over the quantiles, a ratio.

    With many evenly spaced quantiles it approximates the CRPS over the mean of |y| (Gneiting &
    Raftery 2007; Gasthaus et al. 2019, "Probabilistic forecasting with spline quantile functions").
    Null where all y are 0. With the median alone it equals the WAPE of the median.
    """

    unit: str = "ratio"

    def terms(self, columns: MetricColumns) -> dict[str, pl.Expr]:
        """Sums of twice the mean loss of the quantiles and of |y|."""
        loss = _mean_loss(_chosen(self.quantiles, columns, "wql"))
        return {"loss": 2 * loss, "size": where(loss.is_not_null(), size())}

    def value(self) -> pl.Expr:
        """Loss per unit of y."""
        return ratio("loss", "size")


class Coverage:
    """Coverage = share of rows with lower <= y <= upper, a ratio.

    It has no order: best is the interval's nominal level, upper quantile minus lower quantile
    (Gneiting, Balabdaoui & Raftery 2007, "Probabilistic forecasts, calibration and sharpness").
    """

    unit: str = "ratio"
    better: Better = "none"
    pool: Pool = "rows"

    def __init__(self, params: IntervalParams) -> None:
        self.params = params

    def scale(self, columns: MetricColumns) -> pl.Expr | None:
        """Nothing of the history is needed."""
        return None

    def terms(self, columns: MetricColumns) -> dict[str, pl.Expr]:
        """Number of rows inside the interval, and of all rows."""
        lower, upper = _interval(self.params, columns, "coverage")
        inside = (number("y") >= number(lower)) & (number("y") <= number(upper))
        there = _there([lower, upper])
        return {"inside": where(there, inside.cast(pl.Float64)), "count": where(there, pl.lit(1.0))}

    def value(self) -> pl.Expr:
        """Share of rows inside."""
        return ratio("inside", "count")


class Width:
    """Width = mean (upper - lower) / mean |y|, a ratio: the sharpness of the forecast intervals.

    Narrower is better only at equal coverage (Gneiting, Balabdaoui & Raftery 2007). Null where all
    y are 0.
    """

    unit: str = "ratio"
    better: Better = "lower"
    pool: Pool = "rows"

    def __init__(self, params: IntervalParams) -> None:
        self.params = params

    def scale(self, columns: MetricColumns) -> pl.Expr | None:
        """Nothing of the history is needed."""
        return None

    def terms(self, columns: MetricColumns) -> dict[str, pl.Expr]:
        """Sums of the intervals' widths and of |y|."""
        lower, upper = _interval(self.params, columns, "width")
        there = _there([lower, upper])
        return {
            "width": where(there, number(upper) - number(lower)),
            "size": where(there, size()),
        }

    def value(self) -> pl.Expr:
        """Width per unit of y."""
        return ratio("width", "size")


def _there(names: Iterable[str]) -> pl.Expr:
    return pl.all_horizontal(counts(), *(number(name).is_not_null() for name in names))


def _mean_loss(chosen: dict[float, str]) -> pl.Expr:
    losses = []
    for quantile, name in chosen.items():
        above = number("y") - number(name)
        losses.append(pl.max_horizontal(quantile * above, (quantile - 1) * above))
    return where(_there(chosen.values()), pl.sum_horizontal(losses) / len(losses))


def _chosen(quantiles: list[float] | None, columns: MetricColumns, metric: str) -> dict[float, str]:
    wanted = list(columns.quantiles) if quantiles is None else quantiles
    if not wanted:
        raise DataError(
            f"metric {metric!r} scores quantiles, and the run makes none",
            hint="name some, e.g. quantiles: [0.1, 0.5, 0.9], or leave the metric out",
        )
    return _columns_of(wanted, columns, metric)


def _interval(params: IntervalParams, columns: MetricColumns, metric: str) -> tuple[str, str]:
    if params.lower is not None and params.upper is not None:
        ends = (params.lower, params.upper)
    elif params.level is not None:
        ends = (round(0.5 - params.level / 2, 12), round(0.5 + params.level / 2, 12))
    else:
        lowest = min(
            (q for q in columns.quantiles if q < 0.5 and _nearest(1 - q, columns) is not None),
            default=None,
        )
        if lowest is None:
            raise DataError(
                f"metric {metric!r} needs two quantiles q and 1 - q; the run makes "
                f"{_listed(columns.quantiles)}",
                hint="add a pair such as 0.1 and 0.9 to quantiles, or name lower and upper",
            )
        ends = (lowest, 1 - lowest)
    lower, upper = _columns_of(ends, columns, metric).values()
    return lower, upper


def _columns_of(wanted: Iterable[float], columns: MetricColumns, metric: str) -> dict[float, str]:
    found = {q: _nearest(q, columns) for q in wanted}
    lost = [q for q, name in found.items() if name is None]
    if lost:
        raise DataError(
            f"metric {metric!r} needs quantiles {_listed(lost)}; the run makes "
            f"{_listed(columns.quantiles)}",
            hint=f"add {_listed(lost)} to quantiles, or change the options of {metric!r}",
        )
    return {q: name for q, name in found.items() if name is not None}


def _nearest(quantile: float, columns: MetricColumns) -> str | None:
    return next((n for q, n in columns.quantiles.items() if abs(q - quantile) < _SAME), None)


def _listed(quantiles: Iterable[float]) -> str:
    return ", ".join(f"{q:.12g}" for q in quantiles) or "none"
