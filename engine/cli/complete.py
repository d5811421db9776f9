"""What a shell completes: paths of specs, names of runs and of components.

Called by the shell at every Tab, so each imports as little as it can and never raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

SPEC_ENDINGS = (".yaml", ".yml")

DEEP = 1
"""Folders within folders that are looked into."""


def spec_paths(incomplete: str) -> Iterator[str]:
    """YAML files that begin with what is typed, and those in folders that do.

    A folder stands for the specs in it, because shells add a blank after a folder's name.
    """
    folder, slash, start = incomplete.rpartition("/")
    yield from _specs_in(Path(folder or ("/" if slash else ".")), f"{folder}{slash}", start, DEEP)


def _specs_in(folder: Path, prefix: str, start: str, deep: int) -> Iterator[str]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        name = entry.name
        if not name.startswith(start) or (name.startswith(".") and not start):
            continue
        if name.endswith(SPEC_ENDINGS) and ".snapshot." not in name:
            yield prefix + name
        elif deep and entry.is_dir():
            yield from _specs_in(entry, f"{prefix}{name}/", "", deep - 1)


def run_names(incomplete: str) -> Iterator[str]:
    """Names of the runs under `runs`, and what is typed so far as a path."""
    home = Path("runs")
    if home.is_dir():
        for entry in sorted(home.iterdir()):
            if entry.is_dir() and entry.name.startswith(incomplete):
                yield entry.name


def component_names(incomplete: str) -> Iterator[str]:
    """Names of the installed components."""
    from engine.registry import Registry

    try:
        names = {entry.component.name for entry in Registry.discover().listing()}
    except Exception:  # noqa: BLE001 - a broken installation completes nothing
        return
    yield from sorted(name for name in names if name.startswith(incomplete))


def component_kinds(incomplete: str) -> Iterator[str]:
    """The kinds of components."""
    from engine.components import KINDS

    yield from (kind for kind in KINDS if kind.startswith(incomplete))
