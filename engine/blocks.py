"""Some rows of a design block, for models that take no missing values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.contracts import DesignBlock, Prediction


def complete(block: DesignBlock) -> npt.NDArray[np.bool_]:
    """Rows in which no feature is missing: bool (rows,)."""
    return np.asarray(~np.isnan(block.X).any(axis=1), dtype=np.bool_)


def rows_of(block: DesignBlock, rows: npt.NDArray[np.bool_]) -> DesignBlock:
    """Some rows of a block."""
    y = block.y[rows] if block.y.size else block.y
    return DesignBlock(block.X[rows], y, block.series[rows], block.step[rows], block.age[rows])


def spread_over(made: Prediction, rows: npt.NDArray[np.bool_]) -> Prediction:
    """A prediction of some rows as one of all, NaN elsewhere."""
    y_hat = np.full(rows.size, np.nan)
    y_hat[rows] = made.y_hat
    quantiles = None
    if made.quantiles is not None:
        quantiles = np.full((rows.size, made.quantiles.shape[1]), np.nan)
        quantiles[rows] = made.quantiles
    return Prediction(y_hat, quantiles, made.failures)
