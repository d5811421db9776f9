"""What to order: forecasts summed over the horizon, how much is enough, and what is assumed."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

import polars as pl

from engine_report import charts, orders, trust, words
from engine_report.classes import series_classes
from engine_report.document import (
    Block,
    Chart,
    Charts,
    Column,
    Figure,
    Figures,
    Prose,
    Section,
    Table,
)
from engine_report.failing import Nothing, nothing_forecast
from engine_report.numbers import percent, units
from engine_report.reading import Run
from engine_report.views import cut

LEAST_SUMS = 20
"""Sums of the back-test from which on a quantile of their errors is told."""
WHOLE = 0.8
"""Share of the horizon that must be observed for a sum of the back-test to count."""
LEAST_FOLDS = 5
"""Folds from which on the range of their sums' errors is drawn around the forecast ahead."""
_UNKNOWN = re.compile(r"^(\S+): unknown for (\d+) steps? of \d+ series, filled by (\w+)$")


@dataclass(frozen=True)
class Spread:
    """How far sums over the horizon were off in the back-test.

    level: the highest quantile of the run. factors: `volume, factor, sums`, by volume class: that
    quantile of (sum of y - sum of y_hat) / size, where size is the mean of |sum of y_hat| and the
    usual sum of the series, and how many sums of the class were seen. sums: how many in all.
    """

    level: float
    factors: pl.DataFrame
    sums: int


def section(run: Run) -> Section:
    """Sums of all series with what is enough, what they assume, and a picture; empty without any."""
    return Section("order", "What to order", blocks(run))


def blocks(run: Run) -> list[Block]:
    """What is ahead and what it assumes, a list of all series, a picture; empty without a forecast."""
    forecast = run.results.tables.get("forecast")
    mine = None if forecast is None else forecast.filter(pl.col("model") == run.leader)
    if mine is None or mine.is_empty():
        return []
    none = nothing_forecast(run)
    nothing = none.series if none else frozenset()
    spread = spread_of(run, nothing)
    each = sums(run, mine, spread, nothing)
    made: list[Block] = [Prose(_when(run, mine))]
    made += [Prose(text, "note") for text in assumed(run)]
    made.append(Figures(_totals(run, each, nothing)))
    if none is not None:
        made.append(Prose(_not_these(none), "bad"))
    if spread is not None:
        made.append(Prose(_use(spread)))
    made.append(_table(run, each, spread, mine, nothing))
    picture = _picture(run, mine)
    made += [Charts([picture])] if picture is not None else []
    return [*made, Prose(_files(run))]


def _when(run: Run, mine: pl.DataFrame) -> str:
    """What is forecast, for when, in which unit, and what lies between."""
    steps = mine["ds"].n_unique()
    text = (
        f"{run.leader} forecasts {mine['y_hat'].sum():,.0f} units in sum for {mine['ds'].min()!s} to "
        f"{mine['ds'].max()!s} ({words.periods(run, steps)}), in the units of the column "
        f"'{words.target(run)}'."
    )
    gap = int(run.spec.get("gap") or 0)
    if gap:
        between = words.periods(run, gap).removeprefix("1 ")
        text += (
            f" The data end {mine['cutoff'].max()!s}; the {between} after that "
            f"{'is' if gap == 1 else 'are'} skipped, because the spec says gap: {gap}, as "
            "where an order takes that long."
        )
    return text


def assumed(run: Run) -> list[str]:
    """What was taken for covariates of the time ahead that nobody gave."""
    found = _filled(run)
    if not found:
        return []
    how = {"zero": "taken as 0", "forward_fill": "kept at the last known value"}
    parts = [
        f"{words.listed(_shortened(names))} {'was' if len(names) == 1 else 'were'} "
        f"{how.get(policy, f'filled by {policy}')}"
        for policy, names in sorted(found.items(), key=lambda item: item[0] != "zero")
    ]
    text = f"This forecast rests on values that nobody gave for the time ahead: {'; '.join(parts)}."
    none = no_promotion(run)
    if none:
        text += (
            f" So it assumes no promotion ({' = '.join([*none, '0'])}): where one is planned, more "
            "will be sold than forecast here. Where none is, less than 'enough' will do, whose margin is "
            "that of past periods with their promotions."
        )
    text += (
        " Errors, intervals and 'enough' were measured on past periods in which these values were "
        "known: they hold here only if the assumption does. Give the planned values in the data, and "
        "run again."
    )
    return [text]


