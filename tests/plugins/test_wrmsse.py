"""WRMSSE against sums done by hand and by plain numpy, and against the official M5 tables."""

from __future__ import annotations

import datetime as dt
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from engine.contracts import MetricColumns, MetricData
from engine.data.panel import Panel
from engine.errors import DataError, NotFoundError
from engine_metrics.params import WrmsseParams
from engine_metrics.wrmsse import WeightedScaledError
from tests.panels import panel as panel_of

DAY = dt.date(2024, 1, 1)
# Three series of five days of history and two days that are forecast; the prices are constant.
SALES = {
    ("N", "1"): [0.0, 2.0, 4.0, 2.0, 4.0, 5.0, 3.0],
    ("N", "2"): [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0],
    ("S", "3"): [0.0, 0.0, 3.0, 0.0, 3.0, 2.0, 2.0],
}
PRICE = {"1": 1.0, "2": 2.0, "3": 4.0}
FORECAST = {"1": [4.0, 4.0], "2": [2.0, 2.0], "3": [3.0, 3.0]}
LEVELS: list[list[str]] = [[], ["region"], ["region", "store"]]


def tiny() -> Panel:
    frame = pl.DataFrame(
        [
            {"region": r, "store": s, "ds": DAY + dt.timedelta(days=i), "y": y, "price": PRICE[s]}
            for (r, s), values in SALES.items()
            for i, y in enumerate(values)
        ]
    )
    return panel_of(frame, keys=("region", "store"), future=("price",), past=(), static=(), ahead=0)


def rows_of(panel: Panel, cutoff: int, model: str = "m", shift: float = 0.0) -> pl.DataFrame:
    """The two days after the cutoff, with forecasts."""
    ordinals = pl.Series("ordinal", panel.ordinals)
    after = (
        panel.frame.with_columns(ordinals)
        .filter(pl.col("ordinal").is_between(cutoff + 1, cutoff + 2))
        .with_columns(pl.col("unique_id").cast(pl.String))
    )
    y_hat = [FORECAST[u.split("/")[1]][i % 2] + shift for i, u in enumerate(after["unique_id"])]
    return after.select(
        pl.lit(model).alias("model"),
        pl.lit(cutoff, dtype=pl.Int64).alias("cutoff"),
        *("unique_id", "ds", "y"),
        pl.Series("y_hat", y_hat),
    )


def score(panel: Panel, rows: pl.DataFrame, base: Path = Path(), **options: Any) -> pl.DataFrame:
    asked = {"levels": LEVELS, "weights": {"column": "price", "periods": 2}, **options}
    metric = WeightedScaledError(WrmsseParams.model_validate(asked))
    return metric.score(MetricData(rows, panel, MetricColumns({}, 7), base))


def values(scores: pl.DataFrame, model: str = "m", cutoff: int | None = None) -> dict[str, Any]:
    found = scores.filter(
        pl.col("model") == model, pl.col("cutoff").eq_missing(pl.lit(cutoff, dtype=pl.Int64))
    )
    return dict(found.select("segment", "value").iter_rows())


def by_hand() -> dict[str, float]:
    """The tiny hierarchy, sum by sum: weights are sales in money of the last two days."""
    # Sales of the last two days: store 1: 6 at 1 = 6, store 2: 3 at 2 = 6, store 3: 3 at 4 = 12.
    # Errors on the two days: store 1: -1, 1; store 2: 1, 0; store 3: 1, 1.
    # Squared steps since the first sale: store 1 (2, 4, 2, 4): mean 4; store 2: (0, 1, 0, 1): 1/2;
    # store 3 (3, 0, 3): mean 9.
    one = math.sqrt(1 / 4)
    two = math.sqrt((1 / 2) / (1 / 2))
    three = math.sqrt(1 / 9)
    # North sells 1, 3, 6, 4, 5: steps 2, 3, -2, 1, mean square 18/4; errors 0, 1.
    north = math.sqrt((1 / 2) / (18 / 4))
    # All sell 1, 3, 9, 4, 8: steps 2, 6, -5, 4, mean square 81/4; errors 1, 2.
    total = math.sqrt((5 / 2) / (81 / 4))
    levels = {
        "level_1": total,
        "level_2": (12 * north + 12 * three) / 24,
        "level_3": (6 * one + 6 * two + 12 * three) / 24,
    }
    return {"all": sum(levels.values()) / 3, **levels}


