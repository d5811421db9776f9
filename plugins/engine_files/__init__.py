"""The source `files`: Parquet, CSV and Arrow files, joined and renamed into the rows of a panel."""

from __future__ import annotations

from collections.abc import Iterable

from engine import hookimpl
from engine.components import Source
from engine_files.params import FilesParams


@hookimpl
def engine_sources() -> Iterable[Source]:
    """Yield the source `files`."""
    yield Source(
        "files",
        "engine_files.source:Files",
        FilesParams,
        summary="Parquet, CSV or Arrow files: local, globs, partitioned folders, object stores",
    )