def _filled(run: Run) -> dict[str, list[str]]:
    """How -> the covariates of the time ahead that were filled in this way."""
    found: dict[str, list[str]] = {}
    notes = (run.manifest.get("data") or {}).get("notes") or []
    for match in filter(None, map(_UNKNOWN.match, notes)):
        found.setdefault(match[3], []).append(match[1])
    return found


def no_promotion(run: Run) -> list[str]:
    """Marks of promotions that were taken as 0 for the time ahead."""
    return [c for c in run.flags if c in _filled(run).get("zero", [])]


def _shortened(names: list[str], most: int = 4) -> list[str]:
    return names if len(names) <= most else [*names[:most], f"{len(names) - most} more"]


def _totals(run: Run, each: pl.DataFrame, nothing: Collection[str]) -> list[Figure]:
    """Sums over all series; nothing: series that are left out of the correction."""
    whole = float(each["ahead"].sum())
    items = [Figure("forecast of all series", units(whole), f"{each.height:,} series")]
    ordinary = bool(no_promotion(run))
    found = (
        trust.lean_by_mark(run, nothing).get("ordinary") if ordinary else trust.lean(run, nothing)
    )
    if found is not None and found.factor is not None and abs(found.share) > trust.LEEWAY:
        side = "high" if found.share > 0 else "low"
        detail = f"times {found.factor:.2f}, as it was {percent(abs(found.share), 1)} too {side}"
        detail += " without promotion" if ordinary else ""
        items.append(Figure("the same, corrected", units(whole * found.factor), detail))
    if each["enough"].null_count() < each.height:
        detail = "each series by itself"
        detail += f", without {len(nothing):,} that have none" if nothing else ""
        items.append(Figure("'enough' of all series", units(each["enough"].sum()), detail))
    if each["before"].null_count() < each.height:
        detail = "in as many periods"
        if each["before"].null_count():
            detail += f", of {each.height - each['before'].null_count():,} series"
        items.append(Figure("sold before", units(each["before"].sum()), detail))
    return items


def _use(spread: Spread) -> str:
    """How to read 'enough', and what it rests on."""
    seen = ", ".join(f"{v} {n:,}" for v, n in spread.factors.select("volume", "sums").iter_rows())
    return (
        "How to use it: order 'forecast' less your stock where left-over goods cost as much as "
        "missing ones, as it is the middle of what may come, also of a single series: only totals are "
        "to be corrected. Order 'enough' less your stock where missing goods cost more. "
        f"'enough' would have lasted for the whole time in {percent(spread.level)} of {spread.sums:,} "
        f"such sums in the back-test, those with a value in {percent(WHOLE)} of their periods (by volume "
        f"class: {seen}; a class of fewer than {LEAST_SUMS} uses all). Its margin is the class' own and "
        "is taken of the mean of forecast and usual sales, so that it is wider, against the forecast, "
        "for small series and for those forecast below their usual sales. 'enough' of all series is "
        "what to order if each is to last by itself; all together need less."
    )


def _files(run: Run) -> str:
    """Where every series and period is."""
    names = ["forecast.parquet"]
    names += [n for n in run.manifest.get("written") or [] if "forecast" in n and n not in names]
    return f"Every series and period, with its quantiles, is in the run's folder: {words.listed(names)}."


