"""Webhooks as they come in and go out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from api.schemas.answers import Answer
from api.schemas.submissions import Strict

Kind = Literal["search_finished", "search_failed", "new_best"]


class NewWebhook(Strict):
    """An address that is to hear of what happens from now on.

    Attributes:
        url: Where to post to, http or https; must lead to public addresses, or to those that the service's operator
            allows.
        kinds: What it is to hear of.
        search_id: The one search that it is to hear of; all of them unless given.
    """

    url: Annotated[str, Field(min_length=1, max_length=2048)]
    kinds: Annotated[list[Kind], Field(min_length=1, max_length=3)]
    search_id: Annotated[str, Field(min_length=1, max_length=64)] | None = None

    @field_validator("kinds")
    @classmethod
    def _once(cls, kinds: list[Kind]) -> list[Kind]:
        return list(dict.fromkeys(kinds))


class WebhookSummary(Answer):
    """An address that is told of events; nobody can see its secret any more.

    Attributes:
        id: Names it.
        url: Where it is.
        kinds: What it hears of.
        search_id: The one search that it hears of; null for all.
        created_by: Id of the key that registered it.
        created_at: When that was.
        failures: Deliveries that failed since the last one that did not.
        last_error: What was wrong with the last delivery; empty if it arrived.
        disabled_at: When it was given up.
    """

    id: str
    url: str
    kinds: list[str]
    search_id: str | None
    created_by: str | None
    created_at: float
    failures: int
    last_error: str
    disabled_at: float | None


class CreatedWebhook(WebhookSummary):
    """A webhook that was just registered.

    Attributes:
        secret: What deliveries are signed with; shown only now.
    """

    secret: str


class TestedWebhook(Answer):
    """How a test delivery went.

    Attributes:
        delivered: Whether the receiver took it.
        status: What it answered; null if nothing.
        error: What was wrong; empty if nothing.
        seconds: How long it took.
    """

    delivered: bool
    status: int | None
    error: str
    seconds: float
