"""Tells run specs from other YAML files by their first bytes, without reading YAML."""

from __future__ import annotations

import re
from pathlib import Path

_KEYS = ("version", "data", "models")
_SNAPSHOT = ".snapshot.yaml"
_ENOUGH = 1 << 20


def looks_like_a_run_spec(path: Path, *more: str) -> bool:
    """Whether a file has a run spec's top-level keys; unreadable and binary files do not.

    more: other keys that it must have, such as `expect`. The copies of a spec that lie in a run's
    folder, beside its manifest, do not count.
    """
    if path.suffix not in (".yaml", ".yml") or path.name.endswith(_SNAPSHOT):
        return False
    if (path.parent / "manifest.json").exists():
        return False
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_ENOUGH)
    except (OSError, UnicodeDecodeError):
        return False
    return all(re.search(rf"^{key}[ \t]*:", text, re.MULTILINE) for key in (*_KEYS, *more))
