"""Documents as HTML, Markdown, PDF or PNG, from the templates; every text from data is escaped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from engine_report import browser
from engine_report.document import Document, Form
from engine_report.numbers import points, probability, score, units

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("tables.js", "draw.js", "gallery.js")


def render(document: Document, form: Literal["html", "md", "pdf", "png"]) -> bytes:
    """The whole file; PDF and PNG are the HTML as a browser shows it."""
    if form == "md":
        return _text(document, "md").encode("utf-8")
    page = _text(document, "html")
    return page.encode("utf-8") if form == "html" else browser.printed(page, form)


def _text(document: Document, form: Literal["html", "md"]) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=form == "html",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "score": score,
        "number": number,
        "exact": exact,
        "cell": cell,
        "words": words,
    }
    if form == "md":
        return environment.get_template("report.md").render(document=document)
    return environment.get_template("report.html").render(
        document=document,
        style=_inline("style.css"),
        script=Markup("").join(map(_inline, SCRIPTS)),
        svg=Markup,
    )


def _inline(name: str) -> Markup:
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


WRITTEN: Mapping[Form, Callable[[object], str]] = {
    "score": score,
    "probability": probability,
    "units": units,
    "percent": points,
}


def number(value: object, form: Form) -> str:
    """A number as its column writes it."""
    return WRITTEN[form](value)


def words(value: object) -> str:
    """A cell of words: what is not said is left empty."""
    return "" if value is None else score(value)


def exact(value: object) -> str:
    """A number with every digit, for sorting and for checking; empty for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    return repr(value)


def cell(value: object) -> str:
    """A Markdown cell: a number as a score, a text that breaks neither table nor page."""
    text = value if isinstance(value, str) else score(value)
    for bad, good in (
        ("\\", "\\\\"),
        ("|", "\\|"),
        ("<", "&lt;"),
        ("\n", " "),
        ("`", "\\`"),
        ("@", "&#64;"),
    ):
        text = text.replace(bad, good)
    return text
