"""The example package for intermittent demand, installed outside of the repository."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.installing import engine, install, run

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "engine-croston"
SPEC = """version: 1
name: parts
data:
  source: {use: simulate, series: 6, periods: 120, future_periods: 7, intermittent: 1.0, promotions: 0}
  columns: {unique_id: [store, item], ds: ds, y: units}
  freq: 1d
horizon: 7
quantiles: [0.1, 0.9]
models:
  snaive: {use: seasonal_naive, season: 7}
  sba: {use: croston}
  tsb: {use: croston, variant: tsb, alpha: 0.2}
evaluate: {metrics: [mae, rmsse]}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package installed beside it."""
    home = tmp_path_factory.mktemp("croston")
    install(EXAMPLE, home)
    return home


@pytest.mark.slow
def test_its_own_tests_pass_on_the_installed_package(home: Path):
    shutil.copytree(EXAMPLE / "tests", home / "tests")
    done = run(home, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.slow
def test_a_spec_runs_it(home: Path):
    (home / "parts.yaml").write_text(SPEC)
    done = engine(home, "run", "parts.yaml", "--quiet")
    assert done.returncode == 0, done.stderr
    assert "tsb" in done.stdout


@pytest.mark.slow
def test_the_kit_passes_it_from_the_command_line(home: Path):
    done = engine(home, "plugins", "check", "engine-croston", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    (card,) = json.loads(done.stdout)
    assert (card["name"], card["failed"]) == ("croston", 0)
    assert card["ok"] >= 40


@pytest.mark.slow
@pytest.mark.data
def test_it_beats_seasonal_naive_on_car_parts(home: Path):
    folder = os.environ.get("ENGINE_DATA")
    if not folder:
        assert not os.environ.get("CI"), "ENGINE_DATA is not set"
        pytest.skip("ENGINE_DATA is not set: the public data sets are not on this machine")
    done = engine(
        home, "run", str(ROOT / "specs" / "carparts.yaml"), "--json",
        "--set", "models.croston.use=croston", "--set", "models.croston.variant=tsb",
        "--set", "models.croston.alpha=0.1",
    )  # fmt: skip
    assert done.returncode in (0, 7), done.stderr
    scores = {row["model"]: row for row in json.loads(done.stdout)["scores"]}
    for metric in ("mae", "rmsse", "mase", "pinball"):
        assert scores["croston"][metric] < scores["snaive"][metric], metric
