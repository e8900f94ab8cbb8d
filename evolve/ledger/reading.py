"""What anyone may ask of the ledger."""

from __future__ import annotations

from collections.abc import Collection

from evolve.ledger import pages, queries, times
from evolve.ledger.database import Database
from evolve.ledger.records import (
    EpochRecord,
    EvaluationRecord,
    EventKind,
    EventRecord,
    GenerationSummary,
    IndividualRecord,
    LedgerTotals,
    SearchRecord,
    SearchState,
)
from evolve.trial import TrialState


class Readable:
    """The half of `Ledger` that changes nothing; no method of it waits for a writer.

    Args:
        database: An open database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def search(self, ref: str) -> SearchRecord:
        """The search with this id, else the newest of this name, else with this unique beginning of an id.

        Args:
            ref: An id, at least 4 characters of one, or a name.

        Raises:
            SearchNotFound: There is none, or several ids begin with `ref`.
        """
        with self._database.reading() as connection:
            return queries.search(connection, ref)

    def searches(
        self,
        *,
        name: str | None = None,
        states: Collection[SearchState] | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[SearchRecord]:
        """Searches, newest first, of one name and in some states if asked."""
        with self._database.reading() as connection:
            return queries.search_list(connection, name=name, states=states, limit=limit, offset=offset)

    def individuals(
        self,
        search_id: str,
        *,
        generation: int | None = None,
        numbers: Collection[int] | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[IndividualRecord]:
        """Individuals of a search by number, of one generation or with some numbers if asked."""
        with self._database.reading() as connection:
            return queries.individual_list(
                connection, search_id, generation=generation, numbers=numbers, limit=limit, offset=offset
            )

    def history(self, search_id: str) -> list[IndividualRecord]:
        """Individuals with a verdict, in the order in which the search was told."""
        with self._database.reading() as connection:
            return queries.history(connection, search_id)

    def evaluations(self, search_id: str, individual: int | None = None) -> list[EvaluationRecord]:
        """Every attempt, by individual and attempt."""
        with self._database.reading() as connection:
            return queries.evaluation_list(connection, search_id, individual)

    def epochs(self, search_id: str, individual: int | None = None) -> list[EpochRecord]:
        """Every epoch, by individual, attempt and epoch."""
        with self._database.reading() as connection:
            return queries.epoch_list(connection, search_id, individual)

    def events(
        self, search_id: str, after: int = 0, limit: int = 1000, *, kinds: Collection[EventKind] | None = None
    ) -> list[EventRecord]:
        """At most `limit` events whose sequence is higher than `after`, oldest first; of some kinds if asked."""
        with self._database.reading() as connection:
            return queries.event_list(connection, search_id, after, limit, kinds)

    def active_seconds(self, search_id: str) -> float:
        """Seconds with a driver at work; the time between a crash and its resume is left out."""
        with self._database.reading() as connection:
            return queries.active_seconds(connection, search_id)

    def cursor(self, observer: str, search_id: str) -> int:
        """The sequence of the last event that `observer` has handled; 0 for a new one."""
        with self._database.reading() as connection:
            return queries.cursor(connection, observer, search_id)

    def search_page(
        self,
        *,
        states: Collection[SearchState] | None = None,
        name: str | None = None,
        text: str | None = None,
        managed: bool | None = None,
        submitted_by: str | None = None,
        order: str = "-created",
        light: bool = False,
        limit: int = 50,
        offset: int = 0,
    ) -> tuple[list[SearchRecord], int]:
        """A page of searches, and how many there are on all pages.

        Args:
            states: Only those in one of these.
            name: Only those of exactly this name.
            text: Only those with this in their name, or at the beginning of their id.
            managed: Only those that a service drives, or only the others.
            submitted_by: Only those that came with this key.
            order: One of `evolve.ledger.pages.SEARCH_ORDERS`, from high to low with `-` before it.
            light: Leave out document, options and environment, which are empty then.
            limit: Length of the page, at most 1000.
            offset: How many to skip.

        Raises:
            InputError: The order is unknown.
        """
        with self._database.reading() as connection:
            return pages.search_page(
                connection,
                states=states,
                name=name,
                text=text,
                managed=managed,
                submitted_by=submitted_by,
                order=order,
                light=light,
                limit=limit,
                offset=offset,
            )

    def individual_page(
        self,
        search_id: str,
        *,
        sort: str = "number",
        states: Collection[TrialState] | None = None,
        generation: int | None = None,
        failure: str | None = None,
        light: bool = False,
        limit: int = 100,
        offset: int = 0,
    ) -> tuple[list[IndividualRecord], int]:
        """A page of individuals, and how many there are on all pages.

        Args:
            search_id: Their search.
            sort: `number`, `-number`, `fitness` or `-fitness`; those without a fitness come last either way.
            states: Only those in one of these.
            generation: Only those of this one.
            failure: Only those that failed in this way.
            light: Leave out genome, operators and origins, which are empty then.
            limit: Length of the page, at most 1000.
            offset: How many to skip.

        Raises:
            InputError: The order is unknown.
        """
        with self._database.reading() as connection:
            return pages.individual_page(
                connection,
                search_id,
                sort=sort,
                states=states,
                generation=generation,
                failure=failure,
                light=light,
                limit=limit,
                offset=offset,
            )

    def generation_summaries(self, search_id: str) -> list[GenerationSummary]:
        """The generations of a search in their order, summed up by the database."""
        with self._database.reading() as connection:
            return pages.generation_summaries(connection, search_id)

    def running(self, search_id: str) -> list[EvaluationRecord]:
        """Evaluations that are pending or running now, by individual and attempt."""
        with self._database.reading() as connection:
            return pages.running(connection, search_id)

    def trial_times(self, search_id: str) -> list[times.TrialTimes]:
        """When, where and for how long every attempt was trained, by start."""
        with self._database.reading() as connection:
            return times.trial_times(connection, search_id)

    def failure_counts(self, search_id: str) -> dict[str, int]:
        """Individuals of a search that failed for good, by the kind of their failure."""
        with self._database.reading() as connection:
            return pages.failure_counts(connection, search_id)

    def state_counts(self) -> dict[str, int]:
        """How many searches are in each state, with a zero where there are none."""
        with self._database.reading() as connection:
            return pages.state_counts(connection)

    def totals(self) -> LedgerTotals:
        """Sums over all searches that are in the ledger now."""
        with self._database.reading() as connection:
            return pages.totals(connection)

    def queue(self) -> list[SearchRecord]:
        """Managed searches that are neither over nor failed: the highest priority first, then the oldest.

        Their document, options and environment are left out, and empty.
        """
        with self._database.reading() as connection:
            return pages.queue(connection)

    def searches_behind(
        self, observer: str, limit: int = 100, *, search_id: str | None = None
    ) -> list[tuple[str, int, int]]:
        """Searches with events that an observer has not handled yet, the oldest search first.

        Args:
            observer: Whose cursors, see `advance`.
            limit: At most so many.
            search_id: Look at this search only.

        Returns:
            For each its id, the cursor of the observer, and the last event.
        """
        with self._database.reading() as connection:
            return pages.searches_behind(connection, observer, limit, search_id)

    def heads(self, search_ids: Collection[str]) -> dict[str, int]:
        """The sequence of the last event of each search; an id that is unknown is left out."""
        with self._database.reading() as connection:
            return pages.heads(connection, search_ids)
