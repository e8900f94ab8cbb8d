"""Webhooks: addresses that are told of events."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, delete, insert, literal, or_, select, update

from evolve.exceptions import SearchNotFound
from evolve.ledger import queries
from evolve.ledger.creation import new_id
from evolve.ledger.dialect import DatabaseTime, PlainName
from evolve.ledger.entries import Entries, enter, require
from evolve.ledger.models import cursors, searches, webhooks
from evolve.ledger.service_records import WebhookRecord

_LONGEST_ERROR = 500


def observer_of(webhook_id: str) -> str:
    """The name under which a webhook has its cursors."""
    return f"webhook:{webhook_id}"


class Webhooks(Entries):
    """The part of `Registry` that knows the webhooks."""

    def add_webhook(
        self,
        url: str,
        kinds: Collection[str],
        secret: str,
        search_id: str | None = None,
        created_by: str | None = None,
    ) -> WebhookRecord:
        """Enter an address that hears of what happens from now on.

        Its cursors, those of `observer_of`, begin at the end of every search that there is; of one search where
        it hears of that one only.

        Raises:
            SearchNotFound: There is no search of this id.
        """
        values = {
            "id": new_id(),
            "url": url,
            "kinds": list(kinds),
            "secret": secret,
            "search_id": search_id,
            "created_by": created_by,
        }
        with self._database.writing() as connection:
            if search_id is not None and not _exists(connection, search_id):
                raise SearchNotFound(f"search {search_id}: no search has this id; `evolve list` shows all of them")
            row = enter(connection, webhooks, "webhook", values)
            here = select(literal(observer_of(row["id"]), PlainName), searches.c.id, searches.c.last_event)
            here = here.with_for_update(key_share=True, read=True)
            if search_id is not None:
                here = here.where(searches.c.id == search_id)
            connection.execute(insert(cursors).from_select(["observer", "search_id", "sequence"], here))
            return _webhook_record(row)

    def webhooks(self, search_id: str | None = None) -> list[WebhookRecord]:
        """Every webhook, the oldest first; with a search, those that hear of it."""
        query = select(webhooks).order_by(webhooks.c.created_at, webhooks.c.id)
        if search_id is not None:
            query = query.where(or_(webhooks.c.search_id == search_id, webhooks.c.search_id.is_(None)))
        with self._database.reading() as connection:
            return [_webhook_record(row) for row in queries.rows(connection, query)]

    def webhook(self, webhook_id: str) -> WebhookRecord:
        """One webhook.

        Raises:
            NotFound: There is none of this id.
        """
        return _webhook_record(self._get(webhooks, "webhook", webhook_id))

    def remove_webhook(self, webhook_id: str) -> None:
        """Forget a webhook and how far it had heard.

        Raises:
            NotFound: There is none of this id.
        """
        with self._database.writing() as connection:
            require(connection, webhooks, "webhook", webhook_id)
            connection.execute(delete(webhooks).where(webhooks.c.id == webhook_id))
            connection.execute(delete(cursors).where(cursors.c.observer == observer_of(webhook_id)))

    def note_delivery(self, webhook_id: str, error: str) -> WebhookRecord:
        """Note how a delivery went.

        Args:
            webhook_id: To whom.
            error: What went wrong; empty for a success, which takes earlier failures off the count, and brings
                back a webhook that was given up.

        Raises:
            NotFound: There is none of this id.
        """
        if not error:
            return self._change_webhook(webhook_id, failures=0, last_error="", disabled_at=None)
        failures = webhooks.c.failures + 1
        return self._change_webhook(webhook_id, failures=failures, last_error=error[:_LONGEST_ERROR])

    def disable_webhook(self, webhook_id: str) -> WebhookRecord:
        """Give a webhook up: nothing is delivered to it any more.

        Raises:
            NotFound: There is none of this id.
        """
        return self._change_webhook(webhook_id, disabled_at=DatabaseTime())

    def _change_webhook(self, webhook_id: str, **values: object) -> WebhookRecord:
        with self._database.writing() as connection:
            connection.execute(update(webhooks).where(webhooks.c.id == webhook_id).values(values))
            return _webhook_record(require(connection, webhooks, "webhook", webhook_id))


def _exists(connection: Connection, search_id: str) -> bool:
    return connection.scalar(select(searches.c.id).where(searches.c.id == search_id)) is not None


def _webhook_record(row: dict[str, Any]) -> WebhookRecord:
    return WebhookRecord(**{**row, "kinds": tuple(row["kinds"])})
