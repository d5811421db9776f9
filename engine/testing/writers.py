"""Checks of writers: whole files where they say, the same every time, the tables left alone."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import polars as pl

from engine.contracts import Results
from engine.errors import EngineError
from engine.testing.base import Conformance

_DAY = dt.date(2024, 3, 1)


def tables(rows: int = 6) -> dict[str, pl.DataFrame]:
    """The tables of a small run: two models, names with accents and commas, nulls among them."""
    names = ["store a", "süd, 'Öl'", 'quoted "b"']
    ids = [names[i % 3] for i in range(rows)]
    forecast = pl.DataFrame(
        {
            "unique_id": ids,
            "store": ids,
            "ds": [_DAY + dt.timedelta(days=1 + i // 3) for i in range(rows)],
            "cutoff": [_DAY] * rows,
            "step": [1 + i // 3 for i in range(rows)],
            "model": ["snaive"] * rows,
            "y_hat": [1.5 * i for i in range(rows)],
            "q0.1": [None if i == 2 else 1.0 * i for i in range(rows)],
            "q0.9": [None if i == 2 else 2.0 * i for i in range(rows)],
        },
        schema_overrides={
            **dict.fromkeys(("unique_id", "store", "model"), pl.String),
            **dict.fromkeys(("ds", "cutoff"), pl.Date),
            **dict.fromkeys(("y_hat", "q0.1", "q0.9"), pl.Float64),
            "step": pl.Int32,
        },
    )
    other = forecast.with_columns(pl.lit("ridge").alias("model"), pl.col("y_hat") + 0.1)
    both = pl.concat([forecast, other])
    scores = pl.DataFrame({"model": ["snaive"], "metric": ["mae"], "value": [1.25]})
    return {
        "forecast": both,
        "backtest": both.with_columns(y=pl.col("y_hat") + 1),
        "scores": scores,
        "series_scores": scores.with_columns(unique_id=pl.lit("store a")),
        "failures": pl.DataFrame(schema={"model": pl.String, "reason": pl.String}),
    }


class WriterConformance(Conformance):
    """All checks of a writer: name the `component` and give it small `params`."""

    kind: ClassVar[str] = "writer"
    methods: ClassVar[tuple[str, ...]] = ("write",)

    def write(self, home: Path, data: Mapping[str, pl.DataFrame] | None = None) -> list[Path]:
        """Write the tables of a small run below `home`."""
        return list(self.make().write(self.results(home, data)))

    def results(self, home: Path, data: Mapping[str, pl.DataFrame] | None = None) -> Results:
        """A finished run of the tables."""
        folder, base = home / "run folder", home / "base"
        folder.mkdir(parents=True, exist_ok=True)
        base.mkdir(exist_ok=True)
        return Results(tables() if data is None else data, "kit", folder, base)

    def test_it_returns_the_files_that_it_wrote(self, tmp_path: Path) -> None:
        """`write` returns a list of paths, and each of them is a file with something in it."""
        written = self.make().write(self.results(tmp_path))
        assert isinstance(written, list) and written, f"write returned {written!r}"
        for path in written:
            assert isinstance(path, Path), f"{path!r} is not a Path"
            assert path.is_file() and path.stat().st_size, f"{path} is missing or empty"

    def test_it_writes_below_the_run_or_the_base(self, tmp_path: Path) -> None:
        """Files lie in the run's folder or below the folder that paths start from."""
        outside = [p for p in self.write(tmp_path) if tmp_path not in p.resolve().parents]
        assert not outside, f"written elsewhere: {outside}"

    def test_nothing_else_is_left_behind(self, tmp_path: Path) -> None:
        """There are no temporary files and nothing that was not named."""
        written = {p.resolve() for p in self.write(tmp_path)}
        found = {p.resolve() for p in tmp_path.rglob("*") if p.is_file()}
        assert found == written, f"not named: {sorted(map(str, found - written))}"

    def test_writing_again_gives_the_same_bytes(self, tmp_path: Path) -> None:
        """The same tables give the same files, also over those of a run before."""
        first = _digests(self.write(tmp_path / "a"), tmp_path / "a")
        again = _digests(self.write(tmp_path / "a"), tmp_path / "a")
        elsewhere = _digests(self.write(tmp_path / "b"), tmp_path / "b")
        assert first == again, "a second write gives other bytes"
        assert first == elsewhere, "another folder gives other bytes"

    def test_the_tables_matter(self, tmp_path: Path) -> None:
        """Other tables give other files."""
        first = _digests(self.write(tmp_path / "a"), tmp_path / "a")
        data = {
            name: table.with_columns(pl.col(pl.Float64) + 100) for name, table in tables(9).items()
        }
        other = _digests(self.write(tmp_path / "b", data), tmp_path / "b")
        assert first != other, "the files do not depend on the tables"

    def test_tables_are_not_changed(self, tmp_path: Path) -> None:
        """The tables of the run are left as they were."""
        data = tables()
        before = {name: table.clone() for name, table in data.items()}
        self.write(tmp_path, data)
        changed = [n for n in before if not before[n].equals(data[n])]
        assert set(data) == set(before) and not changed, f"changed: {changed}"

    def test_empty_tables(self, tmp_path: Path) -> None:
        """A run without rows is written, or refused with a message."""
        empty = {name: table.clear() for name, table in tables().items()}
        try:
            self.write(tmp_path, empty)
        except EngineError as error:
            assert error.message.strip(), "an error without a message"

    def test_a_missing_table_is_a_clear_error(self, tmp_path: Path) -> None:
        """A run without tables at all is an EngineError, not a traceback."""
        try:
            self.write(tmp_path, {})
        except EngineError as error:
            assert error.message.strip(), "an error without a message"
            return
        raise AssertionError("nothing was there to write, and no error was raised")

    def test_a_folder_that_cannot_be_written_is_a_clear_error(self, tmp_path: Path) -> None:
        """Where a file stands in the way of a folder, the error names it."""
        results = self.results(tmp_path)
        for folder in (results.folder, results.base):
            folder.rmdir()
            folder.write_text("in the way")
        try:
            self.make().write(results)
        except (EngineError, OSError) as error:
            assert str(tmp_path) in str(error), f"the error does not say where: {error}"
            return
        raise AssertionError("written below a file, without an error")


def _digests(paths: list[Path], home: Path) -> dict[str, str]:
    return {
        str(p.relative_to(home)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(paths)
    }