def spread_of(run: Run, nothing: Collection[str] = ()) -> Spread | None:
    """Errors of sums over the horizon, but of `nothing`, series of which nothing is forecast.

    None without quantiles or with too few sums.
    """
    if not run.quantiles or run.series is None:
        return None
    level = max(run.quantiles)
    steps = int(str(run.rows["step"].max()))
    tested = run.rows.filter(pl.col("model") == run.leader)
    usual = run.series.select("unique_id", "mean").join(series_classes(run.series), on="unique_id")
    found = (
        tested.group_by("unique_id", "cutoff")
        .agg(pl.len(), pl.col("y").sum(), pl.col("y_hat").sum())
        .filter(pl.col("len") >= WHOLE * steps, ~pl.col("unique_id").is_in(list(nothing)))
        .join(usual, on="unique_id", how="inner")
        .with_columns(size=_size(pl.col("y_hat"), pl.col("mean") * pl.col("len")))
        .filter(pl.col("size") > 0)
        .select("volume", error=(pl.col("y") - pl.col("y_hat")) / pl.col("size"))
    )
    if found.height < LEAST_SUMS:
        return None
    # Small series are off by more of their size than large ones; a class of few has too few errors.
    rows = [
        (volume, _quantile(own if own.height >= LEAST_SUMS else found, level), own.height)
        for volume in ("A", "B", "C")
        for own in [found.filter(volume=volume)]
    ]
    schema = {"volume": pl.String, "factor": pl.Float64, "sums": pl.Int64}
    factors = pl.DataFrame(rows, schema=schema, orient="row")
    return Spread(level, factors, found.height)


def _quantile(found: pl.DataFrame, level: float) -> float:
    """With the finite-sample rank of split conformal prediction, as the engine's own quantiles."""
    rank = min(level * (found.height + 1) / found.height, 1.0)
    return float(str(found["error"].quantile(rank, interpolation="higher")))


def _size(forecast: pl.Expr, usual: pl.Expr) -> pl.Expr:
    return (forecast.abs() + usual.abs()) / 2


def sums(
    run: Run, mine: pl.DataFrame, spread: Spread | None, nothing: Collection[str] = ()
) -> pl.DataFrame:
    """`unique_id, ahead, first, enough, before` of each series, the largest forecast first.

    ahead: sum of the forecast. first: forecast of the first period. before: sum of y over as many
    periods before. enough: null without a spread.
    """
    each = mine.sort("ds").group_by("unique_id", maintain_order=True)
    made = each.agg(pl.len(), ahead=pl.col("y_hat").sum(), first=pl.col("y_hat").first())
    enough = pl.lit(None, dtype=pl.Float64)
    if spread is not None and run.series is not None:
        known = run.series.select("unique_id", "mean").join(
            series_classes(run.series).join(spread.factors, on="volume"), on="unique_id"
        )
        made = made.join(known, on="unique_id", how="left")
        usual = (pl.col("mean") * pl.col("len")).fill_null(0.0)
        enough = pl.col("ahead") + pl.col("factor") * _size(pl.col("ahead"), usual)
        lowest = run.spec.get("minimum")
        enough = enough if lowest is None else pl.max_horizontal(enough, pl.lit(float(lowest)))
    made = made.with_columns(enough=pl.when(~pl.col("unique_id").is_in(list(nothing))).then(enough))
    before = pl.DataFrame(schema={"unique_id": pl.String, "before": pl.Float64})
    if run.history is not None:
        known = run.history.filter(pl.col("y").is_not_null(), pl.col("ds") < mine["ds"].min())
        steps = mine["ds"].n_unique()
        last = known.group_by("unique_id").agg(before=pl.col("y").sort_by("ds").tail(steps).sum())
        before = last.with_columns(pl.col("before").cast(pl.Float64))
    return made.join(before, on="unique_id", how="left").sort(
        "ahead", "unique_id", descending=[True, False]
    )


