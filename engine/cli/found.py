"""The run that a command was asked for, with a warning if another version of Engine wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from engine.rundir import RunRecord


def found_run(output: Path, reference: str) -> RunRecord:
    """A run by path, id or name; NotFoundError says what may have been meant."""
    from engine.rundir import SCHEMA_VERSION, find_run

    record = find_run(output, reference)
    written = record.manifest.get("schema_version")
    if written is not None and written != SCHEMA_VERSION:
        typer.echo(
            f"warning: run {record.id} has the form {written} of another version, this one writes "
            f"{SCHEMA_VERSION}: what it lacks is left out",
            err=True,
        )
    return record
