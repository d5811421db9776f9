"""Drafts a spec from a look at a data file: guesses keys, time, target, frequency and covariates."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import polars as pl

from engine.data.calendar import Frequency
from engine.errors import DataError, NotFoundError, first_line
from engine.guess import ONE_SERIES, Guess, guess_columns, periods
from engine.sniff import TextFormat, null_values, text_format
from engine.spec import loader

SAMPLE = 200_000
_FORMATS = ("", "%d.%m.%Y", "%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y-%m")
"""Formats of dates tried on text; the first is ISO 8601."""
_YES, _NO = (
    ("yes", "y", "true", "t", "ja", "oui", "si", "sí", "sim"),
    ("no", "n", "false", "f", "nein", "non", "não"),
)
_TAKEN = ("cutoff", "step", "model", "y_hat", "ahead", "series")
"""Names of columns that the engine uses itself."""
_SKIPPED = "    horizon: skip    # backtest only; add the known future and delete this to forecast"
_SEASON = {"1d": 7, "1w": 52, "1mo": 12, "1q": 4, "1h": 24}
_HORIZON = {"1d": 28, "1w": 8, "1mo": 6, "1q": 4, "1h": 48}
_WORDS = {
    "1d": "daily",
    "1w": "weekly",
    "1mo": "monthly",
    "1q": "quarterly",
    "1y": "yearly",
    "1h": "hourly",
}


def draft_spec(path: Path) -> tuple[str, list[str]]:
    """The text of a commented spec for a data file, and what was guessed, one sentence each.

    Raises NotFoundError for a missing file, DataError if no time or target column can be found.
    """
    frame, options = _read(path)
    if frame.is_empty():
        raise DataError(f"{path} has no rows")
    for turn in (_in_rows, _readable):
        frame, more = turn(frame)
        options |= more
    guess = guess_columns(frame, options.get("wide", {}).get("value"))
    if guess.keys == [ONE_SERIES] and ONE_SERIES not in frame.columns:
        options["derive"] = {ONE_SERIES: "'all'"}
    word = _WORDS.get(str(guess.freq), f"every {guess.freq}")
    said = [
        f"series: {', '.join(guess.keys)}",
        f"time: {guess.ds}, {word}",
        f"target: {guess.y}",
        f"known ahead: {', '.join(guess.future) or 'nothing'}; "
        f"past only: {', '.join(guess.past) or 'nothing'}; "
        f"static: {', '.join(guess.static) or 'nothing'}",
    ]
    source = {"use": "files", "path": str(path), **options}
    return _text(path, source, guess), said


def _read(path: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The first rows, and the options of the source that they were read with."""
    if not path.is_file():
        raise NotFoundError(f"no data file at {path}", hint="give a Parquet, CSV or Arrow file")
    suffix = path.suffix.lower()
    kind = path.with_suffix("").suffix.lower() if suffix == ".gz" else suffix
    try:
        if kind in (".csv", ".tsv", ".txt"):
            return _read_text(path, "\t" if kind == ".tsv" else ",")
        if kind in (".parquet", ".pq"):
            lazy = pl.scan_parquet(path)
        elif kind in (".arrow", ".ipc", ".feather"):
            lazy = pl.scan_ipc(path)
        else:
            raise DataError(f"{path}: {kind or 'a file without suffix'} is not a known format",
                            hint="use .parquet, .csv or .arrow; save a workbook as one of them")  # fmt: skip
        return lazy.head(SAMPLE).collect(), {}
    except (pl.exceptions.PolarsError, OSError, UnicodeError) as error:
        raise DataError(
            f"{path} cannot be read as {kind.removeprefix('.')}: {first_line(error)}",
            hint="check that the file is whole, that its suffix names its format, and that the first "
            "line of a text file holds the names of its columns",
        ) from error


