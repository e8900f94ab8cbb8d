"""The dispatcher: what happens to searches reaches a real receiver, in order, signed, and at least once."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from api.webhooks import AddressGuard, WebhookDispatcher, dispatcher, make_secret, news, verify
from api.webhooks.messages import kind_of
from evolve.ledger import EventKind, EventRecord, Ledger, SearchRecord, SearchState
from evolve.ledger.hooks import observer_of
from evolve.ledger.service_records import WebhookRecord
from ledger_fixtures import create, live
from webhook_receiver import Receiver

GUARD = AddressGuard.parse("127.0.0.1")
KINDS = ("search_finished", "search_failed", "new_best")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path / 'evolve.db'}") as ledger:
        yield ledger


@pytest.fixture
def receivers() -> Iterator[Callable[..., Receiver]]:
    """Makes receivers, and closes them after the test."""
    made: list[Receiver] = []

    def make(**options: Any) -> Receiver:
        made.append(Receiver(**options))
        return made[-1]

    yield make
    for receiver in made:
        receiver.close()


@pytest.fixture
def receiver(receivers: Callable[..., Receiver]) -> Receiver:
    return receivers()


@pytest.fixture
def dispatch(ledger: Ledger) -> Iterator[Callable[..., WebhookDispatcher]]:
    """Starts dispatchers and stops them after the test."""
    started: list[WebhookDispatcher] = []

    def start(**options: Any) -> WebhookDispatcher:
        started.append(WebhookDispatcher(ledger, options.pop("guard", GUARD), **options).start())
        return started[-1]

    yield start
    for each in started:
        each.stop()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(dispatcher, "BACKOFF_SECONDS", (0.02, 0.1))
    monkeypatch.setattr(news, "STORE_SECONDS", 0.1)
    monkeypatch.setattr(news, "SWEEP_SECONDS", 0.1)


def register(ledger: Ledger, receiver: Receiver, **options: Any) -> WebhookRecord:
    values = {"url": receiver.url, "kinds": KINDS, "secret": make_secret(), **options}
    return ledger.registry.add_webhook(**values)


def run(ledger: Ledger, scores: list[float], state: SearchState | None = SearchState.COMPLETED) -> SearchRecord:
    """A search in which every score is an individual; it ends unless `state` is None."""
    search = create(ledger)
    lease = ledger.acquire(search.id)
    with lease.transaction() as writing:
        writing.start(resumed=False)
        for number, score in enumerate(scores):
            live(writing, search.id, number, score)
    if state is not None:
        lease.release(state, "because")
    return ledger.search(search.id)


def told(receiver: Receiver) -> list[tuple[str, Any]]:
    return [(each["kind"], each["data"].get("fitness", each["data"].get("state"))) for each in receiver.taken]


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_bests_and_the_end_arrive_in_order_and_signed(
    ledger: Ledger, receiver: Receiver, dispatch: Callable[..., WebhookDispatcher]
) -> None:
    hook = register(ledger, receiver)
    search = run(ledger, [0.1, 0.3, 0.2, 0.4])
    dispatch()
    receiver.wait(lambda: len(receiver.taken) == 4)
    assert told(receiver) == [
        ("new_best", 0.1),
        ("new_best", 0.3),
        ("new_best", 0.4),
        ("search_finished", "completed"),
    ]
    assert all(verify(hook.secret, body, headers["X-Evolve-Signature"]) for headers, body in receiver.received)
    first, *_, last = receiver.taken
    assert first["search"] == {"id": search.id, "name": "helmets"}
    assert first["data"] == {"fitness": 0.1, "previous": None, "individual": 0}
    assert last["data"]["best_fitness"] == 0.4
    assert last["data"]["reason"] == "because"
    assert last["at"] == pytest.approx(time.time(), abs=60)
    ids = [each["id"] for each in receiver.taken]
    assert len(set(ids)) == 4
    wait_for(lambda: ledger.searches_behind(observer_of(hook.id)) == [])


def test_the_same_over_every_database(ledger_url: str, receiver: Receiver) -> None:
    with Ledger(ledger_url) as ledger:
        run(ledger, [0.1])
        hook = register(ledger, receiver)
        running = WebhookDispatcher(ledger, GUARD).start()
        run(ledger, [0.2, 0.3])
        receiver.wait(lambda: len(receiver.taken) == 3)
        wait_for(lambda: ledger.searches_behind(observer_of(hook.id)) == [])
        running.stop()
    assert told(receiver) == [("new_best", 0.2), ("new_best", 0.3), ("search_finished", "completed")]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (SearchState.COMPLETED, "search_finished"),
        (SearchState.CANCELLED, "search_finished"),
        (SearchState.FAILED, "search_failed"),
        (SearchState.INTERRUPTED, None),
    ],
)
def test_what_an_end_is_called(
    ledger: Ledger,
    receiver: Receiver,
    dispatch: Callable[..., WebhookDispatcher],
    state: SearchState,
    expected: str | None,
) -> None:
    hook = register(ledger, receiver, kinds=("search_finished", "search_failed"))
    run(ledger, [0.5], state)
    dispatch()
    wait_for(lambda: ledger.searches_behind(observer_of(hook.id)) == [])
    assert [each["kind"] for each in receiver.taken] == ([expected] if expected else [])


def test_only_what_was_asked_for_and_only_from_now_on(
    ledger: Ledger, receivers: Callable[..., Receiver], dispatch: Callable[..., WebhookDispatcher]
) -> None:
    run(ledger, [0.1, 0.2])
    ends, bests, one = receivers(), receivers(), receivers()
    register(ledger, ends, kinds=("search_finished",))
    register(ledger, bests, kinds=("new_best",))
    search = create(ledger)
    register(ledger, one, search_id=search.id)
    run(ledger, [0.3])
    dispatch()
    bests.wait(lambda: len(bests.taken) == 1)
    lease = ledger.acquire(search.id)
    with lease.transaction() as writing:
        live(writing, search.id, 0, 0.4)
    lease.release(SearchState.FAILED)
    one.wait(lambda: len(one.taken) == 2)
    bests.wait(lambda: len(bests.taken) == 2)
    assert told(ends) == [("search_finished", "completed")]
    assert told(bests) == [("new_best", 0.3), ("new_best", 0.4)]
    assert told(one) == [("new_best", 0.4), ("search_failed", "failed")]


def test_a_failure_is_tried_again_and_keeps_the_order(
    ledger: Ledger, receivers: Callable[..., Receiver], dispatch: Callable[..., WebhookDispatcher]
) -> None:
    receiver = receivers(statuses=[500, 503, 204, 404, 302])
    hook = register(ledger, receiver)
    run(ledger, [0.1, 0.2])
    dispatch()
    receiver.wait(lambda: len(receiver.taken) == 3)
    assert told(receiver) == [("new_best", 0.1), ("new_best", 0.2), ("search_finished", "completed")]
    deliveries = [headers["X-Evolve-Delivery"] for headers, _ in receiver.received]
    assert deliveries[0] == deliveries[1] == deliveries[2] != deliveries[3] == deliveries[4] == deliveries[5]
    wait_for(lambda: ledger.registry.webhook(hook.id).failures == 0)
    assert ledger.registry.webhook(hook.id).last_error == ""


def test_a_restart_loses_nothing_and_repeats_nothing_that_was_taken(
    ledger: Ledger, receivers: Callable[..., Receiver], dispatch: Callable[..., WebhookDispatcher]
) -> None:
    receiver = receivers(statuses=[204, 204, *[500] * 1000])
    hook = register(ledger, receiver)
    run(ledger, [0.1, 0.2, 0.3])
    first = dispatch()
    receiver.wait(lambda: len(receiver.received) > 3)
    first.stop()
    assert "answered 500" in ledger.registry.webhook(hook.id).last_error
    receiver.statuses.clear()
    dispatch()
    receiver.wait(lambda: len(receiver.taken) == 4)
    assert told(receiver) == [
        ("new_best", 0.1),
        ("new_best", 0.2),
        ("new_best", 0.3),
        ("search_finished", "completed"),
    ]


def test_a_slow_receiver_holds_nobody_up(
    ledger: Ledger, receivers: Callable[..., Receiver], dispatch: Callable[..., WebhookDispatcher]
) -> None:
    slow, quick = receivers(delay=1.5), receivers()
    register(ledger, slow)
    register(ledger, quick)
    run(ledger, [0.1, 0.2])
    dispatch()
    quick.wait(lambda: len(quick.taken) == 3)
    assert len(slow.taken) < 2


def test_a_webhook_that_fails_for_days_is_given_up_and_comes_back_with_all_it_missed(
    ledger: Ledger,
    receivers: Callable[..., Receiver],
    dispatch: Callable[..., WebhookDispatcher],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(dispatcher, "DISABLE_AFTER", 4)
    receiver = receivers(statuses=[500] * 4)
    hook = register(ledger, receiver)
    run(ledger, [0.1])
    dispatch()
    wait_for(lambda: ledger.registry.webhook(hook.id).disabled_at is not None)
    time.sleep(0.3)
    assert len(receiver.received) == 4
    now = ledger.registry.webhook(hook.id)
    assert now.failures == 4
    assert now.last_error.startswith("disabled after 4 failures in a row; ")
    assert "answered 500" in now.last_error
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2  # the first failure and the last
    ledger.registry.note_delivery(hook.id, "")  # as a test that succeeds does
    receiver.wait(lambda: len(receiver.taken) == 2)
    assert told(receiver) == [("new_best", 0.1), ("search_finished", "completed")]


def test_a_test_that_succeeds_ends_the_pause_after_failures(
    ledger: Ledger,
    receivers: Callable[..., Receiver],
    dispatch: Callable[..., WebhookDispatcher],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatcher, "BACKOFF_SECONDS", (3600.0, 3600.0))
    receiver = receivers(statuses=[500])
    hook = register(ledger, receiver)
    run(ledger, [0.1])
    dispatch()
    wait_for(lambda: ledger.registry.webhook(hook.id).failures == 1)
    time.sleep(0.1)
    assert len(receiver.received) == 1
    ledger.registry.note_delivery(hook.id, "")  # as a test that succeeds does
    receiver.wait(lambda: len(receiver.taken) == 2)


def test_the_pauses_grow_and_the_days_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "BACKOFF_SECONDS", (1.0, 3600.0))
    pauses = [dispatcher.backoff(failures) for failures in range(1, dispatcher.DISABLE_AFTER)]
    assert 0.9 <= pauses[0] <= 1
    assert 3240 <= pauses[-1] <= 3600
    assert 2 < sum(pauses) / 86400 < 3


def test_a_private_address_that_nobody_allowed_gets_nothing(
    ledger: Ledger, receiver: Receiver, dispatch: Callable[..., WebhookDispatcher]
) -> None:
    hook = register(ledger, receiver)
    run(ledger, [0.1])
    dispatch(guard=AddressGuard())
    wait_for(lambda: ledger.registry.webhook(hook.id).failures > 1)
    assert "must have public addresses only" in ledger.registry.webhook(hook.id).last_error
    assert receiver.received == []


def test_of_two_services_with_one_home_only_one_delivers(
    ledger: Ledger, receiver: Receiver, dispatch: Callable[..., WebhookDispatcher], tmp_path: Path
) -> None:
    register(ledger, receiver)
    run(ledger, [0.1])
    with FileLock(tmp_path / "webhooks.lock"):
        dispatch(locks=tmp_path)
        time.sleep(0.3)
        assert receiver.received == []
    receiver.wait(lambda: len(receiver.taken) == 2)


def test_removing_a_webhook_or_a_search_with_news_harms_nobody(
    ledger: Ledger, receivers: Callable[..., Receiver], dispatch: Callable[..., WebhookDispatcher]
) -> None:
    gone, broken, good = receivers(statuses=[500] * 1000), receivers(statuses=[500] * 1000), receivers()
    hook = register(ledger, gone)
    register(ledger, broken)
    first = run(ledger, [0.1])
    dispatch()
    broken.wait(lambda: len(broken.received) > 2 and len(gone.received) > 2)
    ledger.registry.remove_webhook(hook.id)
    ledger.delete_search(first.id)
    time.sleep(0.2)
    seen = len(gone.received)
    register(ledger, good)
    broken.statuses.clear()
    run(ledger, [0.2])
    good.wait(lambda: len(good.taken) == 2)
    broken.wait(lambda: len(broken.taken) == 2)
    assert len(gone.received) == seen


def test_a_ledger_that_is_away_is_mentioned_once_and_waited_for(
    ledger: Ledger,
    receiver: Receiver,
    dispatch: Callable[..., WebhookDispatcher],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    register(ledger, receiver)
    run(ledger, [0.1])
    asked = threading.Event()

    def away(*_: object, **__: object) -> None:
        asked.set()
        raise RuntimeError("the ledger is away\nand more")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "searches_behind", away)
        dispatch()
        assert asked.wait(10)
        time.sleep(0.2)
    receiver.wait(lambda: len(receiver.taken) == 2)
    assert [record.getMessage() for record in caplog.records] == ["webhooks wait: the ledger is away"]


def test_epochs_move_the_cursor_only_now_and_then(
    ledger: Ledger,
    receiver: Receiver,
    dispatch: Callable[..., WebhookDispatcher],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(news, "STORE_SECONDS", 1000.0)
    monkeypatch.setattr(news, "SWEEP_SECONDS", 1000.0)
    advanced = []
    real = ledger.advance
    monkeypatch.setattr(ledger, "advance", lambda *given: (advanced.append(given[2]), real(*given)))
    register(ledger, receiver, kinds=("search_finished",))
    search = create(ledger)
    lease = ledger.acquire(search.id)
    dispatch()
    for number in range(20):
        with lease.transaction() as writing:
            writing.notice(str(number))
        time.sleep(0.03)
    assert len(advanced) <= 1
    lease.release(SearchState.COMPLETED)
    receiver.wait(lambda: len(receiver.taken) == 1)
    wait_for(lambda: ledger.events(search.id)[-1].sequence in advanced)


def test_what_nobody_wants_costs_the_same_however_many_webhooks_there_are(
    ledger: Ledger, receivers: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(news, "STORE_SECONDS", 1000.0)
    monkeypatch.setattr(news, "SWEEP_SECONDS", 1000.0)
    receiver = receivers()
    for _ in range(10):
        register(ledger, receiver)
    leases = [ledger.acquire(create(ledger).id) for _ in range(3)]
    idle = WebhookDispatcher(ledger, GUARD)  # not started: every look is made here
    idle._look()
    asked = []
    for name in ("searches_behind", "events", "advance"):
        real = getattr(ledger, name)
        monkeypatch.setattr(ledger, name, lambda *a, _n=name, _r=real, **o: (asked.append(_n), _r(*a, **o))[1])
    for lease in leases:
        with lease.transaction() as writing:
            writing.notice("an epoch")
    idle._look()
    assert sorted(asked) == ["events"] * 3 + ["searches_behind"]
    with leases[1].transaction() as writing:
        live(writing, leases[1].search_id, 0, 0.4)
    idle._look()
    receiver.wait(lambda: len(receiver.taken) == 8)  # so many threads
    wait_for(lambda: not [each for each in idle._senders if each.is_alive()])
    idle._look()
    receiver.wait(lambda: len(receiver.taken) == 10)
    for lease in leases:
        lease.release(SearchState.INTERRUPTED)


def test_cursors_are_moved_by_a_few_commits_in_a_pass(
    ledger: Ledger, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(news, "STORES", 4)
    monkeypatch.setattr(news, "SWEEP_SECONDS", 0.0)
    hooks = [register(ledger, receiver, kinds=("search_failed",)) for _ in range(3)]
    for _ in range(3):
        run(ledger, [0.1])
    advanced: list[str] = []
    real = ledger.advance
    monkeypatch.setattr(ledger, "advance", lambda *given: (advanced.append(given[0]), real(*given)))
    idle = WebhookDispatcher(ledger, GUARD)
    idle._look()
    assert len(advanced) == 4
    for _ in range(3):
        idle._look()
    assert [ledger.searches_behind(observer_of(hook.id)) for hook in hooks] == [[], [], []]


def test_trouble_with_one_webhook_is_mentioned_and_delays_nobody_else(
    ledger: Ledger,
    receivers: Callable[..., Receiver],
    dispatch: Callable[..., WebhookDispatcher],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = receivers(), receivers()
    odd = register(ledger, first)
    register(ledger, second)
    run(ledger, [0.1])
    real = news.News.of

    def of(self: news.News, hook: WebhookRecord, standing: news.Standing) -> object:
        if hook.id == odd.id:
            raise ValueError("an event of tomorrow")
        return real(self, hook, standing)

    monkeypatch.setattr(news.News, "of", of)
    dispatch()
    second.wait(lambda: len(second.taken) == 2)
    time.sleep(0.1)
    assert [each.getMessage() for each in caplog.records] == [f"webhook {odd.id} waits: an event of tomorrow"]


def test_an_end_in_a_state_of_another_version_is_no_news() -> None:
    assert kind_of(EventRecord("s", 1, EventKind.SEARCH_FINISHED, 0.0, None, {"state": "levitating"})) is None


def test_stopping_waits_for_no_slow_receiver_for_long(
    ledger: Ledger, receivers: Callable[..., Receiver], dispatch: Callable[..., WebhookDispatcher]
) -> None:
    slow = receivers(delay=3.0)
    register(ledger, slow)
    run(ledger, [0.1])
    running = dispatch()
    wait_for(lambda: bool(slow.received))
    began = time.monotonic()
    running.stop(0.3)
    assert time.monotonic() - began < 2.5


def test_a_kind_of_another_version_harms_nobody(
    ledger: Ledger, receivers: Callable[..., Receiver], dispatch: Callable[..., WebhookDispatcher]
) -> None:
    odd, good = receivers(), receivers()
    register(ledger, odd, kinds=("levitation",))
    register(ledger, good)
    run(ledger, [0.1])
    dispatch()
    good.wait(lambda: len(good.taken) == 2)
    assert odd.received == []


def test_numbers_that_json_does_not_know_become_null(
    ledger: Ledger, receiver: Receiver, dispatch: Callable[..., WebhookDispatcher]
) -> None:
    register(ledger, receiver, kinds=("search_finished",))
    run(ledger, [])
    dispatch()
    receiver.wait(lambda: len(receiver.taken) == 1)
    data = json.loads(receiver.received[0][1], parse_constant=pytest.fail)["data"]
    assert data["best_fitness"] is None
