"""Every model by every metric, per fold and step, with the uncertainty of the order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import polars as pl

from engine_report import charts, choice
from engine_report.choice import SURE
from engine_report.compare import paired, wape
from engine_report.document import Block, Chart, Charts, Column, Fold, Section, Table
from engine_report.reading import ALL, Run, step_band
from engine_report.trust import failed_by_model


def section(run: Run) -> Section:
    """The leaderboard."""
    blocks: list[Block] = [_scores(run)]
    folds = fold_values(run)
    known = folds.drop_nulls("value")
    pictures = []
    if known["cutoff"].n_unique() > 1:
        pictures.append(_per_fold(run, known))
    steps = step_values(run).drop_nulls("value")
    if steps["step"].n_unique() > 1:
        pictures.append(_per_step(run, steps))
    if pictures:
        blocks.append(Charts(pictures))
    more: list[Block] = []
    if len(run.models) > 1:
        first, *others = _tests(run)
        blocks.append(first)
        more += others
    if folds["cutoff"].n_unique() > 1:
        blocks.append(_folds(run, folds))
        more += [_spread(run), _every_fold(run)]
    if run.rows["step"].n_unique() > 1:
        more += [_steps(run), *_every_step(run)]
    if more:
        blocks.append(Fold("More numbers: by step ahead, spread over folds, every score", more))
    return Section("leaderboard", "Leaderboard", blocks)


FAILED = "†"
"""Stands behind a model some of whose forecasts are another's."""
_READ = {"lower": "lower is better", "higher": "higher is better", "none": "no order by itself"}


def _scores(run: Run) -> Table:
    columns = [Column("model", numeric=False)]
    for metric in run.metrics:
        unit = {"percent": "in %"}.get(run.units.get(metric) or "", run.units.get(metric) or "")
        meaning = ", ".join(part for part in (unit, _READ.get(run.better[metric], "")) if part)
        worst: Literal["high", "low"] = "low" if run.better[metric] == "higher" else "high"
        columns.append(Column(metric, meaning=meaning, worst=worst))
    note = f"Over all folds and rows, decided by {run.metric}."
    if "bias" in run.metrics:
        note += " bias: above 0 is too much forecast."
    if "coverage" in run.metrics and run.interval:
        note += f" coverage: {run.interval[2]:g} was intended."
    failed = failed_by_model(run)
    for model, (count, fallback) in failed.items():
        what = "forecast" if count == 1 else "forecasts"
        note += f" {FAILED} {model}: {count:,} {what} failed"
        note += f" and are those of {fallback}." if fallback else "."
    rows = [
        [_named(m, failed), *(run.headline.get((m, k)) for k in run.metrics)] for m in run.models
    ]
    mark = None if run.best is None else _named(run.best, failed)
    return Table("Scores of all models", columns, rows, note, mark=mark)


def _named(model: str, failed: Mapping[str, object]) -> str:
    return f"{model} {FAILED}" if model in failed else model


def fold_values(run: Run) -> pl.DataFrame:
    """Scores per fold by the deciding metric: `model, cutoff, value`, from the run's own table."""
    return run.scores.filter(
        pl.col("metric") == run.metric, pl.col("segment") == ALL, pl.col("cutoff").is_not_null()
    ).select("model", "cutoff", "value")


def _per_fold(run: Run, folds: pl.DataFrame) -> Chart:
    number = {cutoff: i for i, cutoff in enumerate(run.folds, start=1)}
    frame = folds.select(
        "model", "value", fold=pl.col("cutoff").replace_strict(number, return_dtype=pl.Int32)
    )
    svg = charts.lines(frame, "fold", "value", run.models, ("fold, oldest first", run.metric))
    said = f"{run.metric} of each model in each of {len(number)} folds; the table below has the numbers"
    return Chart(f"{run.metric} by fold", svg, said)


def step_values(run: Run) -> pl.DataFrame:
    """WAPE per model and step: `model, step, value`."""
    return (
        run.rows.group_by("model", "step", maintain_order=True)
        .agg(value=wape())
        .sort("model", "step")
    )


def _per_step(run: Run, steps: pl.DataFrame) -> Chart:
    svg = charts.lines(steps, "step", "value", run.models, ("step ahead", "WAPE"))
    return Chart("WAPE by step ahead", svg, "WAPE of each model by the number of steps ahead")


def _tests(run: Run) -> list[Block]:
    """Each model against the leader on the rows that both forecast, by the deciding score and WAPE."""
    return [_tests_by(run, score) for score in dict.fromkeys([choice.tested(run), "wape"])]