def test_a_tiny_hierarchy_by_hand() -> None:
    panel = tiny()
    cutoff = panel.end - 2
    scores = score(panel, rows_of(panel, cutoff))
    assert scores.columns == ["model", "cutoff", "segment", "value"]
    assert values(scores, cutoff=cutoff) == pytest.approx(by_hand())
    assert values(scores) == pytest.approx(by_hand())
    assert list(values(scores)) == ["all", "level_1", "level_2", "level_3"]


def test_nothing_after_a_cutoff_weighs_or_scales() -> None:
    panel = tiny()
    cutoff = panel.end - 2
    late = pl.Series(panel.ordinals > cutoff)
    changed = panel.with_frame(
        panel.frame.with_columns(
            pl.when(late).then(100.0).otherwise(pl.col("y")).alias("y"),
            pl.when(late).then(9.0).otherwise(pl.col("price")).cast(pl.Float32).alias("price"),
        )
    )
    rows = rows_of(panel, cutoff)
    assert score(changed, rows).equals(score(panel, rows))


def test_over_all_cutoffs_it_is_the_mean_and_each_has_its_own_weights() -> None:
    panel = tiny()
    cutoffs = [panel.end - 3, panel.end - 2]
    scores = score(panel, pl.concat([rows_of(panel, c) for c in cutoffs]))
    first, second = (values(scores, cutoff=c) for c in cutoffs)
    assert second == pytest.approx(by_hand()) and first["level_2"] != second["level_2"]
    for segment, value in values(scores).items():
        assert value == pytest.approx((first[segment] + second[segment]) / 2)


def test_the_order_of_rows_changes_no_bit() -> None:
    panel = tiny()
    rows = pl.concat([rows_of(panel, panel.end - 2, m, s) for m, s in (("m", 0.1), ("n", 0.7))])
    shuffled = rows.sample(fraction=1.0, shuffle=True, seed=1)
    assert score(panel, shuffled).equals(score(panel, rows))


@pytest.mark.parametrize("missing", ["row", "null", "nan"])
def test_a_model_that_lacks_a_forecast_has_no_score_and_others_keep_theirs(missing: str) -> None:
    panel = tiny()
    whole, part = rows_of(panel, panel.end - 2), rows_of(panel, panel.end - 2, "part")
    if missing == "row":
        part = part[1:]
    else:
        lost = pl.lit(math.nan if missing == "nan" else None, dtype=pl.Float64)
        first = pl.int_range(pl.len()) == 0
        part = part.with_columns(y_hat=pl.when(first).then(lost).otherwise("y_hat"))
    scores = score(panel, pl.concat([whole, part]))
    assert values(scores) == pytest.approx(by_hand())
    assert set(values(scores, "part").values()) == {None}


def test_a_row_without_y_counts_for_no_model() -> None:
    panel = tiny()
    rows = rows_of(panel, panel.end - 2)
    unknown = rows.with_columns(y=pl.when(pl.col("ds") < pl.col("ds").max()).then("y"))
    kept = rows.filter(pl.col("ds") < pl.col("ds").max())
    assert score(panel, unknown).equals(score(panel, kept))


