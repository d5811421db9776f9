"""The engine's side of the measurements: one worker a call, the result as JSON on the last line.

Nothing here is special: the same panel, plan, strategy and model that a run uses.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.ma  # Polars imports it with the first array that it is given; imports are not measured
import polars as pl
from measure import peak_mb, tell, timed
from threadpoolctl import threadpool_limits

from engine.contracts import Design, DesignBlock, Prediction, Training
from engine.data.build import build_panel
from engine.data.calendar import Frequency
from engine.data.panel import Panel, Roles
from engine.features import FeaturePlan, feature_context, plan_features
from engine.future import future_of
from engine.horizon import TabularModel
from engine.registry import Registry, build

LAGS = (1, 2, 3, 7, 14, 21, 28)
WINDOWS = (7, 28)
SPEC: tuple[tuple[str, dict[str, Any]], ...] = (
    # Counted from the target as others do: the last known value is lag 1.
    (
        "lags",
        {
            "lags": [lag - 1 for lag in LAGS],
            "rolling": {"mean": list(WINDOWS), "std": list(WINDOWS)},
            "min_samples": 7,
        },
    ),
    ("calendar", {"parts": ["weekday", "day", "month"]}),
    ("promo", {"price": "price", "log": False}),
)


def panel_of(frame: pl.DataFrame) -> Panel:
    """The checked panel of the rows."""
    roles = Roles(("unique_id",), ("price",))
    return build_panel(frame, roles=roles, ds="ds", y="y", freq=Frequency.parse("1d"))


def plan_for(panel: Panel) -> FeaturePlan:
    """7 lags, 4 rolling statistics, 3 parts of the date, the price."""
    registry = Registry.discover()
    builders = [
        (name, build(registry.find("features", name).component, options)) for name, options in SPEC
    ]
    return plan_features(builders, feature_context(panel, 1, 0))


def training(panel: Panel, horizon: int) -> Training:
    """A request to fit."""
    return Training(panel, horizon, 0, (), 7, 0, lambda event, fields: None)


@dataclass
class Reader:
    """A model that only reads its design: the cost of the features and no more."""

    check: bool
    rows: int = 0
    sums: dict[str, float] = field(default_factory=dict)

    def fit(self, design: Design) -> Reader:
        for block in design.blocks():
            self.rows += block.y.size
            if self.check:
                for name, column in zip(design.features, block.X.T, strict=True):
                    total = float(np.nansum(column, dtype=np.float64))
                    self.sums[name] = self.sums.get(name, 0.0) + total
        return self

    def predict(self, block: DesignBlock) -> Prediction:
        return Prediction(np.full(block.X.shape[0], np.nan))

    def save(self, folder: Path) -> None:
        raise AssertionError("nothing is saved here")

    def tables(self) -> Mapping[str, pl.DataFrame]:
        return {}


def features(arguments: argparse.Namespace) -> None:
    """From rows in memory to every row of the design matrix."""
    frame = pl.read_parquet(arguments.file)
    before = peak_mb()
    made = timed(lambda: panel_of(frame))
    panel = made.result
    # Finding the plugins is an import, which is not measured on either side.
    plan, reader = plan_for(panel), Reader(arguments.check)

    def read() -> None:
        # A single step ahead, as the others make it; never more than a shard's features at once.
        TabularModel(reader, plan, [1], None, arguments.shard_rows).fit(training(panel, 1))

    done = timed(read)
    tell(
        seconds=made.seconds + done.seconds,
        features_seconds=done.seconds,
        cpu_seconds=made.cpu_seconds + done.cpu_seconds,
        rows=reader.rows,
        sums=list(reader.sums.values()),
        data_mb=before,
    )


def fit_and_predict(arguments: argparse.Namespace) -> None:
    """A global ridge from rows in memory to forecasts of all series."""
    frame = pl.read_parquet(arguments.file)
    steps = arguments.horizon
    registry = Registry.discover()
    ridge = build(
        registry.find("model", "ridge").component, {"penalty": 1.0, "missing_indicator": None}
    )
    plan = plan_for(panel_of(frame.head(100)))

    def work() -> tuple[float, Any]:
        panel = panel_of(frame)
        history = panel.until(panel.end - steps)
        buckets = None if arguments.strategy == "recursive" else [steps]
        model = TabularModel(ridge, plan, buckets, None, arguments.shard_rows)
        fit = timed(lambda: model.fit(training(history, steps)))
        future = future_of(panel, history.end, 0, steps)
        return fit.seconds, fit.result.predict(history, future)

    done = timed(work)
    fit_seconds, made = done.result
    if arguments.keep:
        np.save(arguments.keep, made.y_hat, allow_pickle=False)
    tell(seconds=done.seconds, fit_seconds=fit_seconds, cpu_seconds=done.cpu_seconds)


def random_design(series: int, rows: int, width: int, at_once: int) -> Design:
    """Series of random features; one block's numbers are used for all, as making them is not measured."""
    rng = np.random.default_rng(0)
    held = max(min(at_once // rows, series), 1)
    X = np.asfortranarray(rng.standard_normal((held * rows, width), dtype=np.float32))
    y = X[:, : min(width, 5)].sum(axis=1) + rng.standard_normal(held * rows)
    own = np.repeat(np.arange(held, dtype=np.int32), rows)
    step = np.ones(held * rows, dtype=np.int16)
    age = np.tile(np.arange(rows, dtype=np.int32)[::-1], held)

    def blocks() -> Iterator[DesignBlock]:
        for first in range(0, series, held):
            size = min(held, series - first) * rows
            yield DesignBlock(X[:size], y[:size], own[:size] + first, step[:size], age[:size])

    names = tuple(f"x{i}" for i in range(width))
    ids = pl.DataFrame({"unique_id": [str(i) for i in range(series)]})
    return Design(names, ids, (), 0, blocks, lambda event, fields: None)


def ridge_of(design: Design, scope: str) -> Any:
    """The ridge as a run builds it."""
    component = Registry.discover().find("model", "ridge").component
    return build(component, {"penalty": 1.0, "scope": scope})


def local(arguments: argparse.Namespace) -> None:
    """One ridge a series, from blocks of design rows to coefficients."""
    design = random_design(arguments.series, arguments.days, arguments.width, 1_000_000)
    ridge = ridge_of(design, "local")
    sums = timed(lambda: ridge.statistics(design))
    solved = timed(lambda: ridge.solve(design, sums.result))
    tell(
        seconds=sums.seconds + solved.seconds,
        accumulate_seconds=sums.seconds,
        solve_seconds=solved.seconds,
    )


def flops(arguments: argparse.Namespace) -> None:
    """GFLOP/s of the accumulation, and of BLAS alone on the same block and at its best.

    A product X'X of n rows and p columns counts n p (p + 1): each pair of columns once.
    """
    width, rows = arguments.width, arguments.days
    design = random_design(arguments.series, rows, width, 1_000_000)
    ridge = ridge_of(design, "global")
    ridge.statistics(design)
    seconds = timed(lambda: ridge.statistics(design)).seconds
    X = next(iter(design.blocks())).X
    single = _best(lambda: X.T @ X)
    wide = np.asfortranarray(X[: 1 << 18], dtype=np.float64)
    double = _best(lambda: wide.T @ wide)
    square = np.random.default_rng(0).standard_normal((2048, 2048))
    peak = _best(lambda: square @ square)
    small = square.astype(np.float32)
    peak_single = _best(lambda: small @ small)
    pairs = width * (width + 1)
    tell(
        accumulation=arguments.series * rows * pairs / seconds / 1e9,
        ssyrk=X.shape[0] * pairs / single / 1e9,
        dsyrk=wide.shape[0] * pairs / double / 1e9,
        dgemm_peak=2 * 2048**3 / peak / 1e9,
        sgemm_peak=2 * 2048**3 / peak_single / 1e9,
        seconds=seconds,
    )


def _best(work: Any) -> float:
    """Lowest seconds of five calls."""
    return min(timed(work).seconds for _ in range(5))


def main() -> None:
    """Parse the arguments of a worker and run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("features", "global", "local", "flops"))
    parser.add_argument("--file", type=Path)
    parser.add_argument("--shard-rows", type=int, default=250_000)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--horizon", type=int, default=28)
    parser.add_argument("--strategy", choices=("recursive", "direct"), default="recursive")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--series", type=int, default=0)
    parser.add_argument("--days", type=int, default=0)
    parser.add_argument("--width", type=int, default=30)
    arguments = parser.parse_args()
    workers = {"features": features, "global": fit_and_predict, "local": local, "flops": flops}
    # As in a task of a run.
    with threadpool_limits(1, user_api="blas"):
        workers[arguments.what](arguments)


if __name__ == "__main__":
    main()
