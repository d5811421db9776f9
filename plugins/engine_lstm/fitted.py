"""A trained LSTM: forecasts, explanation, saving and loading."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import polars as pl
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import load_file, save_file

from engine.contracts import Prediction
from engine.data.panel import Future, Panel
from engine.errors import DataError
from engine_lstm.ahead import Inputs, forecast
from engine_lstm.attribution import attribution
from engine_lstm.compiled import keep_compiled, share_device
from engine_lstm.data import (
    encode,
    encode_future,
    in_parts,
    last_dates,
)
from engine_lstm.encoding import Encoding, encoding_from_json
from engine_lstm.heads import center, free_outputs, quantiles_of
from engine_lstm.network import NetworkShape, Weights
from engine_lstm.offset import from_level
from engine_lstm.privacy import Privacy
from engine_lstm.sampling import SERIES_MULTIPLE

Floats = npt.NDArray[Any]

_FORMAT = 3
_CHUNK = 4096
MOST_EXPLAINED = 256
_MOST_LOG = 700.0  # the exponential of more is no number


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
        self._check_steps(future)
        n_series = history.n_series
        size = min(-(-n_series // SERIES_MULTIPLE) * SERIES_MULTIPLE, _CHUNK)
        outputs, stands = [], []
        for first in range(0, n_series, size):
            chunk = np.arange(first, min(first + size, n_series))
            inputs = self._inputs(history.select(chunk), future.select(chunk))
            # Of one padded size, so that one compilation serves.
            made = forecast(self.shape, self.weights, Inputs(*(_padded(a, size) for a in inputs)))
            outputs.append(np.asarray(made, np.float64)[:, : chunk.size])
            stands.append(np.stack([inputs.level, inputs.scale])[..., None])
        level, scale = np.concatenate(stands, axis=1)
        return self._prediction(np.concatenate(outputs, axis=1), level, scale)

    def explain(self, history: Panel, future: Future) -> Mapping[str, pl.DataFrame]:
        """`attribution`: how far each covariate known ahead moves the forecasts, by integrated gradients.

        Of at most `MOST_EXPLAINED` series, evenly spread.
        """
        self._check_steps(future)
        encoding = self.encoding
        names = (*encoding.future.names, *([] if encoding.offset is None else [encoding.offset]))
        count = min(history.n_series, MOST_EXPLAINED)
        index = np.unique(np.linspace(0, history.n_series - 1, count).astype(np.int64))
        inputs = self._inputs(history.select(index), future.select(index))
        return {"attribution": attribution(self.shape, self.weights, inputs, names)}

    def _check_steps(self, future: Future) -> None:
        if future.ahead_max != self.shape.steps:
            raise DataError(
                f"lstm: asked for {future.ahead_max} steps (gap {future.gap} + horizon "
                f"{future.horizon}), but trained for {self.shape.steps}",
                hint="train the model with this horizon and gap",
            )

    def _inputs(self, history: Panel, future: Future) -> Inputs:
        # Of whole histories only the last dates are kept, but levels are made of all.
        everyone = np.arange(history.n_series)
        parts = [
            self._encoded(history.select(part), future.select(part))
            for part in in_parts(history, self.encoding, everyone)
        ]
        return Inputs(*(np.concatenate(same) for same in zip(*parts, strict=True)))

    def _encoded(self, history: Panel, future: Future) -> Inputs:
        arrays = encode(history, self.encoding)
        ahead, offset = encode_future(future, history.end, self.encoding)
        own = last_dates(arrays.own, self.context)
        known = np.concatenate([last_dates(arrays.known, self.context), ahead], axis=1)
        level, scale = arrays.level[:, -1], arrays.scale[:, -1]
        stand = level[:, None], np.where(scale > 0, scale, np.float32(1))[:, None]
        start = np.asarray(from_level(*map(jnp.asarray, (offset, *stand))))[:, None]
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
        nested = flatten_dict(self.weights, sep="/")  # type: ignore[no-untyped-call]
        flat = {k: np.ascontiguousarray(v) for k, v in nested.items()}
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
        share_device()
        keep_compiled()
        folder = Path(folder)
        about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        if about.get("format") != _FORMAT:
            raise DataError(
                f"{folder}: an lstm of format {about.get('format')}, this version reads {_FORMAT}",
                hint="train the model again with this version",
            )
        shape: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in about["shape"].items()
        }
        flat = load_file(folder / "weights.safetensors")
        nested = {k: jnp.asarray(v) for k, v in flat.items()}
        weights = unflatten_dict(nested, sep="/")  # type: ignore[no-untyped-call]
        return cls(
            shape=NetworkShape(**shape),
            encoding=encoding_from_json(about["encoding"]),
            context=about["context"],
            quantiles=tuple(about["quantiles"]),
            aim=about["aim"],
            weights=weights,
            curve=pl.read_parquet(folder / "learning_curve.parquet"),
            privacy=Privacy(**about["privacy"]) if about.get("privacy") else None,
        )


def _padded(values: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Empty series at the end, up to `size` of them."""
    return np.pad(values, [(0, size - len(values))] + [(0, 0)] * (values.ndim - 1))
