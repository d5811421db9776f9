"""Section 1: which model, how good it is against the naive baseline, and can it be trusted."""

from __future__ import annotations

import polars as pl

from engine_report import uplift
from engine_report.compare import paired
from engine_report.document import Block, Figure, Figures, Prose, Section
from engine_report.numbers import percent, score, seconds
from engine_report.reading import Run
from engine_report.segments import weakest

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
    said = [_meaning(run), _second_place(run), _interval(run), _lean(run), _weak(run)]
    said += [_promotion(run), _failures(run), _warnings(run)]
    return [one for one in said if one is not None]


def _meaning(run: Run) -> tuple[str, str] | None:
    """What the number in the first sentence is, for a reader who does not know the metric."""
    value = run.headline.get((run.leader, run.metric))
    if run.metric != "wape" or value is None:
        return None
    return f"That is: its errors add up to {percent(value)} of the actual units (WAPE).", "plain"


def _second_place(run: Run) -> tuple[str, str] | None:
    """How sure the first place is, from paired tests against every other model."""
    if run.best is None or len(run.models) < 2:
        return None
    rivals = [(paired(run.rows, m, run.best), m) for m in run.models if m != run.best]
    known = [(p, m) for p, m in rivals if p is not None and p.p is not None]
    if not known:
        return None
    equal = [m for p, m in known if p.p is not None and p.p >= SURE]
    if equal:
        return (
            f"It is not clearly ahead of {' and '.join(equal)}: on the same rows the difference in "
            f"WAPE may be chance (section 2).{_fastest(run, [run.best, *equal])}",
            "note",
        )
    close, name = min(known, key=lambda pair: pair[0].difference)
    if close.difference < 0:
        return (
            f"By WAPE alone {name} is better by {score(-close.difference)}; the choice was made "
            f"by {run.metric}.",
            "note",
        )
    return f"The lead on the next model by WAPE, {name}, is more than chance would give.", "plain"


def _fastest(run: Run, models: list[str]) -> str:
    """Which of models that are equally good took the least work; empty if the run does not say."""
    spent = dict.fromkeys(models, 0.0)
    for task in run.manifest.get("tasks") or []:
        model, _, stage = task["name"].partition("/")
        if model in spent and stage.startswith("backtest"):
            spent[model] += float(task["seconds"])
    first = min(spent, key=lambda m: spent[m])
    if spent[first] <= 0 or first == run.best:
        return ""
    return (
        f" Of these, {first} needed the least work: {seconds(spent[first])} in the back-test, "
        f"{run.best} {seconds(spent[str(run.best)])}."
    )


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


def _weak(run: Run) -> tuple[str, str] | None:
    """Where it fails: the groups of series with the highest WAPE, and those it should not do."""
    weak, lost = weakest(run)
    if not weak and not lost:
        return None
    text = f"It is weakest for {', '.join(f'{n} (WAPE {score(v)})' for n, v in weak)}"
    if not weak:
        text = "No group of series stands out by its error"
    if lost:
        return f"{text}; it is worse than {run.baseline} for {', '.join(lost)}.", "bad"
    return f"{text} (section 3).", "note" if weak else "plain"


def _promotion(run: Run) -> tuple[str, str] | None:
    found = uplift.largest(run)
    if found is None:
        return None
    text = (
        f"Periods marked {found.name} sold {percent(found.share)} more than without it "
        f"({percent(found.low)} to {percent(found.high)})"
    )
    if found.share < 0:
        text = (
            f"Periods marked {found.name} sold {percent(-found.share)} less than without it "
            f"({percent(-found.high)} to {percent(-found.low)})"
        )
    return f"{text}, by comparison with unmarked periods nearby (section 5).", "plain"


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
    items += _ahead(run)
    data = run.manifest.get("data") or {}
    if data:
        span = f"{data['first']} to {data['cutoff']}, every {data['freq']}"
        items.append(Figure("series", f"{data['series']:,}", f"{data['rows']:,} rows, {span}"))
    failed = (run.manifest.get("failures") or {}).get("failed", 0)
    items.append(Figure("failed forecasts", f"{failed:,}", "none was hidden" if failed else ""))
    if "seconds" in run.manifest:
        items.append(Figure("run time", seconds(run.manifest["seconds"])))
    return items


def _ahead(run: Run) -> list[Figure]:
    """What it forecasts in sum for the periods ahead."""
    forecast = run.results.tables.get("forecast")
    mine = None if forecast is None else forecast.filter(pl.col("model") == run.leader)
    if mine is None or mine.is_empty():
        return []
    span = f"all series, {mine['ds'].min()} to {mine['ds'].max()}"
    return [Figure("forecast ahead, units", float(mine["y_hat"].sum()), span)]
