from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = (
    *("jax", "flax", "optax", "statsforecast", "holidays", "pandas"),
    *("altair", "vl_convert", "jinja2", "matplotlib"),
)
SCRIPT = """
import sys
from engine.cli.main import invoke
code = invoke(sys.argv[1:])
print("loaded", code, *sorted({name.split(".")[0] for name in sys.modules}))
"""


def loaded_by(*arguments: str, folder: Path = ROOT) -> set[str]:
    """Top-level packages that a command has imported by its end, in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    last = done.stdout.splitlines()[-1].split()
    assert last[:2] == ["loaded", "0"], done.stderr
    return set(last[2:])


def test_help_imports_neither_polars_nor_anything_heavier():
    loaded = loaded_by("--help")
    assert "typer" in loaded
    assert loaded.isdisjoint({"polars", "numpy", *HEAVY})


@pytest.mark.parametrize(
    "command",
    [
        *(
            "run",
            "prove",
            "test",
            "diff",
            "report",
            "validate",
            "init",
            "plugins",
            "runs",
            "schema",
        ),
        *("plan", "show", "doctor"),
    ],
)
def test_help_of_a_command_is_as_light(command):
    assert loaded_by(command, "--help").isdisjoint({"polars", "numpy", *HEAVY})


@pytest.mark.parametrize(
    "arguments",
    [
        ("validate", "specs/promo.yaml"),
        ("validate", "specs/orange_juice.yaml"),
        ("plugins", "list"),
        ("plugins", "show", "lstm"),
        ("schema",),
        ("runs", "list", "--output", "no-such-folder"),
        ("doctor",),
    ],
    ids=" ".join,
)
def test_looking_imports_nothing_heavy(arguments):
    loaded = loaded_by(*arguments)
    assert "engine" in loaded
    assert loaded.isdisjoint(HEAVY)


LIGHT_RUN = """version: 1
name: light
data:
  source: {use: simulate, series: 2, periods: 40, future_periods: 7}
  columns: {unique_id: [store, item], ds: ds, y: units}
  freq: 1d
horizon: 7
models:
  snaive: {use: seasonal_naive, season: 7}
evaluate: {metrics: [mae]}
"""


def test_a_run_imports_only_what_its_spec_names(tmp_path: Path):
    (tmp_path / "light.yaml").write_text(LIGHT_RUN)
    loaded = loaded_by("run", "light.yaml", folder=tmp_path)
    assert {"engine_simulate", "engine_naive", "polars"} <= loaded
    assert loaded.isdisjoint(HEAVY)
