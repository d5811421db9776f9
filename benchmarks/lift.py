"""How much of a simulated promotion's lift a model finds, which no score of forecasts says.

    python benchmarks/lift.py [specs/promo.yaml] [--model lstm --model ridge] [--set KEY=VALUE]

At each fold of the spec every series is forecast twice from one fit: with the days ahead as they come,
and without their promotions (no flag, the usual price). Both are set beside what the source `simulate`
keeps in its truth, over the rows with a promotion: `uplift`, the difference in units, and `lift`, the
difference as a share of sales without promotions, which does not depend on whether forecasts are means or
medians. The ratios are found over true; 1 is all of it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from engine.backtest import Fold, Task, make_folds, task_seed
from engine.data.panel import Panel
from engine.ingest import open_source, read_panel
from engine.registry import Registry
from engine.spec.model import RunSpec
from engine.spec.validate import load_spec
from engine.tasks import run_task
from engine.workspace import prepare

ROW = ["unique_id", "ds"]


def lifts(path: Path, models: Sequence[str], overrides: Sequence[str] = ()) -> pl.DataFrame:
    """`model, cutoff, rows` and units over the rows with a promotion: true and found, without and with it."""
    registry = Registry.discover()
    spec = load_spec(path, registry, overrides).spec
    source = open_source(spec, registry, Path.cwd())
    panel = read_panel(spec, source)
    tables = source.artifacts()
    keys = spec.data.columns.keys
    rows = tables["truth_rows"].join(tables["truth"].select(*keys, "base_price"), on=keys)
    rows = rows.with_columns(unique_id=pl.concat_str(keys, separator="/"))
    truth = rows.select(*ROW, "uplift", "baseline", "base_price")
    folds = [fold for fold in make_folds(panel, spec) if fold.kind == "backtest"]
    out = [_fold(registry, spec, panel, truth, model, fold) for model in models for fold in folds]
    return pl.DataFrame(out)


def _fold(
    registry: Registry, spec: RunSpec, panel: Panel, truth: pl.DataFrame, model: str, fold: Fold
) -> dict[str, Any]:
    ahead = panel.grid.ordinal(pl.col("ds")) > fold.cutoff
    text = panel.frame.with_columns(pl.col("unique_id").cast(pl.String))
    usual = text.join(truth, on=ROW, how="left", maintain_order="left")["base_price"]
    quiet = panel.frame.with_columns(
        promo=pl.when(ahead).then(0).otherwise(pl.col("promo")).cast(panel.frame["promo"].dtype),
        price=pl.when(ahead & usual.is_not_null())
        .then(usual)
        .otherwise(pl.col("price"))
        .cast(panel.frame["price"].dtype),
    )
    sold = _forecasts(registry, spec, panel, model, fold)
    unsold = _forecasts(registry, spec, replace(panel, frame=quiet), model, fold)
    both = (
        sold.join(unsold, on=ROW, suffix="_quiet")
        .join(truth, on=ROW)
        .join(text.filter(pl.col("promo") > 0).select(ROW), on=ROW)
    )
    return {
        "model": model,
        "cutoff": fold.cutoff,
        "rows": both.height,
        "true_quiet": both["baseline"].sum(),
        "true": (both["baseline"] + both["uplift"]).sum(),
        "found_quiet": both["y_hat_quiet"].sum(),
        "found": both["y_hat"].sum(),
    }


def ratios(table: pl.DataFrame) -> pl.DataFrame:
    """`model, cutoff, rows, true_lift, found_lift, lift_ratio, uplift_ratio` of what `lifts` returns."""
    true, found = (pl.col(name) - pl.col(f"{name}_quiet") for name in ("true", "found"))
    return table.with_columns(
        true_lift=true / pl.col("true_quiet"),
        found_lift=found / pl.col("found_quiet"),
        uplift_ratio=found / true,
    ).select(
        pl.col("^model|cutoff|rows$"),
        "true_lift",
        "found_lift",
        (pl.col("found_lift") / pl.col("true_lift")).alias("lift_ratio"),
        "uplift_ratio",
    )


def _forecasts(
    registry: Registry, spec: RunSpec, panel: Panel, model: str, fold: Fold
) -> pl.DataFrame:
    """Forecasts of one fold; the same history gives the same fit, whatever comes after it."""
    name = f"{model}/{fold.kind}/{fold.cutoff}"
    task = Task(name, model, fold.kind, fold.cutoff, [fold.cutoff], task_seed(spec.seed, name))
    with tempfile.TemporaryDirectory() as folder:
        work = prepare(Path(folder) / "work", panel, spec, registry)
        result = run_task(work.folder, task.plain(), lambda _kind, _data: None)
        if result["path"] is None:
            raise SystemExit(f"{name} failed: {result['failures']}")
        made = work.kept_forecasts([result["path"]])
        return made.with_columns(pl.col("unique_id").cast(pl.String))


def main() -> None:
    """Print the lifts of each model and fold, and of all folds together."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spec", nargs="?", type=Path, default=Path("specs/promo.yaml"))
    parser.add_argument("--model", action="append", dest="models", default=[])
    parser.add_argument("--set", action="append", dest="overrides", default=[])
    asked = parser.parse_args()
    table = lifts(asked.spec, asked.models or ["lstm", "ridge"], asked.overrides)
    units = pl.selectors.exclude("model", "cutoff")
    whole = table.group_by("model", maintain_order=True).agg(units.sum())
    with pl.Config(tbl_hide_dataframe_shape=True, float_precision=3):
        print(ratios(table))
        print(ratios(whole))


if __name__ == "__main__":
    main()
