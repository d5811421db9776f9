"""The files of a run: the record that the core always writes, and the spec's own writers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from engine import drivers, manifest
from engine.components import Writer
from engine.contracts import DataSource, Results, ResultWriter
from engine.data.fingerprint import Fingerprint
from engine.data.forecast import quantiles_of
from engine.data.panel import Panel
from engine.errors import DataError, EngineError, PluginError, blaming, first_line
from engine.evaluate import Scores
from engine.execute import Execution
from engine.features import availability_table
from engine.history import history_sample, series_profile
from engine.registry import Registry, build
from engine.rundir import MANIFEST, RunFolder, RunRecord
from engine.spec.model import RunSpec
from engine.spec.validate import LoadedSpec
from engine.workspace import Workspace


def begin(folder: RunFolder, loaded: LoadedSpec, registry: Registry, source: DataSource) -> None:
    """Write what is known before any work: spec, versions, seed, and the source's own tables."""
    folder.write_text("spec.yaml", loaded.text)
    folder.write_text("resolved.yaml", loaded.resolved_yaml)
    folder.manifest.update(
        name=loaded.spec.name,
        seed=loaded.spec.seed,
        command=loaded.command,
        spec_fingerprint=manifest.spec_fingerprint(loaded),
        **manifest.environment(loaded, registry),
        status="running",
    )
    with blaming(f"source {loaded.spec.data.source.use!r}"):
        artifacts = dict(source.artifacts())
    for name, table in artifacts.items():
        (folder.path / "source").mkdir(exist_ok=True)
        folder.write_table(f"source/{name}", table)


def describe_data(folder: RunFolder, work: Workspace, fingerprint: Fingerprint) -> None:
    """Put the panel's size, its fingerprint and the features into the manifest."""
    # As JSON the fingerprint is its text: only a run that ends early waits for it then.
    folder.manifest["data"] = {**manifest.panel_summary(work.panel), "fingerprint": fingerprint}
    folder.manifest["features"] = availability_table(work.plan)


def result_tables(
    work: Workspace,
    *,
    forecast: pl.DataFrame,
    tested: pl.DataFrame,
    actuals: pl.DataFrame,
    scores: Scores,
    failures: pl.DataFrame,
) -> dict[str, pl.DataFrame]:
    """The tables of a finished run: cutoffs as timestamps, keys as columns of their own."""
    panel = work.panel
    backtest = tested.join(actuals, on=["unique_id", "ds"], how="left", maintain_order="left")
    return {
        "forecast": _published(forecast, panel),
        "backtest": _published(backtest, panel),
        "scores": _with_timestamps(_described(scores), panel),
        "series_scores": scores.series,
        "failures": _with_timestamps(failures, panel),
        "series": series_profile(panel, work.spec),
        "history": history_sample(panel, work.spec),
    }


def _described(scores: Scores) -> pl.DataFrame:
    """Scores with their unit and which way is better, so that the table speaks for itself."""
    metric = pl.col("metric")
    return scores.scores.with_columns(
        unit=metric.replace_strict(dict(scores.units), return_dtype=pl.String),
        better=metric.replace_strict(dict(scores.better), return_dtype=pl.String),
    )


def _published(frame: pl.DataFrame, panel: Panel) -> pl.DataFrame:
    keys = [k for k in panel.roles.keys if k != "unique_id"]
    joined = frame.join(
        panel.series.select("unique_id", *keys), on="unique_id", how="left", maintain_order="left"
    )
    y = ["y"] if "y" in frame.columns else []
    quantiles = quantiles_of(frame.columns).values()
    columns = ["unique_id", *keys, "ds", "cutoff", "step", "model", *y, "y_hat", *quantiles]
    tidy = _with_timestamps(joined.select(columns), panel)
    return tidy.with_columns(pl.col("unique_id").cast(pl.String))


def _with_timestamps(frame: pl.DataFrame, panel: Panel) -> pl.DataFrame:
    cutoff = panel.grid.timestamps(frame["cutoff"]).alias("cutoff")
    return frame.with_columns(cutoff)


def write_tables(folder: RunFolder, tables: Mapping[str, pl.DataFrame]) -> None:
    """Write the run's own record; keep the final models and what drives all models beside it."""
    for name, table in tables.items():
        folder.write_table(name, table)
    for name in ("models", drivers.FOLDER):
        made = folder.work / name
        if made.is_dir():
            made.rename(folder.path / name)


def run_writers(
    folder: RunFolder,
    spec: RunSpec,
    registry: Registry,
    tables: Mapping[str, pl.DataFrame],
    base: Path,
) -> list[EngineError]:
    """Let the spec's writers write; their errors are returned so that the run is published first."""
    results = Results(tables, spec.name, folder.path, base, folder.manifest)
    written: list[str] = []
    reports: list[str] = []
    troubles: list[EngineError] = []
    for use in spec.write:
        component = registry.find("writer", use.use).component
        try:
            writer: ResultWriter = build(component, use.options)
            paths = [_inside(path, folder.path) for path in writer.write(results)]
        except EngineError as error:
            troubles.append(error)
        except Exception as error:  # noqa: BLE001 - no writer may cost a finished run
            kind = DataError if isinstance(error, OSError) else PluginError
            troubles.append(kind(f"writer {use.use!r} failed: {first_line(error)}"))
        else:
            written += paths
            reports += paths if isinstance(component, Writer) and component.reports else []
    folder.manifest["written"] = written
    folder.manifest["reports"] = reports
    folder.manifest["writer_errors"] = [trouble.message for trouble in troubles]
    return troubles


def _inside(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def read_results(run: RunRecord, base: Path) -> Results:
    """The tables and the record of a run on disk; DataError if it holds no results or is damaged."""
    if run.status == "unreadable":
        raise DataError(
            f"{run.path / MANIFEST} is no JSON, so nothing is known of run {run.id}",
            hint="run it again: resolved.yaml beside it holds its spec",
        )
    found = {name: run.path / f"{name}.parquet" for name in _TABLES}
    tables = {name: _table(path) for name, path in found.items() if path.exists()}
    if "scores" not in tables:
        raise DataError(
            f"run {run.id} ({run.status}) holds no scores",
            hint="only a run that was finished can be reported on; see `engine runs list`",
        )
    return Results(tables, str(run.manifest.get("name", run.name)), run.path, base, run.manifest)


def _table(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"cannot read {path}: {first_line(error)}",
            hint="the run is damaged: run it again from the resolved.yaml beside it",
        ) from error


_TABLES = ("forecast", "backtest", "scores", "series_scores", "failures", "series", "history")


def keep_partial(folder: RunFolder, work: Workspace, execution: Execution) -> None:
    """Keep the forecasts and failures of the tasks that did finish."""
    folder.manifest["tasks"] = execution.records()
    folder.write_table("failures", _with_timestamps(execution.failures(), work.panel))
    folder.write_table("backtest", _published(execution.forecasts(work), work.panel))
