"""The spec reference as Markdown, made from the same models that validate specs.

`python -m engine.spec.reference > docs/spec.md` writes it; a test fails when it is out of date.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from engine.spec.model import RunSpec
from engine.spec.sections import Use
from engine.typenames import type_name

_HEAD = """# Spec reference

Every key that the core understands. Options of a plugin are shown by `engine plugins show NAME`;
`engine schema` prints all of it as JSON Schema for editors. Unknown keys are errors. Relative paths
start in the folder where `engine` is run; `${VAR}` and `${VAR:-default}` are replaced by environment
variables; `--set models.ridge.penalty=10` overrides one value.
"""


def reference() -> str:
    """The whole reference."""
    parts = [_HEAD]
    for title, section in _sections("", RunSpec):
        parts.append(f"## {title or 'Top level'}\n")
        parts.append((section.__doc__ or "").strip() + "\n")
        parts.append("| key | type | default | meaning |\n|---|---|---|---|")
        parts += [_row(name, field) for name, field in section.model_fields.items()]
        if issubclass(section, Use):
            parts.append("| ... | | | the component's own options |")
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _sections(path: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, model
    for name, field in model.model_fields.items():
        for inner in _models_in(field.annotation):
            yield from _sections(f"{path}.{name}".lstrip("."), inner)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    plain = isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias)
    if plain:
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [m for argument in typing.get_args(annotation) for m in _models_in(argument)]


def _row(name: str, field: FieldInfo) -> str:
    if field.is_required():
        default = "required"
    elif field.default is PydanticUndefined:
        default = ""
    else:
        default = f"`{_yaml(field.default)}`"
    kind = type_name(field.annotation).replace("|", "\\|")
    meaning = (field.description or "").replace("|", "\\|")
    return f"| `{name}` | {kind} | {default} | {meaning} |"


def _yaml(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


if __name__ == "__main__":
    print(reference(), end="")
