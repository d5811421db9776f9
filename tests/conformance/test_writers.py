"""The built-in writers through the kit."""

from __future__ import annotations

from engine.testing import WriterConformance


class TestParquet(WriterConformance):
    component = "parquet"


class TestCsv(WriterConformance):
    component = "csv"


class TestCsvInAnotherDialect(WriterConformance):
    component = "csv"
    params = {"dialect": "nixtla", "path": "{name}/out.csv", "separator": ";"}
