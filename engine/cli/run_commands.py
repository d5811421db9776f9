"""`engine run`, `engine validate` and `engine init`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.complete import spec_paths

if TYPE_CHECKING:
    from engine.registry import Registry
    from engine.runner import Outcome
    from engine.spec.validate import LoadedSpec

SpecPath = Annotated[
    Path, typer.Argument(help="The YAML spec.", metavar="SPEC", autocompletion=spec_paths)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Override a value: models.lstm.hidden=64. Repeatable.", metavar="K=V"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Seed = Annotated[int | None, typer.Option(help="Override the spec's seed.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Workers of the spec's executor.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("run")(run)
    app.command("validate")(validate)
    app.command("init")(init)


def run(
    spec: SpecPath,
    output: Annotated[Path, typer.Option(help="Folder that holds all runs.")] = Path("runs"),
    overrides: Overrides = None,
    workers: Workers = None,
    seed: Seed = None,
    models: Annotated[
        str | None,
        typer.Option(help="Only these models of the spec, and its fallback: ridge,arima."),
    ] = None,
    locked: Annotated[
        bool,
        typer.Option("--locked", help="Refuse data or plugin versions other than the snapshot's."),
    ] = False,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> int:
    """Run a spec: backtest its models, choose, forecast, write."""
    from engine.cli.progress import progress_for
    from engine.cli.report_table import show_outcome
    from engine.gate.snapshot import read_lock
    from engine.runner import run as run_spec
    from engine.spec.narrow import with_models

    loaded, registry = _load(spec, overrides, workers, seed)
    if models is not None:
        loaded = with_models(loaded, [name.strip() for name in models.split(",")])
    lock = read_lock(spec) if locked else None
    with progress_for(quiet=quiet) as progress:
        outcome = run_spec(
            loaded, registry, output=output, base=Path.cwd(), listener=progress, lock=lock
        )
    if as_json:
        typer.echo(json.dumps(_document(outcome, loaded), indent=2, default=str))
    else:
        show_outcome(outcome, loaded.spec)
    return outcome.exit_code


def _load(
    path: Path, overrides: list[str] | None, workers: int | None, seed: int | None
) -> tuple[LoadedSpec, Registry]:
    from engine.registry import Registry
    from engine.spec.validate import load_spec

    registry = Registry.discover()
    loaded = load_spec(path, registry, overrides or (), seed=seed, workers=workers)
    for broken in registry.broken:
        typer.echo(f"warning: plugin {broken.plugin!r} is broken: {broken.error}", err=True)
    return loaded, registry


def _document(outcome: Outcome, loaded: LoadedSpec) -> dict[str, object]:
    from engine.evaluate import wide

    manifest = outcome.manifest
    return {
        "name": loaded.spec.name,
        "run": str(outcome.folder),
        "status": manifest["status"],
        "exit_code": outcome.exit_code,
        "best": manifest["best"],
        "scores": wide(outcome.scores, list(loaded.spec.contenders)),
        "expect": outcome.gate,
        "failures": manifest["failures"],
        "seconds": manifest["seconds"],
    }


def validate(
    spec: SpecPath,
    overrides: Overrides = None,
    resolved: Annotated[
        bool, typer.Option(help="Print the spec with every default filled in.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check a spec without reading any data."""
    loaded, _ = _load(spec, overrides, None, None)
    if as_json:
        typer.echo(json.dumps({"valid": True, "spec": dict(loaded.resolved)}, indent=2))
    elif resolved:
        typer.echo(loaded.resolved_yaml, nl=False)
    else:
        models = ", ".join(loaded.spec.contenders)
        typer.echo(f"{spec} is valid: {loaded.spec.name}, models {models}")


def init(
    data: Annotated[Path, typer.Argument(help="A Parquet, CSV or Arrow file.", metavar="DATA")],
    output: Annotated[
        Path | None, typer.Option(help="The spec to write; default: <DATA's name>.yaml.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace an existing spec.")] = False,
) -> None:
    """Look at a data file and write a commented spec for it."""
    from engine.errors import UsageError
    from engine.registry import Registry
    from engine.spec.validate import validate_text
    from engine.wizard import draft_spec

    target = output or Path(f"{data.name.split('.')[0]}.yaml")
    if target.exists() and not force:
        raise UsageError(f"{target} exists", hint="choose another with --output, or use --force")
    text, guesses = draft_spec(data)
    validate_text(text, str(target), Registry.discover())
    target.write_text(text, encoding="utf-8")
    for guess in guesses:
        typer.echo(guess)
    typer.echo(f"wrote {target}; read it, then: engine run {target}")
