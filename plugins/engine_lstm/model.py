"""Fitting the LSTM: what its options make of a panel, and how it is trained."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from engine.contracts import Training
from engine.errors import DataError
from engine_lstm import training
from engine_lstm.checkpoint import Keeper, fingerprint
from engine_lstm.compiled import keep_compiled, share_device
from engine_lstm.course import Course, held_out, importance, most_at_once
from engine_lstm.data import learn_encoding, read_values, targets
from engine_lstm.encoding import Encoding
from engine_lstm.fitted import FittedLstm
from engine_lstm.network import NetworkShape
from engine_lstm.params import LstmParams
from engine_lstm.privacy import Privacy, promise, slots_for
from engine_lstm.sampling import StretchSize
from engine_lstm.schedule import Schedule
from engine_lstm.training import Plan, Trained

_FEWEST_BATCHES, _MOST_BATCHES = 25, 400


class Lstm:
    """A global encoder-decoder LSTM, trained on forking sequences of all series.

    Text covariates that change over time are not used; categories of series (keys, statics) are.
    """

    def __init__(self, params: LstmParams) -> None:
        self.params = params

    def fit(self, train: Training) -> FittedLstm:
        """Fit on the panel; a DataError if no series is long enough to learn from."""
        share_device()
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
        seen = ~np.isnan(targets(panel, encoding))
        if not (seen.sum(axis=1) > 1).any():
            raise DataError(
                f"lstm: none of the {panel.n_series} series has two observed values of y",
                hint="begin the backtest later, or use a model that needs no training",
            )
        plan = self._plan(train, encoding)
        course = self._course(train, plan, encoding, seen)
        schedule = self._schedule(int(seen.sum()), plan.size)
        plan, schedule, privacy = self._privately(plan, schedule, panel.n_series)
        keeper = self._keeper(train, plan, schedule, encoding)
        follow: dict[str, Any] = {
            "seed": train.seed,
            "patience": params.patience,
            "report": train.report,
        }
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

    def _course(
        self, train: Training, plan: Plan, encoding: Encoding, seen: npt.NDArray[np.bool_]
    ) -> Course:
        params = self.params
        asked = train.horizon if params.validation is None else params.validation
        fitting = most_at_once(encoding, seen.shape[1], plan.size)
        private = params.differential_privacy is not None
        return Course(
            panel=train.panel,
            encoding=encoding,
            importance=importance(train.panel, params.weight),
            size=plan.size,
            held=0 if private else held_out(seen, plan.size.steps, min(asked, plan.size.origins)),
            fading=0.0 if params.decay is None else float(np.log(0.5)) / params.decay,
            at_once=None if private else params.device_series or fitting,
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
        schedule = replace(
            schedule,
            expected=rate * n_series,
            noise=asked.noise,
            series_clip=asked.clip,
            drawn=rate,
        )
        plan = replace(plan, batch=slots_for(n_series, promised), private=True)
        return plan, schedule, promised

    def _keeper(
        self, train: Training, plan: Plan, schedule: Schedule, encoding: Encoding
    ) -> Keeper | None:
        asked = self.params.checkpoint
        if asked is None:
            return None
        about = (plan, schedule, self.params, train.seed, encoding)
        name = fingerprint(about, read_values(train.panel, encoding))
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


def _room(levels: int) -> int:
    """Rows of an embedding: the next power of two, so that a new series compiles nothing."""
    return 1 << (levels - 1).bit_length()


def _width(levels: int) -> int:
    """Usual width of an embedding: small, growing slowly with the number of categories."""
    return min(16, 1 + round(1.6 * math.pow(levels, 0.56) / 2))


def _curve(trained: Trained) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "epoch": range(1, len(trained.train_loss) + 1),
            "train_loss": trained.train_loss,
            "validation_loss": trained.validation_loss,
        },
        schema={"epoch": pl.Int32, "train_loss": pl.Float64, "validation_loss": pl.Float64},
    )
