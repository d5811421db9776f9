"""The built-in sources through the kit."""

from __future__ import annotations

from pathlib import Path

from engine.testing import SourceConformance
from engine.testing.panels import Case


class TestSimulate(SourceConformance):
    component = "simulate"


class TestFilesParquet(SourceConformance):
    component = "files"
    params = {"path": "sales.parquet"}
    missing = {"path": "elsewhere.parquet"}

    def prepare(self, folder: Path) -> None:
        Case().rows().write_parquet(folder / "sales.parquet")


class TestFilesCsv(SourceConformance):
    component = "files"
    params = {"path": "*.csv", "types": {"ds": "date"}, "derive": {"revenue": "y * price"}}
    missing = {"path": "elsewhere-*.csv"}

    def prepare(self, folder: Path) -> None:
        Case().rows().write_csv(folder / "sales.csv")
