"""The feature builder `paydays`."""

import polars as pl

from engine.contracts import Feature, FeatureContext, FeatureSet
from engine.errors import DataError
from engine_shop.params import PaydayParams


class Paydays:
    """Days since the last pay day: `known`, because it is made of the date alone."""

    def __init__(self, params: PaydayParams) -> None:
        self._params = params

    def build(self, context: FeatureContext) -> FeatureSet:
        """Name the feature; the engine evaluates it."""
        if not context.dtypes["ds"].is_temporal():
            raise DataError("paydays needs dates, but ds holds integers")
        ds = pl.col("ds").cast(pl.Date)
        this_month = ds.dt.truncate("1mo") + pl.duration(days=self._params.day - 1)
        last_month = ds.dt.truncate("1mo").dt.offset_by("-1mo") + pl.duration(
            days=self._params.day - 1
        )
        last = pl.when(this_month <= ds).then(this_month).otherwise(last_month)
        since = (ds - last).dt.total_days()
        return FeatureSet((Feature("paydays_since", since, "known", lookback=0),))
