"""Section 1: which model, how good it is against the naive baseline, and can it be trusted."""

from __future__ import annotations

import polars as pl

from engine_report.compare import paired
from engine_report.document import Block, Figure, Figures, Prose, Section
from engine_report.numbers import percent, score, seconds
from engine_report.reading import Run

SURE = 0.05


def section(run: Run) -> Section:
    """The verdict in words and numbers."""
    blocks: list[Block] = [Prose(sentence(run), "good" if run.best else "bad")]
    blocks += [Prose(text, tone) for text, tone in _trust(run)]
    blocks += [Figures(_figures(run))]
    return Section("verdict", "Verdict", blocks)


def sentence(run: Run) -> str:
    """The verdict in one sentence."""
    metric, best, base = run.metric, run.best, run.baseline
    if best is None:
        reason = (run.manifest.get("best") or {}).get("reason", "none was chosen")
        return f"No model can be recommended: {reason}."
    value = run.headline.get((best, metric))
    text = f"Use {best}: its {metric} over {_folds(run)} is {score(value)}"
    naive = run.headline.get((base, metric))
    gain = added_value(value, naive, run.better[metric])
    if best == base:
        return text + "; no other model beats this baseline."
    if gain is None:
        return text + "."
    side = "better" if gain >= 0 else "worse"
    return text + f", {percent(abs(gain))} {side} than the baseline {base} ({score(naive)})."


def added_value(value: float | None, naive: float | None, better: str) -> float | None:
    """Forecast value added: the share of the baseline's error that a model saves."""
    if value is None or naive is None or not naive or better == "none":
        return None
    gain = 1 - value / naive
    return gain if better == "lower" else -gain


def _folds(run: Run) -> str:
    return "one fold" if len(run.folds) == 1 else f"{len(run.folds)} folds"


def _trust(run: Run) -> list[tuple[str, str]]:
    """What speaks for and against relying on it, as (text, tone)."""
    said = [_second_place(run), _interval(run), _lean(run)]
    said += [_failures(run), _warnings(run)]
    return [one for one in said if one is not None]


def _second_place(run: Run) -> tuple[str, str] | None:
    if run.best is None or len(run.models) < 2:
        return None
    rivals = [(paired(run.rows, m, run.best), m) for m in run.models if m != run.best]
    known = [(p, m) for p, m in rivals if p is not None]
    if not known:
        return None
    close, name = min(known, key=lambda pair: pair[0].difference)
    if close.p is None:
        return None
    if close.p >= SURE:
        return (
            f"It is not clearly ahead of {name}: their WAPEs on the same rows differ by "
            f"{score(abs(close.difference))}, which may be chance (p = {close.p:.2f}). Prefer the "
            "simpler of the two.",
            "note",
        )
    if close.difference < 0:
        return (
            f"By WAPE alone {name} is better by {score(-close.difference)}; the choice was made "
            f"by {run.metric}.",
            "note",
        )
    return f"The lead on the next model by WAPE, {name}, is more than chance would give.", "plain"


def _interval(run: Run) -> tuple[str, str] | None:
    held, nominal = coverage(run, run.leader)
    if held is None or nominal is None:
        return None
    text = (
        f"The forecast interval was meant to hold {percent(nominal)} of the actual values and "
        f"held {percent(held)}"
    )
    if held < nominal - 0.05:
        return text + ": it is too narrow, keep more safety stock than it says.", "bad"
    if held > nominal + 0.05:
        return text + ": it is wider than it needs to be.", "note"
    return text + ": it can be relied on.", "plain"


def coverage(run: Run, model: str) -> tuple[float | None, float | None]:
    """Share of the actual values inside a model's widest interval, and the share intended."""
    if run.interval is None:
        return None, None
    low, high, nominal = run.interval
    rows = run.rows.filter(pl.col("model") == model, pl.col(low).is_not_null())
    inside = (pl.col("y") >= pl.col(low)) & (pl.col("y") <= pl.col(high))
    return (rows.select(inside.mean()).item() if rows.height else None), nominal


def _lean(run: Run) -> tuple[str, str] | None:
    rows = run.rows.filter(pl.col("model") == run.leader)
    size = float(rows["y"].abs().sum())
    if size <= 0:
        return None
    lean = float(rows["error"].sum()) / size
    side = "high" if lean > 0 else "low"
    tone = "note" if abs(lean) > 0.05 else "plain"
    return f"In sum its forecasts were {percent(abs(lean), 1)} too {side}.", tone


def _failures(run: Run) -> tuple[str, str] | None:
    counts = run.manifest.get("failures") or {}
    failed, skipped = counts.get("failed", 0), counts.get("skipped", 0)
    if not failed and not skipped:
        return None
    parts = [f"{failed:,} forecasts failed"] if failed else []
    parts += [f"{skipped:,} series were skipped at a cutoff"] if skipped else []
    return "; ".join(parts) + " (section 7).", "note"


def _warnings(run: Run) -> tuple[str, str] | None:
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


def _figures(run: Run) -> list[Figure]:
    leader, base = run.leader, run.baseline
    order = [run.metric, "wape", "rmsse", "mase", "bias", "coverage"]
    items = []
    for metric in dict.fromkeys(order):
        if (leader, metric) not in run.headline:
            continue
        against = ""
        if leader != base:
            against = f"{base}: {score(run.headline.get((base, metric)))}"
        items.append(Figure(f"{metric} of {leader}", run.headline[leader, metric], against))
    data = run.manifest.get("data") or {}
    if data:
        span = f"{data['first']} to {data['cutoff']}, every {data['freq']}"
        items.append(Figure("series", f"{data['series']:,}", f"{data['rows']:,} rows, {span}"))
    failed = (run.manifest.get("failures") or {}).get("failed", 0)
    items.append(Figure("failed forecasts", f"{failed:,}", "none was hidden" if failed else ""))
    if "seconds" in run.manifest:
        items.append(Figure("run time", seconds(run.manifest["seconds"])))
    return items
