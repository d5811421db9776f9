"""Results of `engine test` for other programs: JUnit XML, GitHub annotations, plain data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from engine.gate.check import Checked


def exit_code_of(results: Sequence[Checked], failed: int) -> int:
    """The first error's code; else `failed` if an expectation does not hold; else 0."""
    for checked in results:
        if checked.error is not None:
            return checked.error.exit_code
    return failed if any(checked.failed for checked in results) else 0


def plain(checked: Checked) -> dict[str, Any]:
    """JSON types only."""
    return {
        "spec": str(checked.path),
        "seconds": checked.seconds,
        "error": None if checked.error is None else str(checked.error),
        "notes": list(checked.notes),
        "verdicts": [
            {
                "number": v.number,
                "title": checked.titles[v.number],
                "line": checked.lines[v.number],
                "text": str(v),
                **v.plain(),
            }
            for v in checked.verdicts
        ],
    }


def junit_xml(results: Sequence[Checked]) -> str:
    """A test suite per spec with a test case per expectation (the schema that CI servers read)."""
    root = ElementTree.Element("testsuites", name="engine test")
    for checked in results:
        cases = list(_cases(checked))
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=str(checked.path),
            tests=str(len(cases)),
            failures=str(sum(case.find("failure") is not None for case in cases)),
            errors=str(sum(case.find("error") is not None for case in cases)),
            skipped="0",
            time=f"{checked.seconds:.3f}",
        )
        suite.extend(cases)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _cases(checked: Checked) -> Iterator[ElementTree.Element]:
    if checked.error is not None or not checked.titles:
        case = ElementTree.Element("testcase", classname=str(checked.path), name="spec", time="0")
        if checked.error is not None:
            error = ElementTree.SubElement(
                case, "error", message=_one_line(checked.error.args[0]), type="EngineError"
            )
            error.text = _printable(str(checked.error))
        yield case
        return
    for number, title in enumerate(checked.titles):
        case = ElementTree.Element("testcase", classname=str(checked.path), name=title, time="0")
        wrong = [str(v) for v in checked.verdicts if v.number == number and not v.holds]
        if wrong:
            failure = ElementTree.SubElement(case, "failure", message=wrong[0], type="expectation")
            failure.text = "\n".join([f"{checked.path}:{checked.lines[number]}", *wrong])
        yield case


def github_annotations(results: Sequence[Checked]) -> Iterator[str]:
    """Workflow commands that mark the line of each failed expectation in a pull request."""
    for checked in results:
        if checked.error is not None:
            yield _annotation(checked.path, 1, "spec cannot be tested", str(checked.error))
        for verdict in checked.verdicts:
            if not verdict.holds:
                line = checked.lines[verdict.number] or 1
                yield _annotation(checked.path, line, checked.titles[verdict.number], str(verdict))


def _annotation(path: Path, line: int, title: str, message: str) -> str:
    file, name = (_escaped(text, ":,") for text in (path.as_posix(), title))
    return f"::error file={file},line={line},title={name}::{_escaped(message)}"


def _escaped(text: str, more: str = "") -> str:
    """Percent-encode what a workflow command would read as its own syntax."""
    for mark in ("%", "\r", "\n", *more):
        text = text.replace(mark, f"%{ord(mark):02X}")
    return text


def _one_line(text: object) -> str:
    return _printable(str(text)).splitlines()[0] if str(text) else ""


def _printable(text: str) -> str:
    """Without the control characters that XML cannot hold."""
    return "".join(c for c in text if c >= " " or c in "\t\n")