def _read_text(path: Path, usual: str) -> tuple[pl.DataFrame, dict[str, Any]]:
    written = text_format(path)
    frame = _scan_text(path, written)
    missing = null_values(frame, written.decimal_comma)
    if missing:
        written = replace(written, null_values=missing)
        frame = _scan_text(path, written)
    stated = written.options(usual)
    return frame, {"csv": stated} if stated else {}


def _scan_text(path: Path, written: TextFormat) -> pl.DataFrame:
    content = path if written.encoding == "utf8" else written.decoded(path)
    return pl.scan_csv(
        content,
        separator=written.separator,
        decimal_comma=written.decimal_comma,
        skip_lines=written.skip_rows,
        null_values=list(written.null_values) or None,
        infer_schema_length=SAMPLE,
    ).head(SAMPLE).collect()  # fmt: skip


def _in_rows(frame: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, Any]]:
    """A row a period instead of a column a period, with the source's option that does so."""
    found = periods(frame.columns, _FORMATS)
    if not found or any(dtype.is_temporal() for dtype in frame.dtypes):
        return frame, {}
    others = [c for c in frame.columns if c not in found]
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(min(found), max(found), strict=False))
    start = "".join(letter for letter, _ in pairs)
    alone = start and not any(c.startswith(start) for c in others)
    name, value = (
        next(w for w in words if w not in others) for words in (("period", "ds"), ("y", "value"))
    )
    wide = {"columns": f"{start}*" if alone else found, "name": name, "value": value}
    return frame.unpivot(found, index=others, variable_name=name, value_name=value), {"wide": wide}


