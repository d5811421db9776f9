"""Verdict: which model, how good it is against the naive baseline, and can it be trusted."""

from __future__ import annotations

import polars as pl

from engine_report import choice, failing, trust, uplift, words
from engine_report.compare import wape
from engine_report.document import Block, Figure, Figures, Prose, Section
from engine_report.numbers import measured, percent, score, seconds
from engine_report.reading import Run

RHYTHM = {
    "1i": "integer time", "1h": "hourly", "1d": "daily", "1w": "weekly", "1mo": "monthly",
    "1q": "quarterly", "1y": "yearly",
}  # fmt: skip


def section(run: Run) -> Section:
    """The verdict in words and numbers."""
    blocks: list[Block] = [Prose(sentence(run), "good" if run.best else "bad")]
    blocks += [Prose(text, tone) for text, tone in _trust(run)]
    blocks.append(Figures(_figures(run)))
    meanings = words.meanings(run)
    blocks += [meanings] if meanings is not None else []
    return Section("verdict", "Verdict", blocks)


def notice(run: Run) -> str:
    """What must not be missed under the title: that the data are no sales."""
    source = (run.spec.get("data", {}).get("source") or {}).get("use")
    return "Simulated data, no real sales." if source == "simulate" else ""


def sentence(run: Run) -> str:
    """The verdict in one sentence: the model, or two that are equally good, and how good."""
    metric, best, base = run.metric, run.best, run.baseline
    if best is None:
        reason = (run.manifest.get("best") or {}).get("reason", "none was chosen")
        return f"No model can be recommended: {reason}."
    unit = run.units.get(metric) or ""
    value = run.headline.get((best, metric))
    other = choice.cheaper(run)
    text = f"Use {best}: its {metric} over {_folds(run)} is {measured(value, unit)}"
    if other is not None:
        model, times = other
        text = (
            f"Use {best}, or {model}: these data show no difference between them, and {model} takes "
            f"{times:,.0f} times less work. Over {_folds(run)} the {metric} of {best} is "
            f"{measured(value, unit)} ({model}: {measured(run.headline.get((model, metric)), unit)})"
        )
    naive = run.headline.get((base, metric))
    gain = added_value(value, naive, run.better[metric])
    if best == base:
        return text + "; no other model beats this baseline."
    if gain is None:
        return text + "."
    side = "better" if gain >= 0 else "worse"
    return (
        f"{text}, {percent(abs(gain))} {side} than the baseline {base} ({measured(naive, unit)})."
    )


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
    said = [
        _meaning(run),
        failing.nothing_said(run),
        choice.other_scores(run),
        choice.second_place(run),
        trust.lean_said(run),
        failing.weak_said(run),
        _promotion(run),
        trust.interval_said(run),
        trust.failures_said(run),
        trust.warnings_said(run),
    ]
    return [one for one in said if one is not None]


def _meaning(run: Run) -> tuple[str, str]:
    """What the numbers in the first sentence are, for a reader who knows neither fold nor metric."""
    steps = run.rows["step"].n_unique()
    said = [
        f"A fold is a test in the past: {words.periods(run, steps)} were forecast from what was known "
        "before them and compared with what was sold."
    ]
    meaning = "" if run.metric == "wape" else words.MEANINGS.get(run.metric, "")
    said += [f"{run.metric}: {meaning}."] if meaning else []
    share, naive = (
        run.rows.filter(pl.col("model") == model).select(wape()).item()
        for model in (run.leader, run.baseline)
    )
    if share is not None:
        text = f"Its errors add up to {percent(share)} of the actual units (WAPE)"
        gain = added_value(share, naive, "lower") if run.leader != run.baseline else None
        if gain is not None:
            side = "better" if gain >= 0 else "worse"
            text += f", those of {run.baseline} to {percent(naive)}: {percent(abs(gain))} {side}"
        said.append(f"{text}.")
    said += [f"{known}." for known in (words.combination(run), words.baseline(run)) if known]
    return " ".join(said), "plain"


def _promotion(run: Run) -> tuple[str, str] | None:
    found = uplift.largest(run)
    if found is None:
        return None
    units = found.units
    low, high = sorted((abs(units.low), abs(units.high)))
    digits = 0 if high >= 0.1 else 1
    side = "more" if units.share >= 0 else "less"
    text = (
        f"Periods marked {found.name} sold {percent(abs(units.share), digits)} {side} than usual "
        f"(95 % sure: {percent(low, digits)} to {percent(high, digits)}), "
        f"{score(abs(round(units.gain)))} units {side}"
    )
    if units.low < 0 < units.high:
        text = (
            f"Periods marked {found.name} sold about as much as usual "
            f"({percent(units.low, digits)} to {percent(units.high, digits)})"
        )
    elif found.revenue is not None:
        other = found.revenue
        word = "more" if other.gain >= 0 else "less"
        gain = score(abs(round(other.gain)))
        text += f", and took in {gain} {word} in the unit of the price ({percent(other.share)})"
    return (
        f"{text}, over {found.periods:,} such periods of the history. This is a comparison with "
        "unmarked periods of the same series nearby, not an experiment: the interval holds chance, "
        "not what else was different (see Promotions).",
        "plain",
    )


def _figures(run: Run) -> list[Figure]:
    leader, base = run.leader, run.baseline
    order = [run.metric, "wape", "rmsse", "mase", "bias", "coverage"]
    items = []
    for metric in dict.fromkeys(order):
        if (leader, metric) not in run.headline:
            continue
        unit = " %" if run.units.get(metric) == "percent" else ""
        against = ""
        if leader != base:
            against = f"{base}: {score(run.headline.get((base, metric)))}{unit}"
        name = f"{metric} of {leader}{', %' if unit else ''}"
        items.append(Figure(name, run.headline[leader, metric], against))
    data = run.manifest.get("data") or {}
    if data:
        every = RHYTHM.get(data["freq"], f"every {data['freq']}")
        items.append(
            Figure("series", f"{data['series']:,}", f"{every}, {_rows(run, data['rows'])}")
        )
        items.append(Figure("data until", str(data["cutoff"]), f"since {data['first']}"))
    failed = (run.manifest.get("failures") or {}).get("failed", 0)
    items.append(Figure("failed forecasts", f"{failed:,}", "none was hidden" if failed else ""))
    if "seconds" in run.manifest:
        took = seconds(run.manifest["seconds"])
        items.append(Figure("run time", took, "on the clock; workers side by side"))
    return items


def _rows(run: Run, rows: int) -> str:
    """Rows of the panel, and how many of them have a value: not gaps, nor the periods ahead."""
    if run.series is None:
        return f"{rows:,} rows"
    valued = int(run.series["rows"].sum()) - int(run.series["missing"].sum())
    return f"{rows:,} rows" + (f", {valued:,} with a value" if valued < rows else "")
