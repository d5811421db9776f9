"""What a report is made of: sections of tables, charts and sentences, without any HTML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from engine_report.drawing import Drawing

Form = Literal["score", "probability", "units", "percent"]


@dataclass(frozen=True)
class Prose:
    """Sentences; `tone` is plain, good, bad or note."""

    kind: ClassVar[str] = "prose"
    text: str
    tone: str = "plain"


@dataclass(frozen=True)
class Figure:
    """One number with its name: `value` is shown as a score, or as it is if it is a text."""

    name: str
    value: float | str | None
    detail: str = ""


@dataclass(frozen=True)
class Figures:
    """Numbers side by side."""

    kind: ClassVar[str] = "figures"
    items: Sequence[Figure]


@dataclass(frozen=True)
class Column:
    """A column of a table; `meaning` explains its name.

    form: how its numbers are written; units are whole where they are large. worst: the end that the
    first click on its heading puts on top.
    """

    name: str
    numeric: bool = True
    meaning: str = ""
    form: Form = "score"
    worst: Literal["high", "low"] = "high"


@dataclass(frozen=True)
class Table:
    """Rows of texts and numbers; the first cell of a row names it.

    mark: the row whose first cell equals it stands out. folded: shown when a reader opens it. total:
    a last row that stays below the others. every: JSON of all rows, of which these are the first; the
    page then searches and sorts all of them.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    note: str = ""
    mark: str | None = None
    folded: bool = False
    total: Sequence[Any] | None = None
    every: str = ""


@dataclass(frozen=True)
class Chart:
    """A picture as SVG; `description` says in words what it shows.

    wide: the same as wide as the page, shown where there is room.
    """

    kind: ClassVar[str] = "chart"
    caption: str
    svg: Drawing
    description: str
    note: str = ""
    wide: Drawing | None = None


@dataclass(frozen=True)
class Charts:
    """Charts side by side where there is room."""

    kind: ClassVar[str] = "charts"
    items: Sequence[Chart]


@dataclass(frozen=True)
class Gallery:
    """Charts of which a reader picks one by its caption.

    found: JSON of more series that the page draws when they are searched for; `engine_report.finder`.
    hint: what a name looks like, for a reader who finds none.
    """

    kind: ClassVar[str] = "gallery"
    items: Sequence[Chart]
    shown: int = 6
    found: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Listing:
    """Text that is shown as it is written, folded away."""

    kind: ClassVar[str] = "listing"
    title: str
    text: str


@dataclass(frozen=True)
class Code:
    """A command to copy, and in a few words what it does."""

    kind: ClassVar[str] = "code"
    title: str
    text: str


@dataclass(frozen=True)
class Fold:
    """Blocks that a reader opens by their title."""

    kind: ClassVar[str] = "fold"
    title: str
    blocks: Sequence[Block]


Block = Code | Prose | Figures | Table | Chart | Charts | Gallery | Listing | Fold


@dataclass(frozen=True)
class Section:
    """One numbered part of the report."""

    name: str
    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)


@dataclass(frozen=True)
class Document:
    """The whole report; `summary` is the verdict in one sentence, `notice` what must not be missed."""

    title: str
    subtitle: str
    summary: str
    sections: Sequence[Section]
    notice: str = ""


def embedded(value: object) -> str:
    """JSON that may stand in a script element: it can neither end it nor open another."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for bad in "<>&\u2028\u2029":
        text = text.replace(bad, f"\\u{ord(bad):04x}")
    return text
