"""What the documentation shows is what the code does."""

from __future__ import annotations

import re
import shutil
import sqlite3
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from engine.cli.main import app, invoke
from engine.components import NoParams
from engine.contracts import Design, Selection
from engine.errors import SpecError
from engine.registry import Registry
from engine.spec import loader
from engine.spec.reference import reference
from engine.spec.validate import load_spec, validate_text
from engine.testing.card import check_names
from engine.testing.selectors import design, table
from tests.installing import engine, install

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


def test_the_selector_in_the_guide_chooses_features():
    code = next(c for c in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL) if "Varying" in c)
    module = {"np": np, "pl": pl, "NoParams": NoParams, "Design": Design, "Selection": Selection}
    exec("from __future__ import annotations\n" + code, module)
    X, y = table()
    made = module["Varying"](NoParams()).select(design(X, y))  # type: ignore[operator]
    assert made.features == ("signal", "copy", "noise", "holes", "wide")


def test_the_commands_and_models_of_the_guide_to_features_work(tmp_path, monkeypatch):
    guide = (ROOT / "docs" / "features.md").read_text()
    monkeypatch.chdir(tmp_path)
    small = ["--set", "data.source.series=3", "--set", "data.source.periods=600"]
    for command in re.findall(r"^\$ engine (.*)$", guide, re.MULTILINE):
        arguments = command.replace("specs/", f"{ROOT}/specs/").split()
        assert invoke([*arguments, *small]) == 0, command
    code = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    module: dict[str, Any] = {}
    exec(code[0], module)
    assert {f["availability"] for f in module["features"]} == {"known", "history", "aligned"}
    shown = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    models = {"promo": {"ridge", "small"}, "walmart": {"ridge"}}
    for (name, expected), text in zip(models.items(), shown, strict=True):
        spec = loader.parse((ROOT / "specs" / f"{name}.yaml").read_text()).data
        spec |= yaml.safe_load(text) | {"combine": {}, "expect": [], "run": {}}
        loaded = validate_text(yaml.safe_dump(spec, sort_keys=False), "p.yaml", Registry.discover())
        assert set(loaded.spec.models) == expected


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The example plugin installed into a folder of its own, a database and the guide's spec."""
    install(EXAMPLE, tmp_path)
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
    shown = engine(shop, "plugins", "show", "drift")
    assert "engine-shop 0.1.0" in shown.stdout
    for kind in ("model", "features"):
        checked = engine(shop, "plugins", "check", "engine-shop", "--kind", kind)
        assert checked.returncode == 0, checked.stdout
    params = '{"path": "shop.db", "query": "SELECT * FROM sales"}'
    checked = engine(shop, "plugins", "check", "sqlite", "--params", params)
    assert checked.returncode == 0, checked.stdout
    done = engine(shop, "run", "shop.yaml", "--quiet")
    assert done.returncode == 0, done.stderr
    assert "drift" in done.stdout
    shutil.rmtree(shop / "site")
    gone = engine(shop, "run", "shop.yaml")
    assert gone.returncode == 5
    assert "shop.yaml:4:17: no source named 'sqlite' is installed" in gone.stderr
    assert "no model named 'drift' is installed" in gone.stderr


def test_without_the_package_the_guide_s_spec_names_what_is_missing():
    with pytest.raises(SpecError, match="no features named 'paydays' is installed"):
        validate_text(fenced(GUIDE, "spec")["shop.yaml"], "shop.yaml", Registry.discover())


def test_the_shipped_promo_spec_is_valid():
    assert load_spec(ROOT / "specs" / "promo.yaml", Registry.discover()).spec.name == "promo"


def test_every_picture_of_the_gallery_is_there_is_small_and_is_made_by_the_script():
    text = (ROOT / "docs" / "gallery.md").read_text()
    shown = set(re.findall(r"!\[[^\]]+\]\(gallery/([\w-]+)\.png\)", text))
    made = re.findall(r'View\(\s*"(\w+)"', (ROOT / "scripts" / "gallery.py").read_text())
    assert shown == set(made)
    files = list((ROOT / "docs" / "gallery").iterdir())
    assert {file.stem for file in files} == shown
    for file in files:
        assert file.read_bytes().startswith(b"\x89PNG")
        assert file.stat().st_size < 200_000
    assert "(docs/gallery.md)" in (ROOT / "README.md").read_text()
