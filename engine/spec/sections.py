"""What all sections of a spec are made of."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]


class Section(BaseModel):
    """A part of a spec: unknown keys and values of other types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


class Use(BaseModel):
    """A component by name; every other key is one of its own options."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, protected_namespaces=())

    use: str = Field(description="name of an installed component, see `engine plugins list`")

    @property
    def options(self) -> dict[str, Any]:
        """The component's own options."""
        return dict(self.model_extra or {})
