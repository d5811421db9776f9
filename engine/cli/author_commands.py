"""`engine plugins check` and `engine plugins new`: for those who write plugins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.complete import component_names

if TYPE_CHECKING:
    from engine.registry import Registered
    from engine.testing.card import Line

_MARKS = {"ok": "ok", "failed": "FAILED", "skipped": "skipped"}


def register(plugins: typer.Typer) -> None:
    """Add the commands to `engine plugins`."""
    plugins.command("check")(check)
    plugins.command("new")(new)


def check(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of a component, plugin or distribution.", autocompletion=component_names
        ),
    ],
    kind: Annotated[str | None, typer.Option(help="Only components of this kind.")] = None,
    params: Annotated[
        str, typer.Option(help="Small options as JSON, e.g. '{\"season\": 7}'.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Run the conformance kit on what is installed; exit 7 if a check fails."""
    from engine.errors import EXIT_FAILURES, EXIT_OK, EngineError
    from engine.registry import Registry
    from engine.testing.card import Line, conformance_of, entries_named, run_checks

    options = _options(params)
    documents, failed = [], False
    entries = entries_named(Registry.discover(), name, kind)
    for entry in entries:
        try:
            lines = list(run_checks(conformance_of(entry.component, options)))
        except EngineError as error:
            if len(entries) == 1:
                raise
            lines = [Line("build", "It can be built for the checks", "failed", str(error))]
        failed = failed or any(line.status == "failed" for line in lines)
        documents.append(_document(entry, lines))
        if not as_json:
            _show(entry, lines)
    if as_json:
        typer.echo(json.dumps(documents, indent=2))
    return EXIT_FAILURES if failed else EXIT_OK


def new(
    name: Annotated[str, typer.Argument(help="Name of the component, e.g. shelf_life.")],
    kind: Annotated[str, typer.Option(help="model, features, selector, source, metric or writer.")],
    output: Annotated[Path, typer.Option(help="Folder in which the package is made.")] = Path(),
) -> None:
    """Make a complete plugin package: code, options, tests with the kit, README."""
    from engine.scaffold import create

    made = create(name, kind, output)
    typer.echo(f"made {made.folder}")
    for path in made.files:
        typer.echo(f"  {path.relative_to(made.folder)}")
    typer.echo(
        f"next:\n  pip install -e '{made.folder}[test]'\n  pytest {made.folder}\n"
        f"  engine plugins check {name}"
    )


def _options(text: str) -> dict[str, Any] | None:
    from engine.errors import UsageError

    if not text:
        return None
    try:
        options = json.loads(text)
    except ValueError as error:
        raise UsageError(
            f"--params is not JSON: {error}", hint="write e.g. --params '{\"season\": 7}'"
        ) from error
    if not isinstance(options, dict):
        raise UsageError(f"--params is {type(options).__name__}, not an object of options")
    return options


def _document(entry: Registered, lines: list[Line]) -> dict[str, Any]:
    counts = {status: sum(line.status == status for line in lines) for status in _MARKS}
    return {
        "kind": entry.component.kind,
        "name": entry.component.name,
        "distribution": entry.distribution,
        "version": entry.version,
        **counts,
        "checks": [
            {"check": line.name, "status": line.status, "reason": line.reason} for line in lines
        ],
    }


def _show(entry: Registered, lines: list[Line]) -> None:
    from engine.cli.tables import print_table

    component = entry.component
    typer.echo(f"{component.kind} {component.name} of {entry.distribution} {entry.version}")
    rows = [
        [_MARKS[line.status], f"{line.text}: {line.reason}" if line.reason else line.text]
        for line in lines
    ]
    print_table(["", "check"], rows)
    document = _document(entry, lines)
    typer.echo(
        f"{document['ok']} ok, {document['failed']} failed, {document['skipped']} skipped "
        f"of {len(lines)} checks\n"
    )
