"""A submission: which search somebody wants run."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from evolve.space.validation import Part, show
from evolve.warmstart import MAX_SOURCES
from evolve.yaml_io import MAX_BYTES

MAX_NAME = 100
_MAX_OVERRIDES = 100
_IDENTIFIER = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_WORD = "[A-Za-z_][A-Za-z0-9_]{0,63}"
_DOTTED = rf"{_WORD}(\.{_WORD}){{0,7}}"


def is_identifier(text: str) -> bool:
    """Whether something may be the id of a data set."""
    return re.fullmatch(_IDENTIFIER, text) is not None


def _check_identifier(text: str) -> str:
    if not is_identifier(text):
        raise ValueError(f"must be letters, digits, '.', '_' or '-', 64 at most, but got {show(text)}")
    return text


def _check_dotted(key: str) -> str:
    if not re.fullmatch(_DOTTED, key):
        raise ValueError(f"must be names with dots between, as in train.epochs, but got {show(key)}")
    return key


Identifier: TypeAlias = Annotated[
    str, AfterValidator(_check_identifier), WithJsonSchema({"type": "string", "pattern": f"^{_IDENTIFIER}$"})
]
DottedKey: TypeAlias = Annotated[
    str, AfterValidator(_check_dotted), WithJsonSchema({"type": "string", "pattern": f"^{_DOTTED}$"})
]
Hours: TypeAlias = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Priority: TypeAlias = Annotated[int, Field(ge=-100, le=100)]


class Strict(Part):
    """A document that comes in: no unknown key, no conversion of types."""


class Budget(Strict):
    """When to stop at the latest; takes the place of the same keys under `stop` in the space.

    Attributes:
        hours: On the clock.
        gpu_hours: Over all trials together.
        evaluations: Whole trainings; one that is stopped at a rung, or cheap, counts by its share of one.
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
        warm_start: Searches to begin with, by id, beginning of one, or name: what they found becomes `known` of the
            space.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"space": "demo", "data": "demo", "name": "first", "budget": {"hours": 1}},
                {"space": "demo", "objective": "synthetic", "overrides": {"search.population": 8}, "priority": 5},
            ]
        }
    )

    space: str | dict[str, Any] | None = None
    yaml: Annotated[str, Field(max_length=MAX_BYTES)] | None = None
    data: Identifier | None = None
    overrides: Annotated[dict[DottedKey, Any], Field(max_length=_MAX_OVERRIDES)] = Field(default_factory=dict)
    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)] | None = None
    priority: Priority = 0
    budget: Budget | None = None
    objective: Literal["yolo12", "synthetic"] = "yolo12"
    warm_start: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=MAX_NAME)]], Field(max_length=MAX_SOURCES)
    ] = Field(default_factory=list)

    @field_validator("space", mode="before")
    @classmethod
    def _check_kind(cls, space: Any) -> Any:
        if space is not None and not isinstance(space, str | dict):
            raise ValueError(f"must be the name of a shipped space or a document, but got {show(space)}")
        return space

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
