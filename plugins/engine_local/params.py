"""Options of the local executors."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engine.components import Params

Workers = Annotated[int, Field(ge=1, le=1024)]


class ProcessParams(Params):
    """Options of the executor `process`."""

    workers: Workers | Literal["auto"] = Field(
        default="auto",
        description="Processes at work; auto is one for each processor. Never more than tasks. "
        "The results do not depend on it.",
    )
    threads: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Threads of the numeric libraries within each process. It does not depend on "
        "`workers`, so that the order of summation, and with it the last bit, does not either.",
    )
