"""`engine features`: writes the design matrix of a spec, to look at or to use elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from engine.matrix import Written


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("features")(features)


def features(
    spec: Annotated[Path, typer.Argument(help="The YAML spec.", metavar="SPEC")],
    output: Annotated[
        Path | None, typer.Option(help="The file; default: <name>.features.parquet.")
    ] = None,
    cutoff: Annotated[
        str | None, typer.Option(help="Last known time; default: the end of the data.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Whose rows; default: the first model of design rows.")
    ] = None,
    forecast_rows: Annotated[
        bool, typer.Option("--forecast-rows", help="Also the rows to forecast, y being null.")
    ] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a value of the spec. Repeatable.", metavar="K=V"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Write the design matrix as a model sees it, one row a target, as Parquet."""
    from engine.matrix import Request, write_matrix
    from engine.registry import Registry
    from engine.spec.validate import load_spec

    registry = Registry.discover()
    loaded = load_spec(spec, registry, overrides or ())
    target = output or Path(f"{loaded.spec.name}.features.parquet")
    request = Request(model, cutoff, forecast_rows)
    written = write_matrix(loaded.spec, registry, Path.cwd(), target, request)
    if as_json:
        typer.echo(json.dumps(_document(written), indent=2))
        return
    design = written.design
    typer.echo(
        f"wrote {written.path}: {written.rows:,} rows, {len(written.features)} features, as model "
        f"{design['model']} is fitted at {design['cutoff']}"
    )


def _document(written: Written) -> dict[str, object]:
    return {
        "path": str(written.path),
        "rows": written.rows,
        "features": list(written.features),
        **written.design,
    }
