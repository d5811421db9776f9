from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from engine.cli.main import invoke
from engine.compare.runs import Comparison, compare_runs
from engine.evaluate import ALL
from engine.rundir import read_run
from tests.gate_specs import BASE

SPEC = BASE.replace("series: 12", "series: 60, stores: 2") + "  by: [store, step]\n"
SPEC = SPEC.replace(
    "evaluate: {metrics: [mae, wape]}\n", "evaluate:\n  metrics: [wape, mae, bias]\n"
)
CHANGED = "models.weekly.season=1"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs: `weekly` is the weekly naive in the first one and the last value in the second."""
    folder = tmp_path_factory.mktemp("diff")
    (folder / "weekly.yaml").write_text(SPEC)
    made = []
    for name, change in (("a", "seed=0"), ("b", CHANGED)):
        arguments = ["run", str(folder / "weekly.yaml"), "--output", str(folder / name)]
        assert invoke([*arguments, "--set", change, "--quiet"]) == 0
        (found,) = (folder / name / "weekly").iterdir()
        made.append(found)
    return made[0], made[1]


@pytest.fixture(scope="module")
def compared(runs: tuple[Path, Path]) -> Comparison:
    return compare_runs(read_run(runs[0]), read_run(runs[1]), top=3)


def diff(runs: tuple[Path, Path], *options: str) -> int:
    return invoke(["diff", str(runs[0]), str(runs[1]), *options])


def test_only_what_changed_is_named(compared: Comparison):
    (change,) = compared.changes
    assert (change.what, change.key) == ("spec", "models.weekly.season")
    assert (change.before, change.after) == (7, 1)


def test_the_worse_model_is_found_and_the_others_are_the_same(compared: Comparison):
    headline = {(d.model, d.metric): d for d in compared.deltas if d.segment == ALL}
    worse = headline["weekly", "wape"]
    assert worse.verdict == "worse"
    assert worse.p is not None and worse.p < 0.05
    assert worse.test is not None and worse.test.series == 60
    assert {d.verdict for (model, _), d in headline.items() if model != "weekly"} == {"same"}
    assert headline["weekly", "bias"].verdict == "no order"


def test_segments_by_key_are_tested_over_their_own_series(compared: Comparison):
    tested = {d.segment: d.test for d in compared.deltas if d.model == "weekly" and d.test}
    sizes = {segment: test.series for segment, test in tested.items() if segment != ALL}
    assert set(sizes) == {"store=store_001", "store=store_002"}
    assert sum(sizes.values()) == 60
    steps = [d for d in compared.deltas if d.segment.startswith("step=")]
    assert len(steps) == 3 * 3 * 7
    assert all(d.test is None for d in steps)


def test_movers_are_the_series_with_the_largest_change_of_total_error(
    compared: Comparison, runs: tuple[Path, Path]
):
    totals = []
    for run in runs:
        rows = pl.read_parquet(run / "backtest.parquet").filter(model="weekly")
        error = (pl.col("y") - pl.col("y_hat")).abs().sum()
        totals.append(dict(rows.group_by("unique_id").agg(error).iter_rows()))
    changes = {uid: abs(totals[1][uid] - totals[0][uid]) for uid in totals[0]}
    movers = [m for m in compared.movers if m.model == "weekly"]
    assert [abs(m.after - m.before) for m in movers] == sorted(changes.values(), reverse=True)[:3]
    assert {m.model for m in compared.movers} == {"weekly"}


def test_fail_on_worse_is_exit_6_only_in_the_direction_of_worse(runs, capsys):
    assert diff(runs) == 0
    assert diff(runs, "--fail-on", "worse") == 6
    assert "FAILED weekly is worse by wape" in capsys.readouterr().out
    assert diff(runs[::-1], "--fail-on", "worse") == 0
    assert diff((runs[0], runs[0]), "--fail-on", "worse", "--metric", "mae") == 0
    assert "all scores are the same" in capsys.readouterr().out


def test_json_holds_the_whole_comparison(runs, capsys):
    assert diff(runs, "--json", "--fail-on", "worse") == 6
    document = json.loads(capsys.readouterr().out)
    assert document["worse"] == ["weekly"]
    assert document["changes"][0]["key"] == "models.weekly.season"
    assert {s["verdict"] for s in document["scores"]} >= {"worse", "same", "no order"}


def test_models_of_one_run_only_are_named_and_not_compared(runs, tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("manifest.json", "resolved.yaml"):
        (other / name).write_text((runs[0] / name).read_text())
    for name in ("scores", "series_scores", "backtest"):
        table = pl.read_parquet(runs[0] / f"{name}.parquet")
        renamed = pl.col("model").replace({"spare": "new"})
        table.with_columns(renamed).write_parquet(other / f"{name}.parquet")
    found = compare_runs(read_run(runs[0]), read_run(other))
    assert (found.gone, found.added) == (["spare"], ["new"])
    assert {d.model for d in found.deltas} == {"weekly", "last"}
    assert {d.verdict for d in found.deltas if d.metric != "bias"} == {"same"}


def test_a_run_without_scores_and_an_unknown_metric_are_errors(runs, tmp_path: Path, capsys):
    (tmp_path / "manifest.json").write_text((runs[0] / "manifest.json").read_text())
    assert diff((runs[0], tmp_path)) == 4
    assert "has no scores" in capsys.readouterr().err
    assert diff(runs, "--metric", "wap") == 4
    assert "known: wape" in capsys.readouterr().err


def test_a_pooled_score_is_tested_as_the_pooled_score_not_as_a_mean_of_ratios(
    compared: Comparison,
):
    headline = {d.metric: d for d in compared.deltas if d.segment == ALL and d.model == "weekly"}
    for metric in ("wape", "mae"):
        delta = headline[metric]
        assert delta.test is not None and delta.before is not None and delta.after is not None
        exact = 1e-9 if metric == "mae" else 0.1
        assert delta.test.mean == pytest.approx(delta.after - delta.before, rel=exact)


def test_a_score_that_is_gone_is_worse_and_json_stays_json(runs, tmp_path: Path, capsys):
    for name in ("manifest.json", "resolved.yaml"):
        (tmp_path / name).write_text((runs[0] / name).read_text())
    for name in ("series_scores", "backtest"):
        pl.read_parquet(runs[0] / f"{name}.parquet").write_parquet(tmp_path / f"{name}.parquet")
    scores = pl.read_parquet(runs[0] / "scores.parquet")
    lost = pl.when(model="last").then(float("nan")).otherwise("value").alias("value")
    scores.with_columns(lost).write_parquet(tmp_path / "scores.parquet")
    assert diff((runs[0], tmp_path), "--fail-on", "worse", "--json") == 6
    out = capsys.readouterr().out
    assert "NaN" not in out
    assert json.loads(out)["worse"] == ["last"]
