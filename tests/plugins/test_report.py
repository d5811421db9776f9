"""The report of small runs: its numbers are the run's, names are only shown, nothing is fetched."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import polars as pl
import pytest
import yaml

from engine.cli.main import invoke
from engine.contracts import Results
from engine.errors import DataError
from engine.outputs import read_results
from engine.registry import Registry
from engine.rundir import read_run
from engine.runner import run as run_spec
from engine.spec.validate import validate_text
from engine_report import uplift
from engine_report.document import Section
from engine_report.failing import weakest
from engine_report.numbers import score
from engine_report.params import ReportParams
from engine_report.reading import Run, read
from engine_report.writer import ReportWriter, document
from tests.plugins.report_runs import SPEC, Page, finished_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    return finished_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text())


def results(folder: Path, **tables: pl.DataFrame) -> Results:
    found = read_results(read_run(folder), folder)
    return Results({**found.tables, **tables}, found.name, folder, folder, found.manifest)


def written(folder: Path, target: Path, made: Results, **options: object) -> str:
    (path,) = ReportWriter(ReportParams(path=str(target), **options)).write(made)
    return path.read_text()


def section(run: Run, name: str) -> Section:
    (found,) = [s for s in document(run).sections if s.name == name]
    return found


def test_flags_may_be_true_or_false(folder: Path, tmp_path: Path):
    history = results(folder).tables["history"]
    flagged = results(folder, history=history.with_columns(pl.col("promo").cast(pl.Boolean)))
    assert read(flagged, ReportParams()).flags == ("promo",)
    made = (written(folder, tmp_path / "page.html", r) for r in (results(folder), flagged))
    numbers, words = (Page(text).tables for text in made)
    assert numbers == words


def test_the_run_names_its_report(folder: Path):
    assert json.loads((folder / "manifest.json").read_text())["reports"] == ["report.html"]


def test_every_score_is_that_of_scores_parquet_to_the_last_digit(folder: Path, page: Page):
    head, *rows = page.tables["Scores of all models"]
    scores = pl.read_parquet(folder / "scores.parquet")
    whole = scores.filter(pl.col("segment") == "all", pl.col("cutoff").is_null())
    wanted = {(m, k): v for m, k, v in whole.select("model", "metric", "value").iter_rows()}
    shown = {
        (row[0], metric): float(value)
        for row in rows
        for metric, value in zip(head[1:], row[1:], strict=True)
    }
    assert shown == wanted


def test_scores_by_fold_and_segment_are_those_of_scores_parquet(folder: Path, page: Page):
    scores = pl.read_parquet(folder / "scores.parquet").filter(pl.col("metric") == "wape")
    folds = scores.filter(pl.col("segment") == "all", pl.col("cutoff").is_not_null())
    head, *rows = page.tables["wape by fold"]
    for row in rows:
        mine = folds.filter(pl.col("model") == row[0]).sort("cutoff")
        assert head[1:4] == [str(c) for c in mine["cutoff"]]
        assert [float(v) for v in row[1:4]] == mine["value"].to_list()
    for key in ("category", "store"):
        _, *segments = page.tables[f"By {key}"]
        mine = scores.filter(pl.col("model") == "ridge", pl.col("cutoff").is_null())
        wanted = dict(mine.select("segment", "value").iter_rows())
        shown = {f"{key}={row[0]}": float(row[1]) for row in segments}
        assert shown == pytest.approx({k: v for k, v in wanted.items() if k in shown}, rel=1e-12)
        assert len(shown) == sum(k.startswith(key) for k in wanted)


def test_every_other_score_in_the_page_is_that_of_scores_parquet(folder: Path, page: Page):
    """The figures of the verdict, and what the spec's own segments say of steps."""
    scores = pl.read_parquet(folder / "scores.parquet").filter(pl.col("cutoff").is_null())
    whole = scores.filter(segment="all")
    value = {(m, k): v for m, k, v in whole.select("model", "metric", "value").iter_rows()}
    figures = dict(page.figures)
    for metric in ("wape", "bias", "coverage"):
        assert figures[f"{metric} of ridge"] == (
            value["ridge", metric],
            f"snaive: {score(value['snaive', metric])}",
        )
    head, *rows = page.tables["WAPE by steps ahead"]
    steps = scores.filter(pl.col("segment").str.starts_with("step="), metric="wape")
    wanted = {(m, s): v for m, s, v in steps.select("model", "segment", "value").iter_rows()}
    assert {
        (row[0], column.replace("step ", "step=")): float(v)
        for row in rows
        for column, v in zip(head[1:], row[1:], strict=True)
    } == pytest.approx(wanted, rel=1e-12)
    head, *rows = page.tables["Every score of every step"]
    asked = scores.filter(pl.col("segment").str.starts_with("step="))
    assert {
        (row[0], f"step={float(row[1]):.0f}", metric): float(v)
        for row in rows
        for metric, v in zip(head[2:], row[2:], strict=True)
    } == {(m, s, k): v for m, s, k, v in asked.select("model", "segment", "metric", "value").rows()}
    _, *tests = page.tables["Are the others different from ridge by wape?"]
    difference = value["snaive", "wape"] - value["ridge", "wape"]
    assert float(tests[0][2]) == pytest.approx(difference, rel=1e-9)


