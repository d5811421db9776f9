"""The weighted root mean squared scaled error over levels of aggregation, as in the M5 competition."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from engine.contracts import MetricData
from engine.data.panel import IntArray, Panel
from engine.errors import DataError
from engine_metrics.hierarchy import Level, finest_of, levels_of
from engine_metrics.params import SalesWeights, WrmsseParams
from engine_metrics.points import Better
from engine_metrics.rows import error
from engine_metrics.weights import Floats, from_table, read_table, roots, sales, summed

_BY = ["model", "cutoff"]


class WeightedScaledError:
    """WRMSSE = mean over levels of sum_i w_i * sqrt(mean_t e_it^2) / scale_i, a ratio.

    i runs over the aggregated series of a level; e_it is the error of the sum of the series'
    forecasts (bottom-up), scale_i the root of the mean squared step of the aggregated history since
    its first sale, w_i its share in the level's sales in money. Makridakis, Spiliotis &
    Assimakopoulos 2022, "M5 accuracy competition: Results, findings, and conclusions", equations 1
    and 2; the competitors' guide numbers the levels 1 (total) to 12.

    Rows without y count for no model. A model that lacks a forecast for any other row at a cutoff
    has a null score there and over all cutoffs, because sums over fewer series are easier. Zero
    weights leave an aggregated series out; a missing weight, or a missing or zero scale otherwise,
    is an error. Weights are divided by their sum over the aggregated series that are scored.

    Weights and scales of a file are taken as they are at every cutoff, and should belong to the
    same series as the panel: an official total does not fit a part of the stores.
    """

    unit: str = "ratio"
    better: Better = "lower"

    def __init__(self, params: WrmsseParams) -> None:
        self.params = params

    def score(self, data: MetricData) -> pl.DataFrame:
        """Rows `model, cutoff, segment, value` with segments `all`, `level_1`, `level_2`, ...

        Cutoffs are ordinals; the null cutoff is the mean over cutoffs.
        """
        levels = levels_of(data.panel, self.params.levels)
        finest = finest_of(data.panel, levels)
        complete, errors = _errors(data.rows, data.panel, finest)
        squares = [_mean_squares(errors, level.within(finest)) for level in levels]
        parts = []
        for cutoff in errors["cutoff"].unique().sort().to_list():
            history = data.panel.until(cutoff)
            weight_of = self._weights(data, history)
            scale_of = self._scales(data, history, finest)
            for level, square in zip(levels, squares, strict=True):
                here = square.filter(pl.col("cutoff") == cutoff)
                scored = np.unique(here["cell"].to_numpy())
                weights = _shares(level, weight_of(level), scored, cutoff)
                scales = _usable(level, scale_of(level), weights)
                parts.append(_weighted(here, level, weights, scales))
        return _with_totals(complete, parts, levels)

    def _weights(self, data: MetricData, history: Panel) -> Callable[[Level], Floats]:
        """What gives the weights of a level's cells, in proportion, NaN where there are none."""
        options = self.params.weights
        if isinstance(options, SalesWeights):
            money = sales(history, data.panel, options)
            return lambda level: level.sum(money)
        table = read_table(options, options.value, data.base, "weights")
        return lambda level: from_table(table, level, options, "weights")

    def _scales(self, data: MetricData, history: Panel, finest: Level) -> Callable[[Level], Floats]:
        """What gives the scales of a level's cells in units, NaN where there are none."""
        options = self.params.scales
        if options is None:
            past = summed(history, data.panel, finest)
            return lambda level: roots(past, level.within(finest))
        table = read_table(options, options.value, data.base, "scales")
        if not options.root:
            table = table.with_columns(pl.col("value").sqrt())
        return lambda level: from_table(table, level, options, "scales")


def _shares(level: Level, values: Floats, scored: IntArray, cutoff: int) -> Floats:
    """Weights that sum to 1 over the cells that are scored, (n_cells,), and 0 for the others."""
    hint = "add them to the file of weights"
    _complain(level, scored[np.isnan(values[scored])], "weight", hint)
    weights = np.zeros(level.n_cells)
    weights[scored] = values[scored]
    total = weights.sum()
    if not total > 0:
        raise DataError(
            f"metric 'wrmsse': all weights of {level} are 0 at cutoff {cutoff}",
            hint="is the price in `weights.column` known there, and `periods` long enough?",
        )
    weights /= total
    return weights


def _usable(level: Level, values: Floats, weights: Floats) -> Floats:
    """Scales in units, (n_cells,), and 1 for cells without a weight."""
    needed = weights > 0
    hint = (
        "add them to the file of scales; scales of the history need one in which the sum changes: "
        "begin the back-test later, or give a file"
    )
    _complain(level, np.flatnonzero(needed & ~(values > 0)), "scale above 0", hint)
    scales: Floats = np.where(needed, values, 1.0)
    return scales


