"""How long a run takes and how much memory it needs as the panel grows from 1 M to 59 M rows.

    python benchmarks/scale.py generate --series 30490 --to data/m5_shape
    python benchmarks/scale.py measure --series 515 3050 30490

`generate` writes simulated series as Parquet, a part at a time. `measure` makes what is missing and
runs `specs/scale/m5_shape.yaml` on each size in processes of its own, from Parquet to a published
run: wall and processor seconds, and the peak resident memory of the largest process and of all
together (pages that processes share count in each).
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.contracts import SourceContext
from engine_simulate.params import SimulateParams
from engine_simulate.source import Simulate

ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "specs" / "scale" / "m5_shape.yaml"
PERIODS, HORIZON, STORES, SEED = 1_941, 28, 10, 7
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Measured:
    """One run: seconds, and peak resident bytes of the largest process and of all processes."""

    rows: int
    wall: float
    processor: float
    largest: int
    together: int

    def line(self) -> str:
        """A row of the table."""
        return (
            f"| {self.rows / 1e6:8.2f} | {self.wall:7.1f} | {self.wall / self.rows * 1e6:7.2f} "
            f"| {self.processor:7.1f} | {self.processor / self.rows * 1e6:7.2f} "
            f"| {self.largest / 2**30:6.2f} | {self.together / 2**30:6.2f} |"
        )


HEADER = """\
| M rows   | wall s  | s/M row | cpu s   | s/M row | GiB  1 | GiB all |
|----------|---------|---------|---------|---------|--------|---------|"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Scale of a run: time and memory by rows.")
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("generate", help="write simulated series as Parquet")
    making.add_argument("--series", type=int, default=30_490)
    making.add_argument("--to", type=Path, default=Path("data/m5_shape"))
    measuring = commands.add_parser("measure", help="run the spec at several sizes")
    measuring.add_argument("--series", type=int, nargs="+", default=[515, 3_050, 30_490])
    measuring.add_argument("--data", type=Path, default=Path("data/scale"))
    measuring.add_argument("--set", dest="overrides", action="append", default=[])
    given = parser.parse_args()
    if given.command == "generate":
        generate(given.series, given.to)
        return
    print(HEADER)
    for series in given.series:
        folder = given.data / f"series_{series}"
        if not folder.exists():
            generate(series, folder)
        print(measure(series, folder.resolve(), given.overrides).line(), flush=True)


def generate(series: int, folder: Path) -> None:
    """Write the series in parts; the folder appears when all are written."""
    params = SimulateParams(
        series=series, stores=STORES, periods=PERIODS, future_periods=HORIZON, country="US"
    )
    unfinished = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for number, rows in enumerate(Simulate(params, SourceContext(SEED, ROOT)).chunks()):
        rows.write_parquet(unfinished / f"part-{number:04d}.parquet")
    unfinished.rename(folder)


def measure(series: int, data: Path, overrides: list[str]) -> Measured:
    """Run the spec once on the files of a folder."""
    engine = Path(sys.executable).with_name("engine")
    command = [str(engine), "run", str(SPEC), "--quiet"]
    command += [part for override in overrides for part in ("--set", override)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as output:
        run = subprocess.Popen(
            [*command, "--output", output],
            env={**os.environ, "ENGINE_SCALE": str(data)},
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
        )
        largest = together = 0
        while run.poll() is None:
            sizes = list(_resident(run.pid))
            largest, together = max([largest, *sizes]), max(together, sum(sizes))
            time.sleep(_POLL_SECONDS)
    wall = time.perf_counter() - started
    if run.returncode:
        raise SystemExit(f"the run failed with exit code {run.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(series * PERIODS, wall, processor, largest, together)


def _resident(process: int) -> Iterator[int]:
    """Resident bytes of a process and of all that it started."""
    try:
        status = Path(f"/proc/{process}/statm").read_text()
        children = Path(f"/proc/{process}/task/{process}/children").read_text()
    except OSError:
        return
    yield int(status.split()[1]) * os.sysconf("SC_PAGE_SIZE")
    for child in children.split():
        yield from _resident(int(child))


if __name__ == "__main__":
    main()
