"""Fitting, forecasting, saving and loading the LSTM."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import polars as pl
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import load_file, save_file

from engine.contracts import Prediction, Training
from engine.data.panel import Future, Panel
from engine.errors import DataError
from engine_lstm import training
from engine_lstm.attribution import attribution
from engine_lstm.checkpoint import Keeper, fingerprint
from engine_lstm.compiled import keep_compiled
from engine_lstm.course import Course, held_out, importance
from engine_lstm.data import (
    Arrays,
    encode,
    encode_future,
    last_dates,
    learn_encoding,
)
from engine_lstm.encoding import Encoding, encoding_from_json
from engine_lstm.heads import center, free_outputs, quantiles_of
from engine_lstm.network import NetworkShape
from engine_lstm.offset import from_level
from engine_lstm.params import LstmParams
from engine_lstm.privacy import Privacy, promise, slots_for
from engine_lstm.sampling import SERIES_MULTIPLE, StretchSize
from engine_lstm.schedule import Schedule
from engine_lstm.training import Inputs, Plan, Trained, Weights

Floats = npt.NDArray[Any]

_FORMAT = 3
_CHUNK = 4096
_MOST_LOG = 700.0  # the exponential of more is no number
_FEWEST_BATCHES, _MOST_BATCHES = 25, 400


class Lstm:
    """A global encoder-decoder LSTM, trained on forking sequences of all series.

    Text covariates that change over time are not used; categories of series (keys, statics) are.
    """

    def __init__(self, params: LstmParams) -> None:
        self.params = params

    def fit(self, train: Training) -> FittedLstm:
        """Fit on the panel; a DataError if no series is long enough to learn from."""
        keep_compiled()
        params, panel = self.params, train.panel
        encoding = learn_encoding(
            panel,
            span=params.context,
            season=max(train.season, 1),
            season_terms=params.season_terms,
            static_keys=params.static_keys,
            effects=params.effects,
            log1p=params.log1p,
            robust=params.scaling == "robust",
            censored=params.censored,
            offset=params.offset,
        )
        arrays = encode(panel, encoding)
        if not (arrays.seen.sum(axis=1) > 1).any():
            raise DataError(
                f"lstm: none of the {panel.n_series} series has two observed values of y",
                hint="begin the backtest later, or use a model that needs no training",
            )
        plan = self._plan(train, encoding)
        course = self._course(train, plan, arrays)
        schedule = self._schedule(int(arrays.seen.sum()), plan.size)
        plan, schedule, privacy = self._privately(plan, schedule, panel.n_series)
        keeper = self._keeper(train, plan, schedule, arrays)
        follow = {"seed": train.seed, "patience": params.patience, "report": train.report}
        checked, everything = course.lessons()
        trained = training.train(plan, schedule, checked, keeper=keeper, **follow)
        curve = _curve(trained)
        if course.held and params.refit_all:
            again = replace(schedule, epochs=round(float(np.mean(trained.best_epochs))))
            trained = training.train(plan, again, everything, **follow)
        if keeper is not None:
            keeper.done()
        return FittedLstm(
            shape=plan.network,
            encoding=encoding,
            context=params.context,
            quantiles=train.quantiles,
            aim=params.aim,
            weights=trained.weights,
            curve=curve,
            privacy=privacy,
        )

    def _plan(self, train: Training, encoding: Encoding) -> Plan:
        params = self.params
        levels = tuple(_room(len(known) + 1) for _, known in encoding.categories)
        widths = tuple(params.embedding or _width(count) for count in levels)
        origins = params.context - (params.warm_up or params.context // 2)
        network = NetworkShape(
            cell=params.cell,
            hidden=params.sizes,
            norm=params.norm,
            residual=params.residual,
            decoder_hidden=params.decoder_hidden,
            dropout=params.dropout,
            hide=params.hide,
            steps=train.gap + train.horizon,
            head=params.head,
            quantiles=tuple(sorted({*train.quantiles, 0.5, params.aim or 0.5})),
            has_point=params.loss is not None,
            effects=None if params.effects is None else len(params.effects),
            levels=levels,
            embeddings=widths,
            precision=params.precision,
            offset=None if params.offset is None else len(params.effects or ()) + 1,
            growth=params.offset_growth,
        )
        return Plan(
            network=network,
            size=StretchSize(params.context, origins, network.steps),
            loss=params.loss,
            log1p=params.log1p,
            batch=params.batch,
            members=params.ensemble,
            learned_steps=params.learned_steps or network.steps,
        )

    def _course(self, train: Training, plan: Plan, arrays: Arrays) -> Course:
        params = self.params
        asked = train.horizon if params.validation is None else params.validation
        asked = 0 if params.differential_privacy else asked
        return Course(
            arrays=arrays,
            importance=importance(train.panel, params.weight),
            size=plan.size,
            held=held_out(arrays.seen, plan.size.steps, min(asked, plan.size.origins)),
            fading=0.0 if params.decay is None else float(np.log(0.5)) / params.decay,
            at_once=params.device_series,
            seed=train.seed,
        )

    def _privately(
        self, plan: Plan, schedule: Schedule, n_series: int
    ) -> tuple[Plan, Schedule, Privacy | None]:
        """Both as differential privacy wants them, and what it promises; without it as they are."""
        asked = self.params.differential_privacy
        if asked is None:
            return plan, schedule, None
        rate, delta = min(plan.batch / n_series, 1.0), asked.delta or 0.1 / n_series
        steps = schedule.epochs * schedule.batches * plan.members
        promised = promise(asked.noise, asked.clip, delta, rate, steps)
        limits = {"noise": asked.noise, "series_clip": asked.clip, "drawn": rate}
        schedule = replace(schedule, expected=rate * n_series, **limits)
        plan = replace(plan, batch=slots_for(n_series, promised), private=True)
        return plan, schedule, promised

    def _keeper(
        self, train: Training, plan: Plan, schedule: Schedule, arrays: Arrays
    ) -> Keeper | None:
        asked = self.params.checkpoint
        if asked is None:
            return None
        data = (arrays.own, arrays.known, arrays.y, arrays.seen, arrays.numbers, arrays.codes)
        data = (*data, arrays.offset)
        name = fingerprint((plan, schedule, self.params, train.seed), data)
        return Keeper(asked.folder / f"lstm-{name}.safetensors", asked.every)

    def _schedule(self, observed: int, size: StretchSize) -> Schedule:
        """Epochs that use every observation about once as a cutoff, within limits."""
        params = self.params
        once = -(-observed // (params.batch * size.origins))
        automatic = min(max(once, _FEWEST_BATCHES), _MOST_BATCHES)
        return Schedule(
            epochs=params.epochs,
            batches=params.batches_per_epoch or automatic,
            learning_rate=params.learning_rate,
            weight_decay=params.weight_decay,
            clip=params.clip,
            average=params.average,
        )

    @staticmethod
    def load(folder: Path) -> FittedLstm:
        """Read what `FittedLstm.save` wrote."""
        return FittedLstm.load(folder)


@dataclass(frozen=True)
class FittedLstm:
    """A trained network with the statistics of its training panel.

    quantiles: the asked ones, in the asked order; the network has 0.5 and `aim` besides. aim: the
    quantile that y_hat is, None for the median or for an output of its own.
    """

    shape: NetworkShape
    encoding: Encoding
    context: int
    quantiles: tuple[float, ...]
    aim: float | None
    weights: Weights
    curve: pl.DataFrame
    privacy: Privacy | None = None

    def predict(self, history: Panel, future: Future) -> Prediction:
        """Forecast every row of `future`: (series, gap + horizon[, quantile]); always finite.

        A DataError if `future` has another number of steps than the model was trained for.
        """
        inputs = self._inputs(history, future)
        return self._prediction(self._outputs(inputs), inputs.level[:, None], inputs.scale[:, None])

    def explain(self, history: Panel, future: Future) -> Mapping[str, pl.DataFrame]:
        """`attribution`: how far each covariate known ahead moves the forecasts, by integrated gradients."""
        inputs = self._inputs(history, future)
        encoding = self.encoding
        names = (*encoding.future.names, *([] if encoding.offset is None else [encoding.offset]))
        return {"attribution": attribution(self.shape, self.weights, inputs, names)}

    def _inputs(self, history: Panel, future: Future) -> Inputs:
        if future.ahead_max != self.shape.steps:
            raise DataError(
                f"lstm: asked for {future.ahead_max} steps (gap {future.gap} + horizon "
                f"{future.horizon}), but trained for {self.shape.steps}",
                hint="train the model with this horizon and gap",
            )
        arrays = encode(history, self.encoding)
        ahead, offset = encode_future(future, history.end, self.encoding)
        own = last_dates(arrays.own, self.context)
        known = np.concatenate([last_dates(arrays.known, self.context), ahead], axis=1)
        level, scale = arrays.level[:, -1], arrays.scale[:, -1]
        stand = level[:, None], np.where(scale > 0, scale, np.float32(1))[:, None]
        start = np.asarray(from_level(offset, *stand))[:, None]
        return Inputs(own, known, arrays.numbers, arrays.codes, start, level, scale)

    def _prediction(self, outputs: Floats, level: Floats, scale: Floats) -> Prediction:
        """Means over the members of what each forecasts, (members, series, steps, n)."""
        shape, head = self.shape, self.shape.head
        meaning = outputs[..., : free_outputs(head, shape.quantiles)]
        every = None
        if self.quantiles or self.aim is not None:
            every = quantiles_of(head, meaning, level, scale, shape.quantiles).mean(axis=0)
        if shape.has_point:
            y_hat = (level + scale * outputs[..., -1]).mean(axis=0)
        elif every is not None and self.aim is not None:
            y_hat = every[..., shape.quantiles.index(self.aim)]
        else:
            y_hat = center(head, meaning, level, scale, shape.quantiles.index(0.5)).mean(axis=0)
        quantiles = None
        if every is not None and self.quantiles:
            quantiles = every[..., [shape.quantiles.index(q) for q in self.quantiles]]
        if self.encoding.log1p:
            y_hat = np.expm1(np.minimum(y_hat, _MOST_LOG))
            quantiles = None if quantiles is None else np.expm1(np.minimum(quantiles, _MOST_LOG))
        return Prediction(y_hat, quantiles)

    def _outputs(self, inputs: Inputs) -> Floats:
        """Outputs of `training.forecast` in chunks of one padded size, so that one compilation serves."""
        n_series = inputs.own.shape[0]
        size = min(-(-n_series // SERIES_MULTIPLE) * SERIES_MULTIPLE, _CHUNK)
        parts = []
        for begin in range(0, n_series, size):
            count = min(size, n_series - begin)
            chunk = Inputs(*(_padded(a[begin : begin + count], size) for a in inputs))
            outputs = training.forecast(self.shape, self.weights, chunk)
            parts.append(np.asarray(outputs, np.float64)[:, :count])
        return np.concatenate(parts, axis=1)

    def tables(self) -> Mapping[str, pl.DataFrame]:
        """`learning_curve`: epoch, train_loss, validation_loss (null without validation).

        `privacy` after differentially private training: epsilon, delta and what they are made of.
        """
        private = {} if self.privacy is None else {"privacy": self.privacy.table()}
        return {"learning_curve": self.curve, **private}

    def save(self, folder: Path) -> None:
        """Write `model.json`, `weights.safetensors` and `learning_curve.parquet`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        flat = {k: np.ascontiguousarray(v) for k, v in flatten_dict(self.weights, sep="/").items()}
        save_file(flat, folder / "weights.safetensors")
        about = {
            "format": _FORMAT,
            "shape": asdict(self.shape),
            "encoding": asdict(self.encoding),
            "context": self.context,
            "quantiles": self.quantiles,
            "privacy": None if self.privacy is None else asdict(self.privacy),
            "aim": self.aim,
        }
        text = json.dumps(about, indent=1, ensure_ascii=False)
        (folder / "model.json").write_text(text, encoding="utf-8")
        self.curve.write_parquet(folder / "learning_curve.parquet")

    @classmethod
    def load(cls, folder: Path) -> FittedLstm:
        """Read what `save` wrote; a DataError for a folder of another version."""
        keep_compiled()
        folder = Path(folder)
        about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        if about.get("format") != _FORMAT:
            raise DataError(
                f"{folder}: an lstm of format {about.get('format')}, this version reads {_FORMAT}",
                hint="train the model again with this version",
            )
        shape = {k: tuple(v) if isinstance(v, list) else v for k, v in about["shape"].items()}
        flat = load_file(folder / "weights.safetensors")
        return cls(
            shape=NetworkShape(**shape),
            encoding=encoding_from_json(about["encoding"]),
            context=about["context"],
            quantiles=tuple(about["quantiles"]),
            aim=about["aim"],
            weights=unflatten_dict({k: jnp.asarray(v) for k, v in flat.items()}, sep="/"),
            curve=pl.read_parquet(folder / "learning_curve.parquet"),
            privacy=Privacy(**about["privacy"]) if about.get("privacy") else None,
        )


def _padded(values: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Empty series at the end, up to `size` of them."""
    return np.pad(values, [(0, size - len(values))] + [(0, 0)] * (values.ndim - 1))


def _room(levels: int) -> int:
    """Rows of an embedding: the next power of two, so that a new series compiles nothing."""
    return 1 << (levels - 1).bit_length()


def _width(levels: int) -> int:
    """Usual width of an embedding: small, growing slowly with the number of categories."""
    return min(16, 1 + round(1.6 * levels**0.56 / 2))


def _curve(trained: Trained) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "epoch": range(1, len(trained.train_loss) + 1),
            "train_loss": trained.train_loss,
            "validation_loss": trained.validation_loss,
        },
        schema={"epoch": pl.Int32, "train_loss": pl.Float64, "validation_loss": pl.Float64},
    )
