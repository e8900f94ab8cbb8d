"""What all answers have in common."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

_Item = TypeVar("_Item")


class Answer(BaseModel):
    """A document that goes out; it holds these keys and no others."""

    model_config = ConfigDict(extra="forbid")


class Problem(Answer):
    """What is wrong, in one line.

    Attributes:
        detail: Place, rule, value given, what to do.
    """

    detail: str


class Page(Answer, Generic[_Item]):
    """A part of a list.

    Attributes:
        data: The items of this page.
        count: How many there are on all pages.
    """

    data: list[_Item]
    count: int = Field(ge=0)


class Health(Answer):
    """Whether the service is well.

    Attributes:
        status: `ok`, or what is wrong.
    """

    status: str
