"""The `engine` command: parses arguments, turns errors into messages and exit codes."""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import Any

import typer
from typer.exceptions import TyperException

from engine import __version__
from engine.cli import (
    doctor_command,
    features_command,
    inspect_commands,
    plan_command,
    prove_command,
    report_commands,
    run_commands,
    show_command,
    test_commands,
)
from engine.errors import EXIT_INTERRUPTED, EXIT_UNEXPECTED, EXIT_USAGE, EngineError
from engine.leave import leave

app = typer.Typer(
    name="engine",
    help="Forecast demand from one YAML spec: honest backtests, quantiles, plugins.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
run_commands.register(app)
plan_command.register(app)
show_command.register(app)
doctor_command.register(app)
prove_command.register(app)
features_command.register(app)
inspect_commands.register(app)
test_commands.register(app)
report_commands.register(app)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"engine {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    """Forecast demand from one YAML spec: honest backtests, quantiles, plugins."""


def main() -> None:
    """Entry point: exit codes 0 ok, 1 unexpected, 2 usage, 3 missing dependency, 4 not found,
    5 spec or data, 6 gate failed, 7 finished with failures, 130 interrupted.
    """
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    signal.signal(signal.SIGTERM, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding does not have is no reason to lose a result.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code = invoke(sys.argv[1:])
    leave(code)
    sys.exit(code)


def invoke(arguments: list[str]) -> int:
    """Run the command line and return its exit code."""
    try:
        code = app(args=arguments, prog_name="engine", standalone_mode=False)
        if code == EXIT_INTERRUPTED:
            raise KeyboardInterrupt  # typer has made a number of it
        return code if isinstance(code, int) else 0
    except EngineError as error:
        typer.echo(f"error: {error}", err=True)
        return error.exit_code
    except typer.Exit as leave:
        return int(leave.exit_code)
    except TyperException as error:
        _show_usage(error)
        return EXIT_USAGE
    except (KeyboardInterrupt, typer.Abort):
        typer.echo(
            "interrupted: if a run had begun, what it finished is kept in a folder marked .partial",
            err=True,
        )
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the reader of our output has gone
        return EXIT_UNEXPECTED
    except Exception as error:  # noqa: BLE001 - the last resort: say so and where to look
        return _unexpected(error)


def _show_usage(error: TyperException) -> None:
    show = getattr(error, "show", None)
    if show is None:
        typer.echo(f"error: {error}", err=True)
    else:
        show()


def _unexpected(error: Exception) -> int:
    if os.environ.get("ENGINE_DEBUG"):
        raise error
    typer.echo(
        f"unexpected error: {type(error).__name__}: {error}\n"
        "  hint: this is a fault of Engine or of a plugin; run again with ENGINE_DEBUG=1 to see where",
        err=True,
    )
    return EXIT_UNEXPECTED


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
