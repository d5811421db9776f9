"""Checks one spec: runs the backtest that its expectations need, and judges every one of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.errors import EngineError, NotFoundError
from engine.gate.discover import looks_like_a_run_spec
from engine.gate.judge import Verdict, judge
from engine.gate.proofs import RULE, proof_numbers, proof_verdicts
from engine.gate.snapshot import (
    Lock,
    difference,
    read_lock,
    snapshot_path,
    spec_content_fingerprint,
    take_snapshot,
)
from engine.observers import Listener
from engine.prove.prover import prove
from engine.registry import Registry
from engine.runner import Outcome, backtest
from engine.spec import loader
from engine.spec.model import RunSpec
from engine.spec.narrow import with_models
from engine.spec.validate import LoadedSpec, load_spec


@dataclass(frozen=True)
class Checked:
    """What became of one spec: its verdicts, or the error that kept it from being judged.

    titles, lines: of each expectation, by its number. notes: what a reader should know besides.
    snapshot_change: a diff, if the snapshot was rewritten.
    """

    path: Path
    titles: tuple[str, ...] = ()
    lines: tuple[int, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    error: EngineError | None = None
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    snapshot_change: str | None = None

    @property
    def failed(self) -> bool:
        """Whether an expectation does not hold."""
        return not all(verdict.holds for verdict in self.verdicts)


def spec_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The run specs named, and those in the folders named, sorted; snapshots are not specs."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = [
            file
            for file in sorted(path.rglob("*.y*ml"))
            if not any(part.startswith(".") for part in file.relative_to(path).parts)
            and looks_like_a_run_spec(file)
        ]
        if not found:
            raise NotFoundError(f"there is no run spec in {path}", hint="name a folder of specs")
        yield from found


def check_spec(
    path: Path,
    registry: Registry,
    *,
    output: Path,
    base: Path,
    overrides: Sequence[str] = (),
    workers: int | None = None,
    update: bool = False,
    proof: bool = False,
    listener: Listener | None = None,
) -> Checked:
    """Validate and backtest a spec and judge what it expects; an `EngineError` is in the result.

    output: folder for the run. update: rewrite the snapshot with the scores found, unless an
    expectation fails that does not depend on it. proof: judge `no_leaks` even if it is not expected.
    """
    try:
        loaded = load_spec(path, registry, overrides, workers=workers)
    except EngineError as error:
        return Checked(path, error=error)
    expect = loaded.spec.expect
    numbers = proof_numbers(expect, asked=proof)
    checked = Checked(path, *_expectations(loaded.spec, loaded.text, numbers))
    scored = update or not all(expected.no_leaks for expected in expect)
    if not scored and not numbers:
        return replace(checked, notes=("it expects nothing, so nothing was run",))
    try:
        lock = None if update else _lock(path, loaded)
        checked = _proven(checked, loaded, registry, base, numbers, listener)
        if not scored:
            return checked
        tested = only_needed(loaded)
        outcome = backtest(tested, registry, output=output, base=base, listener=listener, lock=lock)
    except EngineError as error:
        return replace(checked, error=error)
    checked = replace(checked, seconds=checked.seconds + float(outcome.manifest["seconds"]))
    if update:
        return _updated(checked, loaded, outcome)
    verdicts = _in_order(judge(expect, outcome.evidence), checked.verdicts)
    return replace(checked, verdicts=verdicts, notes=_notes(loaded, lock))


def _proven(
    checked: Checked,
    loaded: LoadedSpec,
    registry: Registry,
    base: Path,
    numbers: Sequence[int],
    listener: Listener | None,
) -> Checked:
    """The verdicts of a proof of the whole spec, if one is wanted."""
    if not numbers:
        return checked

    def note(text: str) -> None:
        if listener is not None:
            listener.on_event("stage", {"stage": "prove", "detail": text})

    proof = prove(loaded, registry, base=base, note=note)
    verdicts = tuple(proof_verdicts(proof, numbers))
    return replace(checked, verdicts=verdicts, seconds=proof.seconds)


def _in_order(*verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """All verdicts in the order of their expectations."""
    return tuple(sorted((v for each in verdicts for v in each), key=lambda v: v.number))


def _expectations(
    spec: RunSpec, text: str, proofs: Sequence[int]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Title and line of every expectation, and of a proof that none of them asks for."""
    document = loader.parse(text)
    places = [document.place(("expect", i)) for i in range(len(spec.expect))]
    titles = [expected.title for expected in spec.expect]
    lines = [place.line if place else 0 for place in places]
    if len(titles) in proofs:
        titles, lines = [*titles, RULE], [*lines, 0]
    return tuple(titles), tuple(lines)


def _lock(path: Path, loaded: LoadedSpec) -> Lock | None:
    """The snapshot, if an expectation asks for it."""
    if all(expected.tolerance is None for expected in loaded.spec.expect):
        return None
    lock = read_lock(path)
    lock.check_protocol(loaded.resolved)
    return lock


def only_needed(loaded: LoadedSpec) -> LoadedSpec:
    """The spec with the models that its expectations need; one without any needs all of them."""
    spec = loaded.spec
    needed: set[str] = set()
    for expected in spec.expect:
        needed.update(spec.contenders if expected.models is None else expected.models)
    unasked = all(expected.no_leaks for expected in spec.expect)
    return with_models(loaded, set(spec.contenders) if unasked else needed)


def _updated(checked: Checked, loaded: LoadedSpec, outcome: Outcome) -> Checked:
    """Rewrite the snapshot, if everything else that is expected holds."""
    path = snapshot_path(checked.path)
    taken = take_snapshot(outcome.manifest, loaded.resolved, outcome.scores)
    evidence = replace(outcome.evidence, recorded=taken.scores)
    verdicts = _in_order(judge(loaded.spec.expect, evidence), checked.verdicts)
    checked = replace(checked, verdicts=verdicts)
    if checked.failed:
        note = f"{path} was not written: an expectation fails that does not depend on it"
        return replace(checked, notes=(note,))
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    text = taken.text()
    path.write_text(text, encoding="utf-8")
    return replace(checked, snapshot_change=difference(before, text, path))


def _notes(loaded: LoadedSpec, lock: Lock | None) -> tuple[str, ...]:
    if lock is None:
        return ()
    recorded = lock.snapshot.fingerprints.spec
    if spec_content_fingerprint(loaded.resolved) == recorded:
        return ()
    return ("features or models of the spec have changed since the snapshot was made",)
