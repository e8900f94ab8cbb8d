"""What a service knows beside the searches: keys, data sets, submissions, webhooks."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, delete, select

from evolve.exceptions import IdempotencyConflict, InputError
from evolve.ledger import queries
from evolve.ledger.creation import enter_search, new_id
from evolve.ledger.dialect import DatabaseTime, insert_new, upsert
from evolve.ledger.entries import require
from evolve.ledger.hooks import Webhooks
from evolve.ledger.keys import Keys
from evolve.ledger.models import datasets, submissions
from evolve.ledger.records import SearchRecord
from evolve.ledger.service_records import DatasetRecord
from evolve.trial import Json

LONGEST_KEY = 255
"""Characters of an idempotency key."""


class Registry(Keys, Webhooks):
    """Made by `Ledger.registry`; every method may raise `LedgerError`, as those of the ledger.

    Args:
        database: The ledger's.
    """

    # data sets

    def add_dataset(
        self,
        dataset_id: str,
        path: str,
        content_hash: str,
        summary: Mapping[str, Json],
        registered_by: str | None = None,
    ) -> DatasetRecord:
        """Enter a data set, in the place of one of the same id."""
        values = {
            "id": dataset_id,
            "path": path,
            "content_hash": content_hash,
            "summary": summary,
            "registered_by": registered_by,
        }
        with self._database.writing() as connection:
            at = connection.scalar(select(DatabaseTime()))
            connection.execute(upsert(connection, datasets), {**values, "created_at": at})
            return DatasetRecord(**require(connection, datasets, "data set", dataset_id))

    def datasets(self) -> list[DatasetRecord]:
        """Every data set, by id."""
        with self._database.reading() as connection:
            query = select(datasets).order_by(datasets.c.id)
            return [DatasetRecord(**row) for row in queries.rows(connection, query)]

    def dataset(self, dataset_id: str) -> DatasetRecord:
        """One data set.

        Raises:
            NotFound: There is none of this id.
        """
        return DatasetRecord(**self._get(datasets, "data set", dataset_id))

    def remove_dataset(self, dataset_id: str) -> None:
        """Forget a data set; its files, and the searches on it, are left alone.

        Raises:
            NotFound: There is none of this id.
        """
        with self._database.writing() as connection:
            require(connection, datasets, "data set", dataset_id)
            connection.execute(delete(datasets).where(datasets.c.id == dataset_id))

    # searches

    def submit(
        self,
        *,
        name: str,
        document: Mapping[str, Json],
        objective: str,
        options: Mapping[str, Json],
        environment: Mapping[str, Json],
        directory: str,
        data_hash: str,
        priority: int = 0,
        submitted_by: str | None = None,
        search_id: str | None = None,
        idempotency: tuple[str, str] | None = None,
    ) -> tuple[SearchRecord, bool]:
        """Enter a search that a service is to drive, once for each idempotency key.

        Args:
            name: As for `Ledger.create_search`, like the next six.
            document: The search space.
            objective: What trains.
            options: How it is to run.
            environment: Versions, host and hardware.
            directory: Where its trials keep their files.
            data_hash: Digest of the data set, may be empty.
            priority: Its place in the queue.
            submitted_by: Id of a key; idempotency keys are its own.
            search_id: As for `Ledger.create_search`.
            idempotency: A key, and the digest of what was sent with it. Of all submissions with one key, at
                once or later, the first enters a search, and the others are given that one.

        Returns:
            The search, and whether this call entered it.

        Raises:
            IdempotencyConflict: The key came with something else before.
            LedgerError: `search_id` is taken.
        """
        values = {
            "name": name,
            "document": document,
            "objective": objective,
            "options": options,
            "environment": environment,
            "directory": directory,
            "data_hash": data_hash,
            "priority": priority,
            "submitted_by": submitted_by,
            "managed": True,
        }
        new = search_id or new_id()
        with self._database.writing() as connection:
            if idempotency is not None:
                entered = _claim(connection, submitted_by or "", *idempotency, new)
                if entered is not None:
                    return queries.search(connection, entered), False
            return enter_search(connection, new, values), True

    def submitted(self, submitted_by: str | None, key: str, digest: str) -> SearchRecord | None:
        """The search that an idempotency key has entered before, or None.

        Raises:
            IdempotencyConflict: The key came with something else before.
        """
        with self._database.reading() as connection:
            entered = _entered(connection, submitted_by or "", key, digest)
            return None if entered is None else queries.search(connection, entered)


def _claim(connection: Connection, submitter: str, key: str, digest: str, new: str) -> str | None:
    """Give an idempotency key to the search `new`, unless it has one: then that is returned.

    Where another transaction has just written the same key, this one waits for its end.
    """
    if not 0 < len(key) <= LONGEST_KEY or not key.isprintable():
        raise InputError(
            f"idempotency key: must be 1 to {LONGEST_KEY} printable characters, but got {len(key)}: {key[:40]!r}; "
            "give another, such as a UUID"
        )
    row = {"submitter": submitter, "key": key, "digest": digest, "search_id": new}
    take = insert_new(connection, submissions).returning(submissions.c.key)
    while connection.execute(take, row).first() is None:
        entered = _entered(connection, submitter, key, digest)
        if entered is not None:  # otherwise its search was deleted meanwhile
            return entered
    return None


def _entered(connection: Connection, submitter: str, key: str, digest: str) -> str | None:
    """The search that an idempotency key stands for."""
    mine = submissions.c.submitter == submitter, submissions.c.key == key
    earlier = connection.execute(select(submissions.c.digest, submissions.c.search_id).where(*mine)).first()
    if earlier is None:
        return None
    if earlier.digest != digest:
        raise IdempotencyConflict(
            f"idempotency key {key[:40]!r}: must come with the submission that it first came with, "
            f"search {earlier.search_id}, but got another; give every submission a key of its own"
        )
    return str(earlier.search_id)
