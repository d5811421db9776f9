"""From what a spec says about paths to a sorted list of files of one format."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import DataError, NotFoundError
from engine_files.columns import near

_SUFFIXES = {
    "parquet": (".parquet", ".pq"),
    "csv": (".csv", ".csv.gz", ".csv.zst", ".tsv", ".tsv.gz", ".tsv.zst", ".txt"),
    "arrow": (".arrow", ".ipc", ".feather"),
}


@dataclass(frozen=True, slots=True)
class Located:
    """Files of one format, in a fixed order.

    name: what to call them in a message. remote: they lie in an object store. partitioned: below
    the folder that was named there are folders called `column=value`.
    """

    paths: tuple[str, ...]
    format: str
    name: str
    remote: bool = False
    partitioned: bool = False


def locate(path: str | Sequence[str], format: str, base: Path) -> Located:
    """Find the files of `path`; relative paths start at `base`.

    NotFoundError for a missing file, with near names from its folder, and for a glob that matches
    nothing; DataError for formats that are mixed or cannot be told.
    """
    wanted = [path] if isinstance(path, str) else list(path)
    name = wanted[0] if len(wanted) == 1 else f"{wanted[0]} and {len(wanted) - 1} more"
    remote = ["://" in one for one in wanted]
    if all(remote):
        return Located(tuple(wanted), _format(wanted, format, name, "parquet"), name, remote=True)
    if any(remote):
        raise DataError(
            f"path mixes local files and URLs: {name}", hint="use one kind, or join them"
        )
    paths: list[str] = []
    partitioned = False
    for one in wanted:
        found, has_partitions = _expand(one, format, base)
        paths += found
        partitioned = partitioned or has_partitions
    return Located(tuple(paths), _format(paths, format, name), name, partitioned=partitioned)


def _expand(one: str, format: str, base: Path) -> tuple[list[str], bool]:
    path = base / Path(one).expanduser()
    if path.is_file():
        return [str(path)], False
    if path.is_dir():
        below = [p for p in sorted(path.rglob("*")) if p.is_file() and not _is_hidden(p, path)]
        files = [str(p) for p in below if _told(p.name) in (_all_formats(format))]
        if not files:
            raise NotFoundError(
                f"the folder {path} holds no {'data' if format == 'auto' else format} files",
                hint=f"files are told by their suffix: {_suffixes(format)}",
            )
        return files, any("=" in part for f in files for part in Path(f).relative_to(path).parts)
    if glob.has_magic(one):
        files = sorted(p for p in glob.glob(str(path), recursive=True) if Path(p).is_file())
        if not files:
            raise NotFoundError(f"no file matches {path}", hint=_neighbors(path))
        fixed = Path(*[p for p in path.parts if not glob.has_magic(p)])
        inside = [Path(f).parts[len(fixed.parts) :] for f in files]
        return files, any("=" in part for parts in inside for part in parts[:-1])
    raise NotFoundError(f"there is no file {path}", hint=_neighbors(path))


def _neighbors(path: Path) -> str:
    folder = path.parent
    if glob.has_magic(str(folder)) or not folder.is_dir():
        return f"the folder {folder} does not exist; check the path and its variables"
    return f"in {folder}: {near(path.name, (p.name for p in folder.iterdir()))}"


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)


def _told(name: str) -> str | None:
    lower = name.lower()
    return next((f for f, ends in _SUFFIXES.items() if lower.endswith(ends)), None)


def _all_formats(format: str) -> tuple[str, ...]:
    return tuple(_SUFFIXES) if format == "auto" else (format,)


def _suffixes(format: str) -> str:
    return ", ".join(end for f in _all_formats(format) for end in _SUFFIXES[f])


def _format(paths: Sequence[str], format: str, name: str, default: str | None = None) -> str:
    if format != "auto":
        return format
    told = {_told(p) or default for p in paths}
    if len(told) > 1:
        kinds = ", ".join(sorted(t or "unknown" for t in told))
        raise DataError(
            f"{name} holds files of several formats ({kinds})", hint="name one, e.g. format: csv"
        )
    found = told.pop()
    if found is None:
        raise DataError(
            f"the format of {name} cannot be told from its suffix",
            hint="state it: format: parquet, csv or arrow",
        )
    return found