def _complain(level: Level, cells: IntArray, what: str, hint: str) -> None:
    if len(cells):
        shown = ", ".join(level.label(int(cell)) for cell in cells[:3])
        raise DataError(
            f"metric 'wrmsse': {len(cells)} aggregated series of {level} have no {what}: {shown}"
            + (", ..." if len(cells) > 3 else ""),
            hint=hint,
        )


def _errors(rows: pl.DataFrame, panel: Panel, finest: Level) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Which model has all rows of a cutoff, and the summed errors of those that have.

    The first has `model, cutoff, complete`, the second `model, cutoff, cell, ds, error` with the
    cells of the finest level.
    """
    keys = panel.series.select(pl.col("unique_id").cast(pl.String)).with_row_index("series")
    scored = (
        rows.filter(pl.col("y").cast(pl.Float64).is_not_nan())
        .with_columns(pl.col("unique_id").cast(pl.String))
        .join(keys, on="unique_id", how="left", maintain_order="left")
        .select(*_BY, "unique_id", "series", "ds", error=error())
    )
    if scored["series"].null_count():
        stranger = scored.filter(pl.col("series").is_null())["unique_id"][0]
        raise DataError(
            f"metric 'wrmsse': series {stranger!r} is scored but not in the panel",
            hint="score the forecasts with the panel that they were made from",
        )
    wanted = scored.group_by("cutoff").agg(pl.struct("series", "ds").n_unique().alias("wanted"))
    have = scored.group_by(_BY).agg(pl.col("error").count().alias("have"))
    complete = (
        rows.select(_BY)
        .unique(maintain_order=True)
        .join(have, on=_BY, how="left", maintain_order="left")
        .join(wanted, on="cutoff", how="left", maintain_order="left")
        .select(*_BY, complete=(pl.col("have") == pl.col("wanted")).fill_null(False))
    )
    errors = (
        scored.join(complete.filter("complete"), on=_BY, how="semi", maintain_order="left")
        # Sums of floats depend on their order, which is therefore made the same for any input.
        .sort(*_BY, "series", "ds")
        .with_columns(cell=pl.col("series").map_batches(_lookup(finest.cell), pl.Int64))
        .group_by(*_BY, "cell", "ds", maintain_order=True)
        .agg(pl.col("error").sum())
    )
    return complete, errors


def _mean_squares(errors: pl.DataFrame, cells: IntArray) -> pl.DataFrame:
    """Mean over dates of the squared error of each aggregated series: `model, cutoff, cell, mse`."""
    return (
        errors.with_columns(pl.col("cell").map_batches(_lookup(cells), pl.Int64))
        .group_by(*_BY, "cell", "ds", maintain_order=True)
        .agg(pl.col("error").sum())
        .group_by(*_BY, "cell", maintain_order=True)
        .agg(mse=pl.col("error").pow(2).mean())
    )


def _lookup(table: IntArray) -> Callable[[pl.Series], pl.Series]:
    return lambda index: pl.Series(table[index.to_numpy()])


def _weighted(here: pl.DataFrame, level: Level, weights: Floats, scales: Floats) -> pl.DataFrame:
    cells = here["cell"].to_numpy()
    ratio = np.sqrt(here["mse"].to_numpy()) / scales[cells]
    return (
        here.select(_BY)
        .with_columns(pl.Series("value", weights[cells] * ratio), segment=pl.lit(level.name))
        .group_by(*_BY, "segment", maintain_order=True)
        .agg(pl.col("value").sum())
    )


def _with_totals(
    complete: pl.DataFrame, parts: list[pl.DataFrame], levels: list[Level]
) -> pl.DataFrame:
    """Add the mean over levels and over cutoffs; null wherever a part of a mean is null."""
    order = ["all", *(level.name for level in levels)]
    schema: dict[str, pl.DataType] = {c: complete.schema[c] for c in _BY}
    schema |= {"segment": pl.String(), "value": pl.Float64()}
    found = pl.concat([pl.DataFrame(schema=schema), *(part.select(list(schema)) for part in parts)])
    names = pl.DataFrame({"segment": order[1:]})
    each = complete.select(_BY).join(names, how="cross", maintain_order="left_right")
    each = each.join(found, on=[*_BY, "segment"], how="left", maintain_order="left")
    mean = pl.when(pl.col("value").null_count() == 0).then(pl.col("value").mean())
    over_levels = each.group_by(_BY, maintain_order=True).agg(
        pl.lit("all").alias("segment"), mean.alias("value")
    )
    folds = pl.concat([over_levels.select(list(schema)), each.select(list(schema))])
    over_cutoffs = folds.group_by("model", "segment", maintain_order=True).agg(
        pl.lit(None, dtype=schema["cutoff"]).alias("cutoff"), mean.alias("value")
    )
    return pl.concat([over_cutoffs.select(list(schema)), folds]).sort(
        "model",
        "cutoff",
        pl.col("segment").replace_strict(order, range(len(order)), return_dtype=pl.Int32),
        maintain_order=True,
    )
