"""Lag features as expressions over the rows of one series, in order of time."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from engine.contracts import Availability, CrossSection, Feature, FeatureContext, FeatureSet, Window
from engine.errors import DataError
from engine.windows import Statistic
from engine_lags.params import LagGroup, LagsParams, Seasonal


class Lags:
    """Builds features of past values: read at the cutoff, or seasons before the target."""

    def __init__(self, params: LagsParams) -> None:
        self.params = params

    def build(self, context: FeatureContext) -> FeatureSet:
        """Name the features of every column; DataError for a column that is not one of numbers."""
        features: list[Feature] = []
        sections: list[CrossSection] = []
        group = self.params.group
        for season in self.params.seasons:
            for flag in season.weekday:
                _check_column(flag, context)
        if group is not None:
            _check_group(group, context)
        for column in self.params.names:
            _check_column(column, context)
            # Double precision: running sums of a window would drift in single precision.
            value, name = pl.col(column).cast(pl.Float64), f"lags_{column}"
            plain: str | None = column
            if group is not None:
                mean = CrossSection(f"lags:{column}:{':'.join(group.by)}", value.mean(), group.by)
                sections.append(mean)
                own, value = value, pl.col(mean.name).cast(pl.Float64)
                value = value if group.of == "mean" else own - value
                plain = mean.name if group.of == "mean" else None
                name = f"{name}_{group.of}_{'_'.join(group.by) or 'all'}"
            features.extend(self._features_of(_Summarised(name, value, plain)))
        return FeatureSet(tuple(features), tuple(sections))

    def _features_of(self, what: _Summarised) -> Iterator[Feature]:
        samples, value = self.params.min_samples, what.value
        for lag in self.params.lags:
            yield what.over(f"{lag}", shift=lag)
        for season in self.params.seasons:
            yield from _seasonal_features(what, season, samples)
        yield from self._rolling_features(what)
        for alpha in self.params.ewm:
            yield Feature(f"{what.name}_ewm_{alpha:g}", _smoothed(value, alpha), "history")
        for rows in self.params.zero_share:
            yield what.over(f"zero_share_{rows}", "zeros", rows, min_samples=samples)
        if self.params.since_last_sale:
            yield Feature(f"{what.name}_since_sale", _since_positive(value), "history")
        for newer, older in self.params.diff:
            change = value.shift(newer) - value.shift(older)
            yield Feature(
                f"{what.name}_diff_{newer}_{older}", change, "history", lookback=max(newer, older)
            )

    def _rolling_features(self, what: _Summarised) -> Iterator[Feature]:
        rolling, samples = self.params.rolling, self.params.min_samples
        value, name = what.value, what.name
        sums: tuple[Statistic, ...] = ("mean", "std", "sum")
        for statistic in sums:
            for rows in getattr(rolling, statistic):
                yield what.over(f"{statistic}_{rows}", statistic, rows, min_samples=samples)
        methods = {
            "min": value.rolling_min,
            "max": value.rolling_max,
            "median": value.rolling_median,
        }
        for label, method in methods.items():
            for rows in getattr(rolling, label):
                expr = method(rows, min_samples=samples)
                yield Feature(f"{name}_{label}_{rows}", expr, "history", lookback=rows - 1)
        for level, windows in rolling.quantile.items():
            for rows in windows:
                expr = value.rolling_quantile(
                    level, interpolation="linear", window_size=rows, min_samples=samples
                )
                yield Feature(f"{name}_q{level:g}_{rows}", expr, "history", lookback=rows - 1)


@dataclass(frozen=True)
class _Summarised:
    """What features are made of: its name, and the column that it is, None if it is computed."""

    name: str
    value: pl.Expr
    column: str | None

    def over(
        self,
        label: str,
        statistic: Statistic = "value",
        rows: int = 1,
        season: int = 0,
        **options: int,
    ) -> Feature:
        """A feature of a window of rows; read at the cutoff, or seasons before the target."""
        window = Window(self.column or "", statistic, rows, **options)
        availability: Availability = "aligned" if season else "history"
        name = f"{self.name}_{label}"
        if self.column is not None:
            return Feature.windowed(name, window, availability, season)
        expr = window.of(self.value)
        return Feature(name, expr, availability, window.lookback, season)


def _seasonal_features(what: _Summarised, season: Seasonal, min_samples: int) -> Iterator[Feature]:
    """Read by the engine one season (or more, until it is known) before the target date."""
    steps, label = season.steps, f"season_{season.period:g}"
    lags = [_seasons_before(what.value, season, j) for j in range(1, season.count + 1)]
    reach = [lookback for _, lookback in lags]
    expr = lags[0][0]
    whole = season.period == steps
    for j, (lag, lookback) in enumerate(lags, start=1):
        if whole:
            yield what.over(f"{label}_{j}", shift=lookback, season=steps)
        else:
            yield Feature(f"{what.name}_{label}_{j}", lag, "aligned", lookback, season=steps)
    if season.mean and whole:
        yield what.over(f"{label}_mean", "mean", season.count, steps, every=steps)
    elif season.mean:
        mean = pl.mean_horizontal(lag for lag, _ in lags)
        yield Feature(f"{what.name}_{label}_mean", mean, "aligned", reach[-1], season=steps)
    for rows in season.windows:
        # The window ends at the row that is read: a centered one could reach past the cutoff.
        name = f"{label}_mean_{rows}"
        if whole:
            yield what.over(name, "mean", rows, steps, min_samples=min_samples)
        else:
            own = expr.rolling_mean(rows, min_samples=min_samples)
            back = rows - 1 + reach[0]
            yield Feature(f"{what.name}_{name}", own, "aligned", back, season=steps)
    growth = what.value - expr.shift(steps)
    methods = {"mean": growth.rolling_mean, "median": growth.rolling_median}
    for statistic, method in methods.items():
        for rows in getattr(season.change, statistic):
            own = method(rows, min_samples=min_samples)
            back = rows - 1 + steps + reach[0]
            name = f"{what.name}_{label}_change_{statistic}_{rows}"
            yield Feature(name, own, "history", back)


def _seasons_before(value: pl.Expr, season: Seasonal, count: int) -> tuple[pl.Expr, int]:
    """What was `count` seasons before the step that lies one whole season ahead, and its lookback.

    Between two steps it is a blend of both, by how much of each the target's step falls on.
    """
    back = count * season.period - season.steps
    whole = int(back)
    part = round(back - whole, 9)
    if not part:
        return value.shift(whole), whole
    near, far = value.shift(whole), value.shift(whole + 1)
    blend = (1 - part) * near + part * far
    if season.weekday:
        flags = pl.max_horizontal(pl.col(f).cast(pl.Float64) for f in season.weekday)
        flags = pl.max_horizontal(flags.shift(whole), flags.shift(whole + 1))
        blend = pl.when(flags > 0).then(near).otherwise(blend)
    # Where one of the two is missing the other stands for both.
    return pl.coalesce(blend, near, far), whole + 1


def _smoothed(value: pl.Expr, alpha: float) -> pl.Expr:
    """Exponentially weighted mean, sum of (1 - alpha)^age y / sum of (1 - alpha)^age.

    Age is counted in steps of time, so that a value before a gap has grown old by its length; a
    missing observation repeats the last mean.
    """
    return value.ewm_mean(alpha=alpha, adjust=True, ignore_nulls=False).forward_fill()


def _since_positive(value: pl.Expr) -> pl.Expr:
    """Steps since the last value above zero; missing before the first one."""
    step = pl.int_range(pl.len(), dtype=pl.Int32)
    return step - pl.when(value > 0).then(step).forward_fill()


def _check_group(group: LagGroup, context: FeatureContext) -> None:
    roles = context.roles
    offered = (*roles.keys, *roles.static, *roles.future)
    for column in group.by:
        if column not in offered:
            close = difflib.get_close_matches(column, offered, n=1)
            advice = f"did you mean {close[0]!r}? " if close else ""
            raise DataError(
                f"lags: group by {column!r}, which is not a key, static or future column",
                hint=f"{advice}columns: {', '.join(offered)}",
            )


def _check_column(column: str, context: FeatureContext) -> None:
    offered = ("y", *context.roles.covariates)
    if column not in offered:
        close = difflib.get_close_matches(column, offered, n=1)
        advice = f"did you mean {close[0]!r}? " if close else ""
        known = column in (*context.roles.keys, *context.roles.static)
        what = "does not change over time" if known else "is not declared"
        raise DataError(
            f"lags: column {column!r} {what}", hint=f"{advice}columns: {', '.join(offered)}"
        )
    dtype = context.dtypes[column]
    if not (dtype.is_numeric() or dtype == pl.Boolean):
        raise DataError(
            f"lags: column {column!r} has type {dtype}, not a number",
            hint="lags are made of numbers; encode categories with static: {covariates: [...]}",
        )
