"""Checks of models: shapes, awkward data, repeatability, saving. `capabilities` adds what is declared."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.components import Model
from engine.contracts import Prediction
from engine.data.panel import Future, Panel
from engine.errors import EngineError
from engine.testing.base import Conformance, run_python, skip
from engine.testing.fitting import Asked, arrays, load, plain_record, usual, wrapped
from engine.testing.panels import HORIZON, Case, cut, frozen_copy

Floats = npt.NDArray[np.floating[Any]]


class ModelChecks(Conformance):
    """Checks that hold for every model, whatever it declares."""

    kind: ClassVar[str] = "model"
    methods: ClassVar[tuple[str, ...]] = ("fit", "load")
    _cache: ClassVar[dict[tuple[type, str], Any]] = {}

    @classmethod
    def the_model(cls) -> Model:
        """The record, as that of a model."""
        record = cls.the_record()
        assert isinstance(record, Model), f"{record.name!r} is a {record.kind}, not a model"
        return record

    def model(self) -> Any:
        """A new model that makes all steps."""
        return wrapped(self.the_model(), self.make())

    def forecast(self, case: tuple[Panel, Future], asked: Asked | None = None) -> Prediction:
        """Fit on a history and forecast its future; the shapes are checked every time."""
        asked = asked or Asked(gap=case[1].gap)
        made = self.model().fit(asked.training(case[0])).predict(*case)
        return checked(made, case[1], asked)

    def refused_or_forecast(self, case: tuple[Panel, Future]) -> Prediction | None:
        """A forecast, or None where the model refuses such data with an EngineError."""
        try:
            return self.forecast(case)
        except EngineError as error:
            assert error.message.strip(), "an error without a message"
            return None

    @classmethod
    def fitted(cls) -> Any:
        """The model fitted on the usual case, kept for the checks that only read it."""
        key = (cls, "fitted")
        if key not in cls._cache:
            model = wrapped(cls.the_model(), cls.make())
            cls._cache[key] = model.fit(Asked().training(usual()[0]))
        return cls._cache[key]

    def _elsewhere(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Forecasts of a fresh process: by the saved model, and by a new fit."""
        key = (type(self), "elsewhere")
        if key not in self._cache:
            with contextlib.ExitStack() as stack:
                folder = self._saved(stack)
                text = plain_record(self.the_model(), self.the_params().model_dump(mode="json"))
                out = run_python(["-m", "engine.testing.fitting", text, str(folder)])
            self._cache[key] = json.loads(out.splitlines()[-1])
        made = self._cache[key]
        return made["loaded"], made["fitted"]

    def _saved(self, stack: contextlib.ExitStack) -> Path:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.fitted().save(folder)
        return folder

    # ------------------------------------------------------------------ shapes

    def test_every_step_of_unequal_series(self) -> None:
        """Series of unequal lengths get a forecast for every step, row i for series i."""
        made = self.forecast(usual())
        assert not made.failures, f"healthy series failed: {dict(made.failures)}"

    def test_the_gap_is_counted(self) -> None:
        """With a gap the forecast has gap + horizon steps."""
        self.forecast(cut(Case(ahead=HORIZON + 2).panel(), gap=2))

    def test_series_are_not_mixed_up(self) -> None:
        """Series of very different sizes get forecasts of their own size."""
        factor = pl.when(pl.col("store") == "store b").then(1000.0).otherwise(1.0)
        panel = Case().panel(lambda rows: rows.with_columns(pl.col("y") * factor))
        size = np.abs(self.forecast(cut(panel)).y_hat).mean(axis=1)
        assert int(size.argmax()) == 1, f"series 1 is the large one, forecasts are {size}"

    def test_a_single_series(self) -> None:
        """A panel of one series is forecast."""
        made = self.forecast(cut(Case(lengths=(60,)).panel()))
        assert not made.failures, f"the series failed: {dict(made.failures)}"

    def test_integer_time(self) -> None:
        """Integer time is forecast as well as dates."""
        made = self.forecast(cut(Case(integer=True).panel()))
        assert not made.failures, f"series failed in integer time: {dict(made.failures)}"

    # ------------------------------------------------------------ awkward data

    def test_a_series_of_one_row_does_not_hurt_the_others(self) -> None:
        """A series of a single row is forecast or has a reason; the others are forecast."""
        made = self.forecast(cut(Case(lengths=(60, 1, 55)).panel()))
        assert set(made.failures) <= {1}, f"healthy series failed: {dict(made.failures)}"

    def test_only_series_of_one_row(self) -> None:
        """Nothing but single rows is forecast, or refused with a message."""
        self.refused_or_forecast(cut(Case(lengths=(1, 1)).panel()))

    def test_a_series_never_observed(self) -> None:
        """A series whose y is all missing at the cutoff is forecast or has a reason."""
        if not self.the_model().capabilities.missing_values:
            skip("the model declares no missing_values: the engine hands it no such series")
        store, day = pl.col("store") == "store b", pl.int_range(pl.len()).over("store")
        late = Case(lengths=(60, 60, 60)).panel(
            lambda rows: rows.with_columns(y=pl.when(~store | (day < 1) | (day > 55)).then("y"))
        )
        history, future = cut(late, back=5)
        made = self.refused_or_forecast((history.tail(50), future))
        assert made is None or set(made.failures) <= {1}, f"{dict(made.failures)}"

    def test_zeros(self) -> None:
        """Series of zeros get finite forecasts that stay near zero."""
        self._stays_near(0.0, 5.0)

    def test_constants(self) -> None:
        """Constant series get finite forecasts of their size."""
        self._stays_near(50.0, 500.0)

    def test_huge_values(self) -> None:
        """Values of 1e12 overflow nothing."""
        self.forecast(cut(Case(level=1e12).panel()))

    def test_tiny_values(self) -> None:
        """Values of 1e-9 underflow nothing."""
        self.forecast(cut(Case(level=1e-9).panel()))

    def test_negative_values(self) -> None:
        """Negative targets (returns) are forecast, refused or have a reason."""
        panel = Case().panel(lambda rows: rows.with_columns(pl.col("y") - 30))
        self.refused_or_forecast(cut(panel))

    def _stays_near(self, value: float, bound: float) -> None:
        observed = pl.col("y").is_not_null()
        panel = Case().panel(
            lambda rows: rows.with_columns(y=pl.when(observed).then(pl.lit(value)))
        )
        made = self.forecast(cut(panel))
        good = [i for i in range(panel.n_series) if i not in made.failures]
        assert np.abs(made.y_hat[good]).max(initial=0.0) <= bound, f"forecasts: {made.y_hat}"

    # ------------------------------------------------- repeatable, side effects

    def test_the_same_seed_gives_the_same_forecast(self) -> None:
        """Two fits with one seed agree to the last bit."""
        same_bits(self.forecast(usual()), self.fitted().predict(*usual()), "a second fit")

    def test_another_process_gives_the_same_forecast(self) -> None:
        """A fit in a fresh process, such as another worker, agrees to the last bit."""
        here = arrays(self.fitted().predict(*usual()))
        assert self._elsewhere()[1] == here, "a fit in another process gives other forecasts"

    def test_predicting_twice_gives_the_same(self) -> None:
        """Predicting changes nothing in the fitted model."""
        once, twice = (self.fitted().predict(*usual()) for _ in range(2))
        same_bits(once, twice, "a second prediction")

    def test_fitting_again_leaves_the_first_fit_alone(self) -> None:
        """`fit` returns a new object: another fit changes neither the model nor the first fit."""
        model, case = self.model(), usual()
        first = model.fit(Asked().training(case[0]))
        before = first.predict(*case)
        model.fit(Asked().training(cut(Case(level=900.0).panel())[0]))
        same_bits(before, first.predict(*case), "the first fit, after another one,")

    def test_inputs_are_not_changed(self) -> None:
        """Panels, futures and their arrays are left as they were given."""
        history, future = usual()
        before = frozen_copy(history, future)
        self.forecast((history, future))
        after = frozen_copy(history, future)
        changed = [name for name in before if before[name] != after[name]]
        assert not changed, f"the model changed its inputs: {', '.join(changed)}"

    def test_global_random_state_is_left_alone(self) -> None:
        """Randomness comes from the task's seed, not from numpy's global state."""
        before = np.random.get_state()[1].copy()  # type: ignore[index]
        self.forecast(usual())
        same = np.array_equal(before, np.random.get_state()[1])  # type: ignore[index]
        assert same, "numpy's global random state was used: make a Generator from the seed"

    def test_nothing_is_printed(self) -> None:
        """Progress goes through `report`, as plain data; nothing is printed."""
        asked, out = Asked(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            self.forecast(usual(), asked)
        assert not out.getvalue(), f"printed: {out.getvalue()[:200]!r}"
        for name, fields in asked.events:
            assert isinstance(name, str) and name, f"event {name!r} has no name"
            json.dumps(dict(fields))

    def test_a_longer_history_than_the_fit_s(self) -> None:
        """A model that is not refitted forecasts from a later cutoff."""
        panel = Case(ahead=HORIZON).panel()
        early, late = cut(panel, back=10), cut(panel)
        fitted = self.model().fit(Asked().training(early[0]))
        checked(fitted.predict(*late), late[1], Asked())

    # ----------------------------------------------------------------- storage

    def test_a_saved_model_gives_the_same_forecast_elsewhere(self) -> None:
        """Saved and loaded in a fresh process, it forecasts the same to the last bit."""
        here = arrays(self.fitted().predict(*usual()))
        assert self._elsewhere()[0] == here, "the loaded model gives other forecasts"

    def test_nothing_is_pickled(self, tmp_path: Path) -> None:
        """What is saved are files that are safe to load: no pickle, in whatever wrapping."""
        self.fitted().save(tmp_path)
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert files, "save wrote nothing"
        bad = [str(path.relative_to(tmp_path)) for path in files if _is_pickle(path)]
        assert not bad, f"pickled: {', '.join(bad)}; write JSON, Parquet, .npy or safetensors"

    def test_loading_an_empty_folder_is_an_error(self, tmp_path: Path) -> None:
        """Loading what is not there raises, instead of giving an untrained model."""
        try:
            load(self.the_model(), tmp_path)
        except (EngineError, OSError):
            return
        raise AssertionError("an empty folder was loaded as a model")

    def test_tables_are_frames(self) -> None:
        """`tables` maps names to frames that can be written as Parquet."""
        tables = self.fitted().tables()
        assert isinstance(tables, Mapping), f"tables() returned {type(tables).__name__}"
        for name, table in tables.items():
            assert isinstance(table, pl.DataFrame), f"table {name!r} is not a polars frame"
            table.write_parquet(io.BytesIO())


def checked(made: Prediction, future: Future, asked: Asked | None = None) -> Prediction:
    """The prediction, if its shapes are those asked for and it is finite or says why not."""
    asked = asked or Asked()
    shape = (future.n_series, future.gap + asked.horizon)
    assert isinstance(made, Prediction), f"predict returned {type(made).__name__}"
    assert made.y_hat.shape == shape, f"y_hat has shape {made.y_hat.shape}, not {shape}"
    assert np.issubdtype(made.y_hat.dtype, np.floating), f"y_hat is {made.y_hat.dtype}"
    if made.quantiles is not None:
        wide = (*shape, len(asked.quantiles))
        assert made.quantiles.shape == wide, f"quantiles {made.quantiles.shape}, not {wide}"
    for i, reason in made.failures.items():
        assert 0 <= i < shape[0], f"failure of series {i}, but there are {shape[0]}"
        assert reason.strip(), f"series {i} failed without a reason"
    for i in set(range(shape[0])) - set(made.failures):
        fine = np.isfinite(made.y_hat[i, future.gap :]).all()
        if made.quantiles is not None:
            fine &= np.isfinite(made.quantiles[i, future.gap :]).all()
        assert fine, f"series {i} has a forecast that is not finite, and no reason in `failures`"
    return made


def same_bits(one: Prediction, other: Prediction, what: str) -> None:
    """Both predictions are the same numbers to the last bit."""
    assert arrays(one) == arrays(other), f"{what} gives other forecasts"


def _is_pickle(path: Path) -> bool:
    """A pickle by its name or its first bytes, also inside of a zip (as PyTorch writes it)."""
    if path.suffix in (".pkl", ".pickle", ".joblib"):
        return True
    with path.open("rb") as file:
        begin = file.read(128)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as bundle:
            return any(name.endswith((".pkl", ".pickle")) for name in bundle.namelist())
    return (begin[:1] == b"\x80" and begin[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")) or (
        begin.startswith(b"\x93NUMPY") and b"'|O'" in begin
    )
