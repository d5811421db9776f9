from __future__ import annotations

import datetime as dt
import gzip
from pathlib import Path

import polars as pl
import pytest

from engine.cli.main import invoke
from engine.errors import DataError, NotFoundError
from engine.ingest import open_source, read_panel
from engine.registry import Registry
from engine.rundir import list_runs
from engine.spec.model import RunSpec
from engine.spec.validate import validate_text
from engine.wizard import draft_spec

REGISTRY = Registry.discover()


def shop(every: str = "1d", periods: int = 60) -> pl.DataFrame:
    """Two items in two stores: units, a price, a flag, a temperature, and a category of items."""
    times = pl.datetime_range(
        dt.datetime(2024, 1, 1),
        dt.datetime(2024, 1, 1) + dt.timedelta(days=100 * periods),
        every,
        eager=True,
    )[:periods]
    times = times if every.endswith("h") else times.dt.date()
    frames = [
        pl.DataFrame(
            {
                "item": [item] * periods,
                "store": [store] * periods,
                "date": times,
                "units": [float(10 * store + i % 7) for i in range(periods)],
                "price": [2.0 + (i % 5 == 0) for i in range(periods)],
                "promo": [i % 5 == 0 for i in range(periods)],
                "temperature": [15.0 + i % 3 for i in range(periods)],
                "category": ["soft" if item == "cola" else "snack"] * periods,
            }
        )
        for item in ("cola", "nuts")
        for store in (1, 2)
    ]
    return pl.concat(frames)


def drafted(frame: pl.DataFrame, path: Path) -> RunSpec:
    frame.write_parquet(path)
    text, _ = draft_spec(path)
    return validate_text(text, "draft.yaml", REGISTRY).spec


def test_keys_time_and_target_are_guessed(tmp_path: Path):
    columns = drafted(shop(), tmp_path / "shop.parquet").data.columns
    assert set(columns.keys) == {"item", "store"}
    assert (columns.ds, columns.y) == ("date", "units")


def test_covariates_are_guessed_by_what_can_be_known_ahead(tmp_path: Path):
    covariates = drafted(shop(), tmp_path / "shop.parquet").data.covariates
    assert covariates.future == ["price", "promo"]
    assert covariates.past == ["temperature"]
    assert covariates.static == ["category"]


def test_what_is_known_ahead_becomes_features(tmp_path: Path):
    frame = shop().with_columns(price_rival=pl.col("price") + 1, holiday=pl.lit("none"))
    promo = next(f for f in drafted(frame, tmp_path / "s.parquet").features if f.use == "promo")
    assert promo.options == {"price": "price", "other": ["price_rival"], "flags": ["promo"]}
    bare = drafted(shop().drop("price", "promo"), tmp_path / "bare.parquet")
    assert [f.use for f in bare.features] == ["calendar", "lags"]


@pytest.mark.parametrize("freq", ["1d", "1w", "1mo", "1q", "1h"])
def test_the_frequency_is_guessed(tmp_path: Path, freq):
    assert drafted(shop(freq), tmp_path / "shop.parquet").data.freq == freq


def test_integer_time_is_guessed_with_its_step(tmp_path: Path):
    weeks = [2 * i for i in range(60)] * 4
    frame = shop().drop("date").with_columns(week=pl.Series(weeks))
    spec = drafted(frame, tmp_path / "shop.parquet")
    assert (spec.data.columns.ds, spec.data.freq) == ("week", 2)


def test_gaps_are_answered_with_a_policy(tmp_path: Path):
    holes = shop().filter(pl.col("date").dt.day() != 9)
    assert drafted(holes, tmp_path / "holes.parquet").data.missing.y == "drop"
    assert drafted(shop(), tmp_path / "whole.parquet").data.missing.y == "error"


def test_the_horizon_leaves_room_for_the_folds(tmp_path: Path):
    spec = drafted(shop(periods=30), tmp_path / "short.parquet")
    assert spec.horizon * (spec.backtest.folds + 1) < 30


