"""A submission: which search somebody wants run."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from evolve.space.validation import show
from evolve.yaml_io import MAX_BYTES

MAX_NAME = 100
IDENTIFIER = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""What a data set may be called."""

_MAX_OVERRIDES = 100
_DOTTED = r"^[A-Za-z_][A-Za-z0-9_]{0,63}(\.[A-Za-z_][A-Za-z0-9_]{0,63}){0,7}$"

Identifier: TypeAlias = Annotated[str, Field(pattern=IDENTIFIER)]
DottedKey: TypeAlias = Annotated[str, Field(pattern=_DOTTED)]
Hours: TypeAlias = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Priority: TypeAlias = Annotated[int, Field(ge=-100, le=100)]


class Strict(BaseModel):
    """A document that comes in: no unknown key, no conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Budget(Strict):
    """When to stop at the latest; takes the place of the same keys under `stop` in the space.

    Attributes:
        hours: On the clock.
        gpu_hours: Over all trials together.
        evaluations: Trained individuals.
    """

    hours: Hours | None = None
    gpu_hours: Hours | None = None
    evaluations: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class Submission(Strict):
    """A search to run. Exactly one of `space` and `yaml` must be given.

    Attributes:
        space: Name of a shipped space, or a whole search space document.
        yaml: A search space document as YAML text.
        data: Id of a registered data set, or `demo`; takes the place of `data` in the space.
        overrides: Values by dotted key that take the place of those in the space, e.g. `{"train.epochs": 3}`.
        name: What the search is called; the space's name unless given.
        priority: Searches of a higher one go first.
        budget: When to stop at the latest.
        objective: What trains: `yolo12`, or `synthetic` for trying things without a GPU.
    """

    space: str | dict[str, Any] | None = None
    yaml: Annotated[str, Field(max_length=MAX_BYTES)] | None = None
    data: Identifier | None = None
    overrides: Annotated[dict[DottedKey, Any], Field(max_length=_MAX_OVERRIDES)] = Field(default_factory=dict)
    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)] | None = None
    priority: Priority = 0
    budget: Budget | None = None
    objective: Literal["yolo12", "synthetic"] = "yolo12"

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str | None) -> str | None:
        if name is not None and not (name.isprintable() and name.strip()):
            raise ValueError(f"must be printable and not blank, but got {show(name)}")
        return name if name is None else name.strip()

    @model_validator(mode="after")
    def _check_space(self) -> Submission:
        if (self.space is None) == (self.yaml is None):
            given = "neither" if self.space is None else "both"
            raise ValueError(f"exactly one of space and yaml must be given, but got {given}")
        return self


class PriorityChange(Strict):
    """A new place in the queue.

    Attributes:
        priority: Searches of a higher one go first.
    """

    priority: Priority
