"""`engine doctor`: is this installation in order?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("doctor")(doctor)


def doctor(
    output: Annotated[Path, typer.Option(help="Folder that holds all runs.")] = Path("runs"),
    full: Annotated[
        bool,
        typer.Option("--full", help="Import every component, and ask JAX for its devices."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Check the installation: versions, plugins, write access, data folder; exit 5 if broken."""
    from engine.cli.tables import print_table
    from engine.doctor import examine
    from engine.errors import EXIT_INVALID, EXIT_OK

    findings = list(examine(output, full=full))
    broken = [finding for finding in findings if finding.status == "broken"]
    if as_json:
        document = {"ok": not broken, "findings": [finding.plain() for finding in findings]}
        typer.echo(json.dumps(document, indent=2))
    else:
        marks = {"ok": "ok", "note": "note", "broken": "BROKEN"}
        rows = [
            [marks[f.status], f.what, f"{f.text} ({f.hint})" if f.hint else f.text]
            for f in findings
        ]
        print_table(["", "what", "found"], rows)
        typer.echo(f"{len(broken)} broken" if broken else "everything that a run needs is here")
    return EXIT_INVALID if broken else EXIT_OK
