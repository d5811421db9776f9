"""Looks at the installation: versions, plugins, write access, data folder, devices, machine."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from engine.components import KINDS
from engine.errors import EngineError
from engine.machine import available_memory, cores, memory_text, total_memory
from engine.registry import Registry, load_factory

DISTRIBUTION = "engine-forecast"
DATA = "ENGINE_DATA"
PATIENCE = 120
"""Seconds that JAX may take to name its devices."""

_NAME = re.compile(r"^[A-Za-z0-9._-]+")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([\w-]+)['\"]")
_DEVICES = "import jax; print(', '.join(str(d) for d in jax.devices()))"

Status = Literal["ok", "note", "broken"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `note`: works, but something is absent; `broken`: mend it."""

    what: str
    status: Status
    text: str
    hint: str = ""

    def plain(self) -> dict[str, str]:
        """JSON types only."""
        return asdict(self)


def examine(output: Path, *, full: bool = False) -> Iterator[Finding]:
    """Everything that a run needs, one finding at a time.

    output: folder that holds all runs. full: also import the code of every component and ask JAX
    for its devices, in a process of its own, since a broken driver can take the process with it.
    """
    yield _python()
    yield from _packages()
    registry = Registry.discover()
    yield from _plugins(registry)
    if full:
        yield from _factories(registry)
        yield _devices()
    yield _writable(output)
    yield _data()
    yield _machine()


def _python() -> Finding:
    text = f"{platform.python_version()} at {sys.executable}, {platform.platform()}"
    return Finding("python", "ok", text)


def _packages() -> Iterator[Finding]:
    """Required packages and those of the extras; only required ones are essential."""
    try:
        wanted = metadata.requires(DISTRIBUTION) or []
        yield Finding(
            "engine", "ok", f"{metadata.version(DISTRIBUTION)} at {Path(__file__).parent}"
        )
    except metadata.PackageNotFoundError:
        yield Finding(
            "engine", "broken", "is not installed as a package, so no plugin is found",
            "pip install -e .",
        )  # fmt: skip
        return
    found: dict[str, list[str]] = {}
    missing: dict[str, list[str]] = {}
    for line in wanted:
        match, extra = _NAME.match(line), _EXTRA.search(line)
        if match is None or match.group() == DISTRIBUTION:
            continue
        group = extra.group(1) if extra else ""
        version = _version(match.group())
        if version is None:
            missing.setdefault(group, []).append(match.group())
        else:
            found.setdefault(group, []).append(f"{match.group()} {version}")
    for group in sorted({*found, *missing}):
        yield _group(group, found.get(group, []), missing.get(group, []))


def _group(extra: str, found: list[str], missing: list[str]) -> Finding:
    what = f"extra {extra}" if extra else "packages"
    if not missing:
        return Finding(what, "ok", ", ".join(found))
    install = f"pip install '{DISTRIBUTION}[{extra}]'" if extra else f"pip install {DISTRIBUTION}"
    text = f"not installed: {', '.join(missing)}"
    return Finding(what, "note" if extra else "broken", text, install)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _plugins(registry: Registry) -> Iterator[Finding]:
    counts = {kind: len(registry.names(kind)) for kind in KINDS}
    text = ", ".join(f"{count} of kind {kind}" for kind, count in counts.items())
    needed = [kind for kind in ("source", "model", "metric") if not counts[kind]]
    if needed:
        hint = f"install {DISTRIBUTION} again: its own plugins are missing"
        yield Finding("plugins", "broken", f"nothing of kind {', '.join(needed)}", hint)
    else:
        yield Finding("plugins", "ok", text)
    for broken in registry.broken:
        where = f"of {broken.distribution} " if broken.distribution else ""
        yield Finding(
            "plugin " + broken.plugin, "broken", f"{where}cannot be loaded: {broken.error}",
            f"update or uninstall {broken.distribution or broken.plugin}",
        )  # fmt: skip
    for (kind, name), entries in sorted(registry.components.items()):
        if len(entries) > 1:
            homes = " and ".join(entry.distribution for entry in entries)
            text = f"{kind} {name!r} is offered twice, by {homes}"
            yield Finding("plugins", "broken", text, "uninstall one of them")


def _factories(registry: Registry) -> Iterator[Finding]:
    """Import what is behind each component."""
    good = 0
    for entry in registry.listing():
        component = entry.component
        try:
            load_factory(component)
        except EngineError as error:
            missing = error.exit_code == 3
            what = f"{component.kind} {component.name}"
            yield Finding(what, "note" if missing else "broken", error.message, error.hint)
        else:
            good += 1
    yield Finding("components", "ok", f"{good} can be imported")


def _devices() -> Finding:
    """What JAX computes on, asked in another process."""
    if _version("jax") is None:
        return Finding(
            "devices", "note", "JAX is not installed", "needed by models that train on it"
        )
    command = [sys.executable, "-c", _DEVICES]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding("devices", "broken", f"JAX named no device in {PATIENCE} s")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        hint = "set JAX_PLATFORMS=cpu to do without an accelerator"
        return Finding("devices", "broken", f"JAX cannot start: {lines[-1]}", hint)
    return Finding("devices", "ok", f"JAX sees {done.stdout.strip()}")


def _writable(output: Path) -> Finding:
    """Try to write where runs go, or would be made; nothing is left behind."""
    home = output.absolute()
    while not home.exists() and home != home.parent:
        home = home.parent
    try:
        with tempfile.NamedTemporaryFile(dir=home, prefix=".engine-doctor-"):
            pass
    except OSError as error:
        text = f"cannot write to {home}: {error.strerror}"
        return Finding("runs folder", "broken", text, "choose another with --output")
    made = "" if home == output.absolute() else ", will be made"
    return Finding("runs folder", "ok", f"{output.absolute()}{made}")


def _data() -> Finding:
    folder = os.environ.get(DATA)
    if not folder:
        text = f"{DATA} is not set; the shipped specs then read the folder data"
        return Finding("data folder", "note", text, f"export {DATA}=/path/to/data")
    if not Path(folder).is_dir():
        return Finding("data folder", "note", f"{DATA}={folder} is no folder", "see docs/data.md")
    files = sum(1 for path in Path(folder).iterdir() if path.is_file())
    return Finding("data folder", "ok", f"{DATA}={folder}, {files} files")


def _machine() -> Finding:
    total, free = total_memory(), available_memory()
    memory = "" if total is None else f", {memory_text(total)} of memory"
    memory += "" if free is None else f", {memory_text(free)} free"
    return Finding("machine", "ok", f"{cores()} processors{memory}")
