"""`engine plan`: what a run will take, before anything heavy is done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.complete import spec_paths

if TYPE_CHECKING:
    from engine.plan.estimate import ModelPlan, Plan


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("plan")(plan)


def plan(
    spec: Annotated[
        Path, typer.Argument(help="The YAML spec.", metavar="SPEC", autocompletion=spec_paths)
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a value of the spec. Repeatable.", metavar="K=V"),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Workers of the executor.")] = None,
    limit: Annotated[
        float, typer.Option(min=0.1, help="Seconds for trying each model on larger samples.")
    ] = 3.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Say what will be fitted, how long it takes and how much memory, from a trial on a few series."""
    from engine.plan.estimate import make_plan
    from engine.registry import Registry
    from engine.spec.validate import load_spec

    registry = Registry.discover()
    loaded = load_spec(spec, registry, overrides or (), workers=workers)

    def note(text: str) -> None:
        if not quiet:
            typer.echo(text, err=True)

    made = make_plan(loaded, registry, base=Path.cwd(), limit=limit, note=note)
    if as_json:
        typer.echo(json.dumps(made.plain(), indent=2))
    else:
        _show(made, spec)


def _show(made: Plan, spec: Path) -> None:
    from engine.cli.tables import print_table
    from engine.machine import memory_text

    extra = f" and {made.calibration} to calibrate quantiles" if made.calibration else ""
    typer.echo(
        f"{made.name}: {made.series:,} series, {made.rows:,} rows; {made.folds} folds{extra}, "
        f"horizon {made.horizon}; {len(made.models)} models, {made.workers} at a time"
    )
    print_table(
        ["model", "fits", "tasks", "time", "memory"],
        [_row(model) for model in made.models],
        numeric=(1, 2, 3, 4),
    )
    parts = ", ".join(f"{k} {duration(v)}" for k, v in made.stages.items() if v >= 0.5)
    typer.echo(f"time:   about {duration(made.seconds)} ({parts or 'all stages under a second'})")
    free = "" if made.available is None else f"; {memory_text(made.available)} are free"
    typer.echo(
        f"memory: about {memory_text(made.memory)} in the largest process, "
        f"{memory_text(made.memory_all)} in all{free}"
    )
    for model in made.models:
        if model.reason:
            typer.echo(f"{model.model} failed on the sample: {model.reason}")
    if made.trouble:
        typer.echo(f"scoring and writing are not counted: {made.trouble}")
    if not made.fits_memory:
        typer.echo(
            "warning: the memory will not do: use fewer --workers, or fewer series or columns",
            err=True,
        )
    typer.echo(f"next: engine run {spec}")


def _row(model: ModelPlan) -> list[str]:
    from engine.machine import memory_text

    time = "?" if model.seconds is None else duration(model.seconds)
    return [model.model, f"{model.fits:,}", f"{model.tasks:,}", time, memory_text(model.memory)]


def duration(seconds: float) -> str:
    """Seconds as people say them: `3 s`, `4.8 min`, `2.1 h`."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
