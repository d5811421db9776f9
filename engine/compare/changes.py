"""What went into two runs and is not the same: spec, data, versions, machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from engine.rundir import RunRecord


@dataclass(frozen=True)
class Change:
    """One value that differs; None where a run does not have it. what: spec, data or versions."""

    what: str
    key: str
    before: Any
    after: Any


def changes(a: RunRecord, b: RunRecord) -> list[Change]:
    """Every input that differs between two runs."""
    spec = _differing("spec", _resolved(a), _resolved(b))
    data = _differing("data", _data(a.manifest), _data(b.manifest))
    versions = _differing("versions", _versions(a.manifest), _versions(b.manifest))
    return [*spec, *data, *versions]


def _differing(what: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Change]:
    for key in dict.fromkeys([*a, *b]):
        if a.get(key) != b.get(key):
            yield Change(what, key, a.get(key), b.get(key))


def _resolved(run: RunRecord) -> dict[str, Any]:
    """The resolved spec with dotted keys."""
    path = run.path / "resolved.yaml"
    data = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    return dict(_flat("", data))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Leaves with dotted keys; a list of plain values is one leaf."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for number, inner in enumerate(value):
            yield from _flat(f"{prefix}.{number}", inner)
    else:
        yield prefix, value


def _data(manifest: Mapping[str, Any]) -> dict[str, Any]:
    data = manifest.get("data") or {}
    keys = ("fingerprint", "series", "rows", "first", "cutoff", "freq")
    return {key: data[key] for key in keys if key in data}


def _versions(manifest: Mapping[str, Any]) -> dict[str, Any]:
    plugins = {
        f"{p['kind']} {p['name']}": f"{p['distribution']} {p['version']}"
        for p in manifest.get("plugins", ())
    }
    machine = manifest.get("machine") or {}
    return {
        "engine": manifest.get("engine_version"),
        "python": manifest.get("python"),
        "git revision": manifest.get("git_revision"),
        "machine": " ".join(str(machine[k]) for k in ("system", "architecture") if k in machine),
        **plugins,
    }
