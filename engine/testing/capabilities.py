"""All checks of a model: those of its inputs, and of leakage, quantiles and compilation."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from engine.contracts import Prediction
from engine.testing.base import skip
from engine.testing.fitting import Asked, usual
from engine.testing.inputs import InputChecks
from engine.testing.models import same_bits
from engine.testing.panels import Case, cut

Change = Callable[[pl.DataFrame], pl.DataFrame]
_COMPILED = "/jax/core/compile/backend_compile_duration"


class ModelConformance(InputChecks):
    """All checks of a model: name the `component` and give it small `params`.

    A model of whole series is asked as the engine asks it; a model of design rows gets features of
    every availability and the `direct` strategy around it.
    """

    # --------------------------------------------------------------- leakage

    def test_nothing_after_the_cutoff_is_read(self) -> None:
        """Other targets and past covariates after the cutoff do not move a forecast."""
        back = 10
        later = pl.int_range(pl.len(), 0, -1).over("store") <= back + Case().ahead
        spoiled = [(pl.col(c) * 3 + 50).alias(c) for c in ("y", "temperature")]
        other = Case().panel(
            lambda rows: rows.with_columns(
                pl.when(later).then(new).otherwise(new.meta.output_name()).alias(
                    new.meta.output_name()
                )
                for new in spoiled
            )
        )  # fmt: skip
        before = self.forecast(cut(Case().panel(), back=back))
        same_bits(before, self.forecast(cut(other, back=back)), "what comes after the cutoff")

    def test_the_history_is_read(self) -> None:
        """Another history gives another forecast."""
        assert self._moves(lambda rows: rows.with_columns(pl.col("y") * 2 + 5)), (
            "the forecast does not depend on the history"
        )

    # ------------------------------------------- quantiles, compilation

    def test_quantiles_as_declared(self) -> None:
        """Quantiles come if declared, and only then."""
        made = self.fitted().predict(*usual())
        if self.the_model().capabilities.quantiles:
            assert made.quantiles is not None, "declares quantiles, but returns none"
        else:
            assert made.quantiles is None, "returns quantiles: declare them"

    def test_quantiles_are_ordered(self) -> None:
        """Higher quantiles are not below lower ones, and not all the same."""
        made = self._with_quantiles()
        assert made.quantiles is not None
        steps = np.diff(made.quantiles, axis=-1)
        size = np.abs(made.quantiles).max()
        assert steps.min() >= -1e-6 * size, f"quantiles cross by {-steps.min():.3g}"
        assert steps.max() > 0, "all quantiles are the same"

    def test_no_quantiles_when_none_are_asked(self) -> None:
        """Without quantiles in the spec there is a point forecast all the same."""
        self.forecast(usual(), Asked(quantiles=()))

    def test_quantiles_in_the_order_asked(self) -> None:
        """Quantiles come in the order in which they are asked for."""
        made = self._with_quantiles()
        asked = (0.9, 0.1)
        turned = self.forecast(usual(), Asked(quantiles=asked))
        assert made.quantiles is not None and turned.quantiles is not None
        widths = turned.quantiles[..., 0] - turned.quantiles[..., 1]
        assert widths.mean() > 0, "asked for (0.9, 0.1), the first is not the upper one"

    def test_the_second_call_compiles_nothing(self) -> None:
        """Another forecast of the same shape reuses what was compiled (JAX)."""
        self.fitted().predict(*usual())
        self.forecast(usual())
        jax = sys.modules.get("jax")
        if jax is None or "jax" not in _packages_of(self.the_model().factory):
            skip("the model does not use JAX")
        compiled = _Compilations(jax)
        self.forecast(usual(), Asked(seed=8))
        assert not compiled.count(), f"the second call compiled {compiled.count()} functions"

    def _with_quantiles(self) -> Prediction:
        if not self.the_model().capabilities.quantiles:
            skip("the model declares no quantiles; the engine calibrates them")
        made: Prediction = self.fitted().predict(*usual())
        return made


class _Compilations:
    """Counts what XLA compiles from now on."""

    def __init__(self, jax: Any) -> None:
        self._seen: list[str] = []
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration: float, **_: Any) -> None:
        if event == _COMPILED:
            self._seen.append(event)

    def count(self) -> int:
        """Functions compiled so far."""
        return len(self._seen)


def _packages_of(factory: str) -> set[str]:
    """Packages whose modules the modules of a factory's package hold."""
    package = factory.partition(":")[0].split(".")[0]
    found = set()
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == package:
            for value in vars(module).values():
                home = getattr(value, "__module__", None) or getattr(value, "__name__", "")
                found.add(str(home).split(".")[0])
    return found
