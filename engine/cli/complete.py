"""What a shell completes: paths of specs, names of runs and of components.

Called by the shell at every Tab, so each imports as little as it can and never raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

SPEC_ENDINGS = (".yaml", ".yml")


def spec_paths(incomplete: str) -> Iterator[str]:
    """YAML files and the folders on the way to them, of what is typed so far."""
    folder, slash, start = incomplete.rpartition("/")
    home = Path(folder or ("/" if slash else "."))
    try:
        entries = sorted(home.iterdir())
    except OSError:
        return
    for entry in entries:
        if not entry.name.startswith(start) or (entry.name.startswith(".") and not start):
            continue
        if entry.is_dir():
            yield f"{folder}{slash}{entry.name}/"
        elif entry.name.endswith(SPEC_ENDINGS) and ".snapshot." not in entry.name:
            yield f"{folder}{slash}{entry.name}"


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