def test_the_verdict_says_what_fails_what_promotions_sold_and_how_much_is_ahead(folder: Path):
    run = read(results(folder), ReportParams())
    blocks = document(run).sections[0].blocks
    said = " ".join(b.text for b in blocks if b.kind == "prose")
    order = section(run, "order").blocks
    ordered = " ".join(b.text for b in order if b.kind == "prose")
    scores = pl.read_parquet(folder / "scores.parquet").filter(model="ridge", metric="wape")
    whole = scores.filter(pl.col("cutoff").is_null(), pl.col("segment") == "all")["value"].item()
    assert f"errors add up to {100 * whole:.0f} % of the actual units" in said
    assert "Periods marked promo sold" in said
    forecast = pl.read_parquet(folder / "forecast.parquet").filter(model="ridge")
    assert f"ridge forecasts {forecast['y_hat'].sum():,.0f} units in sum" in ordered
    (ahead,) = [b for b in order if b.kind == "table"]
    sums = forecast.group_by("unique_id").agg(pl.col("y_hat").sum())
    assert {row[0]: row[1] for row in ahead.rows} == pytest.approx(dict(sums.iter_rows()))


def test_the_verdict_names_the_group_of_series_that_the_model_fails_on(folder: Path):
    broken = (pl.col("store") == "store_001") & (pl.col("model") == "ridge")
    spoiled = pl.when(broken).then(pl.col("y") + 20 * (pl.col("y_hat") - pl.col("y")))
    tested = results(folder).tables["backtest"]
    backtest = tested.with_columns(y_hat=spoiled.otherwise(pl.col("y_hat")))
    run = read(results(folder, backtest=backtest), ReportParams())
    weak, lost = weakest(run)
    rows = backtest.filter(broken)
    true = (rows["y_hat"] - rows["y"]).abs().sum() / rows["y"].sum()
    assert ("store store_001", pytest.approx(true)) in weak
    assert "store store_001" in lost
    assert "store store_002" not in [*lost, *(name for name, _ in weak)]
    said = [b.text for b in document(run).sections[0].blocks if b.kind == "prose"]
    assert any("worse than snaive for" in text and "store store_001" in text for text in said)


def test_nothing_is_fetched_and_every_chart_and_table_is_named(page: Page):
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "action"):
            assert not re.match(r"(?:https?:)?//", attributes.get(name) or ""), (tag, attributes)
        assert tag not in ("link", "iframe", "object") or attributes.get("href") == "data:,"
    pictures = [a for _, a in page.tags if a.get("class") == "picture"]
    assert len(pictures) > 8
    assert all(a["role"] == "img" and a["aria-label"] for a in pictures)
    assert [t for t, _ in page.tags].count("caption") == [t for t, _ in page.tags].count("table")


def test_a_series_called_script_is_shown_and_not_run(folder: Path, tmp_path: Path):
    evil = "<script>alert(1)</script>"

    def renamed(table: pl.DataFrame) -> pl.DataFrame:
        name = pl.col("unique_id").replace("store_001/item_00001", evil)
        return table.with_columns(
            name, *[pl.lit(evil).alias(c) for c in ("store",) if c in table.columns]
        )

    made = results(folder)
    tables = {
        name: renamed(table) if "unique_id" in table.columns else table
        for name, table in made.tables.items()
    }
    text = written(folder, tmp_path / "r.html", results(folder, **tables))
    scripts = [a for t, a in Page(text).tags if t == "script"]
    assert [a.get("type") for a in scripts] == ["application/json", "application/json", None]
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    comment = written(folder, tmp_path / "r.md", results(folder, **tables), format="md")
    assert "<script>" not in comment
    assert "&lt;script>" in comment


