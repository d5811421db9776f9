"""A plan says what a run will fit, and leaves nothing behind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from engine import footprint, hookimpl
from engine.cli.main import invoke
from engine.footprint import memory_warning, needed_memory
from engine.plan import probe
from engine.plan.estimate import GROWN, Plan, make_plan, plan_from
from engine.plan.trial import Point, Trial, samples, try_out
from engine.registry import Registry
from engine.runner import capabilities, run
from engine.spec.validate import LoadedSpec, validate_text
from engine.workspace import plan_of

SPEC = """version: 1
name: tiny
data:
  source: {use: simulate, series: 40, periods: 90, future_periods: 7, launches: 0}
  columns: {unique_id: [store, item], ds: ds, y: units}
  freq: 1d
  covariates: {future: [price, promo]}
horizon: 7
quantiles: [0.1, 0.9]
features: [{use: lags, lags: [0]}, {use: promo, price: price, flags: [promo]}]
models:
  arima: {use: arima, order: [1, 0, 0]}
  ridge: {use: ridge}
backtest: {folds: 2, calibration: 1}
evaluate: {metrics: [mae, wape]}
write: [{use: csv}]
"""


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover()


@pytest.fixture(scope="module")
def loaded(registry: Registry) -> LoadedSpec:
    return validate_text(SPEC, "tiny.yaml", registry)


@pytest.fixture(scope="module")
def trial(loaded: LoadedSpec, registry: Registry, tmp_path_factory: Any) -> Trial:
    base = tmp_path_factory.mktemp("planned")
    tried = try_out(loaded, registry, base=base, limit=60.0, note=lambda text: None)
    assert list(base.iterdir()) == [], "a trial leaves nothing behind"
    return tried


def planned(trial: Trial, loaded: LoadedSpec, **changes: Any) -> Plan:
    """The plan of a trial in which every fit is a whole one, unless `growing` says otherwise."""
    return plan_from(replace(trial, **{"growing": (), **changes}), loaded.spec, beyond=False)


def test_it_counts_the_tasks_that_the_run_then_does(trial, loaded, registry, tmp_path):
    outcome = run(loaded, registry, output=tmp_path, base=tmp_path)
    done = [t["name"] for t in outcome.manifest["tasks"] if "/final/" not in t["name"]]
    plan = planned(trial, loaded)
    for model in plan.models:
        assert model.tasks == sum(name.startswith(model.model + "/") for name in done)
    assert plan.rows == outcome.manifest["data"]["rows"]
    assert {m.model: m.fits for m in plan.models} == {"arima": 40 * 2, "ridge": 3}


def test_every_sample_was_tried_smallest_first_and_the_last_one_is_all(trial):
    sizes = [panel.n_series for panel in samples(trial.panel)]
    assert sizes == sorted(sizes)
    assert sizes[-1] == 40
    rows = [p.rows for p in trial.points["arima"]]
    assert len(rows) == len(sizes)
    assert rows == sorted(rows)
    assert trial.reasons == {}
    assert trial.forecasts == 40 * 7 * 2 * 2
    assert trial.trouble == ""


def test_a_global_model_of_few_rows_is_tried_on_all_of_them_at_once(trial):
    everything = trial.points["arima"][-1].rows
    assert [p.rows for p in trial.points["ridge"]] == [everything, everything]


def points(fixed: float, per_row: float, cold: float = 0.0, busy: float = 0.01) -> list[Point]:
    sizes = (100, 400, 1600)
    return [
        Point(n, fixed + per_row * n + (cold if n == 100 else 0), busy, 10**8 + 100 * n)
        for n in sizes
    ]


def test_seconds_grow_with_rows_and_a_first_fit_is_paid_once_a_worker(trial, loaded):
    by = {"arima": points(0.5, 0.01, cold=3.0), "ridge": points(0.5, 0.01)}
    plan = planned(trial, loaded, points=by, workers=1)
    arima, ridge = plan.models
    rows = [40 * (90 - 7 * ahead) for ahead in (3, 2, 1)]
    assert ridge.seconds == pytest.approx(sum(0.5 + 0.01 * n for n in rows))
    # A model with quantiles of its own needs no fold for calibration; 40 series are two parts.
    assert arima.seconds == pytest.approx(4 * 0.5 + sum(0.01 * n for n in rows[1:]) + 3.0)
    assert ridge.memory == pytest.approx(10**8 + 100 * max(rows), rel=1e-6)


def test_later_fits_that_begin_with_earlier_sums_cost_a_part(trial, loaded):
    assert trial.growing == {"ridge"}
    by = {"arima": points(0.1, 0.0), "ridge": points(10.0, 0.0)}
    for workers, whole in ((1, 1), (2, 2), (5, 3)):
        plan = planned(trial, loaded, points=by, workers=workers, growing=trial.growing)
        assert plan.models[1].seconds == pytest.approx(10.0 * (whole + GROWN * (3 - whole)))


def test_two_samples_of_about_one_size_do_not_make_a_slope(trial, loaded):
    """The last sample may be hardly larger than the one before; their difference is noise."""
    sizes = ((100, 0.1, 1), (400, 0.1, 1), (160_000, 0.1, 1), (165_000, 0.3, 2))
    noisy = [Point(rows, seconds, 0.01, held * 10**8) for rows, seconds, held in sizes]
    by = {"arima": noisy, "ridge": points(0.1, 0.0)}
    arima, _ = planned(trial, loaded, points=by, workers=1).models
    assert arima.seconds == pytest.approx(4 * 0.1, rel=0.1)
    assert arima.memory == pytest.approx(10**8, rel=0.1)


def test_a_task_of_a_part_of_the_only_sample_takes_that_part_of_its_time(trial, loaded):
    """A busy machine may leave time for the smallest sample and the whole panel only."""
    rows = [40 * (90 - 7 * ahead) for ahead in (2, 1)]
    by = {"arima": [Point(100, 5.0, 0.5, 10**8), Point(rows[-1], 30.0, 0.5, 10**8)]}
    plan = planned(trial, loaded, points={**by, "ridge": points(0.1, 0.0)}, workers=1)
    assert plan.models[0].tasks == 4
    assert plan.models[0].seconds == pytest.approx(30.0 * sum(rows) / rows[-1] + 5.0, rel=0.1)


def test_two_workers_halve_the_backtest_but_not_below_its_longest_task(trial, loaded):
    even = {"arima": points(1.0, 0.0), "ridge": points(2.0, 0.0)}
    alone = planned(trial, loaded, points=even, workers=1, startup=0.0)
    shared = planned(trial, loaded, points=even, workers=2, startup=0.0)
    assert alone.stages["backtest"] == pytest.approx(10.0)
    assert shared.stages["backtest"] == pytest.approx(5.0)
    one = {"arima": points(0.0, 0.0), "ridge": points(60.0, 0.0)}
    many = planned(trial, loaded, points=one, workers=9, startup=0.0)
    assert many.stages["backtest"] == pytest.approx(60.0)


def test_two_samples_of_a_global_model_make_a_slope(trial, loaded):
    """Sums over groups cost by their number, whatever the rows: most of the cost is fixed."""
    rows = [40 * (90 - 7 * ahead) for ahead in (3, 2, 1)]
    few = [Point(100, 4.0, 0.5, 10**8), Point(200, 4.1, 0.5, 10**8)]
    by = {"arima": points(0.1, 0.0), "ridge": few}
    plan = planned(trial, loaded, points=by, workers=1)
    assert plan.models[1].seconds == pytest.approx(sum(3.9 + 0.001 * n for n in rows))


def test_what_a_stage_costs_on_next_to_no_rows_does_not_grow(trial, loaded):
    plan = planned(
        trial, loaded, first={"evaluate": 2.0, "write": 3.0}, forecasts=trial.forecasts // 10,
        stages={"evaluate": 2.5, "write": 1.0},
    )  # fmt: skip
    assert plan.stages["evaluate"] == pytest.approx(2.0 + 0.5 * 10)
    assert plan.stages["write"] == pytest.approx(3.0)


def test_a_model_of_sums_is_tried_on_samples_that_have_all_of_them(registry, tmp_path, monkeypatch):
    """Fits to few series have few sums: their cost would seem to grow without end."""
    monkeypatch.setattr("engine.plan.trial.AT_ONCE", 0)
    text = SPEC.replace("ridge: {use: ridge}", "ridge: {use: ridge, aggregate: {by: [item]}}")
    summed = validate_text(text, "tiny.yaml", registry)
    made = try_out(summed, registry, base=tmp_path, limit=60.0, note=lambda text: None)
    sizes = [panel.series["item"].n_unique() for panel in samples(made.panel)]
    full = sum(size == made.panel.series["item"].n_unique() for size in sizes)
    assert 0 < full < len(sizes)
    assert len(made.points["ridge"]) == max(full, 2)
    assert made.points["ridge"][0].rows > made.points["arima"][0].rows
    assert made.first["evaluate"] > 0


def test_workers_beyond_the_processors_that_fits_keep_busy_help_nothing(trial, loaded, monkeypatch):
    monkeypatch.setattr("engine.plan.estimate.cores", lambda: 4)
    greedy = {"arima": points(0.0, 0.0), "ridge": points(10.0, 0.0, busy=4.0)}
    plan = planned(trial, loaded, points=greedy, workers=3, startup=0.0)
    assert plan.stages["backtest"] == pytest.approx(3 * 10.0)


def test_a_model_that_could_not_be_fitted_has_no_time_but_a_reason(trial, loaded):
    by = {"arima": points(1.0, 0.0), "ridge": []}
    plan = planned(trial, loaded, points=by, reasons={"ridge": "too cold"})
    assert plan.models[1].seconds is None
    assert plan.models[1].reason == "too cold"
    assert plan.seconds >= plan.models[0].seconds / 2


@settings(max_examples=50, deadline=None)
@given(
    seconds=st.lists(st.floats(0, 1e4), min_size=1, max_size=5),
    memory=st.lists(st.integers(0, 10**11), min_size=5, max_size=5),
)
def test_whatever_was_measured_no_estimate_is_negative_or_below_what_was_seen(
    trial, loaded, seconds, memory
):
    made = [
        Point(100 * 4**i, s, 1.0, m) for i, (s, m) in enumerate(zip(seconds, memory, strict=False))
    ]
    plan = planned(trial, loaded, points={"arima": made, "ridge": made})
    for model in plan.models:
        assert model.seconds is not None
        assert model.seconds >= 0
        assert model.memory >= 0
    assert plan.seconds >= max(0.0, *plan.stages.values())
    assert plan.memory_all >= plan.memory


def test_the_rest_of_a_fit_is_told_from_its_own_progress(monkeypatch):
    now = iter([0.0, 10.0, 12.0, 14.0])
    monkeypatch.setattr(probe.time, "perf_counter", lambda: next(now))
    progress = probe.Progress(limit=13.0)
    progress.report("epoch", {"epoch": 1, "of": 50, "loss": 0.4})
    progress.report("epoch", {"epoch": 2, "of": 50})
    assert progress.total == pytest.approx(10 + 2 * 50)
    with pytest.raises(BaseException) as ended:
        progress.report("epoch", {"epoch": 3, "of": 50})
    assert not isinstance(ended.value, Exception), "a model must not swallow it"
    assert progress.total == pytest.approx(10 + 2 * 50)


def test_nobody_hears_of_a_trial(loaded, tmp_path):
    heard: list[str] = []

    @hookimpl
    def engine_run_start(name: str) -> None:
        heard.append(name)

    watched = Registry.discover()
    watched.add(SimpleNamespace(engine_run_start=engine_run_start), "watcher", "acme", "1")
    make_plan(loaded, watched, base=tmp_path, limit=0.1)
    assert heard == []
    run(loaded, watched, output=tmp_path, base=tmp_path)
    assert heard == ["tiny"]


def test_without_a_quick_model_scoring_is_not_tried_and_that_is_said(loaded, registry, tmp_path):
    plan = make_plan(loaded, registry, base=tmp_path, limit=1e-9)
    assert plan.trouble == "no model is quick enough to try them with"
    assert plan.stages["evaluate"] == 0
    assert plan.stages["backtest"] > 0


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tiny.yaml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_shows_models_time_and_memory(home, capsys):
    assert invoke(["plan", "tiny.yaml", "--limit", "0.1"]) == 0
    out, err = capsys.readouterr()
    assert "40 series" in out
    assert "time:   about" in out
    assert "iB in the largest process" in out
    assert "next: engine run tiny.yaml" in out
    assert "trying ridge" in err
    assert [path.name for path in home.iterdir()] == ["tiny.yaml"]


def test_as_json_it_is_one_document(home, capsys):
    assert invoke(["plan", "tiny.yaml", "--json", "--quiet", "--limit", "0.1"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert err == ""
    assert [model["model"] for model in document["models"]] == ["arima", "ridge"]
    assert document["seconds"] == pytest.approx(sum(document["stages"].values()))


def test_data_that_are_not_there_are_said_as_in_a_run(home, capsys):
    source = "data.source={use: files, path: gone.parquet}"
    code = invoke(["plan", "tiny.yaml", "--set", source])
    assert code == invoke(["run", "tiny.yaml", "--quiet", "--set", source]) != 0
    assert "gone.parquet" in capsys.readouterr().err


def test_a_run_warns_when_the_memory_will_not_do(home, capsys, monkeypatch):
    assert invoke(["run", "tiny.yaml"]) == 0
    assert "of memory" not in capsys.readouterr().err
    monkeypatch.setattr(footprint, "available_memory", lambda: 1000)
    assert invoke(["run", "tiny.yaml"]) == 0
    assert "of memory and 0 MiB are free" in capsys.readouterr().err


@pytest.mark.parametrize(("needed", "available"), [(None, 5), (5, None), (5, 5)])
def test_no_warning_where_it_will_do_or_nobody_knows(needed, available):
    assert memory_warning(needed, available) == ""


def test_beyond_a_few_shards_a_streamed_model_grows_by_the_panel_alone(trial, loaded):
    points = {
        name: [Point(1_000, 1.0, 1.0, 10**9), Point(2_000, 2.0, 1.0, 2 * 10**9)]
        for name in ("arima", "ridge")
    }
    spec = loaded.spec.model_copy(
        update={"run": loaded.spec.run.model_copy(update={"shard_rows": 500})}
    )
    made = plan_from(replace(trial, points=points, streamed=["ridge"]), spec, beyond=False)
    held = {model.model: model.memory for model in made.models}
    whole = plan_from(replace(trial, points=points, streamed=[]), spec, beyond=False)
    every = next(model.memory for model in whole.models if model.model == "ridge")
    assert 10**9 < held["ridge"] < 10**9 + 2**20 < every


def test_the_quick_guess_counts_all_features_of_a_model_that_keeps_them(trial, loaded, registry):
    features, able = (
        plan_of(trial.panel, loaded.spec, registry),
        capabilities(loaded.spec, registry),
    )
    spec = loaded.spec.model_copy(
        update={"run": loaded.spec.run.model_copy(update={"shard_rows": 100})}
    )
    keeps = {name: replace(can, mergeable=False) for name, can in able.items()}
    streamed, kept = (
        needed_memory(trial.panel, features, spec, abilities, 2)["needed"]
        for abilities in (able, keeps)
    )
    more = trial.panel.frame.height - 200
    assert kept - streamed == 2 * 8 * len(features.names) * more