def _readable(frame: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Dates and flags read from text, free names for columns, and the source's options that do so."""
    types: dict[str, str] = {}
    formats: dict[str, str] = {}
    for column in frame.columns:
        if frame[column].dtype != pl.String:
            continue
        fitting = _fitting(frame[column].str.strip_chars())
        if fitting is not None:
            pattern, dates = fitting
            stated, text = (formats, pattern) if pattern else (types, _kind(dates))
            stated[column] = text
            frame = frame.with_columns(dates.alias(column))
        elif _is_flag(frame[column]):
            types[column] = "bool"
            flag = pl.col(column).str.strip_chars().str.to_lowercase().is_in(_YES)
            frame = frame.with_columns(flag)
    rename = {column: f"{column}_" for column in frame.columns if column in _TAKEN}
    options = {"types": types, "formats": formats, "rename": rename}
    return frame.rename(rename), {name: value for name, value in options.items() if value}


def _fitting(text: pl.Series) -> tuple[str, pl.Series] | None:
    """The format of dates in a text column, and the dates; None if it holds others."""
    tried = ((pattern, _dates(text, pattern)) for pattern in _FORMATS)
    fits = [(pattern, dates) for pattern, dates in tried if dates is not None]
    # 01/02/2024 may be in January or February: firsts of months are likelier than days of January.
    return min(fits, key=lambda fit: fit[1].dt.day().n_unique(), default=None)


def _dates(text: pl.Series, pattern: str) -> pl.Series | None:
    """The text as dates, or datetimes if it is ISO 8601 with a time; None if any is neither."""
    if len(text) > 100 and _dates(text.drop_nulls().head(50), pattern) is None:
        return None
    if pattern == "%Y-%m":
        text, pattern = text + "-01", "%Y-%m-%d"
    tries = [text.str.to_date(pattern or "%Y-%m-%d", strict=False)]
    if not pattern:
        spaced = text.str.replace("T", " ", literal=True)
        for written in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"):
            tries.append(spaced.str.to_datetime(written, time_unit="us", strict=False))
    whole = [dates for dates in tries if dates.null_count() == text.null_count() < len(text)]
    return whole[0] if whole else None


def _is_flag(text: pl.Series) -> bool:
    """Whether a column of text says yes or no."""
    words = text.drop_nulls().str.strip_chars().str.to_lowercase().unique()
    return len(words) == 2 and words.is_in(_YES).sum() == 1 == words.is_in(_NO).sum()


def _kind(dates: pl.Series) -> str:
    return "date" if dates.dtype == pl.Date else "datetime"


def _text(path: Path, source: Mapping[str, Any], guess: Guess) -> str:
    freq = str(guess.freq)
    Frequency.parse(guess.freq)
    season = _SEASON.get(freq, 1)
    horizon = max(1, min(_HORIZON.get(freq, 6), guess.longest // 6))
    folds = max(1, min(3, guess.longest // max(horizon, 1) - 3))
    keys = _list(guess.keys) if len(guess.keys) > 1 else _quoted(guess.keys[0])
    features = _features(guess, freq, season)
    policy = "forward_fill" if guess.incomplete or guess.gaps else "error"
    columns = f"{{unique_id: {keys}, ds: {_quoted(guess.ds)}, y: {_quoted(guess.y)}}}"
    covariates = (
        f"future: {_list(guess.future)}, past: {_list(guess.past)}, static: {_list(guess.static)}"
    )
    lines = [
        "# A draft made from a look at the data. Read every line:",
        "# what is wrong here is wrong in the forecasts.",
        "version: 1",
        f"name: {_quoted(re.sub('[^A-Za-z0-9-]', '_', path.name.split('.')[0]).strip('_') or 'run')}",
        "seed: 1",
        "data:",
        f"  source: {_mapping(source)}",
        f"  columns: {columns}",
        f"  freq: {guess.freq}",
        "  # future: known for the days to forecast; past: known up to today; static: never changes",
        f"  covariates: {{{covariates}}}",
        "  missing:",
        f"    y: {'drop' if guess.gaps else 'error'}    # drop: neither trained on nor scored; or zero, ...",
        f"    future: {policy}",
        *([_SKIPPED] if guess.future and not guess.beyond else []),
        f"horizon: {horizon}",
        "quantiles: [0.1, 0.5, 0.9]",
        "features:",
        *features,
        "models:",
        f"  snaive: {{use: seasonal_naive, season: {season}}}",
        "  ridge: {use: ridge, scale: mean}",
        f"backtest: {{folds: {folds}}}",
        "evaluate: {metrics: [wape, mae, bias, coverage]}",
        "select: {metric: wape}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _features(guess: Guess, freq: str, season: int) -> list[str]:
    """Lines of the section `features`: calendar, what is known ahead, lags."""
    lines = []
    parts = {"1d": "weekday, month", "1w": "month", "1mo": "month", "1h": "hour, weekday"}.get(freq)
    if parts and not isinstance(guess.freq, int):
        lines.append(f"  - {{use: calendar, parts: [{parts}]}}")
    own, *others = guess.prices or [""]
    known = [f"price: {_quoted(own)}"] if own else []
    known += [f"other: {_list(others)}"] if others else []
    known += [f"flags: {_list(guess.flags)}"] if guess.flags else []
    if known:
        lines.append(f"  - {{use: promo, {', '.join(known)}}}")
    count = f", seasonal: {{period: {season}, count: 2}}"
    seasonal = count if season > 1 and guess.longest > 3 * season else ""
    lines.append(f"  - {{use: lags, lags: [0, 1, 2], rolling: {{mean: [4, 12]}}{seasonal}}}")
    return lines


def _list(columns: Sequence[str]) -> str:
    return f"[{', '.join(map(_quoted, columns))}]"


def _mapping(values: Mapping[str, Any]) -> str:
    return f"{{{', '.join(f'{_quoted(key)}: {_value(value)}' for key, value in values.items())}}}"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, bool | int):
        return str(value).lower()
    return _list(value) if isinstance(value, list) else _quoted(value)


def _quoted(text: str) -> str:
    """The text as YAML: plain where it is read back as the same text, else in quotes."""
    read = loader.parse(f"{{key: [{text}], {text}: text}}", {})
    plain = not read.problems and read.data == {"key": [text], text: "text"}
    return text if plain else json.dumps(text, ensure_ascii=False)
