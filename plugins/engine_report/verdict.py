"""Section 1: which model, how good it is against the naive baseline, and can it be trusted."""

from __future__ import annotations

import math

import polars as pl

from engine_report import ahead, uplift
from engine_report.compare import paired, wape
from engine_report.document import Block, Figure, Figures, Prose, Section
from engine_report.leaderboard import WORDS
from engine_report.numbers import percent, score, seconds
from engine_report.reading import Run
from engine_report.segments import weakest

SURE = 0.05
RHYTHM = {
    "1i": "integer time","1h": "hourly", "1d": "daily", "1w": "weekly", "1mo": "monthly", "1q": "quarterly",
          "1y": "yearly"}  # fmt: skip
LEEWAY = 0.05
"""How far a share may be from what was intended before it is worth a word."""


def section(run: Run) -> Section:
    """The verdict in words and numbers."""
    blocks: list[Block] = [Prose(sentence(run), "good" if run.best else "bad")]
    blocks += [Prose(text, tone) for text, tone in _trust(run)]
    blocks.append(Figures(_figures(run)))
    blocks += ahead.blocks(run)
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
    said = [_meaning(run), _other_scores(run), _second_place(run), _interval(run), _lean(run)]
    said += [_weak(run), _promotion(run), _failures(run), _warnings(run)]
    return [one for one in said if one is not None]


def _meaning(run: Run) -> tuple[str, str] | None:
    """What the number in the first sentence is, for a reader who does not know the metric."""
    rows = run.rows.filter(pl.col("model") == run.leader)
    share = rows.select(wape()).item()
    words = "" if run.metric == "wape" else WORDS.get(run.metric, "")
    steps = rows["step"].n_unique()
    periods = "one period" if steps == 1 else f"{steps} periods"
    said = [f"Each fold forecasts {periods} of the past from what was known before them."]
    said += [f"{run.metric}: {words}."] if words else []
    if share is not None:
        said.append(f"Its errors add up to {percent(share)} of the actual units (WAPE).")
    return (" ".join(said), "plain") if said else None


def _other_scores(run: Run) -> tuple[str, str] | None:
    """Scores by which another model would have been chosen."""
    if run.best is None:
        return None
    named: dict[str, list[str]] = {}
    for metric in run.metrics:
        better = run.better[metric]
        mine = run.headline.get((run.best, metric))
        others = {m: run.headline.get((m, metric)) for m in run.models if m != run.best}
        known = {m: v for m, v in others.items() if v is not None and math.isfinite(v)}
        if better == "none" or mine is None or not known or metric == run.metric:
            continue
        first = (max if better == "higher" else min)(known, key=known.__getitem__)
        if (known[first] > mine) == (better == "higher") and known[first] != mine:
            scores = f"{metric} ({score(known[first])} against {score(mine)})"
            named.setdefault(first, []).append(scores)
    if not named:
        return None
    said = "; ".join(f"{model} is better by {', '.join(all_)}" for model, all_ in named.items())
    return f"Not every score agrees: {said}.", "note"


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
    if close.difference < 0 and "wape" in run.metrics:
        return None  # Said with the other scores.
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
        f" Of these, {first} needed the least work: {seconds(spent[first])} of fits in the back-test, "
        f"{run.best} {seconds(spent[str(run.best)])}."
    )


def _interval(run: Run) -> tuple[str, str] | None:
    """Whether the interval held what it was meant to, and what that says of its upper end."""
    held, nominal = coverage(run, run.leader)
    if held is None or nominal is None or run.interval is None:
        return None
    low, high, _ = run.interval
    level = max(run.quantiles)
    rows = run.rows.filter(pl.col("model") == run.leader, pl.col(low).is_not_null())
    below_top = rows.select((pl.col("y") <= pl.col(high)).mean()).item()
    at_bottom = rows.select((pl.col("y") <= pl.col(low)).mean()).item()
    text = (
        f"The forecast interval was meant to hold {percent(nominal)} of the actual values and "
        f"held {percent(held)}; {percent(below_top)} lay at or below its upper end "
        f"({percent(level)} intended)"
    )
    if below_top < level - LEEWAY:
        return text + ": that end is too low, keep more safety stock than it says.", "bad"
    if held < nominal - LEEWAY:
        return text + ": its lower end is too high, sales fell below it more often.", "note"
    if held > nominal + LEEWAY and below_top > level + LEEWAY:
        return text + ": it is wider than it needs to be.", "note"
    if held > nominal + LEEWAY and at_bottom > min(run.quantiles):
        ties = f"{percent(at_bottom)} of the values lie at its lower end, which cannot be cut finer"
        return f"{text}: its upper end can be relied on; {ties}.", "plain"
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
    text = f"In sum its forecasts were {percent(abs(lean), 1)} too {side}"
    if abs(lean) <= LEEWAY:
        return f"{text}.", "plain"
    use = (run.spec.get("models") or {}).get(run.leader) or {}
    if lean < 0 and use.get("correction") == "mape":
        text += (
            ": with correction: mape it aims low on purpose, because MAPE punishes too much "
            "more than too little"
        )
    elif lean < 0 and use.get("target") == "log1p" and use.get("correction", "median") == "median":
        text += (
            ": with target log1p it forecasts the middle of what may come, not the mean "
            "(correction: mean in the spec would lift it)"
        )
    return f"{text}. Plan totals with that in mind.", "note"


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
    units = found.units
    low, high = sorted((abs(units.low), abs(units.high)))
    digits = 0 if high >= 0.1 else 1
    side = "more" if units.share >= 0 else "less"
    text = (
        f"Periods marked {found.name} sold {percent(abs(units.share), digits)} {side} than without "
        f"it (95 % sure: {percent(low, digits)} to {percent(high, digits)}), "
        f"{score(abs(round(units.gain)))} units {side}"
    )
    if units.low < 0 < units.high:
        text = (
            f"Periods marked {found.name} sold about as much as without it "
            f"({percent(units.low, digits)} to {percent(units.high, digits)})"
        )
    elif found.revenue is not None:
        other = found.revenue
        word = "more" if other.gain >= 0 else "less"
        text += f", and took in {score(abs(round(other.gain)))} {word} ({percent(other.share)})"
    return (
        f"{text}, over {found.periods:,} such periods of the history, by comparison with unmarked "
        "periods nearby (section 5).",
        "plain",
    )


def _failures(run: Run) -> tuple[str, str] | None:
    counts = run.manifest.get("failures") or {}
    failed, skipped = counts.get("failed", 0), counts.get("skipped", 0)
    if not failed and not skipped:
        return None
    parts = [f"{failed:,} forecasts failed"] if failed else []
    if skipped:
        table = run.results.tables.get("failures")
        series = None if table is None else table.filter(pl.col("kind") == "skipped")["unique_id"]
        count = skipped if series is None else series.n_unique()
        parts.append(
            f"{count:,} series could not be forecast at every cutoff and were skipped there"
        )
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
        every = RHYTHM.get(data["freq"], f"every {data['freq']}")
        items.append(Figure("series", f"{data['series']:,}", f"{every}, {data['rows']:,} rows"))
        items.append(Figure("data until", str(data["cutoff"]), f"since {data['first']}"))
    failed = (run.manifest.get("failures") or {}).get("failed", 0)
    items.append(Figure("failed forecasts", f"{failed:,}", "none was hidden" if failed else ""))
    if "seconds" in run.manifest:
        items.append(Figure("run time", seconds(run.manifest["seconds"])))
    return items
