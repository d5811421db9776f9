"""How a text file of rows is written: separator, decimal comma, encoding, texts for missing values."""

from __future__ import annotations

import codecs
import csv
import gzip
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

_FIRST_BYTES = 1 << 16
_PART_BYTES = 1 << 22
_MOST_TITLES = 10
_SEPARATORS = (",", ";", "\t", "|")
_COMMA_NUMBER = re.compile(r"[+-]?\d+,\d+")
_WHOLE_NUMBER = re.compile(r"[+-]?\d+")
_MISSING = ("NA", "N/A", "n/a", "#N/A", "NULL", "null", "None", "-", "?")


@dataclass(frozen=True)
class TextFormat:
    """How a text file is written; the defaults are what is read without any option."""

    separator: str = ","
    decimal_comma: bool = False
    encoding: str = "utf8"
    skip_rows: int = 0
    null_values: tuple[str, ...] = ()

    def options(self, usual: str) -> dict[str, Any]:
        """What a spec must state; usual: the separator that the suffix stands for."""
        stated: dict[str, Any] = {}
        if self.separator != usual:
            stated["separator"] = self.separator
        if self.decimal_comma:
            stated["decimal_comma"] = True
        if self.encoding != "utf8":
            stated["encoding"] = self.encoding
        if self.skip_rows:
            stated["skip_rows"] = self.skip_rows
        if self.null_values:
            stated["null_values"] = list(self.null_values)
        return stated

    def decoded(self, path: Path) -> bytes:
        """The whole file in UTF-8."""
        with _opened(path) as file:
            return file.read().decode(self.encoding).encode()


def text_format(path: Path) -> TextFormat:
    """What the first lines of a file, which may be gzipped, look like; raises OSError.

    The encoding is that of the whole file: a first umlaut may come late.
    """
    with _opened(path) as file:
        content = file.read(_FIRST_BYTES)
        file.seek(0)
        encoding = _encoding(file)
    lines = content.decode(encoding, errors="ignore").lstrip("\ufeff").splitlines()
    # The last line may be cut off.
    lines = lines[:-1] if len(content) == _FIRST_BYTES else lines
    separator, above = _separator(lines)
    rows = list(csv.reader(lines[above + 1 :], delimiter=separator))
    comma = separator != "," and _has_decimal_comma(rows)
    return TextFormat(separator, comma, encoding, above)


def _opened(path: Path) -> BinaryIO | gzip.GzipFile:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")


def _encoding(file: BinaryIO | gzip.GzipFile) -> str:
    decoder, start = codecs.getincrementaldecoder("utf8")(), file.read(2)
    if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    part = start
    try:
        while part:
            decoder.decode(part)
            part = file.read(_PART_BYTES)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf8"


def _separator(lines: Sequence[str]) -> tuple[str, int]:
    """The separator that cuts the rows into the most fields, and the lines above the header.

    From the header on every row has the same number of fields; what is above are titles.
    """
    header = lines[0] if lines else ""
    best, most, above = max(_SEPARATORS, key=header.count), 1, 0
    for separator in _SEPARATORS:
        begins, counts = _fields(lines, separator)
        width = counts[-1] if counts else 0
        titles = sum(1 for _ in takewhile(width.__gt__, counts))
        if titles > _MOST_TITLES or len({*counts[titles:]}) != 1:
            continue
        if (width, -begins[titles]) > (most, -above):
            best, most, above = separator, width, begins[titles]
    return best, above


def _fields(lines: Sequence[str], separator: str) -> tuple[list[int], list[int]]:
    """For each row that is not empty the number of its first line and that of its fields."""
    reader, begins, counts, line = csv.reader(lines, delimiter=separator), [], [], 0
    for row in reader:
        if row:
            begins.append(line)
            counts.append(len(row))
        line = reader.line_num
    return begins, counts


def _has_decimal_comma(rows: Sequence[Sequence[str]]) -> bool:
    """Whether a column holds numbers only, some of them with a comma."""
    for column in zip(*(row for row in rows if row), strict=False):
        values = [value.strip() for value in column if value.strip()]
        with_comma = [value for value in values if _COMMA_NUMBER.fullmatch(value)]
        whole = [value for value in values if _WHOLE_NUMBER.fullmatch(value)]
        if with_comma and len(with_comma) + len(whole) == len(values):
            return True
    return False


def null_values(frame: pl.DataFrame, decimal_comma: bool) -> tuple[str, ...]:
    """Texts that stand for a missing value in columns that hold numbers otherwise."""
    found: set[str] = set()
    for column in frame.select(pl.col(pl.String)):
        values = column.drop_nulls().str.strip_chars()
        texts = values.filter(values.is_in(_MISSING)).unique()
        if texts.is_empty():
            continue
        rest = values.filter(~values.is_in(_MISSING))
        rest = rest.str.replace(",", ".", literal=True) if decimal_comma else rest
        if len(rest) and not rest.cast(pl.Float64, strict=False).null_count():
            found.update(texts)
    return tuple(text for text in _MISSING if text in found)
