"""Drafts a spec from a look at a data file: guesses keys, time, target, frequency and covariates."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from engine.data.calendar import Frequency
from engine.errors import DataError, NotFoundError, first_line
from engine.guess import Guess, guess_columns
from engine.spec import loader

SAMPLE = 200_000
_FORMATS = ("", "%d.%m.%Y", "%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y-%m")
"""Formats of dates tried on text; the first is ISO 8601."""
_TAKEN = ("cutoff", "step", "model", "y_hat", "ahead", "series")
"""Names of columns that the engine uses itself."""
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
    frame = _read(path)
    if frame.is_empty():
        raise DataError(f"{path} has no rows")
    frame, options = _readable(frame)
    guess = guess_columns(frame)
    word = _WORDS.get(str(guess.freq), f"every {guess.freq}")
    said = [
        f"series: {', '.join(guess.keys)}",
        f"time: {guess.ds}, {word}",
        f"target: {guess.y}",
        f"known ahead: {', '.join(guess.future) or 'nothing'}; "
        f"past only: {', '.join(guess.past) or 'nothing'}; "
        f"static: {', '.join(guess.static) or 'nothing'}",
    ]
    source: dict[str, str | Mapping[str, str]] = {"use": "files", "path": str(path), **options}
    return _text(path, source, guess), said


def _read(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise NotFoundError(f"no data file at {path}", hint="give a Parquet, CSV or Arrow file")
    kind = path.suffix.lower()
    if kind in (".parquet", ".pq"):
        lazy = pl.scan_parquet(path)
    elif kind in (".csv", ".tsv", ".txt"):
        separator = "\t" if kind == ".tsv" else ","
        lazy = pl.scan_csv(path, separator=separator)
    elif kind in (".arrow", ".ipc", ".feather"):
        lazy = pl.scan_ipc(path)
    else:
        raise DataError(f"{path}: {kind or 'a file without suffix'} is not a known format",
                        hint="use .parquet, .csv or .arrow")  # fmt: skip
    try:
        return lazy.head(SAMPLE).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"{path} cannot be read as {kind.removeprefix('.')}: {first_line(error)}",
            hint="check that the file is whole and that its suffix names its format",
        ) from error


def _readable(frame: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, dict[str, str]]]:
    """Dates read from text and free names for columns, with the source's options that do so."""
    types: dict[str, str] = {}
    formats: dict[str, str] = {}
    for column in frame.columns:
        for pattern in _FORMATS if frame[column].dtype == pl.String else ():
            dates = _dates(frame[column].str.strip_chars(), pattern)
            if dates is not None:
                stated, text = (formats, pattern) if pattern else (types, _kind(dates))
                stated[column] = text
                frame = frame.with_columns(dates.alias(column))
                break
    rename = {column: f"{column}_" for column in frame.columns if column in _TAKEN}
    options = {"types": types, "formats": formats, "rename": rename}
    return frame.rename(rename), {name: value for name, value in options.items() if value}


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


def _kind(dates: pl.Series) -> str:
    return "date" if dates.dtype == pl.Date else "datetime"


def _text(path: Path, source: Mapping[str, str | Mapping[str, str]], guess: Guess) -> str:
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
        "    horizon: skip    # backtest only; add the known future and delete this to forecast",
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


def _mapping(values: Mapping[str, str | Mapping[str, str]]) -> str:
    items = (
        f"{_quoted(key)}: {_quoted(value) if isinstance(value, str) else _mapping(value)}"
        for key, value in values.items()
    )
    return f"{{{', '.join(items)}}}"


def _quoted(text: str) -> str:
    """The text as YAML: plain where it is read back as the same text, else in quotes."""
    read = loader.parse(f"{{key: [{text}], {text}: text}}", {})
    plain = not read.problems and read.data == {"key": [text], text: "text"}
    return text if plain else json.dumps(text, ensure_ascii=False)
