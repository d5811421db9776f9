"""Promotion features as expressions over the rows of one series; prices across series by group."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator

import polars as pl

from engine.contracts import (
    Availability,
    CrossSection,
    Feature,
    FeatureContext,
    FeatureSet,
    Window,
)
from engine.errors import DataError
from engine_promo.params import Group, PromoParams


class Promo:
    """Builds features of prices and flags: known ahead where their columns are."""

    def __init__(self, params: PromoParams) -> None:
        self.params = params

    def build(self, context: FeatureContext) -> FeatureSet:
        """Name the features; DataError for a column that is not a declared covariate of numbers."""
        features: list[Feature] = []
        for column in self.params.prices:
            features.extend(self._price_features(column, _availability(column, context)))
        for column in self.params.flag_columns:
            features.extend(self._flag_features(column, _availability(column, context)))
        for column in self.params.others:
            features.append(self._level(column, _availability(column, context)))
        sections: list[CrossSection] = []
        for group in self.params.groups:
            for section, feature in self._group_features(group, context):
                sections.append(section)
                features.append(feature)
        return FeatureSet(tuple(features), tuple(sections))

    def _level(self, column: str, availability: Availability) -> Feature:
        price = _price(column)
        if self.params.log:
            return Feature(f"promo_{column}_log", price.log(), availability, lookback=0)
        return Feature.windowed(f"promo_{column}", Window(column), availability)

    def _price_features(self, column: str, availability: Availability) -> Iterator[Feature]:
        price = _price(column)
        yield self._level(column, availability)
        for window in self.params.change:
            before = price.shift(1).rolling_mean(window, min_samples=1)
            yield Feature(
                f"promo_{column}_change_{window}", price / before - 1, availability, lookback=window
            )
        for window in self.params.discount:
            usual = price.rolling_max(window, min_samples=1)
            yield Feature(
                f"promo_{column}_discount_{window}",
                1 - price / usual,
                availability,
                lookback=window - 1,
            )

    def _flag_features(self, column: str, availability: Availability) -> Iterator[Feature]:
        flag, name = pl.col(column), f"promo_{column}"
        yield Feature.windowed(name, Window(column), availability)
        if self.params.lead and availability != "known":
            raise DataError(
                f"promo: lead of {column!r} needs values after the cutoff, but it is a past "
                "covariate",
                hint=f"declare {column!r} under covariates.future, or leave out lead",
            )
        for lead in self.params.lead:
            yield Feature(f"{name}_lead_{lead}", flag.shift(-lead), availability, lookback=0)
        for lag in self.params.lag:
            yield Feature.windowed(f"{name}_lag_{lag}", Window(column, shift=lag), availability)
        if self.params.since:
            cap = self.params.since_cap
            yield Feature(f"{name}_since", _since(flag, cap), availability, lookback=cap)

    def _group_features(
        self, group: Group, context: FeatureContext
    ) -> Iterator[tuple[CrossSection, Feature]]:
        column = group.of or self.params.prices[0]
        availability = _availability(column, context)
        for by in group.by:
            _check_group(by, context)
        place = "_".join(group.by) or "all"
        for statistic in group.stats:
            # The names of cross-sections are columns of the panel: no feature or covariate has one.
            section = f"promo:{column}:{place}:{statistic}"
            yield (
                CrossSection(section, _RELATIVE[statistic](_price(column)), group.by),
                Feature(
                    f"promo_{column}_to_{place}_{statistic}",
                    pl.col(section),
                    availability,
                    lookback=0,
                ),
            )


def _price(column: str) -> pl.Expr:
    """A price in double precision; one that is not positive counts as missing."""
    value = pl.col(column).cast(pl.Float64)
    return pl.when(value > 0).then(value)


def _since(flag: pl.Expr, cap: int) -> pl.Expr:
    """Steps since the flag was last above zero, 0 while it is, never more than `cap`."""
    step = pl.int_range(pl.len(), dtype=pl.Int32)
    last = pl.when(flag.cast(pl.Float64) > 0).then(step).forward_fill()
    return (step - last).fill_null(cap).clip(upper_bound=cap)


def _to_mean_of_others(price: pl.Expr) -> pl.Expr:
    """price / mean of the other prices of the group - 1; missing for one that stands alone."""
    others = price.count() - price.is_not_null().cast(pl.Int32)
    mean = (price.sum() - price) / others
    return pl.when(others > 0).then(price / mean - 1)


def _to_lowest(price: pl.Expr) -> pl.Expr:
    """price / lowest price of the group - 1: 0 for the cheapest."""
    # Subtracting first makes it exactly 0: division by a constant may round.
    return (price - price.min()) / price.min()


def _rank(price: pl.Expr) -> pl.Expr:
    """Place of the price in its group, 0 cheapest to 1 dearest, ties share their mean place."""
    count = price.count()
    return pl.when(count > 1).then((price.rank("average") - 1) / (count - 1))


_RELATIVE: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "mean": _to_mean_of_others,
    "min": _to_lowest,
    "rank": _rank,
}


def _availability(column: str, context: FeatureContext) -> Availability:
    """`known` for a future covariate, `history` for a past one; DataError for anything else."""
    declared = context.roles.covariates
    if column not in declared:
        close = difflib.get_close_matches(column, declared, n=1)
        advice = f"did you mean {close[0]!r}? " if close else ""
        raise DataError(
            f"promo: {column!r} is not a declared future or past covariate",
            hint=f"{advice}declared: {', '.join(declared) or 'none'}; add it under "
            "data.covariates.future if it is known ahead",
        )
    dtype = context.dtypes[column]
    if not (dtype.is_numeric() or dtype == pl.Boolean):
        raise DataError(
            f"promo: column {column!r} has type {dtype}, not a number or a flag",
            hint=f"encode its values as flags with static: {{covariates: [{column}]}}",
        )
    return "known" if column in context.roles.future else "history"


def _check_group(column: str, context: FeatureContext) -> None:
    roles = context.roles
    offered = (*roles.keys, *roles.static, *roles.future)
    if column in offered:
        return
    close = difflib.get_close_matches(column, offered, n=1)
    advice = f"did you mean {close[0]!r}? " if close else ""
    raise DataError(
        f"promo: group by {column!r}, which is not a key, static or future column",
        hint=f"{advice}columns: {', '.join(offered)}",
    )