@pytest.mark.parametrize("suffix", ["csv", "parquet", "arrow"])
def test_a_draft_validates_and_runs(tmp_path: Path, monkeypatch, capsys, suffix):
    monkeypatch.chdir(tmp_path)
    write = {"csv": "write_csv", "parquet": "write_parquet", "arrow": "write_ipc"}[suffix]
    getattr(shop(), write)(f"my shop.{suffix}")
    assert invoke(["init", f"my shop.{suffix}", "--output", "shop.yaml"]) == 0
    out = capsys.readouterr().out
    assert "time: date, daily" in out
    assert "target: units" in out
    assert "engine run shop.yaml" in out
    assert invoke(["validate", "shop.yaml"]) == 0
    assert invoke(["run", "shop.yaml", "--quiet"]) == 0
    (run,) = list_runs(tmp_path / "runs")
    assert run.manifest["data"]["series"] == 4


def test_a_draft_runs_on_awkward_column_names(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd = {"item": "no", "store": "Store: id", "price": "price, net", "category": "2024"}
    shop().rename(odd).write_parquet("odd.parquet")
    assert invoke(["init", "odd.parquet"]) == 0
    assert invoke(["run", "odd.yaml", "--quiet"]) == 0


@pytest.mark.parametrize(
    ("written", "freq"),
    [
        ("%d.%m.%Y", "1d"),
        ("%m/%d/%Y", "1d"),
        ("%d/%m/%Y", "1w"),
        ("%Y-%m", "1mo"),
        ("%Y-%m-%dT%H:%M:%S", "1h"),
        ("%Y-%m-%d %H:%M", "1h"),
    ],
)
def test_dates_as_text_are_read_in_the_format_they_are_written_in(
    tmp_path, monkeypatch, written, freq
):
    monkeypatch.chdir(tmp_path)
    frame = shop(freq, periods=80)
    first = frame["date"].min()
    frame.with_columns(pl.col("date").dt.strftime(written)).write_csv("shop.csv")
    assert invoke(["init", "shop.csv"]) == 0
    assert invoke(["run", "shop.yaml", "--quiet"]) == 0
    (run,) = list_runs(tmp_path / "runs")
    data = run.manifest["data"]
    assert (data["first"], data["freq"]) == (str(first), freq)


def test_columns_with_names_of_the_engine_are_renamed_in_the_source(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shop().rename({"item": "series", "category": "model"}).write_parquet("shop.parquet")
    assert invoke(["init", "shop.parquet"]) == 0
    assert invoke(["run", "shop.yaml", "--quiet"]) == 0
    (run,) = list_runs(tmp_path / "runs")
    assert {"series_", "store"} < set(pl.read_parquet(run.path / "forecast.parquet").columns)


@pytest.mark.parametrize("name", ["2024.parquet", "no.parquet", "_été 1.parquet"])
def test_a_file_of_any_name_gives_a_valid_draft(tmp_path: Path, name):
    assert drafted(shop(), tmp_path / name).data.columns.y == "units"


def test_a_draft_says_in_comments_what_to_check(tmp_path: Path):
    shop().write_parquet(tmp_path / "shop.parquet")
    text, guesses = draft_spec(tmp_path / "shop.parquet")
    assert text.startswith("# ")
    assert "# future: known for the days to forecast" in text
    assert [guess.split(":")[0] for guess in guesses] == ["series", "time", "target", "known ahead"]


def test_an_existing_spec_is_kept_unless_forced(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shop().write_parquet("shop.parquet")
    Path("shop.yaml").write_text("mine")
    assert invoke(["init", "shop.parquet"]) == 2
    assert "--force" in capsys.readouterr().err
    assert Path("shop.yaml").read_text() == "mine"
    assert invoke(["init", "shop.parquet", "--force"]) == 0
    assert "version: 1" in Path("shop.yaml").read_text()


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (shop().drop("date"), "no time column among item, store"),
        (shop().select("item", "store", "date"), "target"),
        (shop().select("date", "units"), "several rows have the same time in 'date'"),
        (shop().head(0), "no rows"),
        (shop().unique(["item", "store"]), "no frequency can be seen"),
    ],
    ids=["time", "target", "key", "empty", "one row a series"],
)
def test_data_without_a_needed_column_are_refused(tmp_path: Path, frame, said):
    frame.write_parquet(tmp_path / "data.parquet")
    with pytest.raises(DataError, match=said):
        draft_spec(tmp_path / "data.parquet")


@pytest.mark.parametrize("name", ["data.xlsx", "data"])
def test_an_unknown_format_names_the_known_ones(tmp_path: Path, name):
    (tmp_path / name).write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"(?s)not a known format.*\.parquet, \.csv"):
        draft_spec(tmp_path / name)


