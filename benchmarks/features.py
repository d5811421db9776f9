"""Feature building side by side: the engine's design rows against mlforecast's `preprocess`.

    python benchmarks/features.py --peer-python PEERS/bin/python
    python benchmarks/features.py --peer-python PEERS/bin/python --series 3049 30490 --days 1941

Both start from the same sorted rows in memory and end with 7 lags, 4 rolling statistics, 3 parts of the
date and the price of every row; the sums of each column are compared first. Ours are read shard by
shard, as a model reads them; `seconds` includes the checks that make rows into a panel.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from measure import Worker, in_turns, median, run_once, show
from sales import sales_file


def workers(arguments: argparse.Namespace, file: Path, check: bool) -> list[Worker]:
    """The competitors; without an environment for the peer only the engine."""
    common = ("features", "--file", str(file), *(("--check",) if check else ()))
    shards = ("--shard-rows", str(arguments.shard_rows))
    found = [Worker("engine", sys.executable, "ours.py", (*common, *shards))]
    if arguments.peer_python:
        threads = ("--threads", str(arguments.threads))
        found.append(Worker("mlforecast", arguments.peer_python, "peer.py", (*common, *threads)))
    return found


def differences(ours: list[float], theirs: list[float]) -> list[int]:
    """Columns whose sums differ by more than float32 explains."""
    pairs = enumerate(zip(ours, theirs, strict=True))
    return [i for i, (a, b) in pairs if not math.isclose(a, b, rel_tol=1e-3)]


def main() -> None:
    """Parse the arguments, check that the features agree, measure, print tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="interpreter of the environment with the peers")
    parser.add_argument("--series", type=int, nargs="+", default=[300])
    parser.add_argument("--days", type=int, default=1941)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shard-rows", type=int, default=500_000)
    parser.add_argument("--data", type=Path, default=Path("runs/benchmark-data"))
    arguments = parser.parse_args()
    small = sales_file(arguments.data, 50, 400)
    checked = [run_once(w, arguments.threads) for w in workers(arguments, small, check=True)]
    if len(checked) == 2:
        wrong = differences(checked[0]["sums"], checked[1]["sums"])
        if wrong or checked[0]["rows"] != checked[1]["rows"] - 50:
            raise SystemExit(f"the features differ: columns {wrong}, {checked}")
        print(f"the {len(checked[0]['sums'])} features agree on {checked[0]['rows']} rows")
    for series in arguments.series:
        file = sales_file(arguments.data, series, arguments.days)
        made = in_turns(workers(arguments, file, check=False), arguments.repeat, arguments.threads)
        rows = series * arguments.days
        title = f"Features, {series:,} series x {arguments.days:,} days = {rows / 1e6:.1f} M rows"
        show(title, made, ["seconds", "features_seconds", "cpu_seconds", "peak_mb"])
        data = median(made["engine"], "data_mb")
        print(f"Of `peak_mb` the rows themselves and the libraries take {data:.0f} MB.")


if __name__ == "__main__":
    main()
