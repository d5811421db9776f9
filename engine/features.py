"""Collects the features of all builders and evaluates them in one grouped pass over the panel.

This is where availability is applied: `known` expressions never see `y` or past covariates, and
`history` expressions never see a row after the cutoff, because those columns and rows are not there.
"""

from __future__ import annotations

import datetime as dt
import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.columns import Column, lags
from engine.contracts import CrossSection, Feature, FeatureContext, FeatureFactory, FeatureSet
from engine.data.panel import Future, Panel, Roles, each_series
from engine.errors import DataError, PluginError, blaming, first_line
from engine.rolling import WindowedColumn
from engine.windows import SeriesRows

MAX_LEVELS = 10_000

Matrix = npt.NDArray[np.float32]

_FEW_ROWS = 100_000
"""Rows below which a copy of all values costs nothing."""


@dataclass(frozen=True)
class FeaturePlan:
    """All features of a run, in the order of the spec."""

    features: tuple[Feature, ...] = ()
    cross_sections: tuple[CrossSection, ...] = ()

    @property
    def names(self) -> list[str]:
        """Names of the features."""
        return [feature.name for feature in self.features]

    def of(self, *availability: str) -> tuple[Feature, ...]:
        """Features with one of these availabilities, in order."""
        return tuple(f for f in self.features if f.availability in availability)

    def matching(self, patterns: Sequence[str] | None) -> FeaturePlan:
        """The features whose names match any of the patterns; None keeps all."""
        if patterns is None:
            return self
        for pattern in patterns:
            if not fnmatch.filter(self.names, pattern):
                raise DataError(
                    f"no feature matches {pattern!r}",
                    hint=f"features of this spec: {', '.join(self.names) or 'none'}",
                )
        keep = tuple(f for f in self.features if any(fnmatch.fnmatch(f.name, p) for p in patterns))
        return replace(self, features=keep)

    @property
    def sections_of_covariates(self) -> tuple[CrossSection, ...]:
        """Cross-sections that do not read `y`: the same for all models and cutoffs."""
        of_y = _sections_of_y(self.cross_sections)
        return tuple(s for s in self.cross_sections if s.name not in of_y)

    @property
    def sections_of_y(self) -> tuple[CrossSection, ...]:
        """Cross-sections made of `y` that the features need; made of `y` as a model sees it."""
        of_y = _sections_of_y(self.cross_sections)
        needed = {c for f in self.features for c in f.expr.meta.root_names()}
        for section in reversed(self.cross_sections):
            if section.name in needed:
                needed |= set(section.expr.meta.root_names())
        return tuple(s for s in self.cross_sections if s.name in of_y & needed)


def _sections_of_y(sections: Sequence[CrossSection]) -> set[str]:
    """Names of the sections that read `y`, or another section that does."""
    found = {"y"}
    for section in sections:
        if found & set(section.expr.meta.root_names()):
            found.add(section.name)
    return found - {"y"}


def plan_features(
    builders: Iterable[tuple[str, FeatureFactory]], context: FeatureContext
) -> FeaturePlan:
    """Ask every builder for its features; two features of one name are an error."""
    features: list[Feature] = []
    sections: list[CrossSection] = []
    owner: dict[str, str] = {}
    for builder_name, builder in builders:
        with blaming(builder_name):
            made = builder.build(context)
        if not isinstance(made, FeatureSet):
            raise PluginError(f"{builder_name} returned {type(made).__name__}, not a FeatureSet")
        for feature in made.features:
            if feature.name in owner:
                raise DataError(
                    f"feature {feature.name!r} is made twice: by {owner[feature.name]} and "
                    f"{builder_name}",
                    hint="remove one of them, or change its options so that the names differ",
                )
            owner[feature.name] = builder_name
            _check_inputs(feature, builder_name, context, made.cross_sections)
        features += made.features
        sections += [s for s in made.cross_sections if s.name not in {c.name for c in sections}]
    return FeaturePlan(tuple(features), tuple(sections))


def _check_inputs(
    feature: Feature, builder: str, context: FeatureContext, sections: Sequence[CrossSection]
) -> None:
    """A known feature reads only what is known; nothing reads an undeclared column."""
    roles = context.roles
    known_sections = {s.name for s in sections if section_is_known(s, roles)}
    allowed = {
        "known": {"ds", *roles.future, *known_sections},
        "history": {"ds", "y", *roles.covariates, *(s.name for s in sections)},
        "aligned": {"ds", "y", *roles.covariates, *(s.name for s in sections)},
        "static": {*roles.keys, *roles.static, "unique_id"},
    }[feature.availability]
    alien = sorted(set(feature.expr.meta.root_names()) - allowed)
    if alien:
        raise DataError(
            f"feature {feature.name!r} of {builder} is {feature.availability!r} but reads "
            f"{', '.join(map(repr, alien))}",
            hint=f"declare the column under data.covariates; available here: {', '.join(sorted(allowed))}",
        )
    if feature.availability == "aligned" and feature.season < 1:
        raise PluginError(f"aligned feature {feature.name!r} of {builder} has no season")