def _tests_by(run: Run, score: str) -> Table:
    leader = run.leader
    rows: list[list[Any]] = []
    for model in run.models:
        if model == leader:
            continue
        found = paired(run.rows, model, leader, score)
        if found is None:
            rows.append([model, "no rows in common", None, None, None, None])
            continue
        said = _said(found.p, found.difference, leader)
        rows.append([model, said, found.difference, found.low, found.high, found.p])
    columns = [
        Column("model", numeric=False),
        Column("in words", numeric=False),
        Column(f"{score} minus that of {leader}", meaning="in %" if _percent(run, score) else ""),
        Column("low"),
        Column("high"),
        Column("p", meaning="chance of such a difference if there is none", form="probability"),
    ]
    note = (
        "Paired on the same rows; low, high: 95 % interval of the difference, clustered by series, and "
        "by fold where there are five or more. Few folds cannot show how the order changes over time."
    )
    if run.metric != choice.tested(run):
        note += f" The choice was made by {run.metric}, which is no mean over rows and cannot be tested so."
    return Table(f"Are the others different from {leader} by {score}?", columns, rows, note)


def _percent(run: Run, score: str) -> bool:
    return run.units.get(score) == "percent"


def _said(p: float | None, difference: float, leader: str) -> str:
    if p is None:
        return "cannot be told"
    if p >= SURE:
        return "may be chance"
    return f"worse than {leader}" if difference > 0 else f"better than {leader}"


def _folds(run: Run, folds: pl.DataFrame) -> Table:
    cutoffs = run.folds
    value = {(m, c): v for m, c, v in folds.iter_rows()}
    rows: list[list[Any]] = []
    for model in run.models:
        values = [value.get((model, c)) for c in cutoffs]
        known = [v for v in values if v is not None and math.isfinite(v)]
        rows.append([model, *values, _standard_error(known)])
    columns = [Column("model", numeric=False), *(Column(str(c)) for c in cutoffs)]
    columns.append(Column("±", meaning="standard error of the mean of the folds"))
    note = "Columns are cutoffs: the last period known when the fold was forecast."
    return Table(f"{run.metric} by fold", columns, rows, note, mark=run.best)


def _by_fold(run: Run) -> pl.DataFrame:
    """`model, cutoff, metric, value` of every fold, from the run's own table."""
    whole = (pl.col("segment") == ALL) & pl.col("cutoff").is_not_null()
    return run.scores.filter(whole).select("model", "cutoff", "metric", "value")


def _spread(run: Run) -> Table:
    """How far each score may be off, as far as few folds can tell."""
    found = {
        (model, metric): _standard_error([v for v in part["value"] if v is not None])
        for (model, metric), part in _by_fold(run).group_by("model", "metric")
    }
    rows = [[m, *(found.get((m, k)) for k in run.metrics)] for m in run.models]
    columns = [Column("model", numeric=False), *(Column(k) for k in run.metrics)]
    note = f"Standard error of the mean over {len(run.folds)} folds: two scores closer than this "
    note += "may change places in the next fold."
    return Table("± over folds", columns, rows, note, mark=run.best)


def _every_fold(run: Run) -> Table:
    value = {(m, c, k): v for m, c, k, v in _by_fold(run).iter_rows()}
    rows = [
        [m, str(c), *(value.get((m, c, k)) for k in run.metrics)]
        for m in run.models
        for c in run.folds
    ]
    columns = [Column("model", numeric=False), Column("cutoff", numeric=False)]
    columns += [Column(k) for k in run.metrics]
    return Table("Every score of every fold", columns, rows, folded=True)


def _steps(run: Run) -> Table:
    """WAPE per model and step, or band of steps where there are many."""
    parts = run.rows.with_columns(segment=step_band(run)).group_by("segment", "model")
    found = parts.agg(value=wape(), first=pl.col("step").min()).sort("first")
    names = found["segment"].unique(maintain_order=True).to_list()
    value = {(m, s): v for m, s, v in found.select("model", "segment", "value").iter_rows()}
    rows = [[m, *(value.get((m, s)) for s in names)] for m in run.models]
    columns = [Column("model", numeric=False), *(Column(str(s)) for s in names)]
    return Table("WAPE by steps ahead", columns, rows, "Over all folds.", mark=run.best)


def _every_step(run: Run) -> list[Block]:
    """All scores of each step, if the spec asks for them (`evaluate.by: [step]`)."""
    scored = run.scores.filter(
        pl.col("segment").str.starts_with("step="), pl.col("cutoff").is_null()
    )
    steps = scored.select(pl.col("segment").str.strip_prefix("step=").cast(pl.Int64).alias("step"))
    found = scored.select("model", "metric", "value").hstack(steps)
    value = {(m, s, k): v for m, k, v, s in found.iter_rows()}
    rows = [
        [m, step, *(value.get((m, step, k)) for k in run.metrics)]
        for m in run.models
        for step in found["step"].unique().sort()
    ]
    columns = [Column("model", numeric=False), Column("step"), *(Column(k) for k in run.metrics)]
    return [Table("Every score of every step", columns, rows, folded=True)] if rows else []


def _standard_error(values: list[float]) -> float | None:
    if len(values) < 2:
        return None
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
    return math.sqrt(variance / len(values))
