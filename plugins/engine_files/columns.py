"""Names of columns: patterns, and errors that name what was meant."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterable, Sequence

from engine.errors import DataError

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_NAMES = 1_000_000


def near(name: str, available: Iterable[str]) -> str:
    """`did you mean ...?` for a name that does not exist, or a list of what does."""
    names = list(available)
    by_lower = {n.lower(): n for n in names}
    found = difflib.get_close_matches(name.lower(), by_lower, n=3)
    if found:
        return f"did you mean {' or '.join(repr(by_lower[f]) for f in found)}?"
    if not names:
        return "there are none"
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"there are {', '.join(sorted(names)[:20])}{more}"


def require(names: Iterable[str], available: Sequence[str], *, option: str, place: str) -> None:
    """Raise DataError for the first of `names` that is not a column of `place`."""
    for name in names:
        if name not in available:
            raise DataError(
                f"{option}: there is no column {name!r} in {place}", hint=near(name, available)
            )


def spelled_out(patterns: str | Sequence[str]) -> list[str]:
    """Patterns with every number range `{1..3}` written out; other patterns as they are."""
    listed = [patterns] if isinstance(patterns, str) else list(patterns)
    out: list[str] = []
    for pattern in listed:
        match = _RANGE.search(pattern)
        if match is None:
            out.append(pattern)
            continue
        first, last = int(match[1]), int(match[2])
        if last < first or last - first >= _MOST_NAMES:
            raise DataError(
                f"the range {match[0]} in {pattern!r} is empty or too long",
                hint="write {first..last} with first <= last",
            )
        width = len(match[1]) if match[1].startswith("0") else 0
        head, tail = pattern[: match.start()], pattern[match.end() :]
        out.extend(spelled_out([f"{head}{i:0{width}d}{tail}" for i in range(first, last + 1)]))
    return out


def matching(
    patterns: str | Sequence[str], available: Sequence[str], *, option: str, place: str
) -> list[str]:
    """Columns that the patterns name, in the order of the file; a DataError if one names none."""
    wanted: set[str] = set()
    for pattern in spelled_out(patterns):
        is_glob = any(c in pattern for c in "*?[") and pattern not in available
        found = fnmatch.filter(available, pattern) if is_glob else [pattern]
        if is_glob and not found:
            raise DataError(
                f"{option}: no column of {place} matches {pattern!r}", hint=near("", available)
            )
        require(found, available, option=option, place=place)
        wanted.update(found)
    return [c for c in available if c in wanted]
