"""Followers: at least once, in order, and nobody waits for them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from filelock import FileLock

from evolve import observers
from evolve.ledger import EventRecord, Ledger, SearchRecord, SearchState
from evolve.observers import Follower


class Listener:
    """Remembers what it hears; fails as long as it is told to."""

    name = "listener"

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.attempts = 0
        self.away = False
        self.closed = threading.Event()

    def handle(self, search: SearchRecord, events: Sequence[EventRecord]) -> None:
        assert {event.search_id for event in events} == {search.id}
        self.attempts += 1
        if self.away:
            raise ConnectionError("nobody is there\nand a second line")
        self.heard += [event.sequence for event in events]

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path / 'evolve.db'}") as ledger:
        yield ledger


@pytest.fixture
def search(ledger: Ledger, tmp_path: Path) -> SearchRecord:
    return ledger.create_search(
        name="s",
        document={},
        objective="yolo12",
        options={},
        environment={},
        directory=str(tmp_path),
        data_hash="",
    )


@pytest.fixture
def follow(ledger: Ledger, search: SearchRecord) -> Iterator[Callable[..., Follower]]:
    """Starts followers and closes them after the test."""
    followers: list[Follower] = []

    def start(listener: Listener, **options: object) -> Follower:
        followers.append(Follower(ledger, search.id, listener, **options).start())  # type: ignore[arg-type]
        return followers[-1]

    yield start
    for follower in followers:
        follower.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observers, "POLL_SECONDS", (0.01, 0.05))
    monkeypatch.setattr(observers, "BACKOFF_SECONDS", (0.01, 0.05))


def note(ledger: Ledger, search: SearchRecord, count: int) -> int:
    """Record `count` notices; returns the last sequence number."""
    lease = ledger.acquire(search.id)
    with lease.transaction() as transaction:
        for number in range(count):
            transaction.notice(str(number))
    lease.release(SearchState.INTERRUPTED)
    return ledger.events(search.id, limit=10_000)[-1].sequence


def test_everything_arrives_in_order_and_once(
    ledger: Ledger,
    search: SearchRecord,
    follow: Callable[..., Follower],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(observers, "BATCH", 7)
    listener = Listener()
    last = note(ledger, search, 20)
    follower = follow(listener)
    assert follower.drain(10)
    last = note(ledger, search, 30)
    assert follower.drain(10)
    assert listener.heard == list(range(1, last + 1))
    assert ledger.cursor("listener", search.id) == last


def test_a_durable_follower_goes_on_where_the_last_one_stopped(
    ledger: Ledger, search: SearchRecord, follow: Callable[..., Follower]
) -> None:
    first, second = Listener(), Listener()
    seen = note(ledger, search, 3)
    follower = follow(first)
    assert follower.drain(10)
    follower.close()
    last = note(ledger, search, 3)
    assert follow(second).drain(10)
    assert second.heard == list(range(seen + 1, last + 1))


def test_a_follower_that_is_not_durable_begins_at_the_beginning(
    ledger: Ledger, search: SearchRecord, follow: Callable[..., Follower]
) -> None:
    last = note(ledger, search, 3)
    for listener in (Listener(), Listener()):
        assert follow(listener, durable=False).drain(10)
        assert listener.heard == list(range(1, last + 1))
    assert ledger.cursor("listener", search.id) == 0


def test_an_observer_that_is_away_misses_nothing_and_is_mentioned_once(
    ledger: Ledger,
    search: SearchRecord,
    follow: Callable[..., Follower],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, observers.logger.name)
    listener = Listener()
    listener.away = True
    last = note(ledger, search, 5)
    follower = follow(listener)
    assert not follower.drain(0.5)
    assert listener.attempts > 2
    assert ledger.cursor("listener", search.id) == 0
    listener.away = False
    assert follower.drain(10)
    assert listener.heard == list(range(1, last + 1))
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [
        f"listener cannot follow search {search.id} (ConnectionError: nobody is there); "
        "the search goes on, and the rest is delivered later"
    ]


def test_failures_are_retried_more_and_more_slowly(
    ledger: Ledger, search: SearchRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observers, "BACKOFF_SECONDS", (0.5, 60.0))
    follower = Follower(ledger, search.id, Listener())
    pauses = [follower._back_off(ConnectionError()) for _ in range(2000)]
    assert pauses[:4] == [0.5, 1.0, 2.0, 4.0]
    assert max(pauses) == pauses[-1] == 60.0


def test_a_batch_that_failed_halfway_comes_again_whole(
    ledger: Ledger, search: SearchRecord, follow: Callable[..., Follower]
) -> None:
    class Stumbling(Listener):
        def handle(self, search: SearchRecord, events: Sequence[EventRecord]) -> None:
            if not self.heard:
                self.heard.append(events[0].sequence)
                raise ConnectionError
            super().handle(search, events)

    listener = Stumbling()
    last = note(ledger, search, 3)
    assert follow(listener).drain(10)
    assert listener.heard == [1, *range(1, last + 1)]


def test_of_two_processes_only_one_serves_an_observer(
    ledger: Ledger, search: SearchRecord, follow: Callable[..., Follower], tmp_path: Path
) -> None:
    locks = tmp_path / "locks"
    locks.mkdir()
    listener = Listener()
    last = note(ledger, search, 3)
    with FileLock(locks / f"listener-{search.id}.lock"):
        follower = follow(listener, locks=locks)
        assert not follower.drain(0.5)
        assert listener.attempts == 0
    assert follower.drain(10)
    assert listener.heard == list(range(1, last + 1))


def test_who_waits_for_the_other_process_hears_nothing_twice(
    ledger: Ledger, search: SearchRecord, follow: Callable[..., Follower], tmp_path: Path
) -> None:
    first, second = Listener(), Listener()
    last = note(ledger, search, 3)
    followers = [follow(listener, locks=tmp_path) for listener in (first, second)]
    assert all(follower.drain(10) for follower in followers)
    assert sorted(first.heard + second.heard) == list(range(1, last + 1))


def test_closing_ends_the_thread_and_closes_the_observer_once(
    search: SearchRecord, follow: Callable[..., Follower]
) -> None:
    listener = Listener()
    follower = follow(listener)
    follower.close()
    follower.close()
    assert listener.closed.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name == f"listener-{search.id}"]


def test_a_ledger_that_is_gone_does_not_end_the_follower(
    ledger: Ledger, search: SearchRecord, follow: Callable[..., Follower], monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener()
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "events", lambda *_, **__: 1 / 0)
        follower = follow(listener)
        assert not follower.drain(0.2)
    assert follower.drain(10)
    assert listener.heard
