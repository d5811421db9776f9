"""The run spec as data: every key that the core understands, with its type, range and meaning.

What a plugin understands (its options) is validated by the plugin's own `params`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from engine.spec.data import DataSpec
from engine.spec.expectation import Expectation
from engine.spec.sections import Count, Name, Section, Use


class FeatureUse(Use):
    """A feature builder."""


class SelectorUse(Use):
    """A selector: chooses among the features of a model before each fit, from training rows alone."""


class MetricUse(Use):
    """A metric with options."""

    name: str | None = Field(None, description="name in the scores; default: the metric's")


class ExecutorUse(Use):
    """An executor of tasks."""


class WriterUse(Use):
    """A writer of results."""


class Aggregation(Section):
    """Middle-out: the model forecasts sums over groups of series, which are shared out again."""

    by: list[str] = Field(
        description="key or static columns; series with the same values are summed; [] for all "
        "of them. Covariates become means over the group"
    )
    share: Count = Field(
        28, description="a series' part of its group's forecast is that of the last so many periods"
    )


class ModelUse(Use):
    """A model: the keys here are the engine's, the same for every model."""

    target: Literal["none", "log1p"] = Field(
        "none", description="transform of y before features are made and the model is fitted"
    )
    scale: Literal["none", "mean", "center", "standard"] = Field(
        "none",
        description="per-series scaling after `target`: divide by the mean absolute value, "
        "subtract the mean, or both subtract the mean and divide by the standard deviation",
    )
    correction: Literal["median", "mean", "mape"] = Field(
        "median",
        description="with `target: log1p`, what y_hat aims at: the median (what the fit gives), or "
        "a factor learned from earlier folds for the mean or the lowest percentage errors",
    )
    features: list[str] | None = Field(
        None,
        description="names or patterns (`calendar_*`) of the features it sees; default: all for "
        "models of design rows, none for models of whole series",
    )
    select_features: SelectorUse | None = Field(
        None,
        description="a component that leaves features out before each fit of a model of design "
        "rows, e.g. {use: redundancy, correlation: 0.95}; default: all are used",
    )
    mask: list[str] = Field(
        default=[],
        description="covariates that are positive where y is not demand, such as a stockout flag: there "
        "y is missing to the model, which neither learns from it nor sees it in lags",
    )
    covariates: list[str] | None = Field(
        None, description="names or patterns of the covariates it sees; default: all"
    )
    strategy: Literal["direct", "recursive"] = Field(
        "direct",
        description="how a model of design rows makes many steps: one fit per bucket of steps, "
        "or one fit for one step that is applied again and again",
    )
    buckets: list[Count] | None = Field(
        None,
        description="direct: last step of each bucket, ending in the horizon, e.g. [7, 14, 28]; "
        "default: one bucket per step up to 7 steps, else 4 equal buckets",
    )
    window: Count | None = Field(
        None, description="only the last so many periods before a cutoff are used for fitting"
    )
    aggregate: Aggregation | None = Field(
        None,
        description="fit on sums over groups of series and share their forecasts out; quantiles "
        "are then the engine's; default: fit on the series themselves",
    )

    @model_validator(mode="after")
    def _correction_goes_with_log1p(self) -> ModelUse:
        if self.correction != "median" and self.target != "log1p":
            raise ValueError(
                f"correction {self.correction} undoes a bias of `target: log1p`, "
                f"which is not set: leave it out, or set the target"
            )
        return self


class Combination(Section):
    """A forecast made of those of several models, judged beside them; it costs no fit."""

    models: list[Name] = Field(
        min_length=2,
        description="models of this spec; where one has no forecast, the combination has none",
    )
    by: Literal["mean", "median"] = Field(
        "mean", description="of their forecasts, and of each of their quantiles"
    )

    @field_validator("models")
    @classmethod
    def _different(cls, value: list[str]) -> list[str]:
        twice = next((name for i, name in enumerate(value) if name in value[:i]), None)
        if twice is not None:
            raise ValueError(f"names {twice!r} twice")
        return value


class Backtest(Section):
    """Rolling-origin evaluation: `folds` cutoffs, the newest one as late as the data allow."""

    folds: Count = Field(1, description="number of cutoffs")
    step_size: Count | None = Field(
        None, description="periods between cutoffs; default: the horizon"
    )
    window: Literal["expanding", "sliding"] = Field(
        "expanding", description="fit on all of the past, or on the last `size` periods"
    )
    size: Count | None = Field(None, description="periods of a sliding window")
    refit: bool = Field(True, description="fit again for every fold; false: fit on the first only")
    calibration: int = Field(
        1,
        ge=0,
        description="extra folds before the first, from which the quantiles of models without "
        "their own are calibrated, and bias corrections learned",
    )

    @model_validator(mode="after")
    def _size_goes_with_sliding(self) -> Backtest:
        if (self.window == "sliding") != (self.size is not None):
            raise ValueError("`window: sliding` and `size:` go together")
        return self


