"""Section 2: every model by every metric, per fold and step, with the uncertainty of the order."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from engine_report import charts
from engine_report.compare import paired, wape
from engine_report.document import Block, Chart, Charts, Column, Section, Table
from engine_report.reading import ALL, Run, step_band


def section(run: Run) -> Section:
    """The leaderboard."""
    blocks: list[Block] = [_scores(run), *_words(run)]
    folds = fold_values(run)
    pictures = []
    if folds["cutoff"].n_unique() > 1:
        pictures.append(_per_fold(run, folds))
    if run.rows["step"].n_unique() > 1:
        pictures.append(_per_step(run))
    if pictures:
        blocks.append(Charts(pictures))
    if len(run.models) > 1:
        blocks.append(_tests(run))
    if folds["cutoff"].n_unique() > 1:
        blocks += [_folds(run, folds), _spread(run), _every_fold(run)]
    if run.rows["step"].n_unique() > 1:
        blocks.append(_steps(run))
        blocks += _every_step(run)
    return Section("leaderboard", "Leaderboard", blocks)


_READ = {"lower": "lower is better", "higher": "higher is better", "none": "no order by itself"}


def _scores(run: Run) -> Table:
    columns = [Column("model", numeric=False)]
    for metric in run.metrics:
        unit = run.units.get(metric) or ""
        meaning = ", ".join(part for part in (unit, _READ.get(run.better[metric], "")) if part)
        columns.append(Column(metric, meaning=meaning))
    rows = [[m, *(run.headline.get((m, k)) for k in run.metrics)] for m in run.models]
    note = f"Over all folds and rows, decided by {run.metric}."
    if "bias" in run.metrics:
        note += " bias: above 0 is too much forecast."
    if "coverage" in run.metrics and run.interval:
        note += f" coverage: {run.interval[2]:g} was intended."
    return Table("Scores of all models", columns, rows, note, mark=run.best)


WORDS = {
    "wape": "sum of absolute errors over the sum of actual values",
    "mae": "mean absolute error, in units",
    "rmse": "root of the mean squared error, in units; large errors count more",
    "rmspe": "root of the mean squared |error| / actual; periods without sales are left out",
    "mape": "mean of |error| / actual; periods without sales are left out",
    "smape": "mean of |error| over the mean of actual and forecast",
    "mase": "mean absolute error over that of the seasonal naive forecast within the history; "
    "below 1 is better than it",
    "rmsse": "root of the squared error over that of the naive forecast within the history; below 1 is "
    "better than it",
    "wrmsse": "root of the squared error over that of the naive forecast within the history, weighed "
    "by revenue over all levels of the hierarchy; below 1 is better than it",
    "bias": "sum of errors over the sum of actual values; above 0 is too much forecast",
    "pinball": "error of the quantiles, in units; too low and too high weigh by the quantile",
    "wql": "pinball error over the sum of actual values",
    "coverage": "share of actual values inside the widest interval",
    "width": "width of the widest interval over the actual values; narrow at the intended coverage "
    "is good",
}


def _words(run: Run) -> list[Block]:
    """What each score is, for a reader who does not know it."""
    rows = [[metric, WORDS[metric]] for metric in run.metrics if metric in WORDS]
    columns = [Column("score", numeric=False), Column("meaning", numeric=False)]
    return [Table("What the scores mean", columns, rows, folded=True)] if rows else []


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


def _per_step(run: Run) -> Chart:
    svg = charts.lines(step_values(run), "step", "value", run.models, ("step ahead", "WAPE"))
    return Chart("WAPE by step ahead", svg, "WAPE of each model by the number of steps ahead")


def _tests(run: Run) -> Table:
    """Each model against the leader on the rows that both forecast."""
    leader = run.leader
    rows: list[list[Any]] = []
    for model in run.models:
        if model == leader:
            continue
        found = paired(run.rows, model, leader)
        if found is None:
            rows.append([model, None, None, None, None, "no rows in common"])
            continue
        said = _said(found.p, found.difference, leader)
        rows.append([model, found.difference, found.low, found.high, found.p, said])
    columns = [
        Column("model", numeric=False),
        Column("WAPE minus " + leader),
        Column("low"),
        Column("high"),
        Column("p", form="probability"),
        Column("in words", numeric=False),
    ]
    note = (
        "Paired on the same rows; 95 % interval of the difference, clustered by series, and by fold "
        "where there are five or more. Few folds cannot show how the order changes over time."
    )
    return Table(f"Are the others different from {leader}?", columns, rows, note)


def _said(p: float | None, difference: float, leader: str) -> str:
    if p is None:
        return "cannot be told"
    if p >= 0.05:
        return "may be chance"
    return f"worse than {leader}" if difference > 0 else f"better than {leader} by WAPE"


def _folds(run: Run, folds: pl.DataFrame) -> Table:
    cutoffs = run.folds
    value = {(m, c): v for m, c, v in folds.iter_rows()}
    rows: list[list[Any]] = []
    for model in run.models:
        values = [value.get((model, c)) for c in cutoffs]
        known = [v for v in values if v is not None and math.isfinite(v)]
        rows.append([model, *values, _standard_error(known)])
    columns = [Column("model", numeric=False), *(Column(str(c)) for c in cutoffs)]
    columns.append(Column("± mean", meaning="standard error of the mean over folds"))
    note = "Columns are cutoffs: the last day known when the fold was forecast."
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
