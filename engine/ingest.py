"""The spec's data section -> a checked panel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl

from engine.contracts import DataSource, SourceContext
from engine.data.build import build_panel
from engine.data.calendar import Frequency
from engine.data.fill import Missing
from engine.data.panel import Panel, Roles
from engine.errors import DataError, EngineError, PluginError, first_line
from engine.registry import Registry, build
from engine.spec.data import MissingSpec
from engine.spec.model import RunSpec


def open_source(
    spec: RunSpec,
    registry: Registry,
    base: Path,
    raw: Callable[[pl.LazyFrame], pl.LazyFrame] = lambda rows: rows,
) -> DataSource:
    """The spec's source, ready to scan; relative paths start from `base`, `raw` sees its rows."""
    use = spec.data.source
    component = registry.find("source", use.use).component
    source: DataSource = build(component, use.options, SourceContext(spec.seed, base, raw))
    return source


def read_panel(spec: RunSpec, source: DataSource) -> Panel:
    """Read, check and regularise the rows of a source; every fault of the data is a `DataError`."""
    data = spec.data
    try:
        return build_panel(
            _scanned(source, data.source.use),
            roles=declared_roles(spec),
            ds=data.columns.ds,
            y=data.columns.y,
            freq=Frequency.parse(data.freq),
            missing=missing_policies(spec),
            ahead=spec.gap + spec.horizon,
            align_end=data.series.align == "end",
        )
    except EngineError:
        raise
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"source {data.source.use!r} cannot be read: {first_line(error)}",
            hint="check its options with `engine plugins show " + data.source.use + "`",
        ) from error


def _scanned(source: DataSource, name: str) -> pl.LazyFrame:
    """The rows of a source; what else than reading goes wrong in it is its own fault, by name."""
    try:
        rows = source.scan()
    except (EngineError, pl.exceptions.PolarsError, OSError):
        raise
    except Exception as error:
        raise PluginError(f"source {name!r} failed: {first_line(error)}") from error
    if not isinstance(rows, pl.LazyFrame):
        raise PluginError(f"source {name!r} returned {type(rows).__name__}, not a lazy frame")
    return rows


def declared_roles(spec: RunSpec) -> Roles:
    """The roles as the spec states them."""
    covariates = spec.data.covariates
    return Roles(
        spec.data.columns.keys,
        tuple(covariates.future),
        tuple(covariates.past),
        tuple(covariates.static),
    )


def missing_policies(spec: RunSpec) -> Missing:
    """The spec's policies, spread over the columns that they are for."""
    rules = spec.data.missing
    return Missing(
        y=rules.y,
        columns=_by_column(spec, rules),
        horizon=rules.horizon,
        leading_zeros=rules.leading_zeros,
    )


def _by_column(spec: RunSpec, rules: MissingSpec) -> Mapping[str, str]:
    policies: dict[str, str] = {}
    for policy, columns in (
        (rules.future, spec.data.covariates.future),
        (rules.past, spec.data.covariates.past),
    ):
        if isinstance(policy, dict):
            policies.update(policy)
        else:
            policies.update(dict.fromkeys(columns, policy))
    return policies
