"""How sure the choice of the model is: other scores, paired tests, and the work that models took."""

from __future__ import annotations

import math

from engine_report.compare import LOSSES, Paired, paired
from engine_report.numbers import measured, score, seconds
from engine_report.reading import Run
from engine_report.words import listed

SURE = 0.05
CLOSE = 0.05
"""Share of the chosen model's score within which another is as good; beyond it a test may lack power."""
MUCH_LESS = 2.0
"""Times less work from which on an equally good model is named beside the chosen one."""


def tested(run: Run) -> str:
    """The score whose differences are tested: the deciding one if rows tell it, else WAPE."""
    return run.metric if run.metric in LOSSES else "wape"


def rivals(run: Run) -> dict[str, Paired]:
    """Every other model against the leader by the tested score, where it can be told."""
    found = {m: paired(run.rows, m, run.leader, tested(run)) for m in run.models if m != run.leader}
    return {m: p for m, p in found.items() if p is not None and p.p is not None}


def equals(run: Run) -> list[str]:
    """Models whose difference from the chosen one may be chance."""
    if run.best is None:
        return []
    return [m for m, p in rivals(run).items() if p.p is not None and p.p >= SURE]


def work(run: Run) -> dict[str, float]:
    """Seconds of fits in the back-test by model, added up over all workers; empty if unknown."""
    spent: dict[str, float] = {}
    for task in run.manifest.get("tasks") or []:
        model, _, stage = task["name"].partition("/")
        if stage.startswith("backtest"):
            spent[model] = spent.get(model, 0.0) + float(task["seconds"])
    for name, members in run.combinations.items():
        spent[name] = sum(spent.get(model, 0.0) for model in members)
    return {m: s for m, s in spent.items() if s > 0}


def cheaper(run: Run) -> tuple[str, float] | None:
    """The equally good model that took the least work, and how many times less; None without one.

    Equally good: the difference may be chance, and is small too.
    """
    spent = work(run)
    mine = run.headline.get((str(run.best), run.metric))
    if mine is None:
        return None
    known = {m: run.headline.get((m, run.metric)) for m in equals(run) if m in spent}
    same = [m for m, v in known.items() if v is not None and abs(v - mine) <= CLOSE * abs(mine)]
    if run.best not in spent or not same:
        return None
    first = min(same, key=lambda m: spent[m])
    times = spent[run.best] / spent[first]
    return (first, times) if times >= MUCH_LESS else None


def other_scores(run: Run) -> tuple[str, str] | None:
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
            unit = run.units.get(metric) or ""
            scores = f"{metric} ({measured(known[first], unit)} against {measured(mine, unit)})"
            named.setdefault(first, []).append(scores)
    if not named:
        return None
    said = "; ".join(f"{model} is better by {', '.join(all_)}" for model, all_ in named.items())
    return f"Not every score agrees: {said}.", "note"


def second_place(run: Run) -> tuple[str, str] | None:
    """How sure the first place is, from paired tests against every other model."""
    known = rivals(run) if run.best is not None else {}
    if not known:
        return None
    by = tested(run)
    same = equals(run)
    why = "" if by == run.metric else f" ({run.metric} itself cannot be tested on single rows)"
    if same:
        return (
            f"It is not clearly ahead of {listed(same)}: on the same rows the difference in "
            f"{by} may be chance{why}.{_spent(run, [str(run.best), *same])}",
            "note",
        )
    name = min(known, key=lambda m: known[m].difference)
    close = known[name].difference
    if close < 0 and by in run.metrics:
        return None  # Said with the other scores.
    if close < 0:
        return (
            f"By {by} alone {name} is better by {score(-close)}; the choice was made by "
            f"{run.metric}.",
            "note",
        )
    return (
        f"The lead on the next model by {by}, {name}, is more than chance would give{why}.",
        "plain",
    )


def _spent(run: Run, models: list[str]) -> str:
    """The work that equally good models took, the least first; empty if the run does not say."""
    spent = {m: s for m, s in work(run).items() if m in models}
    if len(spent) < 2:
        return ""
    parts = [f"{m} {seconds(spent[m])}" for m in sorted(spent, key=lambda m: spent[m])]
    return f" Work of their fits in the back-test, added up over all workers: {', '.join(parts)}."
