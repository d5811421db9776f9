"""The snapshot beside a spec: the scores that were reviewed, and what they were measured on.

`promo.snapshot.yaml` is a small text file, made to be read in a review. It answers for one panel
and one protocol (horizon, folds, metrics): compared with any other it is an error, never a pass.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.errors import DataError, NotFoundError
from engine.evaluate import Scores

SUFFIX = ".snapshot.yaml"
DIGITS = 6
_HEAD = "# Scores of a reviewed backtest; written by `engine test --update`, never by hand.\n"
_PROTOCOL = ("horizon", "gap", "quantiles", "minimum", "backtest", "evaluate")
_OUTSIDE = ("expect", "write", "run", "select", "name")


class Fingerprints(BaseModel):
    """What the scores were measured on: the panel, the protocol, and the rest of the spec."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    data: str
    protocol: str
    spec: str


class Versions(BaseModel):
    """What the scores were made with: `plugins` maps distributions to versions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    engine: str
    python: str
    plugins: dict[str, str]


class Snapshot(BaseModel):
    """Scores per model and metric with their fingerprints and versions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: int = Field(1, ge=1, le=1)
    spec: str
    fingerprints: Fingerprints
    versions: Versions
    scores: dict[str, dict[str, float]]

    def text(self) -> str:
        """The file's content."""
        data = self.model_dump(mode="json")
        return _HEAD + yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


@dataclass(frozen=True)
class Lock:
    """What a run must agree with before any model is fitted; made from a snapshot."""

    snapshot: Snapshot
    path: Path

    def check_protocol(self, resolved: Mapping[str, Any]) -> None:
        """DataError if the spec now measures something else: other folds, horizon or metrics."""
        if protocol_fingerprint(resolved) != self.snapshot.fingerprints.protocol:
            raise DataError(
                f"{self.path} was measured in another way: the spec's {', '.join(_PROTOCOL[:-1])} "
                f"or {_PROTOCOL[-1]} have changed since",
                hint="undo the change, or record new scores with `engine test --update` and review",
            )

    def check_data(self, fingerprint: str) -> None:
        """DataError if the panel is not the one that was scored."""
        recorded = self.snapshot.fingerprints.data
        if fingerprint != recorded:
            raise DataError(
                f"{self.path} was made from other data: "
                f"its fingerprint is {recorded[:12]}, of this data {fingerprint[:12]}",
                hint="use the data it was made from, or record new scores with "
                "`engine test --update` and review them",
            )

    def check_versions(self, plugins: Sequence[Mapping[str, str]], engine_version: str) -> None:
        """DataError naming every distribution whose version is not the recorded one."""
        recorded = self.snapshot.versions
        now = {"engine": engine_version, **distributions(plugins)}
        then = {"engine": recorded.engine, **recorded.plugins}
        changed = [
            f"{name} is {now.get(name, 'not used')}, was {then.get(name, 'not used')}"
            for name in sorted({*now, *then})
            if now.get(name) != then.get(name)
        ]
        if changed:
            raise DataError(
                f"{self.path} was made with other versions: {'; '.join(changed)}",
                hint="install those versions, or record new scores with `engine test --update`",
            )


def snapshot_path(spec: Path) -> Path:
    """`specs/promo.yaml` -> `specs/promo.snapshot.yaml`."""
    return spec.with_name(spec.stem + SUFFIX)


def read_lock(spec: Path) -> Lock:
    """The snapshot beside a spec; NotFoundError if there is none, DataError if it is damaged."""
    path = snapshot_path(spec)
    if not path.exists():
        raise NotFoundError(
            f"there is no snapshot {path}", hint=f"make one with `engine test {spec} --update`"
        )
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Lock(Snapshot.model_validate(data), path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"cannot read the snapshot {path}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DataError(
            f"{path} is not a snapshot: {where}: {first['msg']}",
            hint="restore it from version control, or rewrite it with `engine test --update`",
        ) from error


def take_snapshot(
    manifest: Mapping[str, Any], resolved: Mapping[str, Any], scores: Scores
) -> Snapshot:
    """The snapshot of a backtest: its manifest, its resolved spec and its headline scores."""
    table: dict[str, dict[str, float]] = {}
    for model, metric, value in scores.headline().select("model", "metric", "value").iter_rows():
        if value is not None and math.isfinite(value):
            table.setdefault(model, {})[metric] = float(f"{value:.{DIGITS}g}")
    return Snapshot(
        version=1,
        spec=manifest["name"],
        fingerprints=Fingerprints(
            data=manifest["data"]["fingerprint"],
            protocol=protocol_fingerprint(resolved),
            spec=spec_content_fingerprint(resolved),
        ),
        versions=Versions(
            engine=manifest["engine_version"],
            python=manifest["python"],
            plugins=distributions(manifest["plugins"]),
        ),
        scores={name: table[name] for name in _contenders(resolved) if name in table},
    )


def _contenders(resolved: Mapping[str, Any]) -> list[str]:
    """Models and combinations in the order of the spec."""
    return [*resolved["models"], *resolved["combine"]]


def distributions(plugins: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Distribution -> version of the plugins that a spec uses."""
    return {p["distribution"]: p["version"] for p in plugins if p["distribution"]}


def protocol_fingerprint(resolved: Mapping[str, Any]) -> str:
    """Digest of how a spec measures: horizon, gap, quantiles, folds, metrics."""
    return _digest({key: resolved.get(key) for key in _PROTOCOL})


def spec_content_fingerprint(resolved: Mapping[str, Any]) -> str:
    """Digest of what a spec says about data, features and models.

    The source is left out, because its path differs between machines; the data speak for it. So is
    an empty mapping: a section that a later version adds says nothing where it is not used.
    """
    data = {key: value for key, value in resolved["data"].items() if key != "source"}
    rest = {key: v for key, v in resolved.items() if key not in _OUTSIDE and v != {}}
    return _digest({**rest, "data": data})


def difference(before: str, after: str, path: Path) -> str:
    """A unified diff of a snapshot's text; empty if nothing has changed."""
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"{path} (before)", f"{path} (now)", lineterm=""
    )
    return "\n".join(lines)


def _digest(data: Any) -> str:
    text = json.dumps(data, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()
