"""Pydantic's errors in the words and places of the spec's author."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from engine.errors import Problem
from engine.spec import loader
from engine.spec.loader import Document, Path


def problems_of(
    error: ValidationError,
    prefix: Path,
    model: type[BaseModel],
    document: Document,
    also: set[str] | None = None,
) -> Iterator[Problem]:
    """One problem per place; alternatives of a union are joined into one sentence."""
    grouped: dict[Path, list[Any]] = {}
    for item in error.errors(include_url=False):
        path = _real_path(item["loc"], prefix, document.data)
        grouped.setdefault(path, []).append(item)
    for path, items in grouped.items():
        first = items[0]
        if first["type"] == "extra_forbidden":
            known = _fieldsproblem_at(model, first["loc"][:-1]) + sorted(also or ())
            close = difflib.get_close_matches(str(path[-1]), known, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            hint += f"known: {', '.join(sorted(set(known)))}"
            yield problem_at(document, path, f"unknown key {path[-1]!r}", hint, key=True)
        elif first["type"] == "missing":
            yield problem_at(document, path[:-1], f"key {path[-1]!r} is missing", path=path)
        else:
            said = dict.fromkeys(_sentence(item) for item in items)
            value = items[0].get("input")
            shown = "" if isinstance(value, dict) else f"; given: {_short(value)}"
            yield problem_at(document, path, " or ".join(said) + shown)


def _sentence(item: Mapping[str, Any]) -> str:
    kind, context = item["type"], item.get("ctx", {})
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error", item["msg"]))
    if kind == "literal_error":
        return f"must be {context['expected']}"
    expected = {
        "int_type": "an integer",
        "float_type": "a number",
        "bool_type": "true or false",
        "string_type": "text",
        "list_type": "a list",
        "tuple_type": "a list",
        "dict_type": "a mapping",
        "model_type": "a mapping of keys to values",
        "model_attributes_type": "a mapping of keys to values",
    }.get(kind)
    return f"must be {expected}" if expected else re.sub(r"^\w+ should", "must", str(item["msg"]))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _real_path(location: tuple[Any, ...], prefix: Path, data: Any) -> Path:
    """Drop union tags and class names that pydantic puts into a location."""
    here = data
    for part in prefix:
        here = here[part]
    path = list(prefix)
    for i, part in enumerate(location):
        last = i == len(location) - 1
        if (isinstance(here, dict) and part in here) or (
            isinstance(here, list) and isinstance(part, int) and part < len(here)
        ):
            here = here[part]
            path.append(part)
        elif last and isinstance(here, dict) and isinstance(part, str):
            path.append(part)
    return tuple(path)


def _fieldsproblem_at(model: type[BaseModel], location: Sequence[Any]) -> list[str]:
    """Field names of the model that sits at a pydantic location."""
    current: list[Any] = [model]
    for part in location:
        following: list[Any] = []
        for kind in current:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                if kind.__name__ == part:
                    following.append(kind)
                elif part in kind.model_fields:
                    following += _models_in(kind.model_fields[part].annotation)
        current = following or current
    return [
        name
        for kind in current
        if isinstance(kind, type) and issubclass(kind, BaseModel)
        for name in kind.model_fields
    ]


def _models_in(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    found: list[Any] = []
    for argument in typing.get_args(annotation):
        found += _models_in(argument)
    return found


def problem_at(
    document: Document,
    place: Path,
    message: str,
    hint: str = "",
    *,
    key: bool = False,
    path: Path | None = None,
) -> Problem:
    """A problem with the line and column of a path in the file."""
    found = document.place(place)
    shown = loader.dotted(path if path is not None else place)
    if found is None or not place:
        return Problem(message, shown, 1 if not place else 0, 1 if not place else 0, hint)
    exact = place in document.places
    line, column = (
        (found.line, found.column) if key or not exact else (found.value_line, found.value_column)
    )
    return Problem(message, shown, line, column, hint)


def unknown_name(
    document: Document, path: Path, name: str, known: Sequence[str], what: str
) -> Iterator[Problem]:
    """A problem if a name is not one of the known ones, with the closest of them."""
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        shown = ", ".join(known) or "none"
        yield problem_at(
            document, path, f"no {what} named {name!r} in this spec", f"{hint}known: {shown}"
        )