def _not_these(none: Nothing) -> str:
    """Series that would be out of stock if someone ordered from their forecast."""
    names = words.listed(_shortened(sorted(none.series)))
    one = len(none.series) == 1
    return (
        f"Do not order {names} from this forecast: it is practically 0, while in the back-test "
        f"{'it' if one else 'they'} sold more than five times what was forecast. What was sold before is "
        f"the better guide. The column 'caution' marks {'it' if one else 'them'}."
    )


def _table(
    run: Run,
    each: pl.DataFrame,
    spread: Spread | None,
    mine: pl.DataFrame,
    nothing: Collection[str],
) -> Table:
    """The largest series; the page has the others, which a reader searches and sorts."""
    made = orders.listed(run, each, nothing, enough=spread is not None)
    steps = words.periods(run, mine["ds"].n_unique())
    columns = [Column("series", numeric=False), Column("forecast", meaning=steps, form="units")]
    if spread is not None:
        meaning = f"in {percent(spread.level)} of the cases"
        columns.append(Column("enough", meaning=meaning, form="units"))
    columns += [
        Column("sold before", meaning=f"in the last {steps}", form="units"),
        Column("WAPE", meaning="of single periods"),
        Column("bias", meaning="below 0: too little", worst="low"),
        Column("first period", meaning=str(mine["ds"].min()), form="units"),
        Column("caution", numeric=False),
    ]
    summed = ["ahead", *(["enough"] if spread else []), "before"]
    total = [
        f"all {each.height:,} series",
        *(each[name].sum() if each[name].count() else None for name in summed),
    ]
    total += [""] * (len(columns) - len(total))
    note = f"The {len(made.first)} largest" if len(made.first) < each.height else "All"
    note += f" of {each.height:,} series"
    if made.kept < each.height:
        note += f"; the search knows the {made.kept:,} largest, to keep this page small"
    return Table("What is ahead", columns, made.first, f"{note}.", total=total, every=made.text())


def _picture(run: Run, mine: pl.DataFrame) -> Chart | None:
    """All series in sum: actual, each fold's forecast, and the forecast ahead."""
    if run.history is None:
        return None
    kept = run.history.select(pl.col("unique_id").unique())
    total = run.rows["unique_id"].n_unique()
    tested = run.rows.filter(pl.col("model") == run.leader)
    sold = tested.join(kept, on="unique_id", how="semi").group_by("cutoff").agg(
        share=pl.col("y").sum() / pl.col("y_hat").sum()
    )["share"]  # fmt: skip
    forecasts = [
        part.join(kept, on="unique_id", how="semi")
        .group_by("ds", "cutoff")
        .agg(pl.col("y_hat").sum())
        .sort("cutoff", "ds")
        for part in (tested, mine)
    ]
    range_ = sold.len() >= LEAST_FOLDS
    low, high = (float(str(sold.min())), float(str(sold.max()))) if range_ else (1.0, 1.0)
    ahead = forecasts[1].with_columns(low=pl.col("y_hat") * low, high=pl.col("y_hat") * high)
    back = forecasts[0].with_columns(low=pl.col("y_hat"), high=pl.col("y_hat"))
    actual = run.history.group_by("ds").agg(
        y=pl.when(pl.col("y").is_not_null().any()).then(pl.col("y").sum())
    )
    shown = cut(actual.sort("ds"), back, ahead)
    none = pl.DataFrame({"start": [], "end": []})
    band = ("low", "high") if range_ else None
    svg, wide = (charts.fans(*shown, none, band, width) for width in (charts.WIDTH, charts.WIDE))
    what = "All series in sum" if kept.height >= total else f"{kept.height:,} series in sum"
    said = f"{what}: actual values, forecasts of each fold, and the forecast ahead"
    note = f"Actual values and forecasts of {run.leader}."
    if range_:
        note += (
            f" The band ahead is the forecast times {low:.2f} to {high:.2f}: what was sold, over what "
            f"was forecast, in the {sold.len()} folds."
        )
    else:
        note += f" No band: fewer than {LEAST_FOLDS} folds do not tell how far sums are off."
    return Chart(what, svg, said, note, wide)
