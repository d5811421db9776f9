"""Options, validated with the spec: unknown keys and wrong types are errors with a line number."""

from pydantic import Field

from engine.components import Params


class SqliteParams(Params):
    """Options of the source `sqlite`."""

    path: str = Field(description="the SQLite file; relative to where engine is run")
    query: str = Field(description="a SELECT that returns one row per series and time")


class PaydayParams(Params):
    """Options of the feature builder `paydays`."""

    day: int = Field(25, ge=1, le=28, description="day of the month on which wages are paid")


class DriftParams(Params):
    """Options of the model `drift`."""

    damping: float = Field(1.0, ge=0, le=1, description="share of the average change that is kept")
