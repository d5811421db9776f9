"""Options of the `promo` feature builder."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from engine.components import Params

Window = Annotated[int, Field(ge=1)]
WideWindow = Annotated[int, Field(ge=2)]
Statistic = Literal["mean", "min", "rank"]


class Group(Params):
    """Price relative to the other series of a group at the same date."""

    by: tuple[str, ...] = Field(
        description="Keys, static or future columns that make the group; [] for all series."
    )
    of: str | None = Field(None, description="The price column; default: the first of `price`.")
    stats: tuple[Statistic, ...] = Field(
        ("mean",),
        min_length=1,
        description="mean: price / mean of the others - 1; min: price / lowest price - 1; "
        "rank: 0 for the cheapest to 1 for the dearest.",
    )


class PromoParams(Params):
    """Which features are made of prices and promotion flags."""

    price: str | tuple[str, ...] = Field(
        (), description="Own price, or several price columns, the own one first."
    )
    log: bool = Field(True, description="Prices as natural logarithms; not positive: missing.")
    change: tuple[Window, ...] = Field(
        (), description="Windows w: price / mean of the w previous prices - 1."
    )
    discount: tuple[WideWindow, ...] = Field(
        (), description="Windows w: 1 - price / highest of the last w prices, this one included."
    )
    group: Group | tuple[Group, ...] = Field(
        (), description="Price within a group at the same date: {by: [store], stats: [mean]}."
    )
    flags: str | tuple[str, ...] = Field(
        (), description="Promotion flags or their shares, used as they are."
    )
    lead: tuple[Window, ...] = Field(
        (), description="Flags this many steps after the target date, e.g. [1]."
    )
    lag: tuple[Window, ...] = Field(
        (), description="Flags this many steps before the target date, e.g. [1, 2]."
    )
    since: bool = Field(False, description="Steps since each flag was last above zero.")
    since_cap: int = Field(
        52, ge=1, description="Highest value of `since`, also where there was no promotion yet."
    )
    other: str | tuple[str, ...] = Field(
        (), description="Further price columns, such as competitors' prices, level only."
    )

    @property
    def prices(self) -> tuple[str, ...]:
        """The price columns as a tuple, the own one first."""
        return (self.price,) if isinstance(self.price, str) else self.price

    @property
    def flag_columns(self) -> tuple[str, ...]:
        """The flags as a tuple."""
        return (self.flags,) if isinstance(self.flags, str) else self.flags

    @property
    def others(self) -> tuple[str, ...]:
        """The further price columns as a tuple."""
        return (self.other,) if isinstance(self.other, str) else self.other

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups as a tuple."""
        return (self.group,) if isinstance(self.group, Group) else self.group

    @model_validator(mode="after")
    def _columns_for_what_is_asked(self) -> PromoParams:
        if not (self.prices or self.flag_columns or self.others or self.groups):
            raise ValueError("promo makes no feature: give price, flags, other or group")
        for option in ("change", "discount"):
            if getattr(self, option) and not self.prices:
                raise ValueError(f"{option} needs a price column: give price")
        for option in ("lead", "lag", "since"):
            if getattr(self, option) and not self.flag_columns:
                raise ValueError(f"{option} needs flags: give flags")
        for group in self.groups:
            if group.of is None and not self.prices:
                raise ValueError("group needs a price column: give price, or `of` in the group")
        return self

    @model_validator(mode="after")
    def _nothing_twice(self) -> PromoParams:
        groups = tuple(
            f"{g.of or self.prices[0]} by {', '.join(g.by)}: {stat}"
            for g in self.groups
            for stat in g.stats
        )
        for name, values in (
            ("price, flags and other", (*self.prices, *self.flag_columns, *self.others)),
            ("change", self.change),
            ("discount", self.discount),
            ("lead", self.lead),
            ("lag", self.lag),
            ("group", groups),
        ):
            twice = sorted({str(v) for v in values if values.count(v) > 1})
            if twice:
                raise ValueError(f"{name} names {', '.join(twice)} more than once")
        return self
