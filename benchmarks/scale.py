"""How long a run takes and how much memory it needs as the panel grows from 1 M to 59 M rows.

    python benchmarks/scale.py generate --series 30490 --to data/m5_shape
    python benchmarks/scale.py measure --series 515 3050 30490 --repeat 3 --plot runs/scale.svg

`generate` writes simulated series as Parquet, a part at a time. `measure` makes what is missing and
runs `specs/scale/m5_shape.yaml` on each size in processes of its own: seconds of the run itself, from
Parquet to the published folder, and with the start of Python; processor seconds; the peak resident
memory of the largest process and of all together (pages that processes share count in each).
Medians of the repetitions, which take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import altair as alt
import polars as pl

from engine.contracts import SourceContext
from engine_simulate.params import SimulateParams
from engine_simulate.source import Simulate

ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "specs" / "scale" / "m5_shape.yaml"
PERIODS, HORIZON, STORES, SEED = 1_941, 28, 10, 7
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Measured:
    """One run: seconds, and peak resident bytes of the largest process and of all processes.

    inside: from opening the Parquet files to the published folder. wall: with starting and ending
    Python.
    """

    rows: int
    inside: float
    wall: float
    processor: float
    largest: int
    together: int

    def line(self) -> str:
        """A row of the table."""
        return (
            f"| {self.rows / 1e6:8.2f} | {self.inside:7.2f} | {self.per_million:7.2f} "
            f"| {self.wall:7.2f} | {self.wall / self.rows * 1e6:7.2f} "
            f"| {self.processor:7.1f} | {self.processor / self.rows * 1e6:7.2f} "
            f"| {self.largest / 2**30:6.2f} | {self.together / 2**30:6.2f} |"
        )

    @property
    def per_million(self) -> float:
        """Seconds of the run itself for a million rows."""
        return self.inside / self.rows * 1e6

    @classmethod
    def median(cls, runs: Sequence[Measured]) -> Measured:
        """The median of every number."""
        columns = zip(*(astuple(run) for run in runs), strict=True)
        return cls(*(statistics.median(column) for column in columns))


HEADER = """\
| M rows   | run s   | s/M row | wall s  | s/M row | cpu s   | s/M row | GiB  1 | GiB all |
|----------|---------|---------|---------|---------|---------|---------|--------|---------|"""


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
    measuring.add_argument("--repeat", type=int, default=1)
    measuring.add_argument("--plot", type=Path, help="cost per row by rows, as .svg, .png or .html")
    measuring.add_argument("--set", dest="overrides", action="append", default=[])
    given = parser.parse_args()
    if given.command == "generate":
        generate(given.series, given.to)
        return
    folders = {series: given.data / f"series_{series}" for series in given.series}
    for series, folder in folders.items():
        if not folder.exists():
            generate(series, folder)
    runs: dict[int, list[Measured]] = {series: [] for series in folders}
    for _ in range(given.repeat):
        for series, folder in folders.items():
            runs[series].append(measure(series, folder.resolve(), given.overrides))
            print(f"  {runs[series][-1].line()}", file=sys.stderr, flush=True)
    made = [Measured.median(found) for found in runs.values()]
    print(HEADER, *(one.line() for one in made), sep="\n")
    costs = sorted(one.per_million for one in made)
    print(f"Cost per row: the highest is {costs[-1] / costs[0]:.2f} times the lowest.")
    if given.plot:
        plot(made, given.plot)


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
        (manifest,) = Path(output).glob("*/*/manifest.json")
        inside = float(json.loads(manifest.read_text(encoding="utf-8"))["seconds"])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(series * PERIODS, inside, wall, processor, largest, together)


def plot(made: Sequence[Measured], file: Path) -> None:
    """Draw seconds of the run itself for a million rows, by rows."""
    rows = [{"million rows": one.rows / 1e6, "seconds": one.per_million} for one in made]
    x = alt.X("million rows:Q", scale=alt.Scale(type="log"))
    y = alt.Y("seconds:Q", title="seconds per million rows", scale=alt.Scale(zero=True))
    chart = alt.Chart(pl.DataFrame(rows)).mark_line(point=True).encode(x, y)
    file.parent.mkdir(parents=True, exist_ok=True)
    chart.properties(width=420, height=260).save(str(file))


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
