"""Every error a user can meet: what was wrong, where, what to do, and the exit code it turns into."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

EXIT_OK = 0
EXIT_UNEXPECTED = 1
EXIT_USAGE = 2
EXIT_MISSING_DEPENDENCY = 3
EXIT_NOT_FOUND = 4
EXIT_INVALID = 5
EXIT_GATE = 6
EXIT_FAILURES = 7
EXIT_INTERRUPTED = 130


class EngineError(Exception):
    """An error with a message made for its reader.

    `message` says what was wrong and where, `hint` what to do about it.
    """

    exit_code = EXIT_UNEXPECTED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class UsageError(EngineError):
    """The command line asks for something that cannot be."""

    exit_code = EXIT_USAGE


class MissingDependencyError(EngineError):
    """An optional dependency of a component is not installed."""

    exit_code = EXIT_MISSING_DEPENDENCY


class NotFoundError(EngineError):
    """A file, run or plugin does not exist."""

    exit_code = EXIT_NOT_FOUND


class DataError(EngineError):
    """The data do not keep the promises of the spec: names series, column and counts."""

    exit_code = EXIT_INVALID


class PluginError(EngineError):
    """A plugin is broken or breaks its contract; names the plugin and its distribution."""

    exit_code = EXIT_INVALID


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a spec: where it stands and what to do.

    `line` and `column` count from 1; 0 means that the place is unknown (a command-line override).
    """

    message: str
    path: str = ""
    line: int = 0
    column: int = 0
    hint: str = ""


class SpecError(EngineError):
    """All the problems of one spec, in the order in which they stand in the file."""

    exit_code = EXIT_INVALID

    def __init__(self, source: str, problems: Sequence[Problem], text: str = "") -> None:
        self.source = source
        self.problems = tuple(sorted(problems, key=lambda p: (p.line, p.column)))
        lines = text.splitlines()
        shown = "\n".join(_render(source, problem, lines) for problem in self.problems)
        count = len(self.problems)
        super().__init__(f"{source}: {count} problem{'s' if count != 1 else ''}\n{shown}")


def _render(source: str, problem: Problem, lines: Sequence[str]) -> str:
    place = f"{source}:{problem.line}:{problem.column}" if problem.line else source
    key = f" [{problem.path}]" if problem.path else ""
    rendered = [f"{place}: {problem.message}{key}"]
    if 0 < problem.line <= len(lines):
        line = lines[problem.line - 1][:160].replace("\t", " ")
        rendered.append(f"  {problem.line:>4} | {line}")
        rendered.append(f"       | {' ' * (problem.column - 1)}^")
    if problem.hint:
        rendered.append(f"  hint: {problem.hint}")
    return "\n".join(rendered)


@contextmanager
def blaming(part: str) -> Iterator[None]:
    """Whatever a plugin raises inside becomes a `PluginError` that names `part`, such as `metric 'x'`.

    Errors that were made for their reader pass as they are.
    """
    try:
        yield
    except EngineError:
        raise
    except Exception as error:
        raise PluginError(
            f"{part} failed: {first_line(error)}",
            hint="`engine plugins show` tells which distribution offers it; `engine plugins check` "
            "runs the conformance checks on it",
        ) from error


def first_line(error: BaseException) -> str:
    """A one-line `Type: message` of any exception, for tables and records."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
