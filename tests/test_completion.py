"""What bash, zsh and fish are told when somebody presses Tab."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli.complete import component_kinds, component_names, run_names, spec_paths

ENGINE = "import sys; from engine.cli.main import main; sys.argv[0] = 'engine'; main()"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("specs/promo.yaml", "specs/promo.snapshot.yaml", "specs/b.yml", "notes.txt",
                 ".hidden/x.yaml", "runs/promo/1/manifest.json", "promising.yaml"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(home: Path, shell: str, words: str) -> list[str]:
    """Lines that a shell gets for what has been typed."""
    variables = {
        "bash": {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": words},
        "fish": {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    environment = {**os.environ, "_ENGINE_COMPLETE": f"complete_{shell}", **variables}
    done = subprocess.run(
        [sys.executable, "-c", ENGINE], cwd=home, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_specs_are_completed_in_every_shell(home, shell):
    text = "\n".join(told(home, shell, "engine run specs/"))
    assert "specs/promo.yaml" in text
    assert "specs/b.yml" in text
    assert "snapshot" not in text


def test_commands_plugins_and_runs_are_completed(home):
    assert told(home, "bash", "engine pl") == ["plan", "plugins"]
    assert told(home, "bash", "engine plugins show seasonal_") == ["seasonal_naive"]
    assert told(home, "bash", "engine show pro") == ["promo"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_names_the_command(home, shell):
    environment = {**os.environ, "_ENGINE_COMPLETE": f"source_{shell}"}
    done = subprocess.run(
        [sys.executable, "-c", ENGINE], cwd=home, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert f"complete_{shell}" in done.stdout
    assert "engine" in done.stdout


def test_paths_are_what_is_typed_and_more(home):
    assert list(spec_paths("")) == ["promising.yaml", "specs/b.yml", "specs/promo.yaml"]
    assert list(spec_paths("pro")) == ["promising.yaml"]
    assert list(spec_paths("./specs/p")) == ["./specs/promo.yaml"]
    assert list(spec_paths(f"{home}/specs/b")) == [f"{home}/specs/b.yml"]
    assert list(spec_paths(".hid")) == [".hidden/x.yaml"]
    assert list(spec_paths("nowhere/x")) == []


def test_names_begin_with_what_is_typed(home):
    assert list(run_names("")) == ["promo"]
    assert list(run_names("x")) == []
    assert "lags" in component_names("l")
    assert all(name.startswith("l") for name in component_names("l"))
    assert list(component_kinds("m")) == ["model", "metric"]
