"""Every spec in `broken_specs/` is refused with the messages, lines and columns it announces."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from engine.errors import SpecError
from engine.spec.validate import load_spec
from tests.spec_text import REGISTRY, SPEC, problems

FOLDER = Path(__file__).parent / "broken_specs"
SPECS = sorted(FOLDER.glob("*.yaml"))
EXPECTED = re.compile(r"^# expect: (\d+):(\d+) (.+)$", re.MULTILINE)


def test_there_are_many_of_them():
    assert len(SPECS) >= 60


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_broken_spec_says_what_is_wrong_and_where(path: Path):
    expected = [(int(a), int(b), said) for a, b, said in EXPECTED.findall(path.read_text())]
    with pytest.raises(SpecError) as caught:
        load_spec(path, REGISTRY)
    found = [(p.line, p.column, p.message) for p in caught.value.problems]
    assert len(found) == len(expected), found
    for (line, column, message), (at, over, said) in zip(found, expected, strict=True):
        assert (line, column) == (at, over)
        assert said in message


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_its_message_shows_the_line_with_a_caret(path: Path):
    with pytest.raises(SpecError) as caught:
        load_spec(path, REGISTRY)
    for problem in caught.value.problems:
        if 0 < problem.line <= len(path.read_text().splitlines()):
            place = f"{path}:{problem.line}:{problem.column}: {problem.message}"
            lines = str(caught.value).splitlines()
            at = next(i for i, line in enumerate(lines) if line.startswith(place))
            assert lines[at + 2].index("^") - lines[at + 2].index("|") == problem.column + 1


HOSTILE = {
    "a million keys": "".join(f"k{i}: 1\n" for i in range(1_000_000)),
    "as many keys as fit": "".join(f"k{i}: 1\n" for i in range(90_000)),
    "one long list": "a: [" + "1, " * 300_000 + "1]",
    "a deep list": "a: " + "[" * 400_000,
    "a deep mapping": "".join(" " * i + "a:\n" for i in range(1_000)),
    "lists of lists of anchors": "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)),
    "merges of merges": "a0: &a0 {x: 1}\n"
    + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 30)),
    "one long word": "a: " + "x" * 900_000 + "\n",
    "one long number": SPEC.replace("horizon: 7", "horizon: " + "7" * 100_000),
    "one long key": "? " + "x" * 900_000 + "\n: 1\n",
    "many tabs": "\t" * 500_000,
    "many quotes": "'" * 500_001,
    "many question marks": "? " * 100_000,
    "many dashes": "- " * 100_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_text_is_refused_quickly_and_within_bounds(text: str):
    tracemalloc.start()
    started = time.process_time()
    try:
        found = problems(text)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 10
    assert peak < 100_000_000
    assert found


@pytest.mark.parametrize(
    "content",
    [b"\x89PNG\r\n\x1a\n\x00\x00", bytes(range(256)) * 40, b"\x00" * 10_000, b"\x1f\x8b\x08junk"],
)
def test_binary_junk_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "spec.yaml"
    path.write_bytes(content)
    with pytest.raises(SpecError):
        load_spec(path, REGISTRY)


IN_A_FRESH_PROCESS = """
import resource, sys, time
from pathlib import Path
from engine.errors import SpecError
from engine.registry import Registry
from engine.spec.validate import load_spec

def peak():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

registry, folder = Registry.discover(), Path(sys.argv[1])
load_spec(folder / "good" / "spec.yaml", registry)
before = peak()
for path in sorted(folder.glob("*.yaml")):
    started = time.process_time()
    try:
        load_spec(path, registry)
    except SpecError:
        print(path.stem, time.process_time() - started, peak() - before, sep=",")
"""


def test_a_process_that_reads_them_all_stays_small(tmp_path: Path):
    """Peak memory of the process, libyaml's own included, which Python does not trace."""
    junk = {"binary junk": bytes(range(256)) * 3_900, "a huge file": b"\x00" * 60_000_000}
    for name, content in {**{n: t.encode() for n, t in HOSTILE.items()}, **junk}.items():
        (tmp_path / f"{name}.yaml").write_bytes(content)
    (tmp_path / "endless.yaml").symlink_to("/dev/zero")
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "spec.yaml").write_text(SPEC)
    done = subprocess.run(
        [sys.executable, "-c", IN_A_FRESH_PROCESS, str(tmp_path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    refused = [line.split(",") for line in done.stdout.splitlines()]
    assert len(refused) == len(HOSTILE) + len(junk) + 1
    assert max(float(seconds) for _, seconds, _ in refused) < 10
    assert max(int(size) for *_, size in refused) < 200_000_000
