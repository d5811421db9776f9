"""Makes a new plugin package from the templates of its kind: it installs and passes its tests at once.

Templates are the files of `templates/shared` and `templates/<kind>`; `@NAME@` and the like in their
texts and file names are replaced. They end in `.tmpl`, so that no tool takes them for code of Engine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path

from engine.errors import UsageError

KINDS = ("model", "features", "selector", "source", "metric", "writer")
_NAME = re.compile(r"^[a-z][a-z0-9_]*$")
_WORDS = {
    "model": ("Model", "engine_models", "Model"),
    "features": ("Feature", "engine_features", "FeatureBuilder"),
    "selector": ("Selector", "engine_selectors", "Selector"),
    "source": ("Source", "engine_sources", "Source"),
    "metric": ("Metric", "engine_metrics", "Metric"),
    "writer": ("Writer", "engine_writers", "Writer"),
}


@dataclass(frozen=True, slots=True)
class Package:
    """A package that was made: its folder and its files, sorted."""

    folder: Path
    files: tuple[Path, ...]


def create(name: str, kind: str, output: Path) -> Package:
    """Write the package `engine-<name>` into `output`.

    UsageError for a name that is no identifier, an unknown kind, or a folder that is there already.
    """
    if kind not in KINDS:
        raise UsageError(f"there is no template for kind {kind!r}", hint=f"use {', '.join(KINDS)}")
    if not _NAME.match(name):
        raise UsageError(
            f"{name!r} cannot name a component",
            hint="use lower-case letters, digits and underscores, e.g. shelf_life",
        )
    folder = output / f"engine-{name.replace('_', '-')}"
    if folder.exists():
        raise UsageError(f"{folder} exists already", hint="choose another name or --output")
    words = _words(name, kind)
    if find_spec(words["@MODULE@"]) is not None:
        raise UsageError(
            f"a package {words['@MODULE@']} is installed already", hint="choose another name"
        )
    made = []
    root = files("engine.scaffold") / "templates"
    for part in ("shared", kind):
        for place, template in _templates(root / part):
            path = folder / _filled(place.removesuffix(".tmpl"), words)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_filled(template.read_text(encoding="utf-8"), words), encoding="utf-8")
            made.append(path)
    return Package(folder, tuple(sorted(made)))


def _words(name: str, kind: str) -> dict[str, str]:
    """What stands for each placeholder."""
    title = "".join(part.capitalize() for part in name.split("_"))
    test, hook, record = _WORDS[kind]
    return {
        "@NAME@": name,
        "@CLASS@": title,
        "@MODULE@": f"engine_{name}",
        "@PACKAGE@": f"engine-{name.replace('_', '-')}",
        "@KIND@": kind,
        "@KIT@": f"{test}Conformance",
        "@HOOK@": hook,
        "@RECORD@": record,
    }


def _filled(text: str, words: dict[str, str]) -> str:
    for placeholder, word in words.items():
        text = text.replace(placeholder, word)
    return text


def _templates(folder: Traversable, place: str = "") -> Iterator[tuple[str, Traversable]]:
    """Every template below a folder, with its place in the package."""
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if entry.is_dir():
            yield from _templates(entry, f"{place}{entry.name}/")
        elif entry.name.endswith(".tmpl"):
            yield f"{place}{entry.name}", entry
