"""`engine prove`: shows that nothing in a spec looks past its cutoff."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.complete import spec_paths

if TYPE_CHECKING:
    from engine.prove.proof import Check, Proof


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("prove")(prove)


def prove(
    spec: Annotated[
        Path, typer.Argument(help="The YAML spec.", metavar="SPEC", autocompletion=spec_paths)
    ],
    series: Annotated[int, typer.Option(min=0, help="Series to use, evenly spread; 0: all.")] = 20,
    folds: Annotated[int, typer.Option(min=1, help="How many of the last cutoffs.")] = 1,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a value of the spec. Repeatable.", metavar="K=V"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random changes.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> int:
    """Change everything after the cutoff and show that no feature and no forecast moves."""
    from engine.prove.prover import prove as prove_spec
    from engine.registry import Registry
    from engine.spec.validate import load_spec

    registry = Registry.discover()
    loaded = load_spec(spec, registry, overrides or ())

    def note(text: str) -> None:
        if not quiet:
            typer.echo(text, err=True)

    proof = prove_spec(
        loaded, registry, base=Path.cwd(), series=series, folds=folds, seed=seed, note=note
    )
    if as_json:
        typer.echo(json.dumps(proof.plain(), indent=2))
    else:
        _show(proof)
    return proof.exit_code


def _show(proof: Proof) -> None:
    from engine.cli.tables import print_table

    header = ["check", "subject", "cutoff", "ways", "values", "result"]
    print_table(header, [_row(check) for check in proof.checks], numeric=(3, 4))
    typer.echo()
    for finding in proof.findings:
        typer.echo(finding.sentence())
    held = sum(check.status == "holds" for check in proof.checks)
    skipped = sum(check.status == "skipped" for check in proof.checks)
    typer.echo(
        f"{proof.name}: {held} of {len(proof.checks) - skipped} checks hold, "
        f"{f'{skipped} skipped, ' if skipped else ''}on {proof.series} series, {proof.seconds:.0f} s"
    )


def _row(check: Check) -> list[str]:
    result: str = check.status
    if check.reason:
        result += f": {check.reason}"
    ways = str(check.cases) if check.cases else ""
    values = f"{check.values:,}" if check.values else ""
    return [check.check, check.subject, check.cutoff, ways, values, result]
