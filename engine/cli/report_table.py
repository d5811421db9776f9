"""What a run shows at its end: model x metric with the best marked, the folder, what to do next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import typer

from engine.cli.tables import print_table
from engine.evaluate import ALL
from engine.rundir import RunRecord
from engine.runner import Outcome
from engine.spec.model import RunSpec

MARK = "*"


def show_outcome(outcome: Outcome, spec: RunSpec) -> None:
    """Print the scores and what to look at."""
    metrics = list(outcome.scores.units)
    headline = outcome.scores.headline()
    values = {(m, k): v for m, k, v in headline.select("model", "metric", "value").iter_rows()}
    typer.echo()
    show_scores(list(spec.contenders), metrics, values, outcome.scores.better, outcome.scores.units)
    choice = outcome.choice
    typer.echo()
    if choice.best is not None:
        typer.echo(f"best: {choice.best} ({choice.reason})")
    else:
        typer.echo(f"no best model: {choice.reason}")
    for model in choice.incomplete:
        typer.echo(
            f"not compared: {model} has no forecast for some of the rows, see failures.parquet"
        )
    for reason in outcome.scores.broken.values():
        typer.echo(f"not scored: {reason}")
    _show_gate(outcome.gate)
    if outcome.evidence.recorded is None and any(e.tolerance is not None for e in spec.expect):
        typer.echo("expect: tolerances are not judged here, but by `engine test` and with --locked")
    if any(expected.no_leaks for expected in spec.expect):
        typer.echo("expect: no_leaks is not judged here, but by `engine test`")
    show_failures(outcome.manifest["failures"], outcome.failures)
    typer.echo(f"run:  {outcome.folder}")
    for line in next_steps(outcome.folder, outcome.manifest):
        typer.echo(line)


def show_scores(
    models: Sequence[str],
    metrics: Sequence[str],
    values: Mapping[tuple[str, str], float | None],
    better: Mapping[str, str],
    units: Mapping[str, str],
) -> None:
    """Print one row a model; the best value of each metric carries a mark."""
    best = {
        k: best_value([values.get((m, k)) for m in models], better.get(k, "lower")) for k in metrics
    }
    rows = []
    for model in models:
        cells = [model]
        for metric in metrics:
            value = values.get((model, metric))
            mark = MARK if value is not None and value == best[metric] else " "
            cells.append(number(value) + mark)
        rows.append(cells)
    header = ["model", *(f"{k} {_unit(units.get(k, ''))}".strip() + " " for k in metrics)]
    print_table(header, rows, numeric=range(1, len(header)))


def _unit(unit: str) -> str:
    return "(%)" if unit == "percent" else ""


def best_value(values: Sequence[float | None], better: str) -> float | None:
    """The best of the finite values; None where a metric has no order."""
    finite = [v for v in values if v is not None and math.isfinite(v)]
    if not finite or better == "none":
        return None
    return max(finite) if better == "higher" else min(finite)


def number(value: float | None) -> str:
    """A score with four significant digits."""
    if value is None or not math.isfinite(value):
        return "-"
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        digits = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 1
        return f"{value:,.{min(digits, 5)}f}"
    return f"{value:.3e}"


def _show_gate(rows: Sequence[Mapping[str, Any]]) -> None:
    for row in rows:
        verdict = "holds " if row["holds"] else "FAILED"
        typer.echo(
            f"expect {verdict} {row['model']} {row['metric']} {row['expected']}, "
            f"was {number(row['value'])}"
        )


def show_failures(counts: Mapping[str, int], failures: pl.DataFrame) -> None:
    """Count failures and skipped series, and show the commonest reasons."""
    for kind, what in (("failed", "forecast{} failed"), ("skipped", "series skipped at a cutoff")):
        if not counts.get(kind):
            continue
        said = what.format("s" if counts[kind] > 1 else "")
        typer.echo(f"{counts[kind]} {said} (failures.parquet):")
        plain = pl.col("reason").str.replace_all(r"\d+", "N").alias("reason")
        reasons = (
            failures.filter(pl.col("kind") == kind)
            .group_by("model", plain)
            .len()
            .sort("len", "reason", descending=[True, False])
            .head(3)
        )
        for model, reason, count in reasons.iter_rows():
            typer.echo(f"  {count} x {model + ': ' if model else ''}{reason}")


def next_steps(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """What a reader may look at next."""
    lines = [f"report: {folder / path}" for path in manifest.get("reports", [])]
    lines.append(f"next: engine runs show {manifest['name']}")
    if (folder / "forecast.parquet").exists():
        lines.append(f"      forecasts are in {folder / 'forecast.parquet'}")
    return lines


def show_record(record: RunRecord) -> None:
    """Print a run found on disk."""
    manifest = record.manifest
    typer.echo(f"{record.name}  {record.id}  {record.status}")
    if "error" in manifest:
        typer.echo(f"error: {manifest['error']}")
    data = manifest.get("data")
    if data:
        typer.echo(
            f"data: {data['series']:,} series, {data['rows']:,} rows, {data['first']} to {data['cutoff']}"
        )
        for note in data["notes"]:
            typer.echo(f"  {note}")
    _show_saved_scores(record.path / "scores.parquet")
    best = manifest.get("best")
    if best:
        typer.echo(f"best: {best['model']} ({best['reason']})")
    failures = record.path / "failures.parquet"
    if failures.exists() and "failures" in manifest:
        show_failures(manifest["failures"], pl.read_parquet(failures))
    typer.echo(f"seconds: {manifest.get('seconds', '-')}")
    typer.echo(f"run:  {record.path}")
    for file in sorted(record.path.iterdir()):
        if not file.name.startswith("."):
            typer.echo(f"  {file.name}{'/' if file.is_dir() else ''}")


def _show_saved_scores(path: Path) -> None:
    if not path.exists():
        return
    rows = pl.read_parquet(path).filter(pl.col("segment") == ALL, pl.col("cutoff").is_null())
    values = {(m, k): v for m, k, v in rows.select("model", "metric", "value").iter_rows()}
    models = rows["model"].unique(maintain_order=True).to_list()
    metrics = rows["metric"].unique(maintain_order=True).to_list()
    better = dict(rows.select("metric", "better").iter_rows())
    units = dict(rows.select("metric", "unit").iter_rows())
    show_scores(models, metrics, values, better, units)
