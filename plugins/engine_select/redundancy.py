"""The selector `redundancy`: of features that say the same, the one closest to the target."""

from __future__ import annotations

import numpy as np
import polars as pl

from engine.contracts import Design, Selection
from engine_select.moments import Floats, moments_of, protected, table_columns
from engine_select.params import RedundancyParams


class Redundancy:
    """Takes features in order of their correlation with the target, without copies of those taken.

    Correlations are Pearson's over all training rows; a missing value counts as the feature's mean.
    """

    def __init__(self, params: RedundancyParams) -> None:
        self._params = params

    def select(self, design: Design) -> Selection:
        """Keep what varies, is related to the target and is no copy; at least one feature.

        DataError without rows, for infinite values, or if `keep` matches nothing.
        """
        always = protected(design.features, self._params.keep)
        moments = moments_of(design)
        related = moments.correlations()
        with_target = np.abs(related[:-1, -1])
        # Rounded to what float32 carries: the rest must not turn the order of copies.
        rank = np.where(always, np.inf, np.round(with_target, 6))
        order = np.argsort(-rank, kind="stable")
        kept: list[int] = []
        reasons = [""] * len(design.features)
        for i in map(int, order):
            reasons[i] = (
                "" if always[i] else self._against(i, kept, related, moments.varies, design)
            )
            if not reasons[i]:
                kept.append(i)
        if not kept:
            kept = [int(order[0])]
            reasons[kept[0]] = ""
        chosen = np.isin(np.arange(len(design.features)), kept)
        table = table_columns(design.features, chosen, reasons)
        table["target_correlation"] = related[:-1, -1]
        names = tuple(f for f, yes in zip(design.features, chosen, strict=True) if yes)
        return Selection(names, pl.DataFrame(table))

    def _against(
        self, i: int, kept: list[int], related: Floats, varies: np.ndarray, design: Design
    ) -> str:
        """Why a feature is left out; empty if it stays."""
        if not varies[i]:
            return "constant"
        if abs(related[i, -1]) < self._params.target_correlation:
            return f"correlation with the target is {related[i, -1]:.3f}"
        if kept:
            twin = kept[int(np.argmax(np.abs(related[i, kept])))]
            # An exact copy is 1 but for rounding.
            if abs(related[i, twin]) > min(self._params.correlation, 1 - 1e-9):
                return f"correlation with {design.features[twin]} is {related[i, twin]:.3f}"
        return ""