def test_the_true_uplift_of_a_simulated_promotion_lies_in_the_interval(folder: Path):
    run = read(results(folder), ReportParams())
    tables = {b.caption: b for s in document(run).sections for b in s.blocks if b.kind == "table"}
    (row,) = tables["Promotion uplift by mark"].rows
    names = pl.col("store", "item").cast(pl.String)
    whole = pl.read_parquet(folder / "source" / "truth_rows.parquet").with_columns(names)
    truth = whole.join(
        run.history.join(run.series.select("unique_id", "store", "item"), on="unique_id")
        .filter(promo=1, stockout=0)
        .select("store", "item", "ds"),
        on=["store", "item", "ds"],
    )
    true = 100 * truth["uplift"].sum() / truth["baseline"].sum()
    assert row[0] == "promo"
    assert row[2] < true < row[3]
    assert row[3] - row[2] < 40
    (money,) = tables["Revenue uplift by mark"].rows
    traits = pl.read_parquet(folder / "source" / "truth.parquet").with_columns(names)
    priced = truth.join(
        uplift.marked_rows(run).select("store", "item", "ds", "price", usual="base_price"),
        on=["store", "item", "ds"],
    ).join(
        traits.select("store", "item", "elasticity", list_price="base_price"), on=["store", "item"]
    )
    usual = pl.col("baseline") * (pl.col("usual") / pl.col("list_price")) ** pl.col("elasticity")
    taken = priced.select((pl.col("mean") * pl.col("price")).sum()).item()
    true = 100 * (taken / priced.select((usual * pl.col("usual")).sum()).item() - 1)
    assert money[2] < true < money[3]
    assert money[3] - money[2] < 40


def test_the_report_is_made_again_from_the_folder_alone(folder: Path, tmp_path: Path, capsys):
    before = (folder / "report.html").read_text()
    (folder / "report.html").unlink()
    assert invoke(["report", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    seconds = re.compile(r"\d+\.\d s")
    assert seconds.sub("", (folder / "report.html").read_text()) == seconds.sub("", before)


def test_markdown_has_the_verdict_first_and_balanced_folds(folder: Path, capsys):
    assert invoke(["report", str(folder), "--format", "md"]) == 0
    text = (folder / "report.md").read_text()
    assert text.startswith("### tiny: Use ridge: its wape over 3 folds is 0.")
    assert text.count("<details>") == text.count("</details>") == 3
    head = next(line for line in text.splitlines() if line.startswith("| model | wape | mae"))
    assert text.splitlines()[text.splitlines().index(head) + 1].count("|") == head.count("|")


def test_the_commands_in_the_page_make_the_same_run(folder: Path, tmp_path: Path, capsys):
    run = read(results(folder), ReportParams())
    (again,) = [
        b.text
        for b in document(run).sections[-1].blocks
        if b.kind == "code" and b.title.startswith("To repeat it from its own record")
    ]
    program, *arguments = shlex.split(again)
    assert program == "engine"
    assert invoke([*arguments, "--output", str(tmp_path), "--quiet"]) == 0
    (made,) = (tmp_path / "tiny").iterdir()
    for name in ("backtest", "forecast", "scores"):
        before, after = (pl.read_parquet(f / f"{name}.parquet") for f in (folder, made))
        assert before.equals(after)


def test_a_run_remembers_what_was_typed(tmp_path: Path, capsys):
    spec = tmp_path / "a spec.yaml"
    spec.write_text(SPEC.replace("periods: 400", "periods: 60"), encoding="utf-8")
    options = ["--set", "backtest.folds=2", "--seed", "4"]
    assert invoke(["run", str(spec), *options, "--output", str(tmp_path), "--quiet"]) == 0
    (made,) = (tmp_path / "tiny").iterdir()
    command = json.loads((made / "manifest.json").read_text())["command"]
    assert shlex.split(command) == ["engine", "run", str(spec), *options]
    assert command.replace("'", "&#39;") in (made / "report.html").read_text()


def test_series_that_were_left_out_for_like_reasons_are_one_line(folder: Path):
    table = pl.DataFrame({
        "kind": "skipped", "model": None, "fallback": None, "unique_id": ["a", "a", "b"],
        "cutoff": None, "reason": [f"ended: no observation in the last {n} periods" for n in (1, 2, 9)],
    })  # fmt: skip
    run = read(results(folder, failures=table), ReportParams())
    blocks = document(run).sections[-1].blocks
    (shown,) = [b for b in blocks if b.kind == "table" and b.caption.startswith("Failures")]
    assert shown.rows == [
        ["skipped", None, 3, 2, "ended: no observation in the last … periods", None, "a"]
    ]


def test_a_mark_that_is_nearly_always_set_marks_no_promotion(folder: Path):
    history = results(folder).tables["history"]
    often = history.with_columns(promo=pl.when(pl.col("promo") == 1).then(0).otherwise(1))
    unknown = pl.when(pl.col("y").is_null()).then("promo").alias("promo")
    assert read(results(folder), ReportParams()).flags == ("promo",)
    for changed in (often, history.with_columns(unknown)):
        assert read(results(folder, history=changed), ReportParams()).flags == ()


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("scores.parquet", b"PAR1 cut short", "cannot read"),
        ("manifest.json", b'{"name"', "manifest.json is no JSON"),
    ],
)
def test_a_damaged_run_is_a_clear_error(folder: Path, tmp_path: Path, capsys, file, content, said):
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / file).write_bytes(content)
    assert invoke(["report", str(tmp_path / "run")]) == 5
    error = capsys.readouterr().err
    assert said in error
    assert "run it again" in error


