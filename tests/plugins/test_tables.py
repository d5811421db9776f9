"""The writers: which columns come out, under which names, and that a file is whole or unchanged."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from engine.contracts import Results
from engine.errors import DataError
from engine_tables.params import CsvParams, ParquetParams
from engine_tables.writers import CsvWriter, ParquetWriter

DAYS = [dt.date(2024, 5, 1), dt.date(2024, 5, 2)]


def forecast(models: tuple[str, ...] = ("ridge", "lstm")) -> pl.DataFrame:
    """Two days of two series; only the first model has quantiles."""
    rows = [
        {
            "unique_id": series,
            "ds": day,
            "cutoff": dt.date(2024, 4, 30),
            "step": step,
            "model": model,
            "y_hat": float(10 * m + step),
            "q0.1": step - 1.0 if m == 0 else None,
            "q0.5": step + 0.0 if m == 0 else None,
            "q0.975": step + 1.0 if m == 0 else None,
            "note": f"{model} note",
        }
        for m, model in enumerate(models)
        for series in ("a", "b")
        for step, day in enumerate(DAYS, start=1)
    ]
    return pl.DataFrame(rows)


def results(folder: Path, **tables: pl.DataFrame) -> Results:
    run = folder / "run"
    run.mkdir(exist_ok=True)
    return Results({"forecast": forecast(), **tables}, "promo", run, folder)


def parquet(folder: Path, **options: Any) -> pl.DataFrame:
    (path,) = ParquetWriter(ParquetParams(**options)).write(results(folder))
    return pl.read_parquet(path)


def csv(folder: Path, **options: Any) -> str:
    (path,) = CsvWriter(CsvParams(**options)).write(results(folder))
    return path.read_text()


def test_by_default_the_whole_forecast_goes_to_the_outputs_of_the_run(tmp_path: Path) -> None:
    (path,) = ParquetWriter(ParquetParams()).write(results(tmp_path))
    assert path == tmp_path / "run" / "outputs" / "forecast.parquet"
    assert pl.read_parquet(path).equals(forecast())
    (path,) = CsvWriter(CsvParams()).write(results(tmp_path))
    assert path.name == "forecast.csv"
    assert pl.read_csv(path, try_parse_dates=True).equals(forecast().cast({"step": pl.Int64}))


def test_a_path_starts_at_the_base_and_may_hold_the_name_of_the_run(tmp_path: Path) -> None:
    writer = ParquetWriter(ParquetParams(path="published/{name}/latest.parquet"))
    assert writer.write(results(tmp_path)) == [tmp_path / "published" / "promo" / "latest.parquet"]


def test_another_table_is_written_as_it_is(tmp_path: Path) -> None:
    scores = pl.DataFrame({"model": ["ridge"], "value": [0.5]})
    writer = ParquetWriter(ParquetParams(table="scores"))
    (path,) = writer.write(results(tmp_path, scores=scores))
    assert path.name == "scores.parquet" and pl.read_parquet(path).equals(scores)


def test_models_columns_and_new_names(tmp_path: Path) -> None:
    frame = parquet(
        tmp_path, models=["lstm"], columns=["y_hat", "ds", "q0.1"], rename={"y_hat": "mean"}
    )
    assert frame.columns == ["mean", "ds", "q0.1"]
    assert frame["mean"].to_list() == [11.0, 12.0, 11.0, 12.0]


@pytest.mark.parametrize(
    ("options", "said", "hint"),
    [
        ({"columns": ["y_hatt"]}, "no column 'y_hatt'", "did you mean 'y_hat'?"),
        ({"rename": {"q0.9": "hi"}}, "no column 'q0.9'", "q0.975"),
        ({"models": ["lstn"]}, "no rows of model 'lstn'", "did you mean 'lstm'?"),
        ({"rename": {"y_hat": "ds"}}, "two columns named 'ds'", "another name"),
        ({"table": "backtest"}, "no table 'backtest'", "it has forecast"),
        ({"dialect": "gluonts", "columns": ["y_hat"]}, "no column 'y_hat'", "mean"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(
    tmp_path: Path, options: dict[str, Any], said: str, hint: str
) -> None:
    with pytest.raises(DataError) as caught:
        parquet(tmp_path, **options)
    assert said in caught.value.message
    assert hint in caught.value.hint


def test_gluonts_names(tmp_path: Path) -> None:
    frame = parquet(tmp_path, dialect="gluonts")
    assert frame.columns[:6] == ["item_id", "timestamp", "mean", "0.1", "0.5", "0.975"]
    assert frame.height == forecast().height and set(frame["model"]) == {"ridge", "lstm"}


def test_nixtla_has_a_column_a_model_and_interval(tmp_path: Path) -> None:
    frame = parquet(tmp_path, dialect="nixtla")
    assert frame.columns == [
        *("unique_id", "ds", "cutoff", "step"),
        *("ridge", "ridge-lo-80", "ridge-median", "ridge-hi-95", "lstm"),
    ]
    assert frame.row(1, named=True) == {
        "unique_id": "a",
        "ds": DAYS[1],
        "cutoff": dt.date(2024, 4, 30),
        "step": 2,
        "ridge": 2.0,
        "ridge-lo-80": 1.0,
        "ridge-median": 2.0,
        "ridge-hi-95": 3.0,
        "lstm": 12.0,
    }


def test_nixtla_keeps_rows_that_a_model_lacks_and_null_cutoffs(tmp_path: Path) -> None:
    table = forecast().with_columns(cutoff=pl.lit(None, dtype=pl.Date))[:-1]
    writer = ParquetWriter(ParquetParams(dialect="nixtla"))
    (path,) = writer.write(results(tmp_path, forecast=table))
    assert pl.read_parquet(path)["lstm"].to_list() == [11.0, 12.0, 11.0, None]


def test_nixtla_refuses_two_rows_for_one_forecast(tmp_path: Path) -> None:
    twice = pl.concat([forecast(), forecast()[:1]])
    with pytest.raises(DataError, match="2 rows share"):
        ParquetWriter(ParquetParams(dialect="nixtla")).write(results(tmp_path, forecast=twice))


@pytest.mark.parametrize("dialect", ["none", "nixtla", "gluonts"])
def test_an_empty_table_is_written_empty(tmp_path: Path, dialect: Any) -> None:
    writer = ParquetWriter(ParquetParams(dialect=dialect))
    (path,) = writer.write(results(tmp_path, forecast=forecast().clear()))
    assert pl.read_parquet(path).height == 0


def test_csv_separator_precision_and_dates(tmp_path: Path) -> None:
    text = csv(
        tmp_path,
        columns=["unique_id", "ds", "y_hat"],
        separator=";",
        float_precision=2,
        date_format="%d.%m.%Y",
    )
    assert text.splitlines()[:2] == ["unique_id;ds;y_hat", "a;01.05.2024;1.00"]


def test_csv_datetimes_have_their_own_format(tmp_path: Path) -> None:
    table = forecast().with_columns(pl.col("ds").cast(pl.Datetime("us")))
    writer = CsvWriter(CsvParams(columns=["ds"], datetime_format="%Y-%m-%d %H:%M"))
    (path,) = writer.write(results(tmp_path, forecast=table))
    assert path.read_text().splitlines()[1] == "2024-05-01 00:00"


@pytest.mark.parametrize(("compression", "suffix"), [("gzip", "csv.gz"), ("zstd", "csv.zst")])
def test_csv_compressed(tmp_path: Path, compression: Any, suffix: str) -> None:
    (path,) = CsvWriter(CsvParams(compression=compression)).write(results(tmp_path))
    assert path.name == f"forecast.{suffix}"
    assert pl.read_csv(path).height == forecast().height


def test_csv_refuses_lists(tmp_path: Path) -> None:
    table = forecast().with_columns(samples=pl.concat_list("y_hat", "y_hat"))
    with pytest.raises(DataError, match="CSV cannot hold"):
        CsvWriter(CsvParams()).write(results(tmp_path, forecast=table))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out" / "latest.parquet"
    writer = ParquetWriter(ParquetParams(path="out/latest.parquet"))
    writer.write(results(tmp_path))
    before = target.read_bytes()

    def full(frame: pl.DataFrame, file: Any, **options: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(DataError, match="No space left on device"):
        writer.write(results(tmp_path))
    assert target.read_bytes() == before
    assert list(target.parent.iterdir()) == [target]


def test_a_file_is_replaced_and_its_folder_made(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "f.csv"
    csv(tmp_path, path="new/folder/f.csv")
    csv(tmp_path, path="new/folder/f.csv", columns=["ds"])
    assert target.read_text().splitlines()[0] == "ds"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("path", ["taken/f.csv", "folder"])
def test_an_unwritable_place_is_one_clear_error(tmp_path: Path, path: str) -> None:
    (tmp_path / "taken").write_text("a file")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError) as caught:
        csv(tmp_path, path=path)
    assert str(tmp_path / path) in caught.value.message and "path" in caught.value.hint


def test_tables_are_not_changed(tmp_path: Path) -> None:
    given = results(tmp_path)
    ParquetWriter(ParquetParams(dialect="nixtla", rename={"ridge": "r"})).write(given)
    assert given.tables["forecast"].equals(forecast())


@pytest.mark.parametrize(
    "options",
    [
        {"separator": ";;"},
        {"separator": '"'},
        {"float_precision": -1},
        {"rename": {"a": "c", "b": "c"}},
        {"columns": ["a", "a"]},
        {"columns": []},
        {"path": "{model}.csv"},
        {"dialect": "nixtla", "table": "scores"},
        {"table": "everything"},
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CsvParams.model_validate(options)
