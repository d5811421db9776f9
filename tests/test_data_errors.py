from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from engine.cli.main import invoke

START = dt.date(2024, 1, 1)
SPEC = """version: 1
name: shop
data:
  source: {use: files, path: DATA}
  columns: {unique_id: store, ds: ds, y: y}
  freq: 1d
  covariates: {future: [price]}
horizon: 7
features: [{use: lags, lags: [0]}]
models:
  ridge: {use: ridge}
backtest: {folds: 1}
evaluate: {metrics: [mae]}
"""
Y = pl.col("y")
LAST_WEEK = pl.col("ds") > START + dt.timedelta(days=39)
STORE_B = pl.col("store") == "b"

Refused = Callable[..., str]


def rows(periods: int = 40) -> pl.DataFrame:
    """Two stores, `periods` days of y, and a week more of known prices; y is 10..16 and 20..26."""
    ahead = 7
    return pl.DataFrame(
        [
            {
                "store": store,
                "ds": START + dt.timedelta(days=i),
                "y": float(level + i % 7) if i < periods else None,
                "price": level / 2,
            }
            for store, level in (("a", 10), ("b", 20))
            for i in range(periods + ahead)
        ]
    )


def changed(column: str, value: object, where: pl.Expr) -> pl.DataFrame:
    """The rows with one column replaced where a condition holds."""
    frame = rows()
    new = pl.lit(value, dtype=frame.schema[column])
    return frame.with_columns(pl.when(where).then(new).otherwise(column).alias(column))


@pytest.fixture
def refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Refused:
    """Run a spec on data; the one error, after checking that nothing else is said or written."""

    def run(data: pl.DataFrame | str, *changes: tuple[str, str], code: int = 5) -> str:
        file = tmp_path / ("data.csv" if isinstance(data, str) else "data.parquet")
        if isinstance(data, str):
            file.write_text(data)
        else:
            data.write_parquet(file)
        text = SPEC
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (tmp_path / "spec.yaml").write_text(text.replace("DATA", str(file)))
        output = tmp_path / "runs"
        got = invoke(["run", str(tmp_path / "spec.yaml"), "--output", str(output), "--quiet"])
        out, err = capfd.readouterr()
        assert got == code, err
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("error: ") == 1
        assert "Traceback" not in err
        assert not list(output.rglob("*"))
        return err

    return run


def test_the_data_that_these_tests_break_run(tmp_path: Path, capfd):
    rows().write_parquet(tmp_path / "data.parquet")
    (tmp_path / "spec.yaml").write_text(SPEC.replace("DATA", str(tmp_path / "data.parquet")))
    assert invoke(["run", str(tmp_path / "spec.yaml"), "--output", str(tmp_path / "runs")]) == 0
    assert len(list(tmp_path.glob("runs/shop/*/forecast.parquet"))) == 1


def test_a_misnamed_column_is_answered_with_the_closest_one(refused: Refused):
    error = refused(rows().rename({"price": "prices"}))
    assert "no column 'price' (did you mean 'prices'?)" in error
    assert "columns of the data: store, ds, y, prices" in error


def test_all_missing_columns_are_told_at_once(refused: Refused):
    error = refused(rows().drop("price"), ("y: y}", "y: units}"))
    assert "no column 'units', 'price'" in error


@pytest.mark.parametrize(
    "feature", ["{use: promo, price: cost}", "{use: lags, lags: [0], columns: [cost]}"]
)
def test_a_feature_of_an_undeclared_column_names_it(refused: Refused, feature):
    data = rows().with_columns(cost=pl.col("price") / 2)
    error = refused(data, ("{use: lags, lags: [0]}", feature))
    assert "'cost'" in error
    assert "declare" in error


def test_a_feature_that_no_builder_makes_names_those_that_are_made(refused: Refused):
    error = refused(rows(), ("{use: ridge}", '{use: ridge, features: ["calendar_*"]}'))
    assert "no feature matches 'calendar_*'" in error
    assert "lags_y_0" in error


def test_duplicate_rows_are_counted_and_the_first_three_shown(refused: Refused):
    error = refused(pl.concat([rows(), rows().head(4)]))
    assert "4 duplicate (unique_id, ds) rows" in error
    assert ": a at 2024-01-01, a at 2024-01-02, a at 2024-01-03\n" in error


@pytest.mark.parametrize("column", ["store", "ds"])
def test_nulls_in_keys_are_counted(refused: Refused, column):
    error = refused(changed(column, None, pl.col("y") == 12))
    assert f"column '{column}' is null in 6 of 94 rows (first rows: [2, 9, 16])" in error


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_y_that_is_no_number_is_counted_and_shown(refused: Refused, value):
    error = refused(changed("y", value, Y == 12))
    assert "column 'y' is NaN or infinite in 6 rows" in error
    assert f"a at 2024-01-03: {value}; a at 2024-01-10: {value}; a at 2024-01-17" in error


def test_a_y_of_text_says_how_to_state_its_type(refused: Refused):
    error = refused(rows().with_columns(Y.cast(pl.String)))
    assert "(the target y) has type String, not a number" in error


def test_an_infinite_covariate_is_named(refused: Refused):
    error = refused(changed("price", float("inf"), (Y == 12) & STORE_B.not_()))
    assert "column 'price' is NaN or infinite in 6 rows" in error


