"""`engine report`: makes a run's report again, from its folder alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.complete import run_names

if TYPE_CHECKING:
    from engine.components import Writer
    from engine.registry import Registry


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("report")(report)


def report(
    run: Annotated[
        str,
        typer.Argument(
            help="A run's folder, id, or name (its newest run).", autocompletion=run_names
        ),
    ],
    form: Annotated[
        str, typer.Option("--format", help="Format: html, or md for a pull-request comment.")
    ] = "html",
    show: Annotated[bool, typer.Option("--open", help="Open it when it is written.")] = False,
    output: Annotated[Path, typer.Option(help="Folder that holds all runs.")] = Path("runs"),
) -> None:
    """Make the report of a run again, from its folder alone."""
    from engine.outputs import read_results
    from engine.registry import Registry, build
    from engine.rundir import find_run

    record = find_run(output, run)
    results = read_results(record, Path.cwd())
    writer = _writer_of(Registry.discover(), form)
    options = {**_options_of(record.path, writer.name), "format": form}
    for path in build(writer, options).write(results):
        typer.echo(str(path))
        if show:
            typer.launch(path.resolve().as_uri())


def _writer_of(registry: Registry, form: str) -> Writer:
    """The installed writer that makes reports of this format."""
    from engine.components import Writer
    from engine.errors import NotFoundError, PluginError

    writers = [e.component for e in registry.listing() if isinstance(e.component, Writer)]
    found = [writer for writer in writers if form in writer.reports]
    if len(found) > 1:
        names = " and ".join(writer.name for writer in found)
        raise PluginError(f"format {form!r} is made by {names}", hint="uninstall one of them")
    if not found:
        known = sorted({one for writer in writers for one in writer.reports})
        raise NotFoundError(
            f"no installed writer makes reports in the format {form!r}",
            hint=f"formats: {', '.join(known) or 'none'}",
        )
    return found[0]


def _options_of(folder: Path, name: str) -> dict[str, Any]:
    """Options of this writer in the run's own spec, so that the report is made as it was."""
    import yaml

    file = folder / "resolved.yaml"
    if not file.exists():
        return {}
    resolved = yaml.safe_load(file.read_text(encoding="utf-8"))
    for use in resolved.get("write") or []:
        if use.get("use") == name:
            return {key: value for key, value in use.items() if key != "use"}
    return {}