class Evaluate(Section):
    """How forecasts are scored."""

    metrics: list[str | MetricUse] = Field(min_length=1)
    by: list[str] = Field(default=[], description="key or static columns, or `step`, to score by")
    season: Count | None = Field(
        None, description="season of scaled errors; default: the frequency's"
    )


class Select(Section):
    """Which model makes the forecast."""

    metric: str = Field(description="the metric that decides; a name of evaluate.metrics")
    forecast: Literal["best", "all"] = Field(
        "best", description="models that forecast beyond the data"
    )


class RunOptions(Section):
    """How tasks are run."""

    executor: str | ExecutorUse | None = Field(
        None,
        description="default: one after another in this process, which suits runs of seconds: "
        "another process costs a second to start, and models such as `ridge` use two processors alone",
    )
    task_seconds: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="longest time of one task (a fit and its forecasts, or those of a part of "
        "the series); what takes longer is ended and recorded as failed. It needs an executor "
        "whose tasks have processes of their own. Default: no limit",
    )
    on_error: Literal["skip", "stop"] = Field(
        "skip", description="`skip` records a failure and goes on; `stop` ends the run"
    )
    shard_rows: Count | None = Field(
        None,
        description="rows of whole series whose features are held in memory at once, so that it "
        "sets the peak; default: 250,000, and all rows while their features take less than 3 GB",
    )
    fallback: str | None = Field(
        None, description="model of this spec whose forecast stands in where another one failed"
    )


class RunSpec(Section):
    """One run, from data to forecasts."""

    version: Literal[1] = Field(description="version of the spec's format: 1")
    name: Name = Field(description="name of the run; its folder is runs/<name>/")
    seed: int = Field(0, ge=0, lt=2**32)
    data: DataSpec
    horizon: Count = Field(description="steps to forecast")
    gap: int = Field(0, ge=0, description="periods skipped between cutoff and the first step")
    quantiles: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        default=[0.1, 0.5, 0.9], description="quantiles of each forecast, between 0 and 1"
    )
    minimum: float | None = Field(
        None, description="smallest possible value, e.g. 0 for demand; forecasts are clipped to it"
    )
    features: list[FeatureUse] = Field(default=[])
    models: dict[Name, ModelUse] = Field(min_length=1)
    combine: dict[Name, Combination] = Field(
        default={},
        description="combinations of models by name, e.g. {both: {models: [ridge, lstm]}}",
    )
    backtest: Backtest = Field(default_factory=lambda: Backtest.model_validate({}))
    evaluate: Evaluate
    select: Select | None = None
    run: RunOptions = Field(default_factory=lambda: RunOptions.model_validate({}))
    write: list[WriterUse] = Field(default=[])
    expect: list[Expectation] = Field(default=[])

    @property
    def corrections(self) -> dict[str, str]:
        """What the forecasts of models with a bias correction aim at, by name of the model."""
        return {
            name: use.correction for name, use in self.models.items() if use.correction != "median"
        }

    @property
    def contenders(self) -> tuple[str, ...]:
        """Everything that forecasts and is judged: the models, then their combinations."""
        return (*self.models, *self.combine)

    def fitted_for(self, names: Iterable[str]) -> list[str]:
        """The models that these models and combinations are made of, in the order of the spec."""
        needed: set[str] = set()
        for name in names:
            needed.update(self.combine[name].models if name in self.combine else [name])
        return [name for name in self.models if name in needed]

    @property
    def measured(self) -> frozenset[str]:
        """Models whose memory is compared, and so whose tasks run in fresh processes."""
        named = (
            name
            for expected in self.expect
            if expected.memory_ratio is not None
            for name in (expected.model, expected.than)
            if name is not None
        )
        return frozenset(self.fitted_for(named))

    @property
    def forecasts_beyond_data(self) -> bool:
        """Whether a final forecast is made; not when the known future is skipped."""
        return self.data.missing.horizon != "skip"

    @field_validator("quantiles")
    @classmethod
    def _increasing(cls, value: list[float]) -> list[float]:
        if sorted(set(value)) != value:
            raise ValueError("quantiles must be increasing and different from each other")
        return value