@pytest.mark.parametrize("name", ["broken.parquet", "broken.csv", "broken.arrow"])
def test_a_damaged_file_is_one_clear_error(tmp_path: Path, capsys, name):
    (tmp_path / name).write_bytes(b"\x00\xff\xfe PAR")
    assert invoke(["init", str(tmp_path / name), "--output", str(tmp_path / "x.yaml")]) == 5
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "x.yaml").exists()


def test_a_missing_file_is_not_found(tmp_path: Path):
    with pytest.raises(NotFoundError, match="no data file"):
        draft_spec(tmp_path / "nothing.csv")


def as_text(frame: pl.DataFrame, path: Path, encoding: str = "utf8", **options: object) -> RunSpec:
    """The draft for a text file, which is seen to read the same rows."""
    path.write_text(frame.write_csv(**options), encoding=encoding)
    text, _ = draft_spec(path)
    spec = validate_text(text, "draft.yaml", REGISTRY).spec
    panel = read_panel(spec, open_source(spec, REGISTRY, path.parent))
    wanted = frame.sort("item", "store", "date")
    assert panel.y().tolist() == wanted["units"].to_list()
    assert panel.frame["price"].to_list() == wanted["price"].cast(pl.Float32).to_list()
    return spec


def test_a_text_file_of_commas_needs_no_options(tmp_path: Path):
    assert "csv" not in as_text(shop(), tmp_path / "shop.csv").data.source.options
    assert "csv" not in as_text(shop(), tmp_path / "shop.tsv", separator="\t").data.source.options


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_the_separator_and_decimal_commas_are_seen(tmp_path: Path, separator):
    options = {"separator": separator, "decimal_comma": True}
    spec = as_text(shop(), tmp_path / "shop.csv", **options)
    assert spec.data.source.options["csv"] == options


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_the_encoding_is_seen(tmp_path: Path, encoding):
    frame = shop().with_columns(item=pl.col("item") + " für zwölf", price=pl.col("price"))
    spec = as_text(frame, tmp_path / "shop.csv", encoding)
    assert spec.data.source.options["csv"] == {"encoding": encoding}


def test_an_encoding_that_only_the_end_of_a_file_shows_is_seen(tmp_path: Path):
    late = pl.when(pl.col("item") == "nuts").then(pl.lit("Nüsse")).otherwise("item")
    frame = shop(periods=1200).with_columns(item=late)
    spec = as_text(frame, tmp_path / "shop.csv", "cp1252")
    assert (tmp_path / "shop.csv").read_bytes().index("ü".encode("cp1252")) > 1 << 16
    assert spec.data.source.options["csv"] == {"encoding": "cp1252"}


def test_texts_for_missing_values_are_seen(tmp_path: Path):
    late = pl.when(pl.int_range(pl.len()) != 200).then("temperature")
    frame = shop().with_columns(temperature=late)
    spec = as_text(frame, tmp_path / "shop.csv", null_value="NA")
    assert spec.data.source.options["csv"] == {"null_values": ["NA"]}


def test_titles_above_the_header_are_left_out(tmp_path: Path):
    file = tmp_path / "shop.csv"
    file.write_text("Sales, by day\n\n" + shop().write_csv(separator=";"))
    text, _ = draft_spec(file)
    csv = validate_text(text, "draft.yaml", REGISTRY).spec.data.source.options["csv"]
    assert csv == {"separator": ";", "skip_rows": 2}
    assert invoke(["init", str(file), "--output", str(tmp_path / "shop.yaml")]) == 0
    assert invoke(["run", str(tmp_path / "shop.yaml"), "--output", str(tmp_path / "runs")]) == 0


def test_a_gzipped_text_file_is_read(tmp_path: Path):
    path = tmp_path / "shop.csv.gz"
    path.write_bytes(gzip.compress(shop().write_csv(separator=";").encode()))
    text, _ = draft_spec(path)
    assert validate_text(text, "draft.yaml", REGISTRY).spec.data.columns.y == "units"


