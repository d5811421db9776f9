"""What speaks for and against relying on the chosen model: its interval, its sum, its failures."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import polars as pl

from engine_report.failing import nothing_forecast
from engine_report.numbers import percent, score
from engine_report.reading import Run
from engine_report.words import listed

LEEWAY = 0.05
"""How far a share may be from what was intended before it is worth a word."""
LATE = 3
"""Folds that are judged by themselves, the last ones, where there are twice as many."""


@dataclass(frozen=True)
class Lean:
    """How far a model's forecasts are off in sum.

    share: of the actual values, above 0 is too much. factor: what a total of its forecasts has to be
    multiplied by to be right, None where the forecasts add up to nothing.
    """

    share: float
    factor: float | None


def lean(run: Run, without: Collection[str] = ()) -> Lean | None:
    """Of the leader, `without` some series; None where nothing was sold."""
    return _lean(_tested(run, without))


def lean_by_mark(run: Run, without: Collection[str] = ()) -> dict[str, Lean]:
    """Of the leader in promoted and in ordinary periods, where the run keeps them."""
    rows = by_mark(run, _tested(run, without))
    found = {name: _lean(part) for (name,), part in rows.group_by("mark", maintain_order=True)}
    return {str(name): one for name, one in found.items() if one is not None}


def _tested(run: Run, without: Collection[str]) -> pl.DataFrame:
    rows = run.rows.filter(pl.col("model") == run.leader)
    return rows.filter(~pl.col("unique_id").is_in(list(without))) if without else rows


def _lean(rows: pl.DataFrame) -> Lean | None:
    size = float(rows["y"].abs().sum())
    if size <= 0:
        return None
    sold, off = float(rows["y"].sum()), float(rows["error"].sum())
    forecast = sold + off
    return Lean(off / size, sold / forecast if sold > 0 and forecast > 0 else None)


def lean_said(run: Run) -> tuple[str, str] | None:
    """Whether totals of the forecast are to be corrected, by how much, and why it leans."""
    found = lean(run)
    if found is None:
        return None
    text = f"In sum its forecasts were {_leaning(found)}"
    if abs(found.share) <= LEEWAY:
        return f"{text}.", "plain"
    none = nothing_forecast(run)
    others = lean(run, none.series) if none else found
    if none and others:
        text += f", {_leaning(others)} without the series of which it forecasts nothing"
    by_mark_ = lean_by_mark(run, none.series if none else ())
    apart = _apart(by_mark_)
    if apart:
        ends = [f"{percent(one.share, 1)} in {name} periods" for name, one in by_mark_.items()]
        text += f" ({listed(ends)})"
    if others is not None and others.factor is not None and abs(others.share) > LEEWAY:
        text += (
            f": of 100 units sold it forecast {100 * (1 + others.share):.0f}. Multiply totals"
            f"{' of the others' if none else ''} by {others.factor:.2f} (1 / {1 + others.share:.3f})"
        )
        ordinary = by_mark_["ordinary"].factor if apart else None
        text += f", those without promotions by {ordinary:.2f}" if ordinary is not None else ""
        text += "; What to order has the corrected total"
    return f"{text}.{_reason(run, found.share)}", "note"


def _leaning(found: Lean) -> str:
    return f"{percent(abs(found.share), 1)} too {'high' if found.share > 0 else 'low'}"


def _apart(parts: Mapping[str, Lean]) -> bool:
    """Whether promoted and ordinary periods lean so differently that one factor fits neither."""
    shares = [one.share for one in parts.values()]
    return len(shares) > 1 and max(shares) - min(shares) > LEEWAY


def _reason(run: Run, share: float) -> str:
    """Why a forecast leans low by its settings; empty if they do not say."""
    use = (run.spec.get("models") or {}).get(run.leader) or {}
    aim = use.get("aim")
    if share > 0:
        return ""
    if use.get("correction") == "mape" or (isinstance(aim, float) and aim < 0.5):
        setting = "correction: mape" if use.get("correction") == "mape" else f"aim: {aim:g}"
        return (
            f" It aims low on purpose ({setting} in the spec): percentage errors punish too much "
            "more than too little."
        )
    if use.get("target") == "log1p" and use.get("correction", "median") == "median":
        return (
            " It aims at the middle of what may come, which few large sales do not lift as they "
            "lift a mean (target: log1p; correction: mean in the spec would lift it)."
        )
    return ""


def interval_said(run: Run) -> tuple[str, str] | None:
    """Whether the interval held what it was meant to: in sum, of late, and in promotions."""
    held, nominal = coverage(run, run.leader)
    if held is None or nominal is None or run.interval is None:
        return None
    low, high, _ = run.interval
    level = max(run.quantiles)
    rows = run.rows.filter(pl.col("model") == run.leader, pl.col(low).is_not_null())
    below_top = rows.select((pl.col("y") <= pl.col(high)).mean()).item()
    at_bottom = rows.select((pl.col("y") <= pl.col(low)).mean()).item()
    parts, narrow = _parts(run, rows, nominal)
    text = (
        f"The forecast interval was meant to hold {percent(nominal)} of the actual values and "
        f"held {percent(held)}{parts}; {percent(below_top)} lay at or below its upper end "
        f"({percent(level)} intended)"
    )
    if below_top < level - LEEWAY:
        return text + ": that end is too low, keep more safety stock than it says.", "bad"
    if held < nominal - LEEWAY:
        return text + ": its lower end is too high, sales fell below it more often.", "note"
    if narrow:
        return f"{text}: rely on it over all, but it was too narrow {listed(narrow)}.", "note"
    if held > nominal + LEEWAY and below_top > level + LEEWAY:
        return text + ": it is wider than it needs to be.", "note"
    if held > nominal + LEEWAY and at_bottom > min(run.quantiles):
        ties = f"{percent(at_bottom)} of the values lie at its lower end, which cannot be cut finer"
        return f"{text}: its upper end can be relied on; {ties}.", "plain"
    return text + ": it can be relied on.", "plain"


def _parts(run: Run, rows: pl.DataFrame, nominal: float) -> tuple[str, list[str]]:
    """Shares held by fold and in promotions, in words, and where they fell short."""
    assert run.interval is not None
    low, high, _ = run.interval
    rows = rows.with_columns(inside=(pl.col("y") >= pl.col(low)) & (pl.col("y") <= pl.col(high)))
    folds = rows.group_by("cutoff").agg(pl.col("inside").mean()).sort("cutoff")
    said, narrow = "", []
    if folds.height > 1:
        least, most = (float(str(v)) for v in (folds["inside"].min(), folds["inside"].max()))
        said = f" ({percent(least)} to {percent(most)} by fold)"
    if folds.height >= 2 * LATE:
        late = folds["cutoff"].tail(LATE).implode()
        value = rows.filter(pl.col("cutoff").is_in(late))["inside"].mean()
        if value is not None and float(str(value)) < nominal - LEEWAY:
            narrow.append(f"in the last {LATE} folds ({percent(float(str(value)))})")
    marked = by_mark(run, rows).group_by("mark", maintain_order=True).agg(pl.col("inside").mean())
    for name, value in marked.iter_rows():
        said += f", {percent(value)} in {name} periods"
        if value < nominal - LEEWAY:
            narrow.append(f"in {name} periods")
    return said, narrow


def by_mark(run: Run, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with a column `mark`, promoted or ordinary: those whose history is kept; none without."""
    if run.history is None or not run.flags:
        return rows.clear().with_columns(mark=pl.lit("", dtype=pl.String))
    on = pl.any_horizontal(pl.col(c).fill_null(0) != 0 for c in run.flags)
    name = pl.when(on).then(pl.lit("promoted")).otherwise(pl.lit("ordinary"))
    marked = run.history.select("unique_id", "ds", mark=name)
    return rows.join(marked, on=["unique_id", "ds"], how="inner").sort("mark", descending=True)


