"""What can be done over the network: called by the routes and by the dashboard, and free of both."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from api.auth import Principal
from api.reach import Reached, reach
from api.schemas.submissions import Submission
from evolve.environment import describe_environment
from evolve.exceptions import Forbidden, LeaseHeld, SearchNotFound, StateConflict
from evolve.ledger import Ledger, Request, SearchRecord, SearchState
from evolve.searches import cancel_idle, is_driven
from evolve.space import SearchSpace
from evolve.space.validation import show
from evolve.trial import Json

if TYPE_CHECKING:
    from evolve.settings import Settings

log = logging.getLogger(__name__)

TRASH = ".trash-"
"""How the folder of a search that was deleted is called until it is gone."""


@dataclass(frozen=True)
class Checked:
    """A submission that could be run.

    Attributes:
        space: The search space with everything filled in.
        data_id: What it calls its data set; empty for none.
        individuals: How many it trains at most.
        notes: What a person should know before they submit it.
    """

    space: SearchSpace
    data_id: str
    individuals: int
    notes: tuple[str, ...]


def check_document(ledger: Ledger, settings: Settings, body: Submission) -> Checked:
    """Check a submission without entering it.

    Raises:
        InputError: with one line for the first rule that is broken.
    """
    reached = reach(ledger, body)
    space = reached.space
    notes = list(reached.notes)
    if not any(value is not None for value in space.stop.model_dump().values()):
        notes.append("it has no budget, so it ends with its last generation")
    if space.weights == "auto":
        notes.append("where published weights of the model cannot be had, training starts from random ones")
    individuals = space.search.population * space.search.generations
    return Checked(space, reached.data_id, individuals, tuple(notes))


def enter_search(
    ledger: Ledger,
    settings: Settings,
    body: Submission,
    reached: Reached,
    principal: Principal,
    idempotency_key: str | None = None,
) -> tuple[SearchRecord, bool]:
    """Enter a search into the queue; its driver gets data and weights ready.

    Args:
        ledger: Where it is recorded.
        settings: Where things are kept.
        body: What somebody wants run.
        reached: What `api.reach.reach` made of it.
        principal: Who wants it.
        idempotency_key: A second call with the same one, by the same principal, enters nothing.

    Returns:
        The search, and whether this call entered it.

    Raises:
        IdempotencyConflict: if the key came with another submission before.
    """
    from evolve.compose import RunOptions

    search_id = os.urandom(4).hex()
    directory = settings.home.absolute() / "searches" / search_id
    options: dict[str, Json] = {
        **RunOptions(objective=body.objective).document(),
        "weights": reached.space.weights,
        "data": reached.data_id,
        "notes": list(reached.notes),
    }
    return ledger.registry.submit(
        name=body.name or reached.space.name,
        document=reached.space.document(),
        objective=body.objective,
        options=options,
        environment=environment(),
        directory=str(directory),
        data_hash=reached.data_hash,
        priority=body.priority,
        submitted_by=principal.key_id,
        search_id=search_id,
        idempotency=None if idempotency_key is None else (idempotency_key, digest_of(body)),
    )


def digest_of(body: Submission) -> str:
    """Equal for submissions that ask for the same, however they were written down."""
    text = json.dumps(body.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def environment() -> dict[str, Json]:
    """This machine, as the record of a search keeps it; asking the GPUs takes a moment, so they are asked once."""
    return describe_environment()


def search(ledger: Ledger, search_id: str) -> SearchRecord:
    """The search of exactly this id: what changes a search takes no names, which anybody may give.

    Raises:
        SearchNotFound: There is none.
    """
    record = ledger.search(search_id)
    if record.id != search_id:
        raise SearchNotFound(f"search {show(search_id)}: no search has this id; look at the list of all")
    return record


def pause(ledger: Ledger, search_id: str, principal: Principal | None = None) -> SearchRecord:
    """Ask for a search to start nothing new; one that waits in the queue does not start.

    Raises:
        SearchNotFound: There is none of this id.
        StateConflict: It is over.
        Forbidden: It belongs to somebody else.
    """
    return _ask(ledger, search_id, Request.PAUSE, principal)


def cancel(ledger: Ledger, search_id: str, principal: Principal | None = None) -> SearchRecord:
    """Ask for a search to end for good; one that has no driver, and is to get none, ends at once.

    Raises:
        SearchNotFound: There is none of this id.
        StateConflict: It is over.
        Forbidden: It belongs to somebody else.
    """
    record = _ask(ledger, search_id, Request.CANCEL, principal)
    if is_driven(record) or (record.managed and record.state is not SearchState.FAILED):
        return record
    with suppress(LeaseHeld):  # by a driver that heard of it
        cancel_idle(ledger, record)
    return search(ledger, record.id)


def resume(ledger: Ledger, search_id: str, principal: Principal | None = None) -> SearchRecord:
    """Take back what was asked of a search, and put one that has no driver into the queue again.

    Raises:
        SearchNotFound: There is none of this id.
        StateConflict: It is over.
        Forbidden: It belongs to somebody else.
    """
    record = _changeable(ledger, search_id, principal)
    _refuse_over(record)
    if is_driven(record):
        ledger.ask_driver(record.id, None)
    elif not record.managed:
        raise StateConflict(
            f"search {record.id}: must have been submitted to a service to go on there, but was started from a "
            f"command line; use `evolve resume {record.id}`"
        )
    else:
        ledger.requeue(record.id, "resumed over the network")
    return search(ledger, record.id)


def prioritise(ledger: Ledger, search_id: str, priority: int, principal: Principal | None = None) -> SearchRecord:
    """Give a search another place in the queue.

    Raises:
        SearchNotFound: There is none of this id.
        StateConflict: It is over.
        Forbidden: It belongs to somebody else.
    """
    record = _changeable(ledger, search_id, principal)
    _refuse_over(record)
    ledger.prioritise(record.id, priority)
    return search(ledger, record.id)


def delete(ledger: Ledger, search_id: str, principal: Principal | None = None) -> None:
    """Forget a search that nobody drives, and remove its files.

    Raises:
        SearchNotFound: There is none of this id.
        LeaseHeld: A driver is at work on it.
        Forbidden: It belongs to somebody else.
    """
    record = _changeable(ledger, search_id, principal)
    ledger.delete_search(record.id)
    directory = Path(record.directory)
    if directory.name != record.id or directory.parent.name != "searches":  # as every search's own folder is called
        return
    doomed = directory.with_name(f"{TRASH}{record.id}")
    with suppress(OSError):  # there may be none
        directory.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def empty_trash(settings: Settings) -> None:
    """Remove folders of deleted searches that a service which ended meanwhile has left."""
    for doomed in (settings.home / "searches").glob(f"{TRASH}*"):
        shutil.rmtree(doomed, ignore_errors=True)


def _ask(ledger: Ledger, search_id: str, request: Request, principal: Principal | None) -> SearchRecord:
    record = _changeable(ledger, search_id, principal)
    _refuse_over(record)
    ledger.ask_driver(record.id, request)
    return search(ledger, record.id)


def _changeable(ledger: Ledger, search_id: str, principal: Principal | None) -> SearchRecord:
    """The search, if `principal` may change it: an admin, or whoever submitted it; None stands for the former."""
    record = search(ledger, search_id)
    if principal is not None and not principal.may("admin") and record.submitted_by != principal.key_id:
        raise Forbidden(
            f"search {record.id}: only the key that submitted it, or one with the scope admin, may change it; "
            "ask its owner"
        )
    return record


def _refuse_over(record: SearchRecord) -> None:
    if record.state.is_over:
        raise StateConflict(
            f"search {record.id}: must be unfinished, but it is {record.state}; submit a new one to go on"
        )
