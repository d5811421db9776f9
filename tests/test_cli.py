from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import yaml

from engine import hookimpl
from engine.cli.main import invoke
from engine.components import Capabilities, Model
from engine.contracts import Prediction
from engine.registry import Registry
from engine.rundir import list_runs

SPEC = """version: 1
name: tiny
data:
  source: {use: simulate, series: 2, periods: 60, future_periods: 7, launches: 0}
  columns: {unique_id: [store, item], ds: ds, y: units}
  freq: 1d
  covariates: {future: [price, promo]}
horizon: 7
features: [{use: lags, lags: [0]}, {use: promo, price: price, flags: [promo]}]
models:
  snaive: {use: seasonal_naive, season: 7}
  ridge: {use: ridge}
backtest: {folds: 2}
evaluate: {metrics: [mae, wape]}
select: {metric: wape}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder that holds the tiny spec."""
    (tmp_path / "tiny.yaml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with one finished run of the tiny spec."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.yaml").write_text(SPEC)
    runs = folder / "runs"
    assert invoke(["run", str(folder / "tiny.yaml"), "--output", str(runs), "--quiet"]) == 0
    return runs


def only_run(folder: Path):
    (found,) = list_runs(folder)
    return found


def test_a_run_ends_with_a_table_the_best_marked_and_what_to_do_next(home: Path, capsys):
    assert invoke(["run", "tiny.yaml"]) == 0
    out, err = capsys.readouterr()
    run = only_run(home / "runs")
    assert run.status == "ok"
    assert out.count("*") == 2
    assert f"best: {run.manifest['best']['model']} (lowest wape)" in out
    assert str(Path("runs") / "tiny" / run.id) in out
    assert "next: engine runs show tiny" in out
    assert "backtest: 2 folds, 2 models" in err


def test_json_is_one_document_and_nothing_else_on_stdout(home: Path, capsys):
    assert invoke(["run", "tiny.yaml", "--json"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["status"] == "ok"
    assert [row["model"] for row in document["scores"]] == ["snaive", "ridge"]
    assert Path(document["run"], "forecast.parquet").exists()
    assert "reading simulate" in err


def test_quiet_says_nothing_on_stderr(home: Path, capsys):
    assert invoke(["run", "tiny.yaml", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_seed_set_and_output_reach_the_run(home: Path):
    arguments = ["--seed", "5", "--set", "horizon=3", "--output", "elsewhere", "--quiet"]
    assert invoke(["run", "tiny.yaml", *arguments]) == 0
    manifest = only_run(home / "elsewhere").manifest
    assert manifest["seed"] == 5
    resolved = yaml.safe_load((only_run(home / "elsewhere").path / "resolved.yaml").read_text())
    assert resolved["horizon"] == 3


def test_a_run_of_some_models_leaves_the_others_and_what_is_expected_of_them(home: Path, capsys):
    expect = [
        "{model: ridge, metric: wape, better_than: snaive}",
        "{model: snaive, metric: mae, max: 0.0}",
        "{no_failures: true}",
    ]
    (home / "tiny.yaml").write_text(SPEC + "expect:\n" + "".join(f"  - {e}\n" for e in expect))
    assert invoke(["run", "tiny.yaml", "--models", "ridge", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["model"] for row in document["scores"]] == ["ridge"]
    assert len(document["expect"]) == 1
    resolved = yaml.safe_load((only_run(home / "runs").path / "resolved.yaml").read_text())
    assert list(resolved["models"]) == ["ridge"]


def test_the_fallback_stays_in_a_run_of_some_models(home: Path, capsys):
    (home / "tiny.yaml").write_text(SPEC + "run: {fallback: snaive}\n")
    assert invoke(["run", "tiny.yaml", "--models", "ridge", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["model"] for row in document["scores"]] == ["snaive", "ridge"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["rnu"], 2, "No such command"),
        (["run"], 2, "Missing argument"),
        (["run", "tiny.yaml", "--nope"], 2, "No such option"),
        (["run", "tiny.yaml", "--workers", "0"], 2, "workers"),
        (["run", "tiny.yaml", "--models", "ridge,snave"], 4, "did you mean 'snaive'?"),
        (["run", "tniy.yaml"], 4, "did you mean tiny.yaml?"),
        (["runs", "show", "nothing"], 4, "no run 'nothing'"),
        (["plugins", "show", "nothing"], 4, "no component named 'nothing'"),
        (["init", "nothing.csv"], 4, "no data file"),
        (["validate", "tiny.yaml", "--set", "horizon=x"], 5, "must be an integer"),
        (["run", "tiny.yaml", "--set", "horizon=400"], 5, "not known for 393 steps"),
        (
            ["run", "tiny.yaml", "--workers", "2", "--set", "run.executor=serial"],
            5,
            "executor 'serial' has no option 'workers'",
        ),
    ],
)
def test_what_goes_wrong_has_its_exit_code_and_is_said_on_stderr(
    home, capsys, arguments, code, said
):
    assert invoke(arguments) == code
    out, err = capsys.readouterr()
    assert said in err
    assert out == ""
    assert "Traceback" not in err


def test_an_unexpected_error_is_exit_1_and_says_how_to_see_more(home, capsys, monkeypatch):
    def explode() -> Registry:
        raise RuntimeError("wires crossed")

    monkeypatch.delenv("ENGINE_DEBUG", raising=False)
    monkeypatch.setattr(Registry, "discover", explode)
    assert invoke(["validate", "tiny.yaml"]) == 1
    err = capsys.readouterr().err
    assert "RuntimeError: wires crossed" in err
    assert "ENGINE_DEBUG=1" in err


def test_a_failed_expectation_is_exit_6_and_the_run_stays(home: Path, capsys):
    expect = "expect=[{model: ridge, metric: wape, max: 0.0001}]"
    assert invoke(["run", "tiny.yaml", "--quiet", "--set", expect]) == 6
    assert "expect FAILED ridge wape <= 0.0001" in capsys.readouterr().out
    assert only_run(home / "runs").status == "gate failed"


def test_an_expectation_that_holds_is_exit_0(home: Path, capsys):
    expect = "expect=[{model: ridge, metric: wape, max: 1000}]"
    assert invoke(["run", "tiny.yaml", "--quiet", "--set", expect]) == 0
    assert "expect holds  ridge wape <= 1000" in capsys.readouterr().out


class Moody:
    """Forecasts zero, except for the first series."""

    def __init__(self, params: object) -> None:
        self.params = params

    def fit(self, train: object) -> Moody:
        return self

    def predict(self, history, future) -> Prediction:
        y_hat = np.zeros((history.n_series, future.ahead_max))
        y_hat[0] = np.nan
        return Prediction(y_hat, failures={0: "out of temper"})

    def save(self, folder: Path) -> None:
        assert folder.is_dir()

    def tables(self) -> dict[str, pl.DataFrame]:
        return {}


class Broken(Moody):
    def fit(self, train: object) -> Moody:
        raise ZeroDivisionError("cannot divide")


@pytest.fixture
def with_failing_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two more models are installed: one fails for a series, the other always."""

    @hookimpl
    def engine_models():
        able = Capabilities(input="panel", scope="local")
        yield Model("moody", f"{__name__}:Moody", capabilities=able)
        yield Model("broken", f"{__name__}:Broken", capabilities=able)

    registry = Registry.discover()
    registry.add(SimpleNamespace(engine_models=engine_models), "moods", "acme-moods", "1.0")
    assert registry.broken == []
    monkeypatch.setattr(Registry, "discover", lambda: registry)


@pytest.mark.parametrize(
    ("model", "reason"),
    [("moody", "out of temper"), ("broken", "ZeroDivisionError: cannot divide")],
)
def test_recorded_failures_are_exit_7_and_are_shown(
    home, capsys, with_failing_models, model, reason
):
    assert invoke(["run", "tiny.yaml", "--quiet", "--set", f"models.bad.use={model}"]) == 7
    out = capsys.readouterr().out
    run = only_run(home / "runs")
    assert run.status == "failures"
    assert f"bad: {reason}" in out
    assert "not compared: bad" in out
    failures = pl.read_parquet(run.path / "failures.parquet").filter(kind="failed")
    assert set(failures["model"]) == {"bad"}
    assert set(failures["reason"]) == {reason}
    assert failures.height == run.manifest["failures"]["failed"] > 0


def not_json(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def test_json_stays_json_where_there_is_no_score(home, capsys, with_failing_models):
    arguments = ["--quiet", "--json", "--set", "models.bad.use=broken"]
    expect = "expect=[{model: bad, metric: wape, max: 1}]"
    assert invoke(["run", "tiny.yaml", *arguments, "--set", expect]) == 6
    document = json.loads(capsys.readouterr().out, parse_constant=not_json)
    manifest = (only_run(home / "runs").path / "manifest.json").read_text()
    assert json.loads(manifest, parse_constant=not_json)["expect"] == document["expect"]
    assert document["expect"][0]["value"] is None


def test_a_missing_dependency_is_exit_3_with_the_line_that_installs_it(home, capsys, monkeypatch):
    @hookimpl
    def engine_models():
        yield Model("needy", "needy_model:Needy", install="pip install 'acme[needy]'")

    registry = Registry.discover()
    registry.add(SimpleNamespace(engine_models=engine_models), "needy", "acme", "1.0")
    (home / "needy_model.py").write_text("import no_such_package_xyz\n")
    monkeypatch.syspath_prepend(str(home))
    monkeypatch.setattr(Registry, "discover", lambda: registry)
    assert invoke(["run", "tiny.yaml", "--quiet", "--set", "models.bad.use=needy"]) == 3
    err = capsys.readouterr().err
    assert "needs the package 'no_such_package_xyz'" in err
    assert "pip install 'acme[needy]'" in err
    assert not list((home / "runs").iterdir())


def test_on_error_stop_ends_the_run_and_leaves_it_marked_partial(home, capsys, with_failing_models):
    overrides = ["--set", "models.bad.use=broken", "--set", "run.on_error=stop"]
    assert invoke(["run", "tiny.yaml", "--quiet", *overrides]) != 0
    assert "ZeroDivisionError: cannot divide" in capsys.readouterr().err
    run = only_run(home / "runs")
    assert run.path.name.endswith(".partial")
    assert run.status == "failed"


def test_runs_are_listed_with_status_and_best_model(finished: Path, capsys):
    assert invoke(["runs", "list", "--output", str(finished), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["status"]) == ("tiny", "ok")
    assert row["best"] in ("snaive", "ridge")


def test_no_runs_are_no_error(tmp_path: Path, capsys):
    assert invoke(["runs", "list", "--output", str(tmp_path / "none")]) == 0
    assert "no runs under" in capsys.readouterr().out


@pytest.mark.parametrize("reference", ["tiny", "id", "path"])
def test_a_run_is_shown_by_name_id_or_path(finished: Path, capsys, reference):
    run = only_run(finished)
    shown = {"tiny": "tiny", "id": run.id, "path": str(run.path)}[reference]
    assert invoke(["runs", "show", shown, "--output", str(finished)]) == 0
    out = capsys.readouterr().out
    assert run.id in out
    assert "2 series" in out
    assert "forecast.parquet" in out


def test_plugins_are_listed_with_kind_and_distribution(capsys):
    assert invoke(["plugins", "list", "--kind", "model", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    names = {row["name"] for row in document["components"]}
    assert {"seasonal_naive", "ridge", "arima", "lstm"} <= names
    assert {row["kind"] for row in document["components"]} == {"model"}
    assert document["broken"] == []


def test_a_plugin_is_shown_with_options_defaults_and_meaning(capsys):
    assert invoke(["plugins", "show", "seasonal_naive", "--json"]) == 0
    ((shown),) = json.loads(capsys.readouterr().out)
    options = {option["name"]: option for option in shown["options"]}
    assert options["seasons"]["default"] == "1"
    assert "same season" in options["seasons"]["description"]
    assert shown["distribution"] == "engine-forecast"


def test_validate_reads_no_data(home: Path, capsys):
    missing = "data.source={use: files, path: not_there.parquet}"
    assert invoke(["validate", "tiny.yaml", "--set", missing]) == 0
    assert "tiny.yaml is valid: tiny, models snaive, ridge" in capsys.readouterr().out


def test_the_resolved_spec_validates_to_itself(home: Path, capsys):
    assert invoke(["validate", "tiny.yaml", "--resolved"]) == 0
    resolved = capsys.readouterr().out
    Path("resolved.yaml").write_text(resolved)
    assert invoke(["validate", "resolved.yaml", "--resolved"]) == 0
    assert capsys.readouterr().out == resolved


SLOW = ["series=40", "periods=900"]


@pytest.mark.parametrize("executor", ["serial", "process"])
def test_an_interrupted_run_is_marked_partial(home: Path, executor: str):
    command = [sys.executable, "-m", "engine.cli.main", "run", "tiny.yaml"]
    for change in [f"data.source.{each}" for each in SLOW] + [
        f"run.executor={executor}",
        "backtest.folds=100",
        "backtest.step_size=1",
    ]:
        command += ["--set", change]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.split("s ", 1)[-1].lstrip().startswith("["):
            break
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, "".join(lines) + err
    assert out == ""
    assert "Traceback" not in err
    assert err.endswith(
        "interrupted: if a run had begun, what it finished is kept in a folder marked .partial\n"
    )
    run = only_run(home / "runs")
    assert run.path.name.endswith(".partial")
    assert run.status == "interrupted"
    assert 0 < len(run.manifest["tasks"]) < 200
    assert pl.read_parquet(run.path / "backtest.parquet").height > 0
