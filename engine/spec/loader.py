"""YAML text -> plain data and the place of every value; strict about everything YAML guesses.

`no`, `on`, bare dates, duplicate keys and tabs are errors with their place, never surprises.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from engine.errors import Problem
from engine.spec.limits import MAX_DEPTH, MAX_NODES, refusal, too_long_a_number

Path = tuple[str | int, ...]

_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}")
_BOOLEAN_SURPRISE = re.compile(r"^(yes|no|on|off)$", re.IGNORECASE)
_DATE = re.compile(r"^\d{4}-\d{1,2}-\d{1,2}([Tt ].*)?$")
_SEXAGESIMAL = re.compile(r"^[-+]?\d+(:[0-5]?\d)+(\.\d*)?$")
_INT = re.compile(r"^[-+]?(0|[1-9][0-9_]*)$")
_ODD_INT = re.compile(r"^[-+]?0[0-9_]+$|^0[xob]", re.IGNORECASE)
_FLOAT = re.compile(r"^[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?$")


@dataclass(frozen=True, slots=True)
class Place:
    """Line and column, both from 1, of a key (or list item) and of its value."""

    line: int
    column: int
    value_line: int
    value_column: int


@dataclass
class Document:
    """A parsed spec: data, where each value stands, and what was wrong on the way.

    nodes: values read so far, anchors expanded. open: nodes that are being read, by identity.
    """

    data: Any = None
    places: dict[Path, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    nodes: int = 0
    open: set[int] = field(default_factory=set)

    def place(self, path: Path) -> Place | None:
        """The place of the longest known prefix of a path."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.places:
                return self.places[path[:end]]
        return None

    def given_outside(self, path: Path) -> None:
        """Forget the places of a value that the command line has replaced."""
        self.places = {p: at for p, at in self.places.items() if p[: len(path)] != path}
        self.places[path] = Place(0, 0, 0, 0)


class _RefusedError(Exception):
    """The document is too large or too deep to be a spec."""

    def __init__(self, message: str, node: yaml.Node, hint: str = "") -> None:
        super().__init__(message)
        at = node.start_mark
        self.problem = Problem(message, "", at.line + 1, at.column + 1, hint)


def parse(text: str, environment: Mapping[str, str] | None = None) -> Document:
    """Parse a spec's text; `environment` fills `${NAME}` and `${NAME:-default}`.

    Every problem is in `Document.problems`; `data` holds what could be read.
    """
    document = Document()
    refused = refusal(text)
    if refused is not None:
        document.problems.append(refused)
        return document
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        document.problems.append(_syntax_problem(error, text))
        return document
    if node is None or (isinstance(node, yaml.ScalarNode) and not node.value):
        document.problems.append(
            Problem("the file is empty", hint="start from `engine init DATA` or specs/promo.yaml")
        )
        return document
    environment = os.environ if environment is None else environment
    try:
        document.data = _construct(node, (), document, environment)
    except _RefusedError as error:
        document.problems.append(error.problem)
    if not document.problems and not isinstance(document.data, dict):
        document.problems.append(Problem("a spec is a mapping of keys to values", line=1, column=1))
    return document


def _construct(
    node: yaml.Node, path: Path, document: Document, environment: Mapping[str, str]
) -> Any:
    document.nodes += 1
    if document.nodes > MAX_NODES:
        raise _RefusedError(f"more than {MAX_NODES:,} values (anchors expanded): not a spec", node)
    if id(node) in document.open:
        raise _RefusedError("an anchor contains itself", node, "write its parts out")
    if len(path) > MAX_DEPTH:
        raise _RefusedError(f"nested deeper than {MAX_DEPTH} levels (anchors expanded)", node)
    document.open.add(id(node))
    value = _value(node, path, document, environment)
    document.open.discard(id(node))
    return value


def _value(node: yaml.Node, path: Path, document: Document, environment: Mapping[str, str]) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _construct_mapping(node, path, document, environment)
    if isinstance(node, yaml.SequenceNode):
        items = []
        for i, child in enumerate(node.value):
            at = child.start_mark
            document.places[(*path, i)] = Place(
                at.line + 1, at.column + 1, at.line + 1, at.column + 1
            )
            items.append(_construct(child, (*path, i), document, environment))
        return items
    return _scalar(node, path, document, environment)


def _construct_mapping(
    node: yaml.MappingNode, path: Path, document: Document, environment: Mapping[str, str]
) -> dict[str, Any]:
    out: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for key_node, value_node in node.value:
        at, value_at = key_node.start_mark, value_node.start_mark
        line, column = at.line + 1, at.column + 1
        if not isinstance(key_node, yaml.ScalarNode):
            document.problems.append(Problem("a key must be plain text", "", line, column))
            continue
        key = key_node.value
        if key == "<<":
            merged = _merge(value_node, merged, path, document, environment)
            continue
        here = (*path, key)
        if key in out:
            first = document.places[here].line
            document.problems.append(
                Problem(
                    f"key {key!r} is given twice (first in line {first})",
                    dotted(here),
                    line,
                    column,
                    "keep one of them",
                )
            )
            continue
        document.places[here] = Place(line, column, value_at.line + 1, value_at.column + 1)
        out[key] = _construct(value_node, here, document, environment)
    return merged | out