def coverage(run: Run, model: str) -> tuple[float | None, float | None]:
    """Share of the actual values inside a model's widest interval, and the share intended."""
    if run.interval is None:
        return None, None
    low, high, nominal = run.interval
    rows = run.rows.filter(pl.col("model") == model, pl.col(low).is_not_null())
    inside = (pl.col("y") >= pl.col(low)) & (pl.col("y") <= pl.col(high))
    return (rows.select(inside.mean()).item() if rows.height else None), nominal


def failed_by_model(run: Run) -> dict[str, tuple[int, str]]:
    """Model -> (forecasts that failed, the model that stood in for them)."""
    table = run.results.tables.get("failures")
    if table is None or table.is_empty():
        return {}
    failed = table.filter(pl.col("kind") == "failed", pl.col("model").is_not_null())
    found = failed.group_by("model", maintain_order=True).agg(
        pl.len(), pl.col("fallback").drop_nulls().first()
    )
    return {m: (n, fallback or "") for m, n, fallback in found.iter_rows()}


def failures_said(run: Run) -> tuple[str, str] | None:
    """Which models' forecasts failed, who stood in, and which series were left out."""
    counts = run.manifest.get("failures") or {}
    failed, skipped = counts.get("failed", 0), counts.get("skipped", 0)
    if not failed and not skipped:
        return None
    by_model = failed_by_model(run)
    parts = [f"{failed:,} forecasts failed"] if failed and not by_model else []
    for model, (count, fallback) in by_model.items():
        what = "forecast" if count == 1 else "forecasts"
        stood = f", {fallback} stood in" if fallback else ", nothing stood in"
        parts.append(f"{count:,} {what} of {model} failed{stood}")
    if failed and by_model:
        touched = "is one of them" if run.leader in by_model else "is not affected"
        parts.append(f"{run.leader} {touched}")
    if skipped:
        table = run.results.tables.get("failures")
        series = None if table is None else table.filter(pl.col("kind") == "skipped")["unique_id"]
        count = skipped if series is None else series.n_unique()
        parts.append(
            f"{count:,} series could not be forecast at every cutoff and were skipped there"
        )
    return "; ".join(parts) + " (see How it was made).", "note"


def warnings_said(run: Run) -> tuple[str, str] | None:
    """Models that were not compared, and expectations of the spec that did not hold."""
    said = [
        f"{model} was not compared, it has no forecast for some of the rows"
        for model in (run.manifest.get("best") or {}).get("incomplete", [])
    ]
    said += [
        f"expected {row['model']} {row['metric']} {row['expected']}, but it was {score(row['value'])}"
        for row in run.manifest.get("expect", [])
        if not row["holds"]
    ]
    return ("; ".join(said) + ".", "bad") if said else None
