"""`engine plugins`, `engine schema` and `engine runs`: looking at what is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli import author_commands
from engine.cli.complete import component_kinds, component_names, run_names

if TYPE_CHECKING:
    from engine.registry import Registered

plugins = typer.Typer(no_args_is_help=True, help="Installed plugins and their options.")
runs = typer.Typer(no_args_is_help=True, help="Runs on disk.")
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Output = Annotated[Path, typer.Option(help="Folder that holds all runs.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    author_commands.register(plugins)
    app.add_typer(plugins, name="plugins")
    app.add_typer(runs, name="runs")
    app.command("schema")(schema)


@plugins.command("list")
def list_plugins(
    kind: Annotated[
        str | None, typer.Option(help="Only one kind, e.g. model.", autocompletion=component_kinds)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List every installed component, and plugins that are broken."""
    from engine.cli.tables import print_table
    from engine.registry import Registry

    registry = Registry.discover()
    entries = [e for e in registry.listing() if kind is None or e.component.kind == kind]
    if as_json:
        document = {
            "components": [_summary(entry) for entry in entries],
            "broken": [
                {"plugin": b.plugin, "distribution": b.distribution, "error": b.error}
                for b in registry.broken
            ],
        }
        typer.echo(json.dumps(document, indent=2))
        return
    rows = [
        [e.component.kind, e.component.name, f"{e.distribution} {e.version}", e.component.summary]
        for e in entries
    ]
    print_table(["kind", "name", "distribution", "what it does"], rows)
    for broken in registry.broken:
        typer.echo(f"broken: {broken.plugin} of {broken.distribution}: {broken.error}", err=True)


@plugins.command("show")
def show_plugin(
    name: Annotated[
        str, typer.Argument(help="Name of a component.", autocompletion=component_names)
    ],
    as_json: AsJson = False,
) -> None:
    """Show a component's options, their defaults and meaning."""
    from engine.cli.tables import print_table
    from engine.errors import NotFoundError
    from engine.registry import Registry

    registry = Registry.discover()
    entries = [entry for entry in registry.listing() if entry.component.name == name]
    if not entries:
        known = sorted({entry.component.name for entry in registry.listing()})
        raise NotFoundError(f"no component named {name!r} is installed", hint=", ".join(known))
    if as_json:
        typer.echo(json.dumps([_details(entry) for entry in entries], indent=2, default=str))
        return
    for entry in entries:
        component = entry.component
        typer.echo(f"{component.kind} {component.name}: {component.summary}")
        typer.echo(f"  from {entry.distribution} {entry.version}, plugin {entry.plugin}")
        for key, value in _capabilities(entry).items():
            typer.echo(f"  {key}: {value}")
        if component.example:
            typer.echo(f"  example: {json.dumps({'use': component.name, **component.example})}")
        options = _options(entry)
        if options:
            print_table(
                ["option", "type", "default", "meaning"],
                [[o["name"], o["type"], o["default"], o["description"]] for o in options],
            )
        else:
            typer.echo("  no options")


def schema() -> None:
    """Print the JSON Schema of specs, with every installed plugin's options."""
    from engine.registry import Registry
    from engine.spec.schema import spec_schema

    typer.echo(json.dumps(spec_schema(Registry.discover()), indent=2))


@runs.command("list")
def list_all_runs(
    name: Annotated[str | None, typer.Argument(help="Only runs of this name.")] = None,
    output: Output = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """List runs, newest first."""
    from engine.cli.tables import print_table
    from engine.rundir import list_runs

    found = list(list_runs(output, name))
    rows = []
    for run in found:
        best = run.manifest.get("best") or {}
        rows.append([run.name, run.id, run.status, run.manifest.get("seconds"), best.get("model")])
    columns = ["name", "id", "status", "seconds", "best"]
    if as_json:
        typer.echo(json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=2))
    elif rows:
        print_table(columns, [["" if v is None else str(v) for v in row] for row in rows])
    else:
        typer.echo(f"no runs under {output}")


@runs.command("show")
def show_run(
    run: Annotated[
        str,
        typer.Argument(
            help="A run's folder, id, or name (its newest run).", autocompletion=run_names
        ),
    ],
    output: Output = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Show a run: status, scores, failures, files."""
    from engine.cli.report_table import show_record
    from engine.rundir import find_run

    record = find_run(output, run)
    if as_json:
        typer.echo(json.dumps({"path": str(record.path), **record.manifest}, indent=2))
    else:
        show_record(record)


def _summary(entry: Registered) -> dict[str, Any]:
    return {
        "kind": entry.component.kind,
        "name": entry.component.name,
        "summary": entry.component.summary,
        "distribution": entry.distribution,
        "version": entry.version,
    }


def _details(entry: Registered) -> dict[str, Any]:
    return {
        **_summary(entry),
        **_capabilities(entry),
        "example": dict(entry.component.example),
        "options": _options(entry),
    }


def _capabilities(entry: Registered) -> dict[str, Any]:
    import dataclasses

    from engine.components import Model

    if not isinstance(entry.component, Model):
        return {}
    return dataclasses.asdict(entry.component.capabilities)


def _options(entry: Registered) -> list[dict[str, str]]:
    from engine.typenames import type_name

    rows = []
    for name, field in entry.component.params.model_fields.items():
        default = (
            "required"
            if field.is_required()
            else repr(field.get_default(call_default_factory=True))
        )
        rows.append(
            {
                "name": name,
                "type": type_name(field.annotation),
                "default": default,
                "description": field.description or "",
            }
        )
    return rows
