"""Checks of sources: lazy, repeatable, with types that a panel can be made of."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from engine.contracts import SourceContext
from engine.errors import EngineError
from engine.registry import build
from engine.testing.base import Conformance, skip

SEED = 7


class SourceConformance(Conformance):
    """All checks of a source: name the `component`, give `params`, and `prepare` what it reads.

    missing: options that point to something that is not there; without them that check is skipped.
    """

    kind: ClassVar[str] = "source"
    methods: ClassVar[tuple[str, ...]] = ("scan", "artifacts")
    missing: ClassVar[dict[str, Any] | None] = None
    home: ClassVar[Path | None] = None

    def prepare(self, folder: Path) -> None:
        """Write what the source reads into `folder`, where its relative paths start."""

    @contextmanager
    def base(self) -> Iterator[Path]:
        """The folder that relative paths start from, with what `prepare` wrote."""
        if self.home is not None:
            yield self.home
            return
        with tempfile.TemporaryDirectory() as folder:
            self.prepare(Path(folder))
            yield Path(folder)

    @contextmanager
    def source(self, seed: int = SEED) -> Iterator[Any]:
        """The source, ready to be scanned."""
        with self.base() as base:
            yield self.make(SourceContext(seed, base))

    def rows(self) -> pl.DataFrame:
        """All rows of the source."""
        with self.source() as source:
            frame: pl.DataFrame = source.scan().collect()
            return frame

    def test_scan_is_lazy(self) -> None:
        """`scan` returns a lazy frame, whose columns are known without its rows."""
        with self.source() as source:
            scanned = source.scan()
            assert isinstance(scanned, pl.LazyFrame), f"scan returned {type(scanned).__name__}"
            assert scanned.collect_schema().names(), "the rows have no columns"

    def test_there_are_rows(self) -> None:
        """The small options give rows, and the schema is that of the rows."""
        with self.source() as source:
            scanned = source.scan()
            frame = scanned.collect()
            assert frame.height, "the source has no rows"
            assert frame.schema == scanned.collect_schema(), "the rows have another schema"

    def test_scanning_twice_gives_the_same(self) -> None:
        """Two scans, of one source or of two, give the same rows in the same order."""
        with self.source() as source:
            one, two = source.scan().collect(), source.scan().collect()
            assert one.equals(two), "a second scan gives other rows"
        assert one.equals(self.rows()), "a second source gives other rows"

    def test_columns_can_be_selected(self) -> None:
        """The engine selects columns on top of the scan."""
        whole = self.rows()
        name = whole.columns[-1]
        with self.source() as source:
            part = source.scan().select(name).collect()
        assert part[name].equals(whole[name]), f"column {name!r} alone has other values"

    def test_rows_can_be_filtered(self) -> None:
        """The engine filters rows on top of the scan."""
        whole = self.rows()
        name = whole.columns[0]
        value = whole[name].drop_nulls()[0]
        with self.source() as source:
            part = source.scan().filter(pl.col(name) == value).collect()
        assert part.equals(whole.filter(pl.col(name) == value)), "a filter gives other rows"

    def test_types_are_ones_that_a_panel_can_hold(self) -> None:
        """Numbers, flags, texts, categories, dates and times; nothing nested, no Python objects."""
        odd = {c: t for c, t in self.rows().schema.items() if t.is_nested() or t == pl.Object}
        assert not odd, f"columns of types that a panel cannot hold: {odd}"

    def test_some_column_can_be_time_and_some_a_target(self) -> None:
        """There is a column of dates, times or integers, and one of numbers."""
        types = list(self.rows().schema.values())
        timely = [t for t in types if t.is_integer() or t == pl.Date or isinstance(t, pl.Datetime)]
        assert timely, f"no column can be ds: {types}"
        assert any(t.is_numeric() for t in types), f"no column can be y: {types}"

    def test_artifacts_are_tables(self) -> None:
        """`artifacts` maps names to frames."""
        with self.source() as source:
            for name, table in dict(source.artifacts()).items():
                assert isinstance(table, pl.DataFrame), f"{name!r} is {type(table).__name__}"

    def test_nothing_is_written(self) -> None:
        """Reading leaves the folder as it was."""
        with self.base() as base:
            before = sorted(base.rglob("*")) if self.home is None else []
            self.make(SourceContext(SEED, base)).scan().collect()
            after = sorted(base.rglob("*")) if self.home is None else []
            assert before == after, f"new files: {sorted(set(after) - set(before))}"

    def test_what_is_not_there_is_a_clear_error(self) -> None:
        """Options that point nowhere raise an EngineError that names the place."""
        if self.missing is None:
            skip("the class gives no options that point nowhere (`missing`)")
        params = self.the_record().params.model_validate(self.missing)
        with self.base() as base:
            try:
                build(self.the_record(), params, SourceContext(SEED, base)).scan().collect()
            except EngineError as error:
                texts = [str(value) for value in self.missing.values()]
                assert any(text in str(error) for text in texts), f"names nothing: {error}"
                return
        raise AssertionError("what is not there was read without an error")
