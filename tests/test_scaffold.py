"""`engine plugins new`: what it makes installs and passes its own tests at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.cli.main import invoke
from engine.errors import UsageError
from engine.scaffold import KINDS, create
from tests.installing import engine, install, run


@pytest.mark.parametrize("kind", KINDS)
def test_the_package_is_complete_and_nothing_of_the_template_is_left(kind: str, tmp_path: Path):
    made = create("shelf_life", kind, tmp_path)
    names = {str(path.relative_to(made.folder)) for path in made.files}
    assert made.folder.name == "engine-shelf-life"
    assert names >= {
        "pyproject.toml", "README.md", "engine_shelf_life/__init__.py", "engine_shelf_life/code.py",
        "engine_shelf_life/params.py", "tests/test_kit.py", "tests/test_shelf_life.py",
    }  # fmt: skip
    for path in made.files:
        assert "@" not in path.read_text().replace("@hookimpl", "").replace("@staticmethod", "")
        if path.suffix == ".py":
            compile(path.read_text(), str(path), "exec")


@pytest.mark.parametrize(
    ("name", "kind", "what"),
    [
        ("Shelf", "model", "cannot name a component"),
        ("shelf-life", "model", "cannot name a component"),
        ("shelf", "executor", "no template for kind 'executor'"),
        ("lags", "features", "engine_lags is installed already"),
        ("taken", "model", "exists already"),
    ],
)
def test_what_cannot_be_made_is_refused(name: str, kind: str, what: str, tmp_path: Path):
    (tmp_path / "engine-taken").mkdir()
    with pytest.raises(UsageError, match=what):
        create(name, kind, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["engine-taken"]


def test_the_command_says_what_was_made_and_what_comes_next(tmp_path: Path, capsys):
    assert invoke(["plugins", "new", "shelf", "--kind", "writer", "--output", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "engine_shelf/code.py" in out
    assert "engine plugins check shelf" in out
    assert invoke(["plugins", "new", "shelf", "--kind", "writer", "--output", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_package_installs_and_passes_its_tests(kind: str, tmp_path: Path):
    made = create("shelf_life", kind, tmp_path)
    install(made.folder, tmp_path)
    done = run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(made.folder))
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
    shown = engine(tmp_path, "plugins", "show", "shelf_life", "--json")
    assert [entry["kind"] for entry in json.loads(shown.stdout)] == [kind]
