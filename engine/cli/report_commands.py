"""`engine report`: makes a run's report again from its folder alone, or compares two runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.complete import run_names

if TYPE_CHECKING:
    from engine.components import Writer
    from engine.registry import Registry
    from engine.rundir import RunRecord


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
    other: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN_B",
            help="A later run: reports on what changed since RUN.",
            autocompletion=run_names,
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option("--format", help="html, md (for a pull-request comment), pdf or png."),
    ] = "html",
    show: Annotated[bool, typer.Option("--open", help="Open it when it is written.")] = False,
    output: Annotated[Path, typer.Option(help="Folder that holds all runs.")] = Path("runs"),
) -> None:
    """Make the report of a run again, from its folder alone; with RUN_B, compare the two."""
    from engine.cli.found import found_run
    from engine.registry import Registry

    record = found_run(output, run)
    writer = _writer_of(Registry.discover(), form)
    if other is None:
        paths = _again(record, writer, form)
    else:
        paths = _compared(record, found_run(output, other), writer, form)
    for path in paths:
        typer.echo(str(path))
        if show and typer.launch(path.resolve().as_uri()):
            typer.echo("warning: nothing here could open it; open the file yourself", err=True)


def _again(record: RunRecord, writer: Writer, form: str) -> list[Path]:
    from engine.outputs import read_results
    from engine.registry import build

    results = read_results(record, Path.cwd())
    options = {**_options_of(record.path, writer.name), "format": form}
    paths: list[Path] = build(writer, options).write(results)
    return paths


def _compared(before: RunRecord, after: RunRecord, writer: Writer, form: str) -> list[Path]:
    """The report of a later run against an earlier one, by the same comparison as `engine diff`."""
    from engine.compare.report import ComparisonWriter
    from engine.compare.runs import compare_runs
    from engine.errors import PluginError
    from engine.registry import build

    built = build(writer, {"format": form})
    if not isinstance(built, ComparisonWriter):
        raise PluginError(
            f"writer {writer.name!r} has no report of two runs",
            hint="see `engine diff RUN_A RUN_B` for the same numbers in the terminal",
        )
    return built.compare(compare_runs(before, after), before, after)


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
