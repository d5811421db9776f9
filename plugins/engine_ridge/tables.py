"""What a fit tells its reader: coefficients, penalties tried, and effects series by series."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from engine_ridge.interactions import matching
from engine_ridge.solve import Solution
from engine_ridge.statistics import Floats, Integers


def column_names(features: tuple[str, ...], indicators: Integers) -> list[str]:
    """Names of the coefficients: the features, then `missing(<feature>)`."""
    return [*features, *(f"missing({features[i]})" for i in indicators)]


def learned_tables(
    solution: Solution, features: tuple[str, ...], whole: bool
) -> dict[str, pl.DataFrame]:
    """The tables that `FittedRidge.tables` describes."""
    names = column_names(features, solution.standardization.indicators)
    seen = solution.groups >= 0
    if not whole:
        columns = {
            "feature": names,
            "mean": solution.coefficients[seen].mean(axis=0),
            "spread": solution.coefficients[seen].std(axis=0),
            "standardized_mean": solution.standardized[seen].mean(axis=0),
            "standardized_spread": solution.standardized[seen].std(axis=0),
        }
    else:
        columns = {
            "feature": names,
            "coefficient": solution.coefficients[0],
            "standardized": solution.standardized[0],
            "standard_error": solution.standard_errors[0],
        }
    tables = {
        "coefficients": pl.DataFrame(columns).with_columns(pl.exclude("feature").fill_nan(None))
    }
    if solution.path is not None:
        path = solution.path
        tables["penalties"] = pl.DataFrame(
            {
                "penalty": path.penalties,
                "score": path.scores,
                "degrees_of_freedom": path.freedom,
                "chosen": np.arange(path.penalties.size) == path.chosen,
            }
        )
    return tables


def elasticity_table(
    solution: Solution,
    features: tuple[str, ...],
    patterns: Sequence[str],
    ids: pl.Series,
    whole: bool,
    response: Floats | None = None,
) -> pl.DataFrame:
    """Rows `unique_id, feature, coefficient, standard_error, demand, demand_error` of what matches.

    In units of the transformed target per unit of the feature; `demand` is the effect on the logarithm
    of expected demand, the elasticity for a log price, if the target is `log1p` and `scale` is `none`
    or `center` (see `engine_ridge.demand`), else null. unique_id is null for the common coefficients:
    the only ones of scope `global`, those of unseen series of `partial`. response: (groups,), of the
    solution's groups.
    """
    chosen = sorted({j for p in patterns for j in matching(features, p, "elasticity")})
    names = [features[j] for j in chosen]
    # `take` of the number -1 or of a missing name gives null.
    groups = pl.Series(solution.groups).replace(-1, None)
    if whole:
        names_of: pl.Series = pl.Series([None], dtype=pl.String)
    else:
        names_of = ids.cast(pl.String).gather(groups)
    moved = np.full(len(names_of), np.nan) if response is None else response
    own, errors = solution.coefficients[:, chosen], solution.standard_errors[:, chosen]
    return pl.DataFrame(
        {
            "unique_id": [name for name in names_of.to_list() for _ in chosen],
            "feature": names * len(names_of),
            "coefficient": own.ravel(),
            "standard_error": errors.ravel(),
            "demand": (own / moved[:, None]).ravel(),
            "demand_error": (errors / moved[:, None]).ravel(),
        },
        schema_overrides={"unique_id": pl.String},
    ).with_columns(pl.col("standard_error", "demand", "demand_error").fill_nan(None))
