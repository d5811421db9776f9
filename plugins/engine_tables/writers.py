"""The writers `parquet` and `csv`: a file appears whole under its name, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from engine.contracts import Results
from engine.errors import DataError
from engine_tables.params import CsvParams, ParquetParams, TableParams
from engine_tables.shape import shaped

_CSV_SUFFIX = {"uncompressed": "csv", "gzip": "csv.gz", "zstd": "csv.zst"}


class ParquetWriter:
    """Writes one table of a run as a Parquet file."""

    def __init__(self, params: ParquetParams) -> None:
        self.params = params

    def write(self, results: Results) -> list[Path]:
        """Write the file and return its path; DataError for what is not there or not writable."""
        frame = shaped(results, self.params)
        target = _target(results, self.params, "parquet")

        def fill(file: IO[bytes]) -> None:
            frame.write_parquet(file, compression=self.params.compression)

        return [_replace(target, fill)]


class CsvWriter:
    """Writes one table of a run as a CSV file with a header, in UTF-8; nulls are empty fields."""

    def __init__(self, params: CsvParams) -> None:
        self.params = params

    def write(self, results: Results) -> list[Path]:
        """Write the file and return its path; DataError for what is not there or not writable."""
        frame = shaped(results, self.params)
        nested = [c for c, dtype in frame.schema.items() if dtype.is_nested()]
        if nested:
            raise DataError(
                f"column {nested[0]!r} of table {self.params.table!r} holds "
                f"{frame.schema[nested[0]]}, which CSV cannot hold",
                hint="leave it out with `columns`, or write Parquet",
            )
        target = _target(results, self.params, _CSV_SUFFIX[self.params.compression])

        def fill(file: IO[bytes]) -> None:
            frame.write_csv(
                file,
                compression=self.params.compression,
                separator=self.params.separator,
                float_precision=self.params.float_precision,
                date_format=self.params.date_format,
                datetime_format=self.params.datetime_format,
            )

        return [_replace(target, fill)]


def _target(results: Results, params: TableParams, suffix: str) -> Path:
    if params.path is None:
        return results.folder / "outputs" / f"{params.table}.{suffix}"
    return results.base / Path(params.path.replace("{name}", results.name)).expanduser()


def _replace(target: Path, fill: Callable[[IO[bytes]], None]) -> Path:
    """Fill a new file beside `target`, then put it in the target's place in one step.

    A reader sees the old file or the whole new one; after an error the old one is still there.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, target)
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot write {target}: {error.strerror or error}",
            hint="check `path:` and that its folder can be written to and has space left",
        ) from error
    return target
