"""A run's folder: built under a temporary name, published by one atomic rename.

What is not whole keeps a name that says so: `.<id>.tmp` while it is written (or after a kill), and
`<id>.partial` after an error or an interruption.
"""

from __future__ import annotations

import datetime as dt
import difflib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import polars as pl

from engine.errors import DataError, EngineError, NotFoundError

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
PARTIAL = ".partial"


def check_writable(output: Path) -> None:
    """Make the output folder, or raise one clear error before any work is done."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        probe = output / f".probe-{os.getpid()}"
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise DataError(
            f"cannot write to the output folder {output}: {error.strerror}",
            hint="choose another with --output",
        ) from error


class RunFolder:
    """The folder of one run; a context manager that marks what did not end well as partial.

    `path` is where things are written; `work` a scratch folder that is never published.
    """

    def __init__(self, output: Path, name: str, fingerprint: str) -> None:
        self._home = output / name
        self._home.mkdir(parents=True, exist_ok=True)
        stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
        self.id, self.path = self._claim(f"{stamp}-{fingerprint[:6]}")
        self.work = self.path / ".work"
        self.work.mkdir()
        self.manifest: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "id": self.id}
        self.final: Path | None = None

    def _claim(self, wanted: str) -> tuple[str, Path]:
        for number in range(1, 1000):
            name = wanted if number == 1 else f"{wanted}-{number}"
            taken = any((self._home / n).exists() for n in (name, name + PARTIAL))
            path = self._home / f".{name}.tmp"
            if not taken:
                try:
                    path.mkdir()
                except FileExistsError:
                    continue
                return name, path
        raise DataError(f"no free run name like {wanted} in {self._home}")

    def write_text(self, name: str, text: str) -> None:
        """Write a text file into the run."""
        (self.path / name).write_text(text, encoding="utf-8")

    def write_table(self, name: str, table: pl.DataFrame) -> None:
        """Write a table as Parquet, the same bytes for the same rows."""
        table.write_parquet(self.path / f"{name}.parquet", compression="zstd", statistics=True)

    def publish(self) -> Path:
        """Write the manifest and give the run its name; the only way a run becomes whole."""
        self._write_manifest()
        shutil.rmtree(self.work, ignore_errors=True)
        final = self._home / self.id
        self.path.rename(final)
        self.path = self.final = final
        return final

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.final is not None or error is None:
            return
        interrupted = isinstance(error, KeyboardInterrupt)
        self.manifest["status"] = "interrupted" if interrupted else "failed"
        reason = (
            error.message if isinstance(error, EngineError) else f"{type(error).__name__}: {error}"
        )
        self.manifest["error"] = "interrupted by the user" if interrupted else reason
        self._write_manifest()
        shutil.rmtree(self.work, ignore_errors=True)
        partial = self._home / (self.id + PARTIAL)
        self.path.rename(partial)
        self.path = partial

    def _write_manifest(self) -> None:
        text = json.dumps(self.manifest, indent=2, default=str)
        self.write_text(MANIFEST, text + "\n")


@dataclass(frozen=True)
class RunRecord:
    """A run that was found on disk."""

    name: str
    id: str
    path: Path
    status: str
    manifest: Mapping[str, Any]


def list_runs(output: Path, name: str | None = None) -> Iterator[RunRecord]:
    """Runs under a folder, newest first; unfinished and unreadable ones say so."""
    if not output.is_dir():
        return
    found = [
        run
        for home in output.iterdir()
        if home.is_dir() and (name is None or home.name == name)
        for run in home.iterdir()
        if run.is_dir()
    ]
    for path in sorted(found, key=_when, reverse=True):
        yield read_run(path)


def _when(path: Path) -> tuple[str, int, int, str]:
    """What orders runs: the second of the id, when the record was written, the id's number."""
    stamp, *rest = _identifier(path).split("-")
    file = path / MANIFEST
    written = (file if file.exists() else path).stat().st_mtime_ns
    number = int(rest[1]) if len(rest) > 1 and rest[1].isdigit() else 1
    return stamp, written, number, path.name


def _identifier(path: Path) -> str:
    """The id of a run folder, be it whole, partial or unfinished."""
    return path.name.removeprefix(".").removesuffix(".tmp").removesuffix(PARTIAL)


def read_run(path: Path) -> RunRecord:
    """The record of one run folder; NotFoundError if there is none."""
    if not path.is_dir():
        raise NotFoundError(f"no run at {path}", hint="see `engine runs list`")
    identifier = _identifier(path)
    file = path / MANIFEST
    if not file.exists():
        return RunRecord(path.parent.name, identifier, path, "unfinished", {})
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return RunRecord(path.parent.name, identifier, path, "unreadable", {})
    if manifest.get("schema_version") != SCHEMA_VERSION:
        return RunRecord(path.parent.name, identifier, path, "other version", manifest)
    return RunRecord(
        path.parent.name, identifier, path, str(manifest.get("status", "unknown")), manifest
    )


def find_run(output: Path, reference: str) -> RunRecord:
    """A run by path, by id or its beginning, or by name (its newest run)."""
    path = Path(reference)
    if (path / MANIFEST).exists() or (path.is_dir() and path.suffix in (PARTIAL, ".tmp")):
        return read_run(path)
    runs = list(list_runs(output))
    for match in (
        [r for r in runs if r.name == reference],
        [r for r in runs if r.id.startswith(reference)],
        [r for r in runs if f"{r.name}/{r.id}".startswith(reference)],
    ):
        if match:
            return match[0]
    raise NotFoundError(f"no run {reference!r} under {output}", hint=_near(path, output, runs))


def _near(asked: Path, output: Path, runs: Sequence[RunRecord]) -> str:
    """What may have been meant by a reference that is no run."""
    if not runs:
        return f"{output} holds no runs: `engine run SPEC` makes one, --output names another folder"
    if asked.suffix in (".yaml", ".yml") and asked.exists():
        return f"{asked} is a spec: `engine run {asked}` makes a run of it"
    if asked.is_dir():
        return f"{asked} is a folder without {MANIFEST}; see `engine runs list --output {asked}`"
    names = list(dict.fromkeys([*(r.name for r in runs), *(r.id for r in runs)]))
    near = difflib.get_close_matches(str(asked), names, n=2, cutoff=0.5)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    return meant + "give a path, an id or a name; see `engine runs list`"
