"""What a spec expects of its own backtest: the section `expect:`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCORED = ("max", "min", "better_than", "ratio", "tolerance")
COSTS = ("time_ratio", "memory_ratio")
RULES = (*SCORED, *COSTS, "no_failures", "no_leaks")


class Expectation(BaseModel):
    """A gate: what must hold for the run to pass (exit code 6 if not); see `engine test`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())

    model: str | None = Field(
        None, description="a model of this spec; `no_failures` alone may leave it out: all models"
    )
    metric: str | None = Field(None, description="a name of evaluate.metrics")
    max: float | None = Field(None, description="largest value; with `min`, a band for coverage")
    min: float | None = Field(None, description="smallest value")
    better_than: str | None = Field(None, description="a model that must score worse")
    ratio: float | None = Field(
        None,
        gt=0,
        description="largest share of the value of the model `than` "
        "(smallest, where a metric is better the higher)",
    )
    than: str | None = Field(None, description="the model of `ratio`, `time_ratio`, `memory_ratio`")
    tolerance: float | None = Field(
        None,
        ge=0,
        description="how much worse than in the snapshot: 0.05 is 5 %; for metrics without an "
        "order, such as coverage, the largest distance. Judged by `engine test`",
    )
    time_ratio: float | None = Field(
        None,
        gt=0,
        description="longest time of the model's backtest, as a multiple of that of `than`",
    )
    memory_ratio: float | None = Field(
        None,
        gt=0,
        description="largest memory of a task of the model, as a multiple of that of `than`; "
        "tasks of both run in fresh processes",
    )
    no_failures: Literal[True] | None = Field(
        None, description="every forecast of the backtest was made"
    )
    no_leaks: Literal[True] | None = Field(
        None,
        description="`engine prove` finds nothing: no feature and no forecast depends on what "
        "comes after its cutoff. Stands alone; judged by `engine test`",
    )

    @model_validator(mode="after")
    def _says_something(self) -> Expectation:
        given = [rule for rule in RULES if getattr(self, rule) is not None]
        if not given:
            raise ValueError(f"an expectation needs one of {', '.join(RULES)}")
        scored = [rule for rule in given if rule in SCORED]
        if scored and (self.model is None or self.metric is None):
            raise ValueError(f"`{scored[0]}:` needs `model:` and `metric:`")
        costs = [rule for rule in given if rule in COSTS]
        if costs and self.model is None:
            raise ValueError(f"`{costs[0]}:` needs `model:`")
        relative = self.ratio is not None or bool(costs)
        if relative != (self.than is not None):
            raise ValueError("`ratio:`, `time_ratio:` or `memory_ratio:` and `than:` go together")
        if self.no_leaks and (len(given) > 1 or self.model is not None):
            raise ValueError("`no_leaks:` stands alone, for it is about the whole spec")
        return self

    @property
    def baselines(self) -> tuple[str, ...]:
        """The models that must score worse."""
        than = self.than if self.ratio is not None and self.ratio < 1 else None
        return tuple(name for name in (self.better_than, than) if name is not None)

    @property
    def models(self) -> tuple[str, ...] | None:
        """Every model whose backtest is needed to judge it; None for all models of the spec."""
        if self.no_leaks:
            return ()
        if self.model is None:
            return None
        named = (self.model, self.better_than, self.than)
        return tuple(dict.fromkeys(name for name in named if name is not None))

    @property
    def title(self) -> str:
        """A short name of one line, such as `ridge wape better_than snaive`."""
        words = [word for word in (self.model, self.metric) if word is not None]
        for rule in RULES:
            value = getattr(self, rule)
            if value is not None:
                shown = f"{value:g}" if isinstance(value, float) else value
                words.append(rule if value is True else f"{rule} {shown}")
                words += [f"than {self.than}"] if rule == "ratio" or rule in COSTS else []
        return " ".join(words)
