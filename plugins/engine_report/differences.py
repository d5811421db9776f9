"""A report of two runs: what went in differently, what came out differently, and was it chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from engine.compare.runs import ALPHA, Comparison, Delta
from engine.evaluate import ALL
from engine.rundir import RunRecord
from engine_report import charts
from engine_report.document import (
    Block,
    Chart,
    Charts,
    Column,
    Document,
    Figure,
    Figures,
    Prose,
    Section,
    Table,
)
from engine_report.numbers import score, seconds

MOST_SEGMENTS = 200
TEST = (
    "p: paired bootstrap over series, adjusted for the number of models (Holm); low, high: 95 % "
    "interval of the difference. unclear: chance could have made the difference."
)


def differences(comparison: Comparison, before: RunRecord, after: RunRecord) -> Document:
    """The report of `after` against the earlier run `before`."""
    metric = _deciding(comparison, before, after)
    said = sentence(comparison, metric, after)
    sections = [
        Section("verdict", "Verdict", _verdict(comparison, metric, said, before, after)),
        Section("changes", "What went in", _inputs(comparison)),
        Section("scores", "Scores", _scores(comparison, metric)),
        Section("segments", "Segments", _segments(comparison)),
        Section("movers", "Series that moved most", _movers(comparison)),
    ]
    return Document(
        title=f"{after.name}: two runs compared",
        subtitle=f"before: {before.name} {before.id}, after: {after.name} {after.id}",
        summary=said,
        sections=sections,
    )


def sentence(comparison: Comparison, metric: str | None, after: RunRecord) -> str:
    """What became of the deciding metric, in one sentence."""
    headline = [d for d in comparison.deltas if d.metric == metric and d.segment == ALL]
    if not headline:
        return "The runs have no score in common."
    if all(d.before == d.after for d in comparison.deltas):
        return "All scores are the same to the last digit."
    chosen = str((after.manifest.get("best") or {}).get("model"))
    lead = next((d for d in headline if d.model == chosen), None)
    counts = Counter(d.verdict for d in headline)
    words = [f"{counts[v]} {v}" for v in ("better", "worse", "unclear", "same", "no order")
             if counts[v]]  # fmt: skip
    text = f"By {metric}, of {len(headline)} models in both runs: {', '.join(words)}."
    if lead is not None:
        text += (
            f" The model chosen now, {chosen}, went from {score(lead.before)} to "
            f"{score(lead.after)}: {_meaning(lead)}."
        )
    elif chosen in comparison.added:
        text += f" The model chosen now, {chosen}, is new."
    return text


def _meaning(delta: Delta) -> str:
    words = {
        "same": "the same",
        "no order": "different, and the metric has no order",
        "unclear": "a difference that may be chance",
    }
    said = words.get(delta.verdict)
    if said is None:
        tested = "not tested" if delta.p is None else "more than chance"
        said = f"{delta.verdict} ({tested})"
    return said if delta.p is None else f"{said}, p = {delta.p:.3f}"


def _deciding(comparison: Comparison, *runs: RunRecord) -> str | None:
    """The metric that chose the model, or the first that both runs have."""
    known = list(dict.fromkeys(d.metric for d in comparison.deltas))
    for run in reversed(runs):
        metric = (run.manifest.get("best") or {}).get("metric")
        if metric in known:
            return str(metric)
    return known[0] if known else None


def _verdict(
    comparison: Comparison, metric: str | None, said: str, before: RunRecord, after: RunRecord
) -> list[Block]:
    worse = [] if metric is None else comparison.worse(metric)
    blocks: list[Block] = [Prose(said, "bad" if worse else "good")]
    if any(c.what == "data" for c in comparison.changes):
        blocks.append(
            Prose("The data changed, so scores are not of the same rows in both runs.", "note")
        )
    for word, models in (("before", comparison.gone), ("after", comparison.added)):
        if models:
            blocks.append(Prose(f"Only in the run {word}: {', '.join(models)}.", "note"))
    runs = (before, after)
    chosen = [str((r.manifest.get("best") or {}).get("model") or "none") for r in runs]
    times = [seconds(r.manifest["seconds"]) if "seconds" in r.manifest else "–" for r in runs]
    blocks.append(
        Figures(
            [
                Figure("chosen model", chosen[1], f"before: {chosen[0]}"),
                Figure("inputs changed", str(len(comparison.changes))),
                Figure("run time", times[1], f"before: {times[0]}"),
            ]
        )
    )
    return blocks


def _inputs(comparison: Comparison) -> list[Block]:
    if not comparison.changes:
        return [Prose("Spec, data and versions are the same.")]
    names = ("what", "key", "before", "after")
    columns = [Column(name, numeric=False) for name in names]
    rows = [[c.what, c.key, _text(c.before), _text(c.after)] for c in comparison.changes]
    note = "A dash: the run does not have it. Keys of the spec are those of resolved.yaml."
    return [Table("Spec, data and versions", columns, rows, note)]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _scores(comparison: Comparison, metric: str | None) -> list[Block]:
    headline = [d for d in comparison.deltas if d.segment == ALL]
    shown = [
        {"segment": d.model, "model": run, "value": value}
        for d in headline
        if d.metric == metric
        for run, value in (("before", d.before), ("after", d.after))
        if value is not None
    ]
    blocks: list[Block] = []
    if shown:
        svg = charts.dots(shown, ["before", "after"], str(metric))
        said = f"{metric} of each model in both runs; the table has the numbers"
        blocks.append(Charts([Chart(f"{metric} before and after", svg, said)]))
    return [*blocks, _table("Scores of models in both runs", headline, TEST)]


def _segments(comparison: Comparison) -> list[Block]:
    """The segments in which something is better or worse by more than chance."""
    parts = [d for d in comparison.deltas if d.segment != ALL]
    sure = [
        d for d in parts if d.p is not None and d.p < ALPHA and d.verdict in ("better", "worse")
    ]
    if not parts:
        return [Prose("The specs ask for no segments (evaluate.by).")]
    if not sure:
        return [Prose("In no segment did a score change by more than chance would.")]
    sure.sort(key=lambda d: (d.verdict == "better", d.p))
    note = f"Of {len(parts):,} scores of segments, those that changed by more than chance."
    if len(sure) > MOST_SEGMENTS:
        note += f" The first {MOST_SEGMENTS} of {len(sure)}, worse ones first."
    return [_table("Segments", sure[:MOST_SEGMENTS], note)]


def _table(caption: str, deltas: Sequence[Delta], note: str) -> Table:
    columns = [Column("model", numeric=False), Column("metric", numeric=False)]
    parts = any(d.segment != ALL for d in deltas)
    if parts:
        columns.append(Column("segment", numeric=False))
    columns += [Column("before"), Column("after"), Column("change %"), Column("low"),
                Column("high"), Column("p", form="probability"), Column("series", meaning="tested"),
                Column("in words", numeric=False)]  # fmt: skip
    rows: list[list[Any]] = []
    for d in deltas:
        test = d.test
        row: list[Any] = [d.model, d.metric, *([d.segment] if parts else [])]
        row += [d.before, d.after, _percent(d)]
        row += [test.low, test.high] if test else [None, None]
        untested = d.p is None and d.verdict in ("better", "worse")
        row += [d.p, test.series if test else None]
        rows.append([*row, d.verdict + (" (not tested)" if untested else "")])
    return Table(caption, columns, rows, note)


def _percent(delta: Delta) -> float | None:
    if delta.before is None or delta.after is None or not delta.before:
        return None
    return 100 * (delta.after - delta.before) / abs(delta.before)


def _movers(comparison: Comparison) -> list[Block]:
    if not comparison.movers:
        return [Prose("No series has another error on the rows that both runs forecast.")]
    columns = [Column("series", numeric=False), Column("model", numeric=False), Column("before"),
               Column("after"), Column("change")]  # fmt: skip
    rows = [
        [m.unique_id, m.model, m.before, m.after, m.after - m.before] for m in comparison.movers
    ]
    note = "Total absolute error over the back-test, in units of y, on the rows of both runs."
    return [Table("Largest movers of each model", columns, rows, note)]
