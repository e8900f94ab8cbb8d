"""One writer a search: leases, fencing tokens, and drivers that die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from threading import Thread

import pytest
from sqlalchemy import event, func, select, update

from evolve.exceptions import LeaseHeld, LeaseLost, SearchNotFound
from evolve.ledger import EventKind, Ledger, SearchState, Standing, managing
from evolve.ledger.models import searches
from evolve.ledger.owner import is_dead, this_process
from evolve.trial import TrialState
from ledger_fixtures import assert_consistent, begin, create, live, newborn, report

FIXTURES = str(Path(__file__).with_name("ledger_fixtures.py"))


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    with Ledger(ledger_url) as opened:
        yield opened


@contextmanager
def _child(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, FIXTURES, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        try:
            yield child
        finally:
            child.kill()


def test_second_driver_is_refused_with_the_name_of_the_first(ledger: Ledger, ledger_url: str) -> None:
    search_id = create(ledger).id
    with Ledger(ledger_url) as other:
        other.acquire(search_id)
    with pytest.raises(LeaseHeld) as caught:
        ledger.acquire(search_id)
    message = str(caught.value)
    assert this_process() in message
    assert f"evolve cancel {search_id}" in message
    assert "\n" not in message
    search = ledger.search(search_id)
    assert search.owner == this_process()
    assert 20 < search.lease_expires - search.created_at < 90


def test_unknown_search_cannot_be_driven(ledger: Ledger) -> None:
    with pytest.raises(SearchNotFound):
        ledger.acquire("nosuchid")


def test_tokens_count_up_and_a_released_search_is_free(ledger: Ledger) -> None:
    search_id = create(ledger).id
    first = ledger.acquire(search_id)
    first.release(SearchState.INTERRUPTED, "Ctrl-C")
    second = ledger.acquire(search_id)
    assert second.token > first.token
    first.release(SearchState.FAILED, "late")  # harmless
    assert ledger.search(search_id).owner == this_process()
    assert ledger.search(search_id).state is SearchState.INTERRUPTED


def test_released_lease_cannot_write(ledger: Ledger) -> None:
    lease = ledger.acquire(create(ledger).id)
    lease.release(SearchState.COMPLETED)
    lease.release(SearchState.FAILED)
    with pytest.raises(LeaseLost), lease.transaction():
        pass
    with pytest.raises(LeaseLost):
        lease.renew()
    search = ledger.search(lease.search_id)
    assert (search.state, search.owner, search.lease_expires) == (SearchState.COMPLETED, None, None)


def test_lease_that_ran_out_can_be_taken_and_fences_its_holder(ledger: Ledger) -> None:
    search_id = create(ledger).id
    late = ledger.acquire(search_id, ttl=0.2)
    with late.transaction() as writing:
        live(writing, search_id, 0)
    time.sleep(0.3)
    heir = ledger.acquire(search_id)

    before = ledger.search(search_id), ledger.events(search_id)
    with pytest.raises(LeaseLost, match="another driver"), late.transaction() as writing:
        writing.propose(newborn(search_id, 1))
    with pytest.raises(LeaseLost):
        late.renew()
    late.release(SearchState.FAILED)
    assert (ledger.search(search_id), ledger.events(search_id)) == before
    with heir.transaction() as writing:
        live(writing, search_id, 1)
    assert_consistent(ledger, search_id)


def test_lease_that_ran_out_and_was_not_taken_goes_on(ledger: Ledger) -> None:
    lease = ledger.acquire(create(ledger).id, ttl=0.05)
    time.sleep(0.1)
    assert lease.renew() == Standing(request=None, allotment=None)
    with lease.transaction() as writing:
        live(writing, lease.search_id, 0)


def test_transactions_renew(ledger: Ledger) -> None:
    lease = ledger.acquire(create(ledger).id)
    expiries = [ledger.search(lease.search_id).lease_expires]
    for _ in range(3):
        time.sleep(0.01)
        with lease.transaction():
            pass
        expiries.append(ledger.search(lease.search_id).lease_expires)
        time.sleep(0.01)
        lease.renew()
        expiries.append(ledger.search(lease.search_id).lease_expires)
    assert all(late > early for early, late in pairwise(expiries))


def test_clock_is_the_databases(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    search_id = create(ledger).id
    ledger.acquire(search_id)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1e6)
    with pytest.raises(LeaseHeld):
        ledger.acquire(search_id)
    assert abs(create(ledger).created_at - now) < 60


def test_killed_driver_is_replaced_at_once(ledger: Ledger, ledger_url: str) -> None:
    search_id = create(ledger).id
    with _child("hold", ledger_url, search_id) as child:
        token = int(child.stdout.readline())
        with pytest.raises(LeaseHeld, match=f":{child.pid}:"):
            ledger.acquire(search_id)
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie: dead, but not yet reaped
        lease = ledger.acquire(search_id)
    assert lease.token > token


def test_driver_on_another_host_is_waited_for(ledger: Ledger) -> None:
    search_id = create(ledger).id
    ledger.acquire(search_id)
    with ledger._database.writing() as connection:
        connection.execute(update(searches).values(owner="elsewhere:1:0.0"))
    with pytest.raises(LeaseHeld, match="elsewhere"):
        ledger.acquire(search_id)


def test_who_is_dead() -> None:
    host, pid, birth = this_process().rsplit(":", 2)
    started, boot = birth.split("@")
    assert not is_dead(this_process())
    assert is_dead(f"{host}:{pid}:{float(started) - 100}@{boot}")  # the number was given to another process
    assert is_dead(f"{host}:{2**22 + 1}:{birth}")
    assert not is_dead(f"other-{host}:{pid}:0.0@{boot}")
    assert not is_dead(f"{host}:{2**22 + 1}:{started}@another0")  # a machine of the same name
    for nonsense in ("", host, f"{host}:x:y", f"{host}:{pid}:y@{boot}"):
        assert not is_dead(nonsense)


def test_only_one_of_six_threads_becomes_the_driver(ledger_url: str, ledger: Ledger) -> None:
    search_id = create(ledger).id

    def attempt() -> bool:
        try:
            ledger.acquire(search_id)
        except LeaseHeld:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(lambda _: attempt(), range(6))) == 1


def test_kill_9_in_a_tight_loop_leaves_nothing_half_written(ledger: Ledger, ledger_url: str) -> None:
    search_id = create(ledger).id
    for round_ in range(4):
        with _child("drive", ledger_url, search_id) as child:
            for _ in range(10):
                committed = int(child.stdout.readline())
            time.sleep(0.013 * round_)
            child.kill()
            committed = max([committed, *map(int, child.stdout.read().split())])
        assert_consistent(ledger, search_id)
        told = {individual.number for individual in ledger.history(search_id)}
        assert committed in told  # what was said to be committed is there
        lease = ledger.acquire(search_id)
        with lease.transaction() as writing:
            for lost in ledger.individuals(search_id):
                if lost.told is None and not lost.state.is_finished:
                    writing.interrupted(lost.number, lost.attempts)
        assert_consistent(ledger, search_id)
        lease.release(SearchState.INTERRUPTED)
    starts = [event for event in ledger.events(search_id, limit=10**6) if event.kind is EventKind.SEARCH_STARTED]
    assert [event.data["resumed"] for event in starts] == [False, True, True, True]


def test_writes_wait_for_a_takeover_under_way(ledger: Ledger) -> None:
    """A takeover that happens while the old driver waits for the row finds it fenced off."""
    search_id = create(ledger).id
    old = ledger.acquire(search_id, ttl=0.01)
    time.sleep(0.05)
    outcome: list[BaseException] = []

    def write() -> None:
        try:
            with old.transaction() as writing:
                begin(writing, search_id, 0)
        except LeaseLost as error:
            outcome.append(error)

    with ledger._database.writing() as connection:
        connection.execute(update(searches).values(lease_token=searches.c.lease_token + 1))
        writer = Thread(target=write)
        writer.start()
        time.sleep(0.1)
    writer.join(30)
    assert len(outcome) == 1
    assert ledger.individuals(search_id) == []


def test_a_search_without_a_driver_ends_in_one_transaction(ledger: Ledger) -> None:
    search_id = create(ledger).id
    lease = ledger.acquire(search_id)
    with lease.transaction() as writing:
        live(writing, search_id, 0)
        begin(writing, search_id, 1)
        writing.reported(1, 1, report(1))
    with pytest.raises(LeaseHeld):
        ledger.end_idle(search_id, SearchState.CANCELLED, "enough")
    lease.release(SearchState.INTERRUPTED)
    ledger.end_idle(search_id, SearchState.FAILED, "died too often")
    search = ledger.search(search_id)
    assert (search.state, search.reason, search.owner, search.leased) == (
        SearchState.FAILED, "died too often", None, False,
    )  # fmt: skip
    assert ledger.individuals(search_id)[1].state is TrialState.INTERRUPTED
    assert_consistent(ledger, search_id)
    kinds = [each.kind for each in ledger.events(search_id)]
    assert kinds[-2:] == [EventKind.TRIAL_INTERRUPTED, EventKind.SEARCH_FINISHED]
    with pytest.raises(LeaseLost), lease.transaction():
        pass


def test_trials_of_a_cancelled_search_run_no_longer(ledger: Ledger) -> None:
    search_id = create(ledger).id
    lease = ledger.acquire(search_id)
    with lease.transaction() as writing:
        begin(writing, search_id, 0)
    lease.release(SearchState.INTERRUPTED)
    ledger.end_idle(search_id, SearchState.CANCELLED, "enough")
    assert ledger.individuals(search_id)[0].state is TrialState.STOPPED
    assert [each.state for each in ledger.evaluations(search_id)] == [TrialState.STOPPED]
    assert ledger.search(search_id).finished_at is not None


def test_a_large_search_is_deleted_in_parts(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    search_id, other = create(ledger).id, create(ledger).id
    for each in (search_id, other):
        lease = ledger.acquire(each)
        with lease.transaction() as writing:
            for number in range(7):
                live(writing, each, number)
        lease.release(SearchState.INTERRUPTED)
    parts = tuple((column, 3) for column, _ in managing._LARGE)
    monkeypatch.setattr(managing, "_LARGE", parts)
    transactions = _count_commits(ledger)
    ledger.delete_search(search_id)
    assert len(transactions) > 3 * len(parts)
    with pytest.raises(SearchNotFound):
        ledger.search(search_id)
    assert [each.id for each in ledger.searches()] == [other]
    assert_consistent(ledger, other)


def test_a_deletion_that_was_broken_off_is_completed(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    search_id = create(ledger).id
    lease = ledger.acquire(search_id)
    with lease.transaction() as writing:
        live(writing, search_id, 0)
    lease.release(SearchState.INTERRUPTED)

    def fail(*_: object) -> None:
        raise OSError("a power cut")

    with monkeypatch.context() as patched:
        patched.setattr(managing, "_delete_in_parts", fail)
        with pytest.raises(OSError, match="power cut"):
            ledger.delete_search(search_id)
    assert ledger.search(search_id).state is SearchState.CANCELLED  # nobody goes on with half of it
    ledger.delete_search(search_id)
    assert ledger.searches() == []


def _count_commits(ledger: Ledger) -> list[None]:
    commits: list[None] = []
    event.listen(ledger._database.engine, "commit", lambda _: commits.append(None))
    return commits


def test_only_one_service_drives_a_ledger(ledger: Ledger, ledger_url: str) -> None:
    with Ledger(ledger_url) as second:
        with ledger.alone() as first_answer, second.alone() as second_answer:
            assert (first_answer, second_answer) == (True, False)
        with second.alone() as answer:
            assert answer


def test_a_page_and_its_count_are_of_one_moment(ledger: Ledger) -> None:
    create(ledger)
    count = select(func.count()).select_from(searches)
    with ledger._database.reading() as connection:
        before = connection.scalar(count)
        create(ledger)
        assert connection.scalar(count) == before == 1