def test_dates_that_do_not_parse_are_counted_and_the_first_three_shown(refused: Refused):
    text = rows().with_columns(pl.col("ds").dt.strftime("%d.%m.%Y")).write_csv()
    for day, wrong in ((8, "8th of Jan"), (9, "soon"), (10, "31.31.2024"), (11, "never")):
        text = text.replace(f"{day:02d}.01.2024", wrong)
    error = refused(text, ("path: DATA", "path: DATA, formats: {ds: '%d.%m.%Y'}"))
    assert "column 'ds'" in error
    assert "8 values are not of type date, first '8th of Jan', 'soon', '31.31.2024'\n" in error


def test_text_as_time_says_how_to_state_its_format(refused: Refused):
    text = rows().with_columns(pl.col("ds").dt.strftime("%d.%m.%Y")).write_csv()
    assert "column ds has type String, not a date" in refused(text)


def test_a_frequency_that_is_too_long_names_rows_and_series(refused: Refused):
    error = refused(rows(), ("freq: 1d", "freq: 1w"))
    assert "80 timestamps in 2 series are not on a grid of freq '1w'" in error


def test_a_frequency_that_is_too_short_asks_whether_it_is_right(refused: Refused):
    weekly = START + pl.duration(days=7 * (pl.col("ds") - START).dt.total_days())
    error = refused(rows().with_columns(ds=weekly.cast(pl.Date)))
    assert "is freq right?" in error


def test_a_mixed_frequency_names_the_series_that_is_off(refused: Refused):
    noon = pl.col("ds").cast(pl.Datetime("us")) + pl.duration(hours=12)
    moments = pl.when(STORE_B & (Y == 22)).then(noon).otherwise(pl.col("ds"))
    error = refused(rows().with_columns(ds=moments))
    assert "6 timestamps in 1 series" in error
    assert "b at 2024-01-03 12:00:00" in error


def test_dates_do_not_go_with_integer_time(refused: Refused):
    error = refused(rows(), ("freq: 1d", "freq: 1"))
    assert "type Date, which does not go with freq '1i'" in error


def test_integer_time_does_not_go_with_days(refused: Refused):
    error = refused(rows().with_columns(pl.col("ds").cast(pl.Int32)))
    assert "type Int32, which does not go with freq '1d'" in error
    assert "freq: 1" in error


def test_a_gap_without_a_policy_is_shown_with_the_policies(refused: Refused):
    error = refused(rows().filter((STORE_B & (pl.col("ds").dt.day() == 9)).not_()))
    assert "missing values of y in 1 series and no policy for them: b at 2024-01-09" in error
    assert "data.missing.y: drop, zero, forward_fill or interpolate" in error


def test_negative_y_under_log1p_names_model_and_series(refused: Refused):
    error = refused(changed("y", -1.0, Y == 22), ("{use: ridge}", "{use: ridge, target: log1p}"))
    assert "model 'ridge' has target: log1p, but y is negative in 6 rows of 1 series: b\n" in error


def test_a_future_covariate_must_be_known_for_the_horizon(refused: Refused):
    error = refused(rows().filter(LAST_WEEK.not_()))
    assert "future covariate 'price' is not known for 7 steps to forecast in 2 series" in error
    assert "a at 2024-02-10" in error


def test_a_future_covariate_missing_for_one_series_names_it(refused: Refused):
    error = refused(changed("price", None, STORE_B & LAST_WEEK))
    assert "'price' is missing in 7 rows of 1 series" in error
    assert "b at 2024-02-10" in error


def test_a_horizon_longer_than_any_history_is_refused(refused: Refused):
    skip = ("freq: 1d", "freq: 1d\n  missing: {horizon: skip}")
    error = refused(rows(), ("horizon: 7", "horizon: 60"), skip)
    assert "the longest history has 40 periods" in error
    assert "at least 61" in error


def test_more_folds_than_the_rows_allow_are_refused(refused: Refused):
    error = refused(rows(), ("folds: 1", "folds: 20"))
    assert "the longest history has 40 periods, but 20 folds of horizon 7" in error
    assert "need at least 141" in error


def test_series_that_are_all_too_short_are_an_error_with_the_reason(refused: Refused):
    error = refused(rows(), ("freq: 1d", "freq: 1d\n  series: {min_history: 100}"))
    assert "none of the 2 series can be forecast" in error
    assert "a: too short: 33 observed values, min_history is 100" in error


def test_a_filter_that_leaves_nothing_is_named_as_the_cause(refused: Refused):
    error = refused(rows(), ("path: DATA", "path: DATA, where: \"store = 'c'\""))
    assert "the source has no rows" in error
    assert "where:" in error


def test_a_y_that_was_never_observed_is_an_error(refused: Refused):
    assert "no series has an observed y" in refused(changed("y", None, pl.lit(True)))


@pytest.mark.parametrize(
    ("text", "said"), [("", "cannot be read as csv"), ("store,ds,y,price\n", "no rows")]
)
def test_an_empty_file_is_an_error(refused: Refused, text, said):
    assert said in refused(text)


def test_a_data_file_that_is_not_there_is_not_found(refused: Refused):
    error = refused(rows(), ("path: DATA", "path: DATA.pq"), code=4)
    assert "there is no file" in error
    assert "did you mean 'data.parquet'?" in error


def test_an_output_folder_that_cannot_be_written_is_told_before_any_work(refused, tmp_path: Path):
    (tmp_path / "runs").write_text("a file")
    error = refused(rows().drop("price"))
    assert f"cannot write to the output folder {tmp_path / 'runs'}" in error
    assert "--output" in error
    assert (tmp_path / "runs").read_text() == "a file"
