"""Types as a spec's author would say them, for listings and the reference."""

from __future__ import annotations

import types
import typing
from typing import Any

from pydantic import BaseModel

_WORDS = {"str": "text", "float": "number", "int": "integer", "bool": "true or false"}


def type_name(annotation: Any) -> str:
    """A type in words: `integer`, `list of text`, `none | log1p`, `mapping`."""
    if annotation is None or annotation is type(None):
        return "null"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_name(arguments[0])
    if origin is typing.Literal:
        return " | ".join(str(a) for a in arguments)
    if origin in (list, tuple):
        inner = dict.fromkeys(type_name(a) for a in arguments if a is not Ellipsis)
        return f"list of {' | '.join(inner)}"
    if origin is dict:
        return f"mapping of {type_name(arguments[0])} to {type_name(arguments[1])}"
    if arguments:
        return " | ".join(dict.fromkeys(type_name(a) for a in arguments))
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, BaseModel):
            return "mapping"
        return _WORDS.get(annotation.__name__, annotation.__name__)
    return str(annotation)