def section_is_known(section: CrossSection, roles: Roles) -> bool:
    """Whether a cross-sectional column is made of what is known ahead alone."""
    inputs = set(section.expr.meta.root_names()) | set(section.by)
    return inputs <= {*roles.future, *roles.keys, *roles.static, "ds", "unique_id"}


def feature_context(panel: Panel, horizon: int, gap: int) -> FeatureContext:
    """Columns, types and levels of a panel."""
    frame, series = panel.frame, panel.series
    dtypes: dict[str, pl.DataType] = {**series.schema, **frame.schema}
    levels: dict[str, tuple[str, ...]] = {}
    for column in (*panel.roles.future, *panel.roles.keys, *panel.roles.static):
        dtype = dtypes[column]
        if isinstance(dtype, pl.Enum):
            levels[column] = tuple(dtype.categories.to_list())
        elif column in series.columns and not dtype.is_float():
            distinct = series[column].drop_nulls().unique().sort()
            if len(distinct) <= MAX_LEVELS:
                levels[column] = tuple(distinct.cast(pl.String).to_list())
    first, last = frame["ds"].min(), frame["ds"].max()
    if isinstance(first, dt.datetime) and isinstance(last, dt.datetime):
        first, last = first.date(), last.date()
    dated = isinstance(first, dt.date) and isinstance(last, dt.date)
    return FeatureContext(
        roles=panel.roles,
        freq=panel.grid.freq,
        horizon=horizon,
        gap=gap,
        dtypes=dtypes,
        levels=levels,
        first=first if dated else None,  # type: ignore[arg-type]
        last=last if dated else None,  # type: ignore[arg-type]
    )


def add_cross_sections(panel: Panel, sections: Sequence[CrossSection]) -> Panel:
    """Evaluate cross-sectional columns on the whole panel and declare their roles.

    A section groups rows of one date only, so it cannot carry anything through time. One that the
    panel has already is made again: rows may have been added.
    """
    if not sections:
        return panel
    frame, roles = panel.frame, panel.roles
    index = pl.Series(panel.series_index)
    needed = {c for s in sections for c in (*s.by, *s.expr.meta.root_names())}
    borrowed = [c for c in panel.series.columns if c in needed and c not in frame.columns]
    wide = frame.with_columns(panel.series[c].gather(index).alias(c) for c in borrowed)
    flags = [c for c in frame.columns if c in needed and frame.schema[c] == pl.Boolean]
    wide = wide.with_columns(pl.col(flags).cast(pl.Float32))
    for section in sections:
        column = section.expr.over([*section.by, "ds"]).cast(pl.Float32).alias(section.name)
        wide = wide.with_columns(column)
        if section.name in roles.covariates:
            continue
        if section_is_known(section, roles):
            roles = replace(roles, future=(*roles.future, section.name))
        else:
            roles = replace(roles, past=(*roles.past, section.name))
    return panel.with_frame(wide.select("unique_id", "ds", "y", *roles.covariates), roles)


def evaluate(
    frame: pl.DataFrame, features: Sequence[Feature], series: SeriesRows | None = None
) -> Matrix:
    """Values of features for every row of a sorted frame, shape (features, rows), NaN for null.

    series: where the series lie in the frame, if that is known.
    """
    out = np.empty((len(features), frame.height), dtype=np.float32)
    if not features or not frame.height:
        return out
    _write_windows(frame, features, series, out)
    rest = [i for i, feature in enumerate(features) if feature.window is None]
    if not rest:
        return out
    features = [features[i] for i in rest]
    needed = {c for f in features for c in f.expr.meta.root_names()}
    columns = [c for c in frame.columns if c in needed and c != "unique_id"]
    lists = _grouped(with_numbers(frame.select("unique_id", *columns)), features)
    if frame.height <= _FEW_ROWS and (few := _at_once(lists)).shape == (len(rest), frame.height):
        out[rest] = few
        return out
    for number, (place, feature) in enumerate(zip(rest, features, strict=True)):
        values = lists[str(number)].explode(empty_as_null=False)
        if len(values) != frame.height:
            raise PluginError(
                f"feature {feature.name!r} gives {len(values)} values for {frame.height} rows",
                hint="its expression must give one value a row of a series",
            )
        out[place] = values.fill_null(float("nan")).to_numpy()
        lists = lists.drop(str(number))
    return out