def files(folder: Path) -> dict[str, Any]:
    """Weights with keys by place and scales with keys by name, as the M5 tables have them."""
    pl.DataFrame(
        {
            "Level_id": ["Level3", "Level3", "Level3", "Level2", "Level2", "Level1"],
            "Agg_Level_1": ["N", "N", "S", "N", "S", "Total"],
            "Agg_Level_2": ["1", "2", "3", "X", "X", "X"],
            "weight": [6.0, 6.0, 12.0, 0.5, 0.5, 1.0],
        }
    ).write_parquet(folder / "weights.parquet")
    pl.DataFrame(
        {
            "level": [1, 2, 2, 3, 3, 3],
            "region": [None, "N", "S", "N", "N", "S"],
            "store": [None, None, None, "1", "2", "3"],
            "scale": [81 / 4, 18 / 4, 9.0, 4.0, 0.5, 9.0],
        }
    ).write_parquet(folder / "scales.parquet")
    keys = ["Agg_Level_1", "Agg_Level_2"]
    return {
        "weights": {"path": "weights.parquet", "level": "Level_id", "keys": keys},
        "scales": {"path": "scales.parquet"},
    }


def test_weights_and_scales_from_files_give_the_same(tmp_path: Path) -> None:
    panel = tiny()
    scores = score(panel, rows_of(panel, panel.end - 2), tmp_path, **files(tmp_path))
    assert values(scores) == pytest.approx(by_hand())


def test_scales_may_be_given_as_roots(tmp_path: Path) -> None:
    panel, options = tiny(), files(tmp_path)
    table = pl.read_parquet(tmp_path / "scales.parquet")
    table.with_columns(root=pl.col("scale").sqrt()).write_parquet(tmp_path / "scales.parquet")
    options["scales"] |= {"value": "root", "root": True}
    scores = score(panel, rows_of(panel, panel.end - 2), tmp_path, **options)
    assert values(scores) == pytest.approx(by_hand())


