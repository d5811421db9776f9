"""The writers `parquet` and `csv`: a file appears whole under its name, or not at all."""

from __future__ import annotations

from pathlib import Path

from engine.contracts import Results
from engine.errors import DataError
from engine.replace import replaced
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
        with replaced(target) as file:
            frame.write_parquet(file, compression=self.params.compression)
        return [target]


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
        with replaced(target) as file:
            frame.write_csv(
                file,
                compression=self.params.compression,
                separator=self.params.separator,
                float_precision=self.params.float_precision,
                date_format=self.params.date_format,
                datetime_format=self.params.datetime_format,
            )
        return [target]


def _target(results: Results, params: TableParams, suffix: str) -> Path:
    if params.path is None:
        return results.folder / "outputs" / f"{params.table}.{suffix}"
    return results.base / Path(params.path.replace("{name}", results.name)).expanduser()
