"""How the run was made, what failed in it, and how to make it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import polars as pl

from engine_report import charts
from engine_report.document import (
    Block,
    Chart,
    Charts,
    Code,
    Column,
    Fold,
    Listing,
    Prose,
    Section,
    Table,
)
from engine_report.numbers import seconds
from engine_report.reading import Run

MOST_FAILURES = 30
WORKERS = "Added up over all workers, which work side by side: more than the run took on the clock."


def section(run: Run) -> Section:
    """The record of the run."""
    blocks: list[Block] = _again(run)
    blocks += _failures(run)
    blocks += _timings(run)
    blocks.append(_record(run.manifest))
    special = [*_plugins(run.manifest), *_calibration(run.manifest)]
    if special:
        blocks.append(Fold("For specialists: components, and where intervals come from", special))
    for name, title in (
        ("spec.yaml", "The spec"),
        ("resolved.yaml", "The spec with every default"),
    ):
        file = run.results.folder / name
        if file.exists():
            blocks.append(Listing(title, file.read_text(encoding="utf-8")))
    return Section("making", "How it was made", blocks)


def _again(run: Run) -> list[Block]:
    """The commands that make the run again."""
    made: list[Block] = []
    command = run.manifest.get("command")
    if command:
        made.append(Code("To repeat it as it was started, from the same folder:", str(command)))
    record = run.results.folder.parent / str(run.manifest.get("id", run.results.folder.name))
    made.append(
        Code(
            "To repeat it from its own record, which holds every override and default:",
            shlex.join(["engine", "run", str(record / "resolved.yaml")]),
        )
    )
    return [*made, Prose("The same data and versions give the same numbers.")]


def _failures(run: Run) -> list[Block]:
    failures = run.results.tables.get("failures")
    if failures is None or failures.is_empty():
        return [Prose("No forecast failed and no series was skipped.", "good")]
    # Reasons that differ in a number only are one kind: "ended: no observation in the last 13 periods".
    alike = pl.col("reason").str.replace_all(r"\d+", "…").alias("alike")
    counted = (
        failures.group_by("kind", "model", alike, "fallback", maintain_order=True)
        .agg(
            pl.len(),
            series=pl.col("unique_id").n_unique(),
            reasons=pl.col("reason").n_unique(),
            reason=pl.col("reason").first(),
            example=pl.col("unique_id").drop_nulls().first(),
        )
        .with_columns(
            reason=pl.when(pl.col("reasons") == 1).then("reason").otherwise("alike"),
        )
        .sort("kind", "len", "reason", descending=[False, True, False])
    )
    picked = ("kind", "model", "len", "series", "reason", "fallback", "example")
    rows = [list(row) for row in counted.select(picked).head(MOST_FAILURES).rows()]
    columns = [Column("kind", numeric=False), Column("model", numeric=False), Column("times"),
               Column("series"), Column("reason", numeric=False), Column("stood in", numeric=False),
               Column("for example", numeric=False)]  # fmt: skip
    note = "All rows are in failures.parquet."
    if counted.height > MOST_FAILURES:
        note = f"The first {MOST_FAILURES} of {counted.height} kinds; " + note.lower()
    return [Table("Failures and skipped series", columns, rows, note)]


def _timings(run: Run) -> list[Block]:
    tasks = run.manifest.get("tasks") or []
    if not tasks:
        return []
    names = [task["name"].split("/") for task in tasks]
    frame = pl.DataFrame(
        {
            "model": [n[0] for n in names],
            "stage": [n[1] if len(n) > 1 else "" for n in names],
            "seconds": [float(task["seconds"]) for task in tasks],
        }
    )
    by_stage = pl.format("{} {}", "model", "stage").alias("task")
    sums = frame.group_by(by_stage, maintain_order=True).agg(pl.len(), pl.col("seconds").sum())
    sums = sums.sort("seconds", "task", descending=[True, False])
    svg = charts.bars(sums.head(20).to_dicts(), "task", "seconds", "seconds of work")
    columns = [Column("tasks", numeric=False), Column("number"), Column("seconds")]
    rows = [list(row) for row in sums.select("task", "len", "seconds").rows()]
    said = "Seconds of work by model and stage, over all workers"
    chart = Chart("Time by task", svg, said, WORKERS)
    return [
        Fold("Time by task", [Charts([chart]), Table("In numbers", columns, rows, WORKERS)]),
    ]


def _record(manifest: Mapping[str, Any]) -> Table:
    machine, data = manifest.get("machine") or {}, manifest.get("data") or {}
    pairs = [
        ("run", manifest.get("id")),
        ("status", manifest.get("status")),
        ("run time", f"{seconds(manifest['seconds'])}, on the clock" if "seconds" in manifest else None),
        ("seed", None if manifest.get("seed") is None else str(manifest["seed"])),
        ("engine", manifest.get("engine_version")),
        ("Python", manifest.get("python")),
        ("machine", " ".join(str(machine[k]) for k in ("system", "architecture") if k in machine)
         + (f", {machine['cores']} cores" if "cores" in machine else "")),
        ("git revision", manifest.get("git_revision")),
        ("fingerprint of the spec", manifest.get("spec_fingerprint")),
        ("fingerprint of the data", data.get("fingerprint")),
    ]  # fmt: skip
    rows = [[name, value] for name, value in pairs if value]
    return Table("Record", [Column("what", numeric=False), Column("value", numeric=False)], rows)


def _plugins(manifest: Mapping[str, Any]) -> list[Block]:
    plugins = manifest.get("plugins") or []
    rows = [[p["name"], p["kind"], f"{p['distribution']} {p['version']}"] for p in plugins]
    columns = [Column(name, numeric=False) for name in ("component", "kind", "distribution")]
    return [Table("Components", columns, rows)] if rows else []


def _calibration(manifest: Mapping[str, Any]) -> list[Block]:
    records = manifest.get("calibration") or []
    rows = [[r["model"], r["cutoff"], r["method"], r["residuals"]] for r in records]
    columns = [Column("model", numeric=False), Column("cutoff", numeric=False),
               Column("method", numeric=False), Column("residuals")]  # fmt: skip
    return [Table("Where intervals come from", columns, rows)] if rows else []