@pytest.mark.parametrize(
    ("file", "keep", "said"),
    [
        (
            "weights",
            pl.col("Agg_Level_2") == "X",
            "3 aggregated series of level_3 .* no weight: N x",
        ),
        ("weights", pl.col("Agg_Level_1") != "Total", r"level_1 \(total\) have no weight: total"),
        ("scales", pl.col("region") != "S", "of level_1 .* have no scale"),
        ("scales", pl.col("store").is_null() | (pl.col("store") != "2"), "no scale above 0: N x 2"),
    ],
)
def test_what_a_file_lacks_is_named(tmp_path: Path, file: str, keep: pl.Expr, said: str) -> None:
    panel, options = tiny(), files(tmp_path)
    path = tmp_path / f"{file}.parquet"
    pl.read_parquet(path).filter(keep).write_parquet(path)
    with pytest.raises(DataError, match=said):
        score(panel, rows_of(panel, panel.end - 2), tmp_path, **options)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"levels": [["regoin"]]}, "did you mean 'region'"),
        ({"weights": {"column": "prise"}}, "did you mean 'price'"),
        ({"weights": {"path": "weights.parquet", "level": "levl"}}, "no column 'levl'"),
        ({"weights": {"path": "weights.parquet", "level": "Agg_Level_1"}}, "end in a number"),
        ({"weights": {"path": "weights.parquet", "level": "Level_id", "keys": ["Agg_Level_1"]}},
         "keys has 1 columns"),
        ({"weights": {"path": "weights.parquet", "level": "Level_id"}}, "no column 'region'"),
        ({"scales": {"path": "scales.parquet", "keys": ["region", "region"]}}, "given twice"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_the_data_are_explained(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    panel = tiny()
    with pytest.raises(DataError, match=said):
        score(panel, rows_of(panel, panel.end - 2), tmp_path, **{**files(tmp_path), **changes})


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    panel = tiny()
    options = {**files(tmp_path), "scales": {"path": "scale.parquet"}}
    with pytest.raises(NotFoundError, match=r"did you mean 'scales\.parquet'"):
        score(panel, rows_of(panel, panel.end - 2), tmp_path, **options)


@pytest.mark.parametrize(
    "changes",
    [
        {"levels": []},
        {"levels": [["a", "b"], ["b", "a"]]},
        {"levels": [["a", "a"]]},
        {"weights": {}},
        {"weights": {"column": "price", "periods": 0}},
        {"scales": {"value": "scale"}},
    ],
)
def test_options_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        WrmsseParams.model_validate({"levels": [[]], "weights": {"column": "p"}, **changes})


# ------------------------------------------------------------------------------- M5

M5_LEVELS = [
    *([], ["state_id"], ["store_id"], ["cat_id"], ["dept_id"]),
    *(["state_id", "cat_id"], ["state_id", "dept_id"]),
    *(["store_id", "cat_id"], ["store_id", "dept_id"]),
]


def m5_by_numpy(folder: Path, wide: pl.DataFrame, error: np.ndarray) -> dict[str, float]:
    """WRMSSE of the nine levels straight from the official tables, one loop a series."""
    weights = pl.read_parquet(folder / "weights.parquet")
    scales = pl.read_parquet(folder / "rmsse_scale_levels1_9.parquet")
    result = {}
    for number, columns in enumerate(M5_LEVELS, start=1):
        total = 0.0
        for scale in scales.filter(level=number).iter_rows(named=True):
            member = np.ones(wide.height, dtype=bool)
            names = [scale[c] for c in columns]
            for column, name in zip(columns, names, strict=True):
                member &= wide[column].to_numpy() == name
            first, second = (*(names or ["Total"]), "X")[:2]
            weight = weights.filter(
                Level_id=f"Level{number}", Agg_Level_1=first, Agg_Level_2=second
            )["weight"].item()
            summed = error[member].sum(axis=0)
            total += weight * math.sqrt((summed**2).mean()) / scale["scale2"]
        result[f"level_{number}"] = total
    return {"all": sum(result.values()) / len(result), **result}


M5 = Path(os.environ.get("ENGINE_DATA", "data")) / "m5"


@pytest.mark.data
@pytest.mark.skipif(
    not M5.is_dir() and os.environ.get("CI") != "true", reason="ENGINE_DATA has no folder m5"
)
def test_seasonal_naive_on_the_m5_test_fold_is_scored_as_by_the_official_tables() -> None:
    folder = M5
    wide = pl.read_parquet(folder / "sales_train_d1495_d1941.parquet").sort("item_id", "store_id")
    days = [f"d_{d}" for d in range(1886, 1942)]
    y = wide.select(days).to_numpy().astype(float)
    y_hat = np.tile(y[:, 21:28], 4)
    keys = ["item_id", "store_id"]
    statics = ("dept_id", "cat_id", "state_id")
    long = (
        wide.select(*keys, *statics, *days)
        .unpivot(days, index=[*keys, *statics], variable_name="day", value_name="y")
        .with_columns(ds=pl.col("day").str.slice(2).cast(pl.Int64))
    )
    panel = panel_of(long, keys=keys, future=(), past=(), static=statics, ahead=0, freq=1)
    cutoff = panel.grid.ordinal_of(1913)
    rows = pl.DataFrame(
        {
            "model": "snaive",
            "cutoff": cutoff,
            "unique_id": pl.Series(panel.ids).gather(np.repeat(np.arange(wide.height), 28)),
            "ds": np.tile(np.arange(1914, 1942), wide.height),
            "y": y[:, 28:].ravel(),
            "y_hat": y_hat.ravel(),
        }
    )
    assert panel.ids[:1] == ["/".join(wide.row(0, named=True)[k] for k in keys)]
    scores = score(
        panel,
        rows,
        folder,
        levels=M5_LEVELS,
        weights={
            "path": "weights.parquet",
            "level": "Level_id",
            "keys": ["Agg_Level_1", "Agg_Level_2"],
            "value": "weight",
        },
        scales={"path": "rmsse_scale_levels1_9.parquet", "value": "scale2", "root": True},
    )
    wanted = m5_by_numpy(folder, wide, y_hat - y[:, 28:])
    assert values(scores, "snaive") == pytest.approx(wanted, rel=1e-9)
    assert 0.5 < wanted["all"] < 1.0
