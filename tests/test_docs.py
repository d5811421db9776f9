"""What the documentation shows is what the code does."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.cli.main import app
from engine.errors import SpecError
from engine.registry import Registry
from engine.spec.reference import reference
from engine.spec.validate import load_spec, validate_text
from engine.testing.card import check_names

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "engine-shop"
GUIDE = (ROOT / "docs" / "writing-a-plugin.md").read_text()


def fenced(text: str, mark: str) -> dict[str, str]:
    """Code blocks that follow a comment `<!-- mark: name -->`."""
    pattern = rf"<!-- {mark}: (\S+) -->\n```\w+\n(.*?)```"
    return dict(re.findall(pattern, text, flags=re.DOTALL))


def test_the_guide_shows_the_files_of_the_example():
    shown = fenced(GUIDE, "file")
    files = [
        p for p in EXAMPLE.rglob("*") if p.suffix in (".py", ".toml") and "build" not in p.parts
    ]
    assert set(shown) == {str(p.relative_to(EXAMPLE)) for p in files}
    for name, code in shown.items():
        assert code == (EXAMPLE / name).read_text(), name


def test_the_spec_reference_is_up_to_date():
    assert (ROOT / "docs" / "spec.md").read_text() == reference()


def test_the_spec_in_the_readme_is_the_shipped_one():
    shown = fenced((ROOT / "README.md").read_text(), "spec")
    assert shown["specs/promo.yaml"] == (ROOT / "specs" / "promo.yaml").read_text()


def test_every_dependency_is_justified():
    declared = re.search(
        r"^dependencies = \[(.*?)\]",
        (ROOT / "pyproject.toml").read_text(),
        re.DOTALL | re.MULTILINE,
    )
    assert declared is not None
    names = re.findall(r'"([a-z-]+)', declared.group(1))
    design = (ROOT / "docs" / "design.md").read_text()
    assert names and [n for n in names if n not in design] == []


def test_every_command_is_in_the_readme():
    commands = [command.name for command in app.registered_commands]
    groups = [group.name for group in app.registered_groups]
    readme = (ROOT / "README.md").read_text()
    assert {"run", "plan", "show", "doctor"} <= set(commands)
    assert [name for name in (*commands, *groups) if f"| `engine {name}" not in readme] == []


def test_the_plan_in_the_guide_has_the_words_of_the_command():
    guide = (ROOT / "docs" / "terminal.md").read_text()
    source = (ROOT / "engine" / "cli" / "plan_command.py").read_text()
    for words in ("in the largest process", "time:   about", "are free", "to calibrate quantiles"):
        assert words in guide
        assert words in source


def test_every_spec_names_its_data_in_the_data_guide():
    guide = (ROOT / "docs" / "data.md").read_text()
    for spec in (ROOT / "specs").glob("*.yaml"):
        files = re.findall(r"ENGINE_DATA:-data\}/([\w.]+)", spec.read_text())
        assert [f for f in files if f not in guide and f.split("/")[0] + "/" not in guide] == []


def test_the_kit_s_example_in_the_guide_is_a_suite_of_checks():
    module: dict[str, Any] = {}
    exec(fenced(GUIDE, "kit")["test_drift.py"], module)
    suite = module["TestDrift"]
    assert (suite.kind, suite.component) == ("model", "drift")
    assert len(check_names(suite)) >= 45


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The example plugin installed into a folder of its own, a database and the guide's spec."""
    source = tmp_path / "source"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--target", str(tmp_path / "site"), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE sales (shop TEXT, day TEXT, sold REAL)")
        rows = [
            (shop, str(date(2024, 1, 1) + timedelta(days=t)), 10.0 + t % 7 + (shop == "south") * 5)
            for shop in ("north", "south")
            for t in range(90)
        ]
        connection.executemany("INSERT INTO sales VALUES (?, ?, ?)", rows)
    (tmp_path / "shop.yaml").write_text(fenced(GUIDE, "spec")["shop.yaml"])
    return tmp_path


@pytest.mark.slow
def test_a_package_outside_the_repository_adds_a_source_a_feature_and_a_model(shop):
    def engine(*arguments: str) -> subprocess.CompletedProcess[str]:
        paths = [str(shop / "site"), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p)}
        command = [sys.executable, "-m", "engine.cli.main", *arguments]
        return subprocess.run(
            command, cwd=shop, env=environment, capture_output=True, text=True, check=False
        )

    shown = engine("plugins", "show", "drift")
    assert "engine-shop 0.1.0" in shown.stdout
    checked = engine("plugins", "check", "engine-shop", "--kind", "model")
    assert checked.returncode == 0, checked.stdout
    done = engine("run", "shop.yaml", "--quiet")
    assert done.returncode == 0, done.stderr
    assert "drift" in done.stdout
    shutil.rmtree(shop / "site")
    gone = engine("run", "shop.yaml")
    assert gone.returncode == 5
    assert "shop.yaml:4:17: no source named 'sqlite' is installed" in gone.stderr
    assert "no model named 'drift' is installed" in gone.stderr


def test_without_the_package_the_guide_s_spec_names_what_is_missing():
    with pytest.raises(SpecError, match="no features named 'paydays' is installed"):
        validate_text(fenced(GUIDE, "spec")["shop.yaml"], "shop.yaml", Registry.discover())


def test_the_shipped_promo_spec_is_valid():
    assert load_spec(ROOT / "specs" / "promo.yaml", Registry.discover()).spec.name == "promo"