def columns_of(
    frame: pl.DataFrame, features: Sequence[Feature], series: SeriesRows | None = None
) -> tuple[Column, ...]:
    """The same values, to be read at rows: lags are not written out but read where their column stands."""
    if not features:
        return ()
    series = series or SeriesRows.of(frame["unique_id"])
    found: dict[int, Column] = {}
    shifts: dict[str, dict[int, int]] = {}
    for number, feature in enumerate(features):
        if feature.window and feature.window.statistic == "value":
            shifts.setdefault(feature.window.column, {})[number] = feature.window.shift
    for name, own in shifts.items():
        values = WindowedColumn(frame[name], series).single
        found.update(zip(own, lags(values, series, [*own.values()]), strict=True))
    rest = [number for number in range(len(features)) if number not in found]
    made = evaluate(frame, [features[number] for number in rest], series)
    found.update((number, Column(values)) for number, values in zip(rest, made, strict=True))
    return tuple(found[number] for number in range(len(features)))


def _write_windows(
    frame: pl.DataFrame, features: Sequence[Feature], series: SeriesRows | None, out: Matrix
) -> None:
    """Features that are lags or rolling statistics into their rows of `out`, a column at a time."""
    windows = [(f.window, row) for f, row in zip(features, out, strict=True) if f.window]
    if not windows:
        return
    series = series or SeriesRows.of(frame["unique_id"])
    for name in dict.fromkeys(window.column for window, _ in windows):
        own = [(window, row) for window, row in windows if window.column == name]
        WindowedColumn(frame[name], series).write(*zip(*own, strict=True))


def with_numbers(frame: pl.DataFrame) -> pl.DataFrame:
    """Flags as Float32: what features are made of are numbers and categories."""
    return frame.with_columns(pl.col(pl.Boolean).cast(pl.Float32))


def _at_once(lists: pl.DataFrame) -> Matrix:
    """All columns in one call, which for few rows costs less than one call a column; (0, 0) if the
    features have unlike numbers of values."""
    try:
        flat = lists.select(pl.exclude("unique_id").explode().fill_null(float("nan")))
    except pl.exceptions.ShapeError:
        return np.empty((0, 0), dtype=np.float32)
    return flat.to_numpy().T


def _grouped(frame: pl.DataFrame, features: Sequence[Feature]) -> pl.DataFrame:
    exprs = [f.expr.cast(pl.Float32).alias(str(i)) for i, f in enumerate(features)]
    try:
        return each_series(frame, *exprs)
    except pl.exceptions.PolarsError as error:
        for feature, expr in zip(features, exprs, strict=True):
            try:
                each_series(frame, expr)
            except pl.exceptions.PolarsError as own:
                raise PluginError(
                    f"feature {feature.name!r} cannot be evaluated: {first_line(own)}"
                ) from own
        raise PluginError(f"the features cannot be evaluated: {first_line(error)}") from error


def evaluate_static(series: pl.DataFrame, features: Sequence[Feature]) -> Matrix:
    """Values of static features, shape (features, n_series), NaN for null."""
    if not features:
        return np.empty((0, series.height), dtype=np.float32)
    frame = series.select(f.expr.cast(pl.Float32).alias(f.name) for f in features)
    if frame.height != series.height:
        raise PluginError(f"static features give {frame.height} values for {series.height} series")
    return np.stack([frame[c].fill_null(float("nan")).to_numpy() for c in frame.columns])


def known_rows(history: Panel, future: Future, tail: int | None) -> tuple[pl.DataFrame, Any]:
    """Known columns of the last `tail` rows of history (None: all) followed by the future rows.

    Returns the frame and the row number of each series' first future row, shape (n_series,).
    """
    columns = ["unique_id", "ds", *history.roles.future]
    lengths = history.lengths if tail is None else np.minimum(history.lengths, tail)
    ahead = future.ahead_max
    size = lengths + ahead
    ends = np.cumsum(size)
    first_future = ends - ahead
    series = np.repeat(np.arange(history.n_series), size)
    position = np.arange(int(ends[-1]) if ends.size else 0) - np.repeat(first_future, size)
    past = history.offsets[1:][series] + position
    coming = history.frame.height + series * ahead + position
    rows = np.where(position < 0, past, coming)
    both = pl.concat(
        [history.frame.select(columns), future.frame.select(columns)], how="vertical_relaxed"
    )
    return both[rows], first_future


def availability_table(plan: FeaturePlan) -> list[Mapping[str, Any]]:
    """One row a feature, for the manifest: name, availability, lookback, season."""
    return [
        {
            "name": f.name,
            "availability": f.availability,
            "lookback": f.lookback,
            "season": f.season or None,
        }
        for f in plan.features
    ]
