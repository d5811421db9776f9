"""Promotions: what they brought in units and in revenue, and what was and was not counted."""

from __future__ import annotations

from typing import Any

import polars as pl

from engine_report import uplift, words
from engine_report.document import Block, Column, Prose, Section, Table, embedded
from engine_report.numbers import percent
from engine_report.reading import Run
from engine_report.uplift import Ratio, Uplift

MOST_PRODUCTS = 500
"""Products that the page knows, those with the most promoted periods."""
MOST_SHOWN = 12
NOTE = "low, high: 95 % interval of the uplift, over stretches of marked periods."


def section(run: Run) -> Section:
    """Tables of promotions by their marks and by product; empty without any."""
    return Section("promotions", "Promotions", blocks(run))


def blocks(run: Run) -> list[Block]:
    """What is compared with what, then units and revenue by mark and by product, the worst first."""
    rows = uplift.marked_rows(run)
    by_mark = uplift.by_column(rows, "marks")
    if rows is None or not by_mark:
        return []
    made: list[Block] = [Prose(_compared(run)), Prose(_counted(run, rows))]
    made += _tables("by mark", "marked", by_mark)
    keys = [k for k in uplift.keys(run) if rows[k].n_unique() > 1]
    if keys:
        alone = rows.filter(pl.col("marks") == by_mark[0].name)
        found = uplift.by_column(alone, keys[-1], MOST_PRODUCTS)
        found.sort(key=lambda u: u.units.share)
        if found:
            made += _tables(f"of {by_mark[0].name} by {keys[-1]}", keys[-1], found)
    return [*made, Prose(_not_importance(run))]


def _compared(run: Run) -> str:
    """The one description of the baseline of promotions."""
    where = {1: "", 7: " on the same weekday"}.get(
        uplift.place_count(run), " at the same place of the year"
    )
    text = (
        "Usual sales, with which marked periods are compared: the mean of the unmarked periods of the "
        f"same series nearby, up to {uplift.REACH} before and {uplift.REACH} after{where}, adjusted "
        "for the time of the year as all series together show it. It is a comparison, not an "
        "experiment: what else was different in those periods counts as well, and the interval does "
        "not hold it."
    )
    price = run.column(run.params.price)
    if price is not None:
        text += (
            f" Revenue is the column '{price}' times '{words.target(run)}', in the unit of the price, "
            "before cost."
        )
    return text


def _counted(run: Run, rows: pl.DataFrame) -> str:
    """Which marks, how many periods were used of those that are marked, and what is no mark."""
    assert run.history is not None
    on = pl.any_horizontal(pl.col(c).fill_null(0) != 0 for c in run.flags)
    known = run.history.filter(pl.col("y").is_not_null())
    marked, whole = int(known.select(on.sum()).item()), known.height
    stock = "with stock, and " if run.column(run.params.stockout) is not None else ""
    text = (
        f"{words.listed(list(run.flags))} {'marks' if len(run.flags) == 1 else 'mark'} {marked:,} of "
        f"{whole:,} periods with a value ({percent(marked / whole)}); {rows.height:,} of them are used: "
        f"those {stock}with unmarked periods nearby."
    )
    if run.shares:
        names = words.listed(list(run.shares))
        one = len(run.shares) == 1
        text += (
            f" {names} {'is' if one else 'are'} not counted as a mark: "
            f"{'it holds' if one else 'they hold'} shares between 0 and 1, not 0 or 1. To count "
            f"{'it' if one else 'them'} wherever above 0, name {'it' if one else 'them'} in the "
            "writer's option promotions."
        )
    return text


def _not_importance(run: Run) -> str:
    """Why a promotion that sells much may matter little to a model."""
    return (
        "These numbers are of sales, not of a model. What drives it measures something else: how much "
        "worse a model forecasts if one column is wrong. That can be near 0 for a mark that sells a "
        "lot, if the price or another column tells the model of the same promotion."
    )


def _tables(what: str, name: str, found: list[Uplift]) -> list[Block]:
    """One table of units, and one of revenue if prices are known."""
    ends = [
        Column(name, numeric=False),
        Column("uplift %", form="percent", worst="low"),
        Column("low", form="percent", worst="low"),
        Column("high", form="percent", worst="low"),
    ]
    units = [
        Column("extra units", form="units", worst="low"),
        Column("units sold", form="units"),
        Column("usual units", form="units"),
    ]
    counts = [Column("periods"), Column("stretches", meaning="of marked periods")]
    rows = [[u.name, *_cells(u.units), u.periods, u.episodes] for u in found]
    order = "" if name == "marked" or len(found) < 2 else " The smallest uplift first"
    order += (
        f", {MOST_SHOWN} of {len(found):,}." if len(found) > MOST_SHOWN else "." if order else ""
    )
    title = f"Promotion uplift {what}"
    made: list[Block] = [_table(title, [*ends, *units, *counts], rows, NOTE + order)]
    priced = [[u.name, *_cells(u.revenue)] for u in found if u.revenue is not None]
    if priced:
        money = [
            Column("extra revenue", form="units", worst="low"),
            Column("revenue", form="units"),
            Column("usual revenue", form="units"),
        ]
        note = f"Usual revenue is usual units times the usual price. {NOTE}{order}"
        title = f"Revenue uplift {what}"
        made.append(_table(title, [*ends, *money], priced, note, folded=name != "marked"))
    return made


def _table(
    title: str, columns: list[Column], rows: list[list[Any]], note: str, *, folded: bool = False
) -> Table:
    """The first rows, with the others for the page to search where there are more."""
    every = embedded(rows) if len(rows) > MOST_SHOWN else ""
    return Table(title, columns, rows[:MOST_SHOWN], note, folded=folded, every=every)


def _cells(ratio: Ratio) -> list[float]:
    shares = [100 * ratio.share, 100 * ratio.low, 100 * ratio.high]
    return [*shares, ratio.gain, ratio.value, ratio.baseline]
