"""A search of a service as a person follows it: the displays of local searches, and its events as lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from evolve.client.records import Event, Search, SearchDetail
from evolve.exceptions import ServiceError
from evolve.fitness import Fitness
from evolve.formatting import clean, compact, metric_label
from evolve.ledger.records import EventKind, EventRecord, Request, SearchRecord, SearchState
from evolve.progress import make_progress

if TYPE_CHECKING:
    from rich.console import Console

    from evolve.client.client import Client
    from evolve.progress import ProgressMode

_Kind = TypeVar("_Kind", SearchState, Request)

_KNOWN = frozenset(EventKind)
_STEPS = frozenset(
    {
        EventKind.SEARCH_STARTED,
        EventKind.SEARCH_PAUSED,
        EventKind.SEARCH_UNPAUSED,
        EventKind.SEARCH_FINISHED,
    }
)
"""Events after which the record of the search is not what it was."""


def watch(
    client: Client, search: SearchDetail, mode: ProgressMode, *, whole: bool = False, console: Console | None = None
) -> SearchDetail:
    """Show a search until it has ended, or until nobody is left to go on with it.

    Args:
        client: Of its service.
        search: As it stands.
        mode: As for `evolve.progress.make_progress`.
        whole: Whether to show what happened before now, too.
        console: Where to write; standard output by default.

    Returns:
        The search as it ended.

    Raises:
        EvolveError: if the service is away for too long, or refuses.
    """
    past = [] if whole else list(client.events(search.id, follow=False))
    search = client.search(search.id)
    place = client.page(search.id)
    progress = make_progress(
        mode, search.individuals, metric_of(search), console, since=_since(search, past), place=place
    )
    try:
        for batch in _batches(client, search.id, past):
            if any(event.kind in _STEPS for event in batch):
                search = client.search(search.id)
            progress.handle(search_record(search), list(event_records(batch)))
            if _is_left(search, batch[-1]):
                break
    finally:
        progress.close()
    return client.search(search.id)


def _batches(client: Client, search_id: str, past: list[Event]) -> Iterator[list[Event]]:
    if past:
        yield past
    yield from client.event_batches(search_id, past[-1].sequence if past else 0)


def _since(search: Search, past: Sequence[Event]) -> float:
    """From when on events are news: from now on; of a search that has ended, its end is."""
    if not past:
        return 0.0
    ended = search.has_ended and past[-1].kind == EventKind.SEARCH_FINISHED
    return past[-1].at if ended else math.nextafter(past[-1].at, math.inf)


def metric_of(search: SearchDetail) -> str:
    """The name of what a search maximises."""
    try:
        return str(Fitness.parse(search.document.get("fitness")))
    except ValueError:
        return "fitness"


def _is_left(search: Search, last: Event) -> bool:
    """Whether nothing follows this event unless somebody resumes the search.

    The stream of a search that is over ends by itself; a service goes on with those that it drives.
    """
    given_up = search.state == SearchState.INTERRUPTED and not search.managed
    return last.kind == EventKind.SEARCH_FINISHED and (search.state == SearchState.FAILED or given_up)


def search_record(search: Search) -> SearchRecord:
    """The search as the displays know it; what a service does not tell is left empty."""
    whole = search if isinstance(search, SearchDetail) else None
    return SearchRecord(
        id=search.id,
        name=search.name,
        state=_known(SearchState, search.state),
        reason=search.reason,
        document=whole.document if whole else {},
        objective=search.objective,
        options={},
        environment=whole.environment if whole else {},
        directory="",
        data_hash=whole.data_hash if whole else "",
        created_at=search.created_at,
        started_at=search.started_at,
        finished_at=search.finished_at,
        request=None if search.request is None else _known(Request, search.request),
        owner="the service" if search.leased else None,
        lease_expires=None,
        evaluated=search.evaluated,
        trained=search.trained,
        failed=search.failed,
        gpu_seconds=search.gpu_seconds,
        trial_seconds=search.trial_seconds,
        best_individual=search.best_individual,
        best_fitness=search.best_fitness,
        default_fitness=search.default_fitness,
        leased=search.leased,
        managed=search.managed,
        priority=search.priority,
        allotment=search.allotment,
        submitted_by=search.submitted_by,
        answer=whole.answer if whole else None,
    )


def _known(kind: type[_Kind], value: str) -> _Kind:
    try:
        return kind(value)
    except ValueError:
        raise ServiceError(
            f"the server says {kind.__name__} {clean(value)!r}, which this client does not know; "
            "install the same version as the server's"
        ) from None


def event_records(events: Iterable[Event]) -> Iterable[EventRecord]:
    """Events as the displays know them, without those of a kind that only a newer server knows."""
    for event in events:
        if event.kind in _KNOWN:
            kind = EventKind(event.kind)
            yield EventRecord(event.search_id, event.sequence, kind, event.at, event.individual, event.data)


def event_line(event: Event) -> str:
    """An event as a line of a log: when, what, who, and all that is known of it."""
    when = datetime.fromtimestamp(event.at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    who = "" if event.individual is None else f" #{event.individual}"
    details = "".join(f" {clean(name)}={text}" for name, text in _details(event.data))
    return f"{when} {clean(event.kind)}{who}{details}"


def _details(data: Mapping[str, object]) -> Iterable[tuple[str, str]]:
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from ((metric_label(str(inner)), compact(each)) for inner, each in value.items())
        elif value is not None:
            text = compact(value)
            yield name, f'"{text}"' if " " in text else text
