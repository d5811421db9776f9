"""pytest plugin: `pytest specs/` collects run specs as tests, one per expectation.

A file is read further only if it has the top-level keys of a run spec, and the engine is imported
only then. A spec is run once per file, also when its tests are spread over xdist's workers: the
first one runs it, the others wait and read what it found.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.gate.discover import looks_like_a_run_spec

SHARED = pytest.StashKey[Path]()
_KEY = "engine_gate_folder"


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> SpecFile | None:
    """Collect a YAML file if it is a run spec that expects something."""
    if not looks_like_a_run_spec(file_path, "expect"):
        return None
    made: SpecFile = SpecFile.from_parent(parent, path=file_path)
    return made


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """With xdist: give every worker the folder in which results are shared."""
    stash = node.config.stash
    if SHARED not in stash:
        stash[SHARED] = Path(tempfile.mkdtemp(prefix="engine-gate-"))
    node.workerinput[_KEY] = str(stash[SHARED])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the shared folder."""
    if SHARED in config.stash:
        shutil.rmtree(config.stash[SHARED], ignore_errors=True)


class SpecFile(pytest.File):
    """A run spec; its backtest is run when the first of its tests needs it."""

    _result: dict[str, Any] | None = None

    def collect(self) -> Iterator[pytest.Item]:
        """One test that the spec is valid, and one per expectation."""
        from engine.errors import EngineError
        from engine.registry import Registry
        from engine.spec.validate import load_spec

        try:
            spec = load_spec(self.path, Registry.discover()).spec
        except EngineError as error:
            yield ValidItem.from_parent(self, name="valid", problem=str(error))
            return
        yield ValidItem.from_parent(self, name="valid", problem=None)
        for number, expected in enumerate(spec.expect):
            name = f"{number + 1}: {expected.title}"
            yield ExpectationItem.from_parent(self, name=name, number=number)

    def result(self) -> dict[str, Any]:
        """What `engine test --json` says of this spec."""
        if self._result is None:
            shared = getattr(self.config, "workerinput", {}).get(_KEY)
            self._result = self._run() if shared is None else self._run_once(Path(shared))
        return self._result

    def _run_once(self, folder: Path) -> dict[str, Any]:
        """Run it, or wait for the worker that does and read its result."""
        name = hashlib.sha256(str(self.path).encode()).hexdigest()[:16]
        file = folder / f"{name}.json"
        with _locked(folder / f"{name}.lock"):
            if not file.exists():
                file.write_text(json.dumps(self._run()), encoding="utf-8")
            found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found

    def _run(self) -> dict[str, Any]:
        from engine.gate.check import check_spec
        from engine.gate.reports import plain
        from engine.registry import Registry

        with tempfile.TemporaryDirectory(prefix="engine-test-") as scratch:
            base = self.config.invocation_params.dir
            return plain(
                check_spec(self.path, Registry.discover(), output=Path(scratch), base=base)
            )


class NotMetError(Exception):
    """An expectation does not hold, or could not be judged; the message is all there is to see."""


class _SpecItem(pytest.Item):
    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The message alone: a traceback through the engine says nothing about a score."""
        if isinstance(excinfo.value, NotMetError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)


class ValidItem(_SpecItem):
    """The spec is valid."""

    def __init__(self, *, problem: str | None, **options: Any) -> None:
        super().__init__(**options)
        self._problem = problem

    def runtest(self) -> None:
        """Fail with every problem of the spec."""
        if self._problem is not None:
            raise NotMetError(self._problem)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where it stands."""
        return self.path, 0, f"{self.path.name}: valid"


class ExpectationItem(_SpecItem):
    """One expectation of a spec."""

    parent: SpecFile

    def __init__(self, *, number: int, **options: Any) -> None:
        super().__init__(**options)
        self._number = number

    def runtest(self) -> None:
        """Fail with every rule of the expectation that does not hold."""
        result = self.parent.result()
        if result["error"] is not None:
            raise NotMetError(f"{self.path}: not judged\n{result['error']}")
        mine = [v for v in result["verdicts"] if v["number"] == self._number]
        wrong = [v for v in mine if not v["holds"]]
        if wrong or not mine:
            lines = [f"{self.path}:{v['line']}: {v['text']}" for v in wrong]
            raise NotMetError("\n".join(lines or [f"{self.path}: not judged"]))

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where it stands."""
        return self.path, 0, f"{self.path.name}: {self.name}"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes; where the system has none, each process runs by itself."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
