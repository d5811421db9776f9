"""The measurements run; what they measure is not judged here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "size", "tables"),
    [
        ("features.py", ["--series", "4", "600", "--days", "60"], 2),
        (
            "regression.py",
            ["--series", "4", "--days", "120", "--local-series", "9", "--flops-series", "9"],
            3,
        ),
        ("lstm.py", ["library", "--series", "70", "--steps", "2"], 1),
    ],
)
def test_a_small_measurement_prints_its_tables(
    tmp_path: Path, script: str, size: list[str], tables: int
):
    command = [sys.executable, str(FOLDER / script), *size, "--repeat", "1"]
    command += ["--data", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("###") == tables
    assert done.stdout.count("| engine |") == tables


@pytest.mark.slow
def test_the_lift_of_promotions_is_measured_on_rows_that_are_there():
    small = ["data.source.series=8", "data.source.periods=400", "models.ridge.target=none"]
    command = [sys.executable, str(FOLDER / "lift.py"), "--model", "ridge"]
    command += [part for one in small for part in ("--set", one)]
    root = FOLDER.parent
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("│ ridge ┆") == 3
    assert "NaN" not in done.stdout


@pytest.mark.slow
def test_effects_are_measured_for_each_scope():
    command = [sys.executable, str(FOLDER / "effects.py"), "--seeds", "1", "--series", "12"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("│ elasticity ┆") == done.stdout.count("│ lift ") > 0
    assert "NaN" not in done.stdout
