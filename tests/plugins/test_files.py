from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

from engine.contracts import SourceContext
from engine.errors import DataError, NotFoundError
from engine_files.expressions import derived
from engine_files.params import FilesParams
from engine_files.source import Files

DAY = dt.date(2024, 1, 1)


def scan(base: Path, **options) -> pl.LazyFrame:
    return Files(FilesParams(**options), SourceContext(0, base)).scan()


def read(base: Path, **options) -> pl.DataFrame:
    return scan(base, **options).collect()


@pytest.fixture
def public_data() -> Path:
    folder = os.environ.get("ENGINE_DATA")
    if not folder and os.environ.get("CI") != "true":
        pytest.skip("ENGINE_DATA does not point to the public data sets")
    return Path(folder or "data")


@pytest.fixture
def sales(tmp_path: Path) -> Path:
    """A folder with sales of two stores on three days, their future, stores and prices."""
    days = [DAY + dt.timedelta(days=i) for i in range(5)]
    rows = [(s, d, 10 * s + i, i % 2) for s in (1, 2) for i, d in enumerate(days[:3])]
    schema = {"store": pl.Int16, "ds": pl.Date, "y": pl.Int32, "promo": pl.Int8}
    pl.DataFrame(rows, schema, orient="row").write_parquet(tmp_path / "sales.parquet")
    ahead = [(s, d, 1) for s in (1, 2) for d in days[3:]]
    schema = {"store": pl.Int64, "ds": pl.Date, "promo": pl.Int8}
    pl.DataFrame(ahead, schema, orient="row").write_parquet(tmp_path / "future.parquet")
    stores = {"store": [1, 2], "kind": ["big", "small"], "promo": [7, 7]}
    pl.DataFrame(stores).write_parquet(tmp_path / "stores.parquet")
    prices = [(s, d, float(s)) for s in (1, 2) for d in days]
    pl.DataFrame(prices, ["shop", "day", "price"], orient="row").write_parquet(
        tmp_path / "prices.parquet"
    )
    return tmp_path


