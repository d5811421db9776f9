"""`engine test` and `engine diff`: does a change make forecasts worse?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from engine.cli.complete import run_names, spec_paths

if TYPE_CHECKING:
    from engine.gate.check import Checked

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("test")(test)
    app.command("diff")(diff)


def test(
    specs: Annotated[
        list[Path],
        typer.Argument(
            help="Specs, or folders of specs.",
            metavar="SPEC|FOLDER...",
            autocompletion=spec_paths,
        ),
    ],
    update: Annotated[
        bool, typer.Option("--update", help="Rewrite the snapshots and show what changed.")
    ] = False,
    prove: Annotated[
        bool, typer.Option("--prove", help="Prove every spec, as if it expected `no_leaks`.")
    ] = False,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.", metavar="FILE")] = None,
    github: Annotated[
        bool, typer.Option("--github", help="Print annotations for GitHub Actions.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="Keep the runs in this folder; default: not kept.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a value of every spec. Repeatable.", metavar="K=V"),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Workers of the executor.")] = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> int:
    """Backtest specs and check what they expect; exit code 6 if an expectation fails."""
    import tempfile

    from engine.cli.progress import progress_for
    from engine.errors import EXIT_GATE, UsageError
    from engine.gate.check import check_spec, spec_files
    from engine.gate.reports import exit_code_of, github_annotations, junit_xml, plain
    from engine.registry import Registry

    files, registry = list(spec_files(specs)), Registry.discover()
    if update and overrides:
        raise UsageError("--update and --set exclude each other", hint="change the spec instead")
    results = []
    with tempfile.TemporaryDirectory(prefix="engine-test-") as scratch:
        for path in files:
            with progress_for(quiet=quiet) as progress:
                checked = check_spec(
                    path, registry, output=output or Path(scratch), base=Path.cwd(),
                    overrides=overrides or (), workers=workers, update=update, proof=prove,
                    listener=progress,
                )  # fmt: skip
            results.append(checked)
            if not as_json:
                _show(checked)
    if junit is not None:
        junit.write_text(junit_xml(results), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps([plain(checked) for checked in results], indent=2))
    elif github:
        for line in github_annotations(results):
            typer.echo(line)
    code = exit_code_of(results, EXIT_GATE)
    if code == 0 and not update and not any(checked.verdicts for checked in results):
        raise UsageError(
            "none of the specs expects anything, so nothing was tested",
            hint="add `expect:` to a spec, see docs/testing-specs.md",
        )
    return code


def _show(checked: Checked) -> None:
    """Print one spec: a row per rule, then what a reader should know besides."""
    from engine.cli.report_table import number
    from engine.cli.tables import print_table

    held = sum(verdict.holds for verdict in checked.verdicts)
    count = f"{held} of {len(checked.verdicts)} hold" if checked.verdicts else "not judged"
    typer.echo(f"{checked.path}: {count}, {checked.seconds:.1f} s")
    if checked.verdicts:
        rows = [
            [
                "holds" if verdict.holds else "FAILED",
                verdict.model,
                verdict.metric,
                verdict.expected,
                number(verdict.value),
            ]
            for verdict in checked.verdicts
        ]
        print_table(["", "model", "metric", "expected", "was"], rows, numeric=[4])
    for note in checked.notes:
        typer.echo(f"note: {note}")
    if checked.snapshot_change is not None:
        typer.echo(checked.snapshot_change or "the snapshot has not changed")
    if checked.error is not None:
        typer.echo(f"error: {checked.error}", err=True)


def diff(
    run_a: Annotated[
        str, typer.Argument(help="The earlier run: folder, id, or name.", autocompletion=run_names)
    ],
    run_b: Annotated[
        str, typer.Argument(help="The run to compare with it.", autocompletion=run_names)
    ],
    output: Annotated[Path, typer.Option(help="Folder that holds all runs.")] = Path("runs"),
    metric: Annotated[
        str | None, typer.Option(help="Metric that --fail-on judges; default: the deciding one.")
    ] = None,
    fail_on: Annotated[
        Literal["worse"] | None, typer.Option("--fail-on", help="Exit with 6 if RUN_B is worse.")
    ] = None,
    top: Annotated[int, typer.Option(min=0, help="Largest movers of each model.")] = 5,
    as_json: AsJson = False,
) -> int:
    """Compare two runs: what changed, and whether the scores did by more than chance."""
    from engine.cli.diff_table import show_comparison
    from engine.compare.runs import compare_runs, plain
    from engine.errors import EXIT_GATE, EXIT_OK, NotFoundError
    from engine.rundir import find_run

    before, after = find_run(output, run_a), find_run(output, run_b)
    comparison = compare_runs(before, after, top)
    known = list(dict.fromkeys(delta.metric for delta in comparison.deltas))
    judged = metric or str((before.manifest.get("best") or {}).get("metric"))
    if judged not in known and (metric is not None or fail_on is not None):
        raise NotFoundError(
            f"the runs have no common scores by {judged!r}", hint=f"known: {', '.join(known)}"
        )
    worse = comparison.worse(judged) if fail_on is not None else []
    if as_json:
        document = {"before": str(before.path), "after": str(after.path), **plain(comparison)}
        document["worse"] = [delta.model for delta in worse]
        typer.echo(json.dumps(document, indent=2, default=str))
    else:
        show_comparison(comparison, before.path, after.path)
        for delta in worse:
            typer.echo(f"FAILED {delta.model} is worse by {judged}")
    return EXIT_GATE if worse else EXIT_OK
