"""What a run says about itself: versions, plugins, fingerprints, tasks, calibration, scores."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import engine
from engine.choose import Choice
from engine.data.panel import Panel
from engine.registry import Registry
from engine.spec.validate import LoadedSpec, component_uses


def spec_fingerprint(loaded: LoadedSpec) -> str:
    """Hex digest of the resolved spec."""
    return hashlib.sha256(loaded.resolved_yaml.encode()).hexdigest()


def environment(loaded: LoadedSpec, registry: Registry) -> dict[str, Any]:
    """Versions of everything that made the run, and the machine it ran on."""
    return {
        "engine_version": engine.__version__,
        "python": platform.python_version(),
        "machine": {
            "system": platform.system(),
            "architecture": platform.machine(),
            "cores": os.cpu_count(),
        },
        "git_revision": git_revision(loaded.path.parent),
        "plugins": used_plugins(loaded, registry),
        "broken_plugins": [{"plugin": b.plugin, "error": b.error} for b in registry.broken],
    }


def used_plugins(loaded: LoadedSpec, registry: Registry) -> list[dict[str, str]]:
    """Distribution and version of each component that the spec names."""
    rows = {}
    for kind, _, value in component_uses(loaded.resolved):
        name = value if isinstance(value, str) else value["use"]
        entry = registry.find(kind, name)
        rows[(kind, name)] = {
            "kind": kind,
            "name": name,
            "distribution": entry.distribution,
            "version": entry.version,
        }
    return [rows[key] for key in sorted(rows)]


def git_revision(folder: Path) -> str | None:
    """Revision of the git checkout that holds the spec, `+` appended if it has changes."""
    command = [
        "git",
        "-C",
        str(folder),
        "describe",
        "--always",
        "--abbrev=40",
        "--dirty=+",
        "--exclude=*",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def panel_summary(panel: Panel) -> dict[str, Any]:
    """Size and span of a panel."""
    return {
        "series": panel.n_series,
        "rows": panel.frame.height,
        "first": str(panel.frame["ds"].min()),
        "cutoff": str(panel.cutoff),
        "freq": str(panel.grid.freq),
        "notes": list(panel.notes),
    }


def calibration_summary(records: list[dict[str, Any]], panel: Panel) -> list[dict[str, Any]]:
    """How quantiles were calibrated where a model has none of its own."""
    return [
        {
            "model": record["model"],
            "cutoff": str(panel.grid.timestamp(record["cutoff"])),
            "method": "split conformal by step"
            if record["residuals"]
            else "none: no residuals yet",
            "residuals": record["residuals"],
        }
        for record in records
    ]


def correction_summary(records: list[dict[str, Any]], panel: Panel) -> list[dict[str, Any]]:
    """The factors that corrected the bias of a transformed target, and from how many residuals."""
    return [
        {
            "model": record["model"],
            "cutoff": str(panel.grid.timestamp(record["cutoff"])),
            "residuals": record["residuals"],
            "factors": {str(step): round(c, 6) for step, c in record["factors"].items()},
        }
        for record in records
    ]


def choice_summary(choice: Choice) -> dict[str, Any]:
    """The best model, why, and the models that could not be compared."""
    return {
        "model": choice.best,
        "metric": choice.metric,
        "reason": choice.reason,
        "incomplete": list(choice.incomplete),
    }
