"""Options of the writer `report`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.components import Params


class ReportParams(Params):
    """Options of the writer `report`."""

    format: Literal["html", "md", "pdf", "png"] = Field(
        "html",
        description="html: one file that opens offline; md: for a pull-request comment; pdf, png: "
        "the page as an installed Chromium, Chrome or Edge shows it",
    )
    path: str | None = Field(
        None,
        min_length=1,
        description="file to write; relative paths start at the folder that the source's start at; "
        "default: report.html, or of the format, in the run's folder",
    )
    pictures: int = Field(
        24, ge=0, le=200, description="series that are drawn: the largest, best, worst and others"
    )
    baseline: str | None = Field(
        None,
        description="model that the others must beat; default: the first whose component has naive "
        "in its name, else the first",
    )
    promotions: list[str] | None = Field(
        None,
        description="future covariates that mark promotions with 1; default: all that hold 0 and 1",
    )
    price: str = Field(
        "price", description="covariate with the price, for revenue, if there is one"
    )
    stockout: str = Field(
        "stockout",
        description="covariate that marks sales cut short by empty shelves with 1, if there is one",
    )
