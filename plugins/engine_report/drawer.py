"""A process that draws: a line of Vega-Lite in, a line with its SVG or with what is wrong out.

Nothing else is imported here, so that it is ready soon.
"""

from __future__ import annotations

import json
import re
import sys

import vl_convert

_PLACES = re.compile(r' (?:d|transform|x|y|x1|x2|y1|y2|width|height)="[^"]*"')
_NUMBER = re.compile(r"-?\d+\.\d{2,}")
_TAG = re.compile(r"<[a-z][^>]*>")
_UNUSED = re.compile(r' (?:(?:aria-\w+|role|class|pointer-events)="[^"]*"|opacity="1")')
_SIZE = re.compile(r'^<svg ([^>]*?)width="[\d.]+" height="[\d.]+"')
_WARMING = {"data": {"values": [{"a": 1}]}, "mark": "point", "encoding": {"x": {"field": "a"}}}


def svg_of(spec: str, version: str) -> str:
    """The SVG of a description in Vega-Lite of a version such as 6.4; ValueError if it is none.

    Places are to a tenth of a pixel, texts as they are.
    """
    svg: str = vl_convert.vegalite_to_svg(spec, vl_version=version)
    # The page names the whole picture; what Vega says of each of its parts is a third of the text.
    svg = _TAG.sub(lambda tag: _UNUSED.sub("", tag[0]), _SIZE.sub(r"<svg \1", svg, count=1))
    return _PLACES.sub(lambda place: _NUMBER.sub(_tenth, place[0]), svg)


def _tenth(found: re.Match[str]) -> str:
    return f"{float(found[0]):.1f}"


def serve(version: str) -> None:
    """Draw line by line until the input ends."""
    svg_of(json.dumps(_WARMING), version)  # the first picture takes as long as ten
    for line in sys.stdin.buffer:
        try:
            answer = {"svg": svg_of(line.decode(), version)}
        except ValueError as error:
            answer = {"error": str(error)}
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    serve(sys.argv[1])