def test_a_run_of_another_version_is_reported_on_with_a_warning(folder: Path, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "run")
    manifest = json.loads((folder / "manifest.json").read_text())
    (tmp_path / "run" / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 0}))
    assert invoke(["report", str(tmp_path / "run")]) == 0
    assert "warning: run" in capsys.readouterr().err


def test_an_unknown_format_names_those_there_are(folder: Path, capsys):
    assert invoke(["report", str(folder), "--format", "docx"]) == 4
    assert "formats: html, md, pdf, png" in capsys.readouterr().err


def test_a_run_of_an_older_version_gets_a_report_without_pictures(folder: Path, tmp_path: Path):
    made = results(folder)
    kept = {k: v for k, v in made.tables.items() if k not in ("history", "series")}
    old = Results(kept, made.name, folder, folder, made.manifest)
    text = written(folder, tmp_path / "old.html", old)
    assert "keeps no history" in text
    assert "Scores of all models" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [({"baseline": "croston"}, "not a model"), ({"promotions": ["deal"]}, "no covariate")],
)
def test_an_option_that_names_what_is_not_there_says_what_is(folder: Path, options, message):
    run = results(folder)
    with pytest.raises(DataError, match=message) as caught:
        ReportWriter(ReportParams(path="x.html", **options)).write(run)
    assert "ridge" in caught.value.hint or "promo" in caught.value.hint


def test_a_writer_that_breaks_does_not_cost_the_run(tmp_path: Path, monkeypatch):
    registry = Registry.discover()
    loaded = validate_text(SPEC.replace("periods: 400", "periods: 60"), "tiny.yaml", registry)
    monkeypatch.setattr(ReportWriter, "write", lambda self, made: 1 / 0)
    with pytest.raises(Exception, match="writer 'report' failed: ZeroDivisionError"):
        run_spec(loaded, registry, output=tmp_path, base=tmp_path)
    (made,) = (tmp_path / "tiny").iterdir()
    assert read_run(made).status == "ok"
    assert yaml.safe_load((made / "resolved.yaml").read_text())["name"] == "tiny"


def test_a_baseline_without_errors_is_done_better_by_nobody(folder: Path):
    made = results(folder)
    backtest = made.tables["backtest"].with_columns(
        y_hat=pl.when(pl.col("model") == "snaive").then("y").otherwise(pl.col("y") + 1.0)
    )
    run = read(results(folder, backtest=backtest), ReportParams())
    _, lost = weakest(run)
    assert len(lost) == 3


def test_scores_that_no_fold_has_are_not_drawn(folder: Path):
    whole = pl.col("cutoff").is_null()
    scores = results(folder).tables["scores"].with_columns(value=pl.when(whole).then("value"))
    run = read(results(folder, scores=scores), ReportParams())
    (charts,) = (b for b in section(run, "leaderboard").blocks if b.kind == "charts")
    assert [chart.caption for chart in charts.items] == ["WAPE by step ahead"]
