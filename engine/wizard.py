"""Drafts a spec from a look at a data file: guesses keys, time, target, frequency and covariates."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from engine.data.calendar import Frequency
from engine.errors import DataError, NotFoundError, first_line
from engine.spec import loader

SAMPLE = 200_000
_FORMATS = ("", "%d.%m.%Y", "%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y-%m")
"""Formats of dates tried on text; the first is ISO 8601."""
_TAKEN = ("cutoff", "step", "model", "y_hat", "ahead", "series")
"""Names of columns that the engine uses itself."""
_TARGET_NAMES = ("y", "target", "sales", "units", "demand", "quantity", "qty", "value", "volume")
_TIME_NAMES = (
    "ds",
    "date",
    "timestamp",
    "time",
    "datetime",
    "week",
    "week_start",
    "month",
    "day",
    "t",
)
_KEY_NAMES = ("unique_id", "id", "series", "item", "item_id", "sku", "product", "store", "store_id",
              "shop", "dept", "brand", "region", "location", "customer")  # fmt: skip
_KNOWN_AHEAD = (
    "price",
    "promo",
    "holiday",
    "deal",
    "feat",
    "discount",
    "event",
    "campaign",
    "open",
    "snap",
)
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


@dataclass(frozen=True)
class _Guess:
    keys: list[str]
    ds: str
    y: str
    freq: str | int
    gaps: bool
    future: list[str]
    past: list[str]
    static: list[str]
    incomplete: list[str]
    longest: int


def draft_spec(path: Path) -> tuple[str, list[str]]:
    """The text of a commented spec for a data file, and what was guessed, one sentence each.

    Raises NotFoundError for a missing file, DataError if no time or target column can be found.
    """
    frame = _read(path)
    if frame.is_empty():
        raise DataError(f"{path} has no rows")
    frame, options = _readable(frame)
    guess = _guess(frame)
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


def _guess(frame: pl.DataFrame) -> _Guess:
    ds = _time_column(frame)
    y = _target_column(frame, ds)
    rest = [c for c in frame.columns if c not in (ds, y)]
    keys = _key_columns(frame, rest, ds)
    rest = [c for c in rest if c not in keys]
    static = [c for c in rest if _constant(frame, c, keys)]
    moving = [c for c in rest if c not in static and not frame[c].dtype.is_temporal()]
    future = [c for c in moving if any(word in c.lower() for word in _KNOWN_AHEAD)]
    past = [c for c in moving if c not in future and frame[c].dtype.is_numeric()]
    freq, gaps, longest = _frequency(frame, keys, ds)
    incomplete = [c for c in future if frame[c].null_count()]
    return _Guess(keys, ds, y, freq, gaps, future, past, static, incomplete, longest)


def _time_column(frame: pl.DataFrame) -> str:
    dated = [c for c in frame.columns if frame[c].dtype.is_temporal()]
    named = [c for c in frame.columns if c.lower() in _TIME_NAMES and frame[c].dtype.is_integer()]
    for candidates in (dated, named):
        if candidates:
            ranked = sorted(candidates, key=lambda c: _rank(c, _TIME_NAMES))
            return ranked[0]
    raise DataError(
        f"no time column among {', '.join(frame.columns)}",
        hint="a date column, or an integer column named ds or t, is needed; in a wide file with one "
        "column a period, write the spec by hand with `wide:`, see docs/spec.md",
    )


def _target_column(frame: pl.DataFrame, ds: str) -> str:
    numbers = [c for c in frame.columns if frame[c].dtype.is_numeric() and c != ds]
    named = [c for c in numbers if any(word in c.lower().split("_") for word in _TARGET_NAMES)]
    named = named or [
        c for c in numbers if any(w in c.lower() for w in _TARGET_NAMES if len(w) > 1)
    ]
    if named:
        return sorted(named, key=lambda c: _rank(c, _TARGET_NAMES))[0]
    numbers = [c for c in numbers if _rank(c, _KEY_NAMES) == len(_KEY_NAMES)]
    floats = [c for c in numbers if frame[c].dtype.is_float()] or numbers
    if not floats:
        raise DataError("no numeric column that could be the target")
    return floats[-1]


def _rank(column: str, names: Sequence[str]) -> int:
    parts = (column.lower(), *column.lower().split("_"))
    return min((names.index(p) for p in parts if p in names), default=len(names))


def _key_columns(frame: pl.DataFrame, rest: list[str], ds: str) -> list[str]:
    """The fewest likely columns that make (keys, ds) unique."""
    likely = [
        c
        for c in rest
        if frame[c].dtype.is_integer()
        or isinstance(frame[c].dtype, pl.String | pl.Categorical | pl.Enum)
    ]
    likely.sort(key=lambda c: (_rank(c, _KEY_NAMES), frame.columns.index(c)))
    chosen: list[str] = []
    best = frame[ds].n_unique()
    for column in likely:
        if best == frame.height:
            break
        distinct = frame.select(ds, *chosen, column).unique().height
        if distinct > best:
            chosen.append(column)
            best = distinct
    for column in list(chosen):
        fewer = [c for c in chosen if c != column]
        if fewer and frame.select(ds, *fewer).unique().height == best:
            chosen = fewer
    if not chosen:
        raise DataError(
            "no key column found: with a single series, add a constant text column to identify it"
        )
    return chosen


def _constant(frame: pl.DataFrame, column: str, keys: list[str]) -> bool:
    varying = frame.group_by(keys).agg(pl.col(column).drop_nulls().n_unique())[column]
    return bool((varying <= 1).all())


def _frequency(frame: pl.DataFrame, keys: list[str], ds: str) -> tuple[str | int, bool, int]:
    """Commonest distance between rows of a series, whether there are longer ones, longest series."""
    ordered = frame.select(*keys, ds).sort(*keys, ds)
    steps = ordered.select(pl.col(ds).diff().over(keys)).to_series().drop_nulls()
    longest = int(frame.group_by(keys).len()["len"].max() or 0)  # type: ignore[arg-type]
    steps = steps.filter(steps.cast(pl.Int64) > 0)
    if steps.is_empty():
        raise DataError(
            f"no series has two different times in {ds!r}, so no frequency can be seen",
            hint=f"taken as keys: {', '.join(keys)}",
        )
    if frame[ds].dtype.is_integer():
        step = int(steps.mode().min())  # type: ignore[arg-type]
        return step, bool((steps > step).any()), longest
    seconds = steps.dt.total_seconds()
    commonest = int(seconds.mode().min())  # type: ignore[arg-type]
    days = commonest / 86_400
    table = ((1, "1d"), (7, "1w"), (31, "1mo"), (92, "1q"), (366, "1y"))
    name = next((n for d, n in table if days == d), None)
    name = name or next(
        (
            n
            for low, high, n in ((28, 31, "1mo"), (89, 92, "1q"), (365, 366, "1y"))
            if low <= days <= high
        ),
        None,
    )
    if name is None:
        name = f"{commonest // 3600}h" if commonest % 3600 == 0 else f"{commonest // 60}min"
    tolerance = {"1mo": 31, "1q": 92, "1y": 366}.get(name)
    limit = tolerance * 86_400 if tolerance else commonest
    return name, bool((seconds > limit).any()), longest


def _text(path: Path, source: Mapping[str, str | Mapping[str, str]], guess: _Guess) -> str:
    freq = str(guess.freq)
    Frequency.parse(guess.freq)
    season = _SEASON.get(freq, 1)
    horizon = max(1, min(_HORIZON.get(freq, 6), guess.longest // 6))
    folds = max(1, min(3, guess.longest // max(horizon, 1) - 3))
    dated = not isinstance(guess.freq, int)
    keys = _list(guess.keys) if len(guess.keys) > 1 else _quoted(guess.keys[0])
    features = ["  - {use: lags, lags: [0, 1, 2], rolling: {mean: [4, 12]}}"]
    if dated:
        parts = {"1d": "weekday, month", "1w": "month", "1mo": "month", "1h": "hour, weekday"}.get(
            freq
        )
        if parts:
            features.insert(0, f"  - {{use: calendar, parts: [{parts}]}}")
    if season > 1:
        seasonal = (
            f", seasonal: {{period: {season}, count: 2}}" if guess.longest > 3 * season else ""
        )
        features[-1] = features[-1].replace("}}", f"}}{seasonal}}}")
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
