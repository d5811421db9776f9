"""Refuses what is no spec before it costs time or memory: too large, too deep, or tagged."""

from __future__ import annotations

import yaml

from engine.errors import Problem

MAX_BYTES = 1_000_000
MAX_NODES = 20_000
MAX_DEPTH = 40
MAX_TEXT = 20_000
MAX_DIGITS = 400

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def refusal(text: str) -> Problem | None:
    """Why a text is not read any further; None if it may be, whatever else is wrong with it.

    Events come one by one, so that neither a million keys nor a deep nest is ever held in memory.
    """
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "replace")) > MAX_BYTES:
        return Problem(f"the file is larger than {MAX_BYTES:,} bytes: not a spec")
    depth = nodes = 0
    try:
        for event in yaml.parse(text, Loader=_Loader):
            mark = event.start_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            nodes += isinstance(event, yaml.NodeEvent)
            if depth > MAX_DEPTH:
                return Problem(f"nested deeper than {MAX_DEPTH} levels", "", line, column)
            if nodes > MAX_NODES:
                return Problem(f"more than {MAX_NODES:,} values: not a spec", "", line, column)
            if len(getattr(event, "value", "")) > MAX_TEXT:
                return Problem(f"a text of more than {MAX_TEXT:,} letters", "", line, column)
            tag = getattr(event, "tag", None)
            if tag:
                said = tag.replace("tag:yaml.org,2002:", "!!")
                hint = "remove it: a spec is plain text, numbers, lists and mappings"
                return Problem(f"the tag {said!r} has no meaning here", "", line, column, hint)
    except (yaml.YAMLError, UnicodeError):
        # The loader reads it again and says what is wrong, in its own words.
        return None
    return None


def too_long_a_number(text: str) -> bool:
    """Whether a number has more digits than any value of a spec could mean."""
    return len(text) > MAX_DIGITS