@pytest.mark.parametrize(("yes", "no"), [("Y", "N"), ("Yes", "no"), ("ja", "nein"), ("oui", "non")])
def test_words_for_yes_and_no_are_flags(tmp_path: Path, yes, no):
    said = pl.when("promo").then(pl.lit(yes)).otherwise(pl.lit(no))
    frame = shop().with_columns(promo=said)
    spec = as_text(frame, tmp_path / "shop.csv")
    assert spec.data.source.options["types"]["promo"] == "bool"
    assert next(f for f in spec.features if f.use == "promo").options["flags"] == ["promo"]
    panel = read_panel(spec, open_source(spec, REGISTRY, tmp_path))
    wanted = shop().sort("item", "store", "date")["promo"]
    assert panel.frame["promo"].cast(pl.Boolean).to_list() == wanted.to_list()


def test_a_single_series_needs_no_column_that_names_it(tmp_path: Path):
    alone = shop().filter(item="cola", store=1)
    spec = drafted(alone.drop("item", "store", "category"), tmp_path / "one.parquet")
    assert spec.data.columns.keys == ("unique_id",)
    panel = read_panel(spec, open_source(spec, REGISTRY, tmp_path))
    assert panel.series["unique_id"].to_list() == ["all"]
    assert panel.y().tolist() == alone["units"].to_list()
    named = drafted(alone.drop("item", "category"), tmp_path / "named.parquet")
    assert named.data.columns.keys == ("store",)


@pytest.mark.parametrize("written", ["%Y-%m-%d", "%Y-%m", "%m/%d/%Y", "%d.%m.%Y"])
def test_a_column_a_period_becomes_rows(tmp_path: Path, written):
    monthly = shop("1mo", 24).select("item", "store", "date", "units")
    names = monthly["date"].dt.strftime(written)
    wide = monthly.with_columns(date=names).pivot("date", index=["item", "store"], values="units")
    wide.write_csv(tmp_path / "wide.csv")
    text, guesses = draft_spec(tmp_path / "wide.csv")
    assert "time: period, monthly" in guesses
    spec = validate_text(text, "draft.yaml", REGISTRY).spec
    assert observed(spec, tmp_path) == monthly.sort("item", "store", "date")["units"].to_list()


def observed(spec: RunSpec, folder: Path) -> list[float]:
    panel = read_panel(spec, open_source(spec, REGISTRY, folder))
    return panel.frame["y"].drop_nulls().drop_nans().to_list()


def test_a_wide_table_beside_other_columns_names_its_periods(tmp_path: Path):
    monthly = shop("1mo", 24).select("item", "date", "units").head(24)
    names = monthly["date"].dt.strftime("%Y-%m-%d")
    wide = monthly.with_columns(date=names).pivot("date", index="item", values="units")
    wide.with_columns(pl.lit(1.0).alias("2024_total")).write_csv(tmp_path / "wide.csv")
    text, _ = draft_spec(tmp_path / "wide.csv")
    spec = validate_text(text, "draft.yaml", REGISTRY).spec
    assert spec.data.source.options["wide"]["columns"] == names.to_list()
    assert observed(spec, tmp_path) == monthly["units"].to_list()


def test_a_line_of_too_many_fields_is_no_title(tmp_path: Path, capsys):
    lines = shop().write_csv(separator=";").splitlines()
    lines[4] += ";more"
    (tmp_path / "shop.csv").write_text("\n".join(lines))
    assert invoke(["init", str(tmp_path / "shop.csv"), "--output", str(tmp_path / "x.yaml")]) == 5
    assert "cannot be read as csv" in capsys.readouterr().err


def test_forecasts_are_made_where_nothing_is_known_ahead_or_the_data_say_what(tmp_path: Path):
    bare = shop().drop("price", "promo")
    assert drafted(bare, tmp_path / "bare.parquet").data.missing.horizon == "error"
    assert drafted(shop(), tmp_path / "shop.parquet").data.missing.horizon == "skip"
    late = pl.col("date") > dt.date(2024, 2, 20)
    ahead = shop().with_columns(units=pl.when(~late).then("units"))
    assert drafted(ahead, tmp_path / "ahead.parquet").data.missing.horizon == "error"