def _merge(
    node: yaml.Node,
    merged: dict[str, Any],
    path: Path,
    document: Document,
    environment: Mapping[str, str],
) -> dict[str, Any]:
    """What `<<:` brings: one mapping or a list of them; the first to name a key wins."""
    parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
    for part in parts:
        if not isinstance(part, yaml.MappingNode):
            at = part.start_mark
            problem = Problem("<< takes a mapping, such as *name", "", at.line + 1, at.column + 1)
            document.problems.append(problem)
            continue
        inner = Document(problems=document.problems, nodes=document.nodes, open=document.open)
        values = _construct(part, path, inner, environment)
        document.nodes = inner.nodes
        for place in inner.places:
            document.places.setdefault(place, inner.places[place])
        merged = {**values, **merged}
    return merged


def _scalar(node: yaml.Node, path: Path, document: Document, environment: Mapping[str, str]) -> Any:
    text = str(node.value)
    at = node.start_mark

    def problem(message: str, hint: str = "") -> None:
        document.problems.append(Problem(message, dotted(path), at.line + 1, at.column + 1, hint))

    def substitute(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        value = environment.get(name) or default
        if value is None:
            problem(
                f"environment variable {name!r} is not set",
                f"export {name}=... or give a default: ${{{name}:-value}}",
            )
            return ""
        return value

    quoted = getattr(node, "style", None) in ("'", '"', "|", ">")
    if "${" in text:
        text = _VARIABLE.sub(substitute, text)
    if quoted:
        return text
    if too_long_a_number(text) and _INT.match(text):
        problem("a number of this many digits is no value of a spec")
        return 0
    surprise = _surprise(text)
    if surprise:
        problem(surprise[0], surprise[1])
        return text
    return plain_value(text)


def plain_value(text: str) -> Any:
    """The value of an unquoted scalar by the YAML 1.2 core rules: null, true/false, numbers, text."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    if _INT.match(text):
        return int(text.replace("_", ""))
    if _FLOAT.match(text):
        return float(text.replace("_", ""))
    return text


def is_plain_text(text: str) -> bool:
    """Whether an unquoted word is read as that word, and not as a number, a date or nothing."""
    return plain_value(text) == text and _surprise(text) is None


def _surprise(text: str) -> tuple[str, str] | None:
    if _BOOLEAN_SURPRISE.match(text):
        return (
            f"{text!r} unquoted means true or false to some YAML readers and text to others",
            f'write true or false, or quote it: "{text}"',
        )
    if _DATE.match(text):
        return f"{text!r} unquoted is a date to some YAML readers", f'quote it: "{text}"'
    if _SEXAGESIMAL.match(text):
        return f"{text!r} unquoted is a base-60 number to some readers", f'quote it: "{text}"'
    if _ODD_INT.match(text):
        plain = text.lstrip("+-0_")
        number = f"write {plain}, or " if plain.isdigit() else ""
        hint = f'{number}quote it: "{text}"'
        return f"{text!r} unquoted is octal or hex to some YAML readers", hint
    return None


def _syntax_problem(error: yaml.YAMLError, text: str) -> Problem:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or str(error)
    line = mark.line + 1 if mark else 0
    column = mark.column + 1 if mark else 0
    lines = text.splitlines()
    if 0 < line <= len(lines) and "\t" in lines[line - 1]:
        column = lines[line - 1].index("\t") + 1
        return Problem("a tab is used for indentation", "", line, column, "YAML indents by spaces")
    if mark is None and "unacceptable character" in str(error):
        return Problem("the file holds characters that are not text", hint="is it a YAML file?")
    context = getattr(error, "context", None)
    return Problem(
        f"not valid YAML: {what}" + (f" {context}" if context else ""),
        "",
        line,
        column,
        "check quotes, brackets, colons and indentation here and in the line above",
    )


def apply_override(document: Document, text: str) -> list[Problem]:
    """Apply one `a.b.0.c=value` override in place; the value is read by the rules of a spec."""
    name, sep, raw = text.partition("=")
    parts = name.strip().split(".")
    if not sep or not all(parts):
        return [Problem(f"--set {text!r} must be path=value, e.g. models.lstm.hidden=64")]
    value, problems = _override_value(raw)
    if problems:
        return [Problem(f"--set {text!r}: {p.message}", hint=p.hint) for p in problems]
    target: Any = document.data
    path: Path = ()
    for i, part in enumerate(parts):
        index: Any = part
        if isinstance(target, list):
            if not part.isdigit() or int(part) >= len(target):
                return [Problem(f"--set {text!r}: {dotted(path)} has no item {part!r}")]
            index = int(part)
        path = (*path, index)
        if i == len(parts) - 1:
            target[index] = value
        elif isinstance(target, dict) and not isinstance(target.get(index), dict | list):
            target[index] = {}
            document.given_outside(path)
        target = target[index]
    document.given_outside(path)
    return []


def _override_value(raw: str) -> tuple[Any, list[Problem]]:
    """The value of a command-line override, in flow YAML, and what is wrong with it."""
    document = Document()
    refused = refusal(raw)
    if refused is not None:
        return None, [refused]
    try:
        node = yaml.compose(raw, Loader=yaml.SafeLoader)
        value = None if node is None else _construct(node, (), document, os.environ)
    except (yaml.YAMLError, _RefusedError):
        return None, [Problem("the value is not valid YAML")]
    return value, document.problems


def dotted(path: Sequence[str | int]) -> str:
    """`("models", "lstm", "hidden")` -> `models.lstm.hidden`."""
    return ".".join(str(part) for part in path)