def test_importing_the_plugin_reads_none_of_its_heavy_modules():
    code = (
        "import sys, engine_files; "
        "sys.exit(any(m.startswith('engine_files.') and m != 'engine_files.params' "
        "for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("suffix", ["parquet", "pq", "csv", "csv.gz", "tsv", "arrow", "feather"])
def test_every_format_is_told_by_its_suffix(tmp_path, suffix):
    frame = pl.DataFrame({"store": [1, 2], "name": ["a", "b,c"], "y": [1.5, None]})
    path = tmp_path / f"rows.{suffix}"
    if suffix in ("parquet", "pq"):
        frame.write_parquet(path)
    elif suffix in ("arrow", "feather"):
        frame.write_ipc(path)
    else:
        text = frame.write_csv(separator="\t" if suffix == "tsv" else ",").encode()
        if suffix.endswith("gz"):
            import gzip

            text = gzip.compress(text)
        path.write_bytes(text)
    assert read(tmp_path, path=path.name).equals(frame)


def test_globs_folders_and_lists_read_files_in_order(tmp_path):
    for i in (2, 1, 3):
        pl.DataFrame({"y": [i]}).write_parquet(tmp_path / f"part-{i}.parquet")
    (tmp_path / "_remark.txt").write_text("not data")
    assert read(tmp_path, path="part-*.parquet")["y"].to_list() == [1, 2, 3]
    assert read(tmp_path, path=".", format="parquet")["y"].to_list() == [1, 2, 3]
    listed = ["part-3.parquet", "part-1.parquet"]
    assert read(tmp_path, path=listed)["y"].to_list() == [3, 1]


def test_partitioned_folders_become_columns(tmp_path):
    for store in (1, 2):
        folder = tmp_path / "rows" / f"store={store}"
        folder.mkdir(parents=True)
        pl.DataFrame({"y": [store * 10]}).write_parquet(folder / "a.parquet")
    assert sorted(read(tmp_path, path="rows").select("store", "y").rows()) == [(1, 10), (2, 20)]
    assert read(tmp_path, path="rows", hive=False).columns == ["y"]
    plan = scan(tmp_path, path="rows", where="store = 2").explain()
    assert "store=1" not in plan


def test_european_text_files(tmp_path):
    text = "made by hand\nday;store;y\n31.12.2023;A;1,5\n01.01.2024;Ä;-\n"
    (tmp_path / "rows.csv").write_bytes(text.encode("latin-1"))
    frame = read(
        tmp_path,
        path="rows.csv",
        csv={
            "separator": ";",
            "decimal_comma": True,
            "null_values": ["-"],
            "encoding": "latin-1",
            "skip_rows": 1,
        },
        types={"y": "float"},
        formats={"day": "%d.%m.%Y"},
        rename={"day": "ds"},
    )
    assert frame.rows() == [(dt.date(2023, 12, 31), "A", 1.5), (DAY, "Ä", None)]


def test_dates_that_do_not_parse_are_counted_and_shown(tmp_path):
    days = ["2024-01-01", "01/02/2024", "soon", None, "later", "never"]
    pl.DataFrame({"ds": days}).write_csv(tmp_path / "rows.csv")
    with pytest.raises(DataError, match=r"4 values .* '01/02/2024', 'soon', 'later'") as error:
        scan(tmp_path, path="rows.csv", types={"ds": "date"})
    assert "formats:" in error.value.hint


@settings(deadline=None, max_examples=40)
@given(day=st.dates(dt.date(1900, 1, 1), dt.date(2200, 1, 1)))
@pytest.mark.parametrize("written", ["%d.%m.%Y", "%Y%m%d", "%b %d %Y"])
def test_any_date_in_a_stated_format_is_read_back(tmp_path_factory, day, written):
    folder = tmp_path_factory.mktemp("dates")
    pl.DataFrame({"ds": [day.strftime(written)]}).write_parquet(folder / "a.parquet")
    assert read(folder, path="a.parquet", formats={"ds": written})["ds"].item() == day


def test_a_missing_file_names_its_neighbors(sales):
    with pytest.raises(NotFoundError, match=r"sale\.parquet") as error:
        scan(sales, path="sale.parquet")
    assert "'sales.parquet'" in error.value.hint
    with pytest.raises(NotFoundError, match="no file matches"):
        scan(sales, path="2024-*.parquet")


def test_a_broken_file_is_an_error_that_names_it(tmp_path):
    (tmp_path / "rows.parquet").write_text("not parquet at all")
    with pytest.raises(DataError, match=r"rows\.parquet cannot be read as parquet"):
        scan(tmp_path, path="rows.parquet")


def test_wide_files_become_rows_with_empty_periods_ahead(tmp_path):
    wide = pl.DataFrame({"item": ["a", "b"], "note": ["x", "y"], "d_1": [1, 2], "d_2": [3, 4]})
    wide.write_parquet(tmp_path / "wide.parquet")
    frame = read(
        tmp_path,
        path="wide.parquet",
        wide={"id": ["item"], "columns": "d_*", "name": "d", "value": "y", "extend": "d_{3..4}"},
        where="item = 'b'",
    )
    assert frame.with_columns(pl.col("item", "d").cast(pl.String)).rows() == [
        ("b", "d_1", 2),
        ("b", "d_2", 4),
        ("b", "d_3", None),
        ("b", "d_4", None),
    ]
    with pytest.raises(DataError, match=r"no column of wide\.parquet matches 'w_"):
        scan(tmp_path, path="wide.parquet", wide={"columns": "w_*"})


def test_the_future_lies_below_the_rows_and_joins_reach_it(sales):
    frame = read(
        sales,
        path="sales.parquet",
        future={"path": "future.parquet"},
        join=[
            {"path": "stores.parquet", "on": ["store"]},
            {"path": "prices.parquet", "on": {"store": "shop", "ds": "day"}},
        ],
        derive={"cheap": "price < 1.5 AND promo = 1"},
    )
    assert frame.height == 10
    assert frame.filter(pl.col("ds") > dt.date(2024, 1, 3))["y"].null_count() == 4
    assert frame["kind"].null_count() == frame["price"].null_count() == 0
    assert set(frame["promo"]) == {0, 1}
    assert frame.filter("cheap")["store"].unique().to_list() == [1]


def test_a_join_never_multiplies_rows(sales):
    twice = pl.read_parquet(sales / "stores.parquet")
    pl.concat([twice, twice.head(1)]).write_parquet(sales / "twice.parquet")
    with pytest.raises(DataError, match=r"1 keys \(store\) are not unique .* first 1"):
        scan(sales, path="sales.parquet", join=[{"path": "twice.parquet", "on": ["store"]}])


def test_a_column_of_both_files_must_be_renamed_to_be_taken(sales):
    join = {"path": "stores.parquet", "on": ["store"], "columns": ["promo"]}
    with pytest.raises(DataError, match="'promo' already"):
        scan(sales, path="sales.parquet", join=[join])
    renamed = join | {"columns": ["usual"], "rename": {"promo": "usual"}}
    assert read(sales, path="sales.parquet", join=[renamed])["usual"].to_list() == [7] * 6


def test_category_keys_join_text_and_unknown_keys_give_nulls(tmp_path):
    pl.DataFrame({"item": ["a", "b", "c"]}).write_parquet(tmp_path / "rows.parquet")
    prices = pl.DataFrame({"item": ["b", "a"], "price": [2, 1]})
    prices.cast({"item": pl.Categorical}).write_parquet(tmp_path / "prices.parquet")
    join = {"path": "prices.parquet", "on": ["item"]}
    assert read(tmp_path, path="rows.parquet", join=[join])["price"].to_list() == [1, 2, None]
    inner = read(tmp_path, path="rows.parquet", join=[join | {"how": "inner"}])
    assert inner["item"].to_list() == ["a", "b"]


def test_keys_of_different_kind_are_an_error(sales):
    pl.DataFrame({"store": ["1"], "x": [1]}).write_parquet(sales / "text.parquet")
    join = {"path": "text.parquet", "on": ["store"]}
    with pytest.raises(DataError, match="key 'store' has type Int16 in the rows and String"):
        scan(sales, path="sales.parquet", join=[join])
    frame = read(sales, path="sales.parquet", join=[join | {"types": {"store": "int"}}])
    assert frame["x"].null_count() == 3


@pytest.mark.parametrize(
    ("options", "meant"),
    [
        ({"where": "stores = 1"}, "store"),
        ({"join": [{"path": "stores.parquet", "on": ["stor"]}]}, "store"),
        ({"join": [{"path": "stores.parquet", "on": ["store"], "columns": ["kin"]}]}, "kind"),
        ({"derive": {"x": "promos + 1"}}, "promo"),
        ({"wide": {"columns": ["yy"]}}, "y"),
        ({"types": {"prom": "bool"}}, "promo"),
        ({"rename": {"D": "day"}}, "ds"),
    ],
)
def test_an_unknown_column_is_named_with_what_was_meant(sales, options, meant):
    with pytest.raises(DataError, match="no column") as error:
        scan(sales, path="sales.parquet", **options)
    assert f"'{meant}'" in error.value.hint or f" {meant}" in error.value.hint


def test_selection_and_filters_reach_the_scan_of_the_file(sales):
    plan = (
        scan(
            sales,
            path="sales.parquet",
            where="ds >= DATE '2024-01-02'",
            join=[{"path": "stores.parquet", "on": ["store"]}],
            derive={"double": "y * 2"},
        )
        .filter(pl.col("store") == 1)
        .select("store", "double")
        .explain()
    )
    scans = [part for part in plan.split("Parquet SCAN")[1:] if "sales.parquet" in part]
    assert len(scans) == 1
    assert "3/4 COLUMNS" in scans[0]
    assert '"ds"' in scans[0] and '"store"' in scans[0].split("SELECTION")[1]


@pytest.mark.parametrize(
    "expression",
    [
        "SUM(y)",
        "y - AVG(y)",
        "2 * COUNT(*)",
        "LAG(y) OVER (ORDER BY y)",
        "1 + MAX(y) over (PARTITION BY z)",
    ],
)
def test_an_expression_of_several_rows_is_refused(expression):
    frame = pl.LazyFrame({"y": [1, 2], "z": [1, 2]})
    with pytest.raises(DataError, match="mixes several rows"):
        derived(frame, "x", expression, "the rows")


@settings(deadline=None)
@given(st.lists(st.integers(-100, 100), min_size=2, max_size=20), st.data())
@pytest.mark.parametrize(
    "expression", ["y * 2", "y IN (1, 2)", "CASE WHEN y < 0.9 * z THEN 1 ELSE y END", "ROUND(z, 1)"]
)
def test_a_derived_value_depends_on_its_own_row_alone(expression, values, data):
    frame = pl.DataFrame({"y": values, "z": [v / 3 for v in values]})
    chosen = data.draw(st.integers(0, len(values) - 1))
    whole = derived(frame.lazy(), "x", expression, "the rows").collect()["x"]
    alone = derived(frame[[chosen]].lazy(), "x", expression, "the rows").collect()["x"]
    assert whole[chosen] == alone.item()


def test_formats_go_with_dates_only():
    with pytest.raises(ValidationError, match="goes with type date"):
        FilesParams(path="a.csv", types={"x": "int"}, formats={"x": "%Y"})
    with pytest.raises(ValidationError, match="same name"):
        FilesParams(path="a.csv", rename={"a": "c", "b": "c"})


@pytest.mark.data
def test_walmart_stores_and_features_join_in_spite_of_their_types(public_data):
    frame = read(
        public_data,
        path="walmart_sales.parquet",
        join=[
            {"path": "walmart_features.parquet", "on": ["Store", "Date"]},
            {"path": "walmart_stores.parquet", "on": ["Store"]},
        ],
    )
    assert frame.height == 344_667
    assert frame["IsHoliday"].dtype == pl.Boolean
    assert frame["Temperature"].null_count() == frame["Size"].null_count() == 0


@pytest.mark.data
def test_rossmann_future_follows_the_sales(public_data):
    frame = read(
        public_data,
        path="rossmann_sales.parquet",
        future={"path": "rossmann_future.parquet"},
        join=[{"path": "rossmann_stores.parquet", "on": ["Store"]}],
    )
    assert frame.height == 804_056 + 40_282
    assert frame["Sales"].null_count() == 40_282
    assert frame["StoreType"].null_count() == 0


@pytest.mark.data
@pytest.mark.slow
def test_m5_wide_sales_meet_calendar_prices_and_the_days_ahead(public_data):
    frame = scan(
        public_data / "m5",
        path="sales_train_d1495_d1941.parquet",
        wide={"columns": "d_*", "name": "d", "value": "sales", "extend": "d_{1942..1969}"},
        where="store_id = 'TX_2'",
        join=[
            {"path": "calendar.parquet", "on": ["d"]},
            {"path": "sell_prices.parquet", "on": ["store_id", "item_id", "wm_yr_wk"]},
        ],
        derive={"snap": "CASE WHEN state_id = 'TX' THEN snap_TX ELSE snap_CA END"},
    )
    columns = ["item_id", "date", "sales", "sell_price", "snap"]
    rows = frame.select(columns).collect()
    assert rows.height == 3_049 * (447 + 28)
    ahead = rows.filter(pl.col("date") > dt.date(2016, 5, 22))
    assert ahead.height == ahead["sales"].null_count() == 3_049 * 28
    assert ahead["sell_price"].null_count() == 0
