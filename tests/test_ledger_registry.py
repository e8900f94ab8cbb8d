"""What a service keeps in the ledger: keys, data sets, submissions, webhooks; and what it does to searches."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import Engine, create_engine, func, inspect, select, text, update

from evolve.exceptions import (
    IdempotencyConflict,
    InputError,
    LeaseHeld,
    LeaseLost,
    LedgerError,
    NotFound,
    SearchNotFound,
)
from evolve.keeper import LeaseKeeper
from evolve.ledger import EventKind, Ledger, Registry, Request, SearchState, Standing, Transaction, observer_of
from evolve.ledger.database import LOCK_SECONDS
from evolve.ledger.models import api_keys, metadata
from evolve.ledger.models import searches as searches_table
from evolve.ledger.registry import LONGEST_KEY
from evolve.trial import TrialState
from ledger_fixtures import assert_consistent, begin, create, live, report, submission

FIXTURES = str(Path(__file__).with_name("ledger_fixtures.py"))


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    with Ledger(ledger_url) as opened:
        yield opened


@pytest.fixture
def registry(ledger: Ledger) -> Registry:
    return ledger.registry


def _rows(ledger: Ledger) -> dict[str, int]:
    """How many rows each table has, the empty ones left out."""
    with ledger._database.reading() as connection:
        counts = {
            table.name: connection.scalar(select(func.count()).select_from(table)) or 0
            for table in metadata.sorted_tables
        }
    return {name: count for name, count in counts.items() if count}


# ------------------------------------------------------------------------------------------------------------- keys


def test_key_reads_back_and_is_found_by_its_digest(registry: Registry) -> None:
    assert not registry.has_keys()
    made = registry.add_key("Ada's laptop", "ab" * 32, ["read", "submit"])
    given = registry.add_key("robot", "cd" * 32, ["admin"], key_id="robot-1")
    assert registry.key(made.id) == registry.key_by_digest("ab" * 32) == made
    assert (given.id, given.scopes) == ("robot-1", ("admin",))
    assert (made.name, made.scopes, made.revoked_at, made.last_used_at) == (
        "Ada's laptop",
        ("read", "submit"),
        None,
        None,
    )
    assert abs(made.created_at - time.time()) < 60
    assert registry.keys() == [made, given]
    assert registry.has_keys()
    assert registry.key_by_digest("00") is None


def test_revoked_key_stays_in_the_list(registry: Registry) -> None:
    key = registry.add_key("old", "ab", ["read"])
    registry.revoke_key(key.id)
    revoked = registry.key_by_digest("ab")
    assert revoked is not None
    assert revoked.revoked_at is not None
    registry.revoke_key(key.id)
    assert registry.keys() == [revoked]
    assert registry.has_keys()  # a service must not open itself to everybody when its only key is revoked


def test_taken_key_is_refused(registry: Registry) -> None:
    registry.add_key("one", "ab", ["read"], key_id="one")
    with pytest.raises(LedgerError, match="key one: the id must be new"):
        registry.add_key("two", "cd", ["read"], key_id="one")
    with pytest.raises(LedgerError, match="its secret must be new"):
        registry.add_key("two", "ab", ["read"])
    assert len(registry.keys()) == 1


def test_use_of_a_key_is_noted_to_the_minute(ledger: Ledger, registry: Registry) -> None:
    key = registry.add_key("one", "ab", ["read"])
    registry.touch_key(key.id)
    first = registry.key(key.id).last_used_at
    assert first is not None
    registry.touch_key(key.id)
    assert registry.key(key.id).last_used_at == first
    with ledger._database.writing() as connection:
        connection.execute(update(api_keys).values(last_used_at=first - 61))
    registry.touch_key(key.id)
    assert registry.key(key.id).last_used_at >= first
    registry.touch_key("nobody")


@pytest.mark.parametrize("unknown", ["nobody", "", "\x00", "\ud800", "x" * 1000, "' OR 1=1 --"])
def test_unknown_ids_are_not_found(registry: Registry, unknown: str) -> None:
    registry.add_key("one", "ab", ["read"])
    calls = {
        "key": (registry.key, registry.revoke_key),
        "data set": (registry.dataset, registry.remove_dataset),
        "webhook": (registry.webhook, registry.remove_webhook, registry.disable_webhook),
    }
    for what, methods in calls.items():
        for method in methods:
            with pytest.raises(NotFound, match=f"^{what} .*no {what} has this id"):
                method(unknown)
    with pytest.raises(NotFound):
        registry.note_delivery(unknown, "")
    assert registry.key_by_digest(unknown) is None
    assert issubclass(NotFound, InputError)


# -------------------------------------------------------------------------------------------------------- data sets


def test_data_set_reads_back_and_takes_the_place_of_an_earlier_one(registry: Registry) -> None:
    first = registry.add_dataset("cells", "/data/cells.yaml", "aa", {"names": ["RBC"], "train": 205}, "ada")
    assert registry.dataset("cells") == first
    assert (first.path, first.summary, first.registered_by) == (
        "/data/cells.yaml",
        {"names": ["RBC"], "train": 205},
        "ada",
    )
    second = registry.add_dataset("cells", "/data/new.yaml", "bb", {})
    other = registry.add_dataset("a", "/data/a.yaml", "cc", {})
    assert registry.datasets() == [other, second]
    registry.remove_dataset("cells")
    assert registry.datasets() == [other]


# ------------------------------------------------------------------------------------------------------ submissions


def test_submitted_search_waits_in_the_queue(ledger: Ledger, registry: Registry) -> None:
    search, created = registry.submit(**submission(), priority=3, submitted_by="ada", search_id="mine")
    assert created
    assert search == ledger.search("mine")
    assert (search.managed, search.priority, search.submitted_by, search.allotment) == (True, 3, "ada", None)
    assert (search.state, search.document) == (SearchState.CREATED, submission()["document"])
    assert [each.kind for each in ledger.events("mine")] == [EventKind.SEARCH_CREATED]
    assert [each.id for each in ledger.queue()] == ["mine"]
    assert not create(ledger).managed
    with pytest.raises(LedgerError, match="taken"):
        registry.submit(**submission(), search_id="mine")


def test_a_key_stands_for_one_submission(ledger: Ledger, registry: Registry) -> None:
    first, created = registry.submit(**submission(), idempotency=("k", "aa"), search_id="s1")
    again, created_again = registry.submit(**submission(), idempotency=("k", "aa"), search_id="s1")
    assert (created, created_again) == (True, False)
    assert again == first
    with pytest.raises(IdempotencyConflict, match=r"^idempotency key 'k': .*search s1.*key of its own") as caught:
        registry.submit(**submission(), idempotency=("k", "bb"))
    assert "\n" not in str(caught.value)
    other, created = registry.submit(**submission(), idempotency=("k", "bb"), submitted_by="ada")
    assert created
    assert other.id != first.id
    assert len(ledger.searches()) == 2


@pytest.mark.parametrize("key", ["", "x" * (LONGEST_KEY + 1), "a\x00", "\ud800", "two\nlines"])
def test_unusable_idempotency_key(ledger: Ledger, registry: Registry, key: str) -> None:
    with pytest.raises(InputError, match=r"^idempotency key: must be 1 to 255 printable") as caught:
        registry.submit(**submission(), idempotency=(key, "aa"))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
    assert ledger.searches() == []


def test_a_key_is_free_again_when_its_submission_failed(ledger: Ledger, registry: Registry) -> None:
    create(ledger, search_id="taken")
    with pytest.raises(LedgerError, match="taken"):
        registry.submit(**submission(), idempotency=("k", "aa"), search_id="taken")
    assert registry.submit(**submission(), idempotency=("k", "aa"))[1]


def test_a_key_is_free_again_when_its_search_is_deleted(ledger: Ledger, registry: Registry) -> None:
    first, _ = registry.submit(**submission(), idempotency=("k", "aa"))
    ledger.delete_search(first.id)
    second, created = registry.submit(**submission(), idempotency=("k", "bb"))
    assert created
    assert second.id != first.id


def test_threads_that_submit_the_same_at_once_enter_one_search(ledger: Ledger, registry: Registry) -> None:
    barrier = Barrier(8)

    def submit(number: int) -> list[tuple[str, bool]]:
        answers = []
        for key in range(10):
            barrier.wait(60)
            search, created = registry.submit(**submission(), idempotency=(f"key-{key}", "aa"))
            answers.append((search.id, created))
        return answers

    with ThreadPoolExecutor(8) as pool:
        by_thread = list(pool.map(submit, range(8)))
    for answers in zip(*by_thread, strict=True):  # to the same key
        assert len({search_id for search_id, _ in answers}) == 1
        assert sum(created for _, created in answers) == 1
    assert len(ledger.searches()) == 10
    assert _rows(ledger) == {"searches": 10, "events": 10, "submissions": 10}


def _submitter(url: str, first: int, last: int) -> subprocess.Popen[str]:
    command = [sys.executable, FIXTURES, "submit", url, str(first), str(last)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_processes_that_submit_the_same_at_once_enter_one_search(ledger: Ledger, ledger_url: str) -> None:
    children = [_submitter(ledger_url, 0, 25) for _ in range(3)]
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    answers = [line.split() for child in children for line in child.communicate(timeout=120)[0].splitlines()]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert len(answers) == 75
    assert len({(number, search_id) for number, search_id, _ in answers}) == 25
    assert sum(int(created) for _, _, created in answers) == 25
    assert {search_id for _, search_id, _ in answers} == {each.id for each in ledger.searches()}


def test_no_submission_is_lost_or_doubled_by_kill_9(ledger: Ledger, ledger_url: str) -> None:
    answered: dict[str, str] = {}
    for round_ in range(3):
        with _submitter(ledger_url, 0, 100) as child:
            child.stdin.write("go\n")
            child.stdin.flush()
            for _ in range(20 * (round_ + 1)):
                number, search_id, _ = child.stdout.readline().split()
                assert answered.setdefault(number, search_id) == search_id
            child.send_signal(signal.SIGKILL)
            child.stdin.close()
    child = _submitter(ledger_url, 0, 100)
    for line in child.communicate("go\n", timeout=120)[0].splitlines():
        number, search_id, _ = line.split()
        assert answered.setdefault(number, search_id) == search_id
    assert len(answered) == 100
    assert {each.id for each in ledger.searches(limit=1000)} == set(answered.values())
    assert _rows(ledger) == {"searches": 100, "events": 100, "submissions": 100}


# --------------------------------------------------------------------------------------------------------- webhooks


def test_webhook_reads_back_and_hears_of_what_comes(ledger: Ledger, registry: Registry) -> None:
    old = create(ledger).id
    hook = registry.add_webhook("https://example.org/x", ["new_best", "search_failed"], "secret", created_by="ada")
    assert registry.webhook(hook.id) == hook
    assert (hook.kinds, hook.secret, hook.failures, hook.last_error, hook.disabled_at) == (
        ("new_best", "search_failed"),
        "secret",
        0,
        "",
        None,
    )
    assert ledger.searches_behind(observer_of(hook.id)) == []
    new = create(ledger).id
    lease = ledger.acquire(old)
    with lease.transaction() as writing:
        writing.start(resumed=False)
    assert ledger.searches_behind(observer_of(hook.id)) == [(old, 1, 2), (new, 0, 1)]
    registry.remove_webhook(hook.id)
    assert registry.webhooks() == []
    assert "cursors" not in _rows(ledger)


def test_webhooks_of_a_search(ledger: Ledger, registry: Registry) -> None:
    mine, other = create(ledger).id, create(ledger).id
    for_all = registry.add_webhook("https://a", ["new_best"], "s")
    for_mine = registry.add_webhook("https://b", ["new_best"], "s", search_id=mine)
    assert registry.webhooks() == [for_all, for_mine]
    assert registry.webhooks(mine) == [for_all, for_mine]
    assert registry.webhooks(other) == [for_all]
    with pytest.raises(SearchNotFound, match="evolve list"):
        registry.add_webhook("https://c", ["new_best"], "s", search_id="nobody")
    assert len(registry.webhooks()) == 2


def test_deliveries_are_counted_until_one_arrives(registry: Registry) -> None:
    hook = registry.add_webhook("https://a", ["new_best"], "s")
    for expected in (1, 2):
        noted = registry.note_delivery(hook.id, "503 " + "x" * 10_000 + "\x00")
        assert (noted.failures, noted.last_error[:4]) == (expected, "503 ")
        assert len(noted.last_error) <= 500
    assert registry.disable_webhook(hook.id).disabled_at is not None
    noted = registry.note_delivery(hook.id, "")
    assert (noted.failures, noted.last_error) == (0, "")
    assert noted == registry.webhook(hook.id)


# ---------------------------------------------------------------------------------------- what is done to a search


def test_allotment_is_heard_at_the_renewal_and_ends_with_the_lease(ledger: Ledger) -> None:
    search_id = create(ledger).id
    ledger.allot(search_id, 3)
    lease = ledger.acquire(search_id)
    assert lease.renew() == Standing(request=None, allotment=3)
    ledger.ask_driver(search_id, Request.PAUSE)
    ledger.allot(search_id, None)
    assert lease.renew() == Standing(Request.PAUSE, allotment=None)
    ledger.allot(search_id, 1)
    with lease.transaction() as writing:
        writing.start(resumed=False)
    assert ledger.search(search_id).allotment == 1
    lease.release(SearchState.INTERRUPTED)
    assert ledger.search(search_id).allotment is None


def test_keeper_hears_of_the_allotment(ledger: Ledger) -> None:
    search_id = create(ledger).id
    with LeaseKeeper(ledger.acquire(search_id), interval=0.02) as keeper:
        assert (keeper.request, keeper.allotment) == (None, None)
        ledger.allot(search_id, 4)
        ledger.ask_driver(search_id, Request.PAUSE)
        deadline = time.monotonic() + 30
        while (keeper.request, keeper.allotment) != (Request.PAUSE, 4):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_priority_changes_the_queue(ledger: Ledger, registry: Registry) -> None:
    first, second = (registry.submit(**submission())[0].id for _ in range(2))
    assert [each.id for each in ledger.queue()] == [first, second]
    ledger.prioritise(second, 5)
    assert [(each.id, each.priority) for each in ledger.queue()] == [(second, 5), (first, 0)]
    for change in (ledger.prioritise, ledger.allot):
        with pytest.raises(SearchNotFound, match="evolve list"):
            change("nobody", 1)


@pytest.mark.parametrize("state", list(SearchState))
def test_requeue(ledger: Ledger, state: SearchState) -> None:
    search_id = create(ledger).id
    ledger.acquire(search_id).release(state, "it ended")
    ledger.ask_driver(search_id, Request.PAUSE)
    before = ledger.search(search_id)
    if state.is_over:
        with pytest.raises(InputError, match=f"it is {state} .it ended"):
            ledger.requeue(search_id)
        assert ledger.search(search_id) == before
        return
    ledger.requeue(search_id, "Ada wants it")
    search = ledger.search(search_id)
    again = SearchState.INTERRUPTED if state is SearchState.FAILED else state
    assert (search.state, search.managed, search.request) == (again, True, None)
    assert [each.id for each in ledger.queue()] == [search_id]
    last = ledger.events(search_id)[-1]
    assert (last.sequence, last.kind, last.data) == (3, EventKind.NOTICE, {"message": "Ada wants it"})
    assert_consistent(ledger, search_id)


def test_requeue_of_nobody(ledger: Ledger) -> None:
    with pytest.raises(SearchNotFound, match="evolve list"):
        ledger.requeue("nobody")


def _prepare_and_raise(writing: Transaction) -> None:
    writing.prepared({"weights": "other"}, "sha256:33")
    raise ZeroDivisionError


def test_what_the_driver_found_out_is_written_over_the_options(ledger: Ledger) -> None:
    search_id = create(ledger).id
    lease = ledger.acquire(search_id)
    with lease.transaction() as writing:
        writing.prepared({"weights": "/w.pt", "notes": ["few pictures"]}, "sha256:11")
        writing.start(resumed=False)
    search = ledger.search(search_id)
    assert search.options == {"workers": 2, "weights": "/w.pt", "notes": ["few pictures"]}
    assert (search.data_hash, search.environment) == ("sha256:11", {"python": "3.11"})
    with lease.transaction() as writing:
        writing.prepared({}, "sha256:22", {"host": "gpu7"})
    search = ledger.search(search_id)
    assert (search.data_hash, search.environment, search.options["workers"]) == ("sha256:22", {"host": "gpu7"}, 2)
    with pytest.raises(ZeroDivisionError), lease.transaction() as writing:
        _prepare_and_raise(writing)
    assert ledger.search(search_id) == search


# --------------------------------------------------------------------------------------------------------- deletion


def _whole_search(ledger: Ledger, key: str) -> str:
    """A search with rows in every table."""
    search, _ = ledger.registry.submit(**submission(), idempotency=(key, "aa"))
    lease = ledger.acquire(search.id)
    with lease.transaction() as writing:
        writing.start(resumed=False)
        live(writing, search.id, 0)
        begin(writing, search.id, 1)
        writing.reported(1, 1, report(1))
    lease.release(SearchState.INTERRUPTED, "")
    ledger.advance("mlflow", search.id, 2)
    ledger.registry.add_webhook("https://a", ["new_best"], "s", search_id=search.id)
    return search.id


def test_deleted_search_leaves_nothing_and_the_others_alone(ledger: Ledger) -> None:
    kept = _whole_search(ledger, "kept")
    before = _rows(ledger)
    assert set(before) == {table.name for table in metadata.sorted_tables} - {"api_keys", "datasets"}
    gone = _whole_search(ledger, "gone")
    assert _rows(ledger)["epochs"] == 2 * before["epochs"]
    ledger.delete_search(gone)
    assert _rows(ledger) == before
    assert_consistent(ledger, kept)
    for call in (ledger.search, ledger.delete_search, ledger.acquire):
        with pytest.raises(SearchNotFound):
            call(gone)


def test_driven_search_is_not_deleted(ledger: Ledger) -> None:
    search_id = create(ledger).id
    lease = ledger.acquire(search_id)
    with pytest.raises(LeaseHeld, match="evolve cancel"):
        ledger.delete_search(search_id)
    with lease.transaction() as writing:
        live(writing, search_id, 0)
    lease.release(SearchState.COMPLETED)
    ledger.delete_search(search_id)
    assert _rows(ledger) == {}


def test_driver_that_was_thought_dead_cannot_write_to_a_deleted_search(ledger: Ledger) -> None:
    search_id = create(ledger).id
    late = ledger.acquire(search_id, ttl=0.05)
    time.sleep(0.1)
    ledger.delete_search(search_id)
    with pytest.raises(LeaseLost), late.transaction() as writing:
        begin(writing, search_id, 0)
    with pytest.raises(LeaseLost):
        late.renew()
    late.release(SearchState.FAILED)
    assert _rows(ledger) == {}


def test_search_is_deleted_while_others_read_and_follow_it(ledger: Ledger) -> None:
    ids = [_whole_search(ledger, f"key-{n}") for n in range(6)]

    def follow(search_id: str) -> None:
        for sequence in range(1, 40):
            ledger.events(search_id)
            ledger.heads([search_id])
            ledger.advance("follower", search_id, sequence)
            ledger.individual_page(search_id)

    with ThreadPoolExecutor(3) as pool:
        following = [pool.submit(follow, search_id) for search_id in ids[:3]]
        for search_id in ids:
            ledger.delete_search(search_id)
        for each in following:
            each.result(60)
    assert _rows(ledger) == {}


# ------------------------------------------------------------------------------------------------- an older ledger


def _alembic(url: str, revision: str) -> None:
    from alembic import command
    from alembic.config import Config

    from evolve.ledger import migrations

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    engine = _engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        older = connection.dialect.has_table(connection, "searches")
        (command.downgrade if older else command.upgrade)(config, revision)
    engine.dispose()


def _engine(url: str) -> Engine:
    return create_engine(url.replace("postgresql:", "postgresql+psycopg:"))


def test_ledger_of_the_version_before_is_brought_up_to_date(ledger_url: str) -> None:
    _alembic(ledger_url, "0002")
    engine = _engine(ledger_url)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO searches (id, name, state, reason, lease_token, last_event, created_at, evaluated,"
                " trained, failed, gpu_seconds, trial_seconds, objective, directory, data_hash, document, options,"
                " environment) VALUES ('old', 'helmets', 'interrupted', '', 1, 0, 1e9, 0, 0, 0, 0, 0, 'yolo12',"
                " '/runs', '', '{}', '{}', '{}')"
            )
        )
    with Ledger(ledger_url) as ledger:
        old = ledger.search("old")
        assert (old.managed, old.priority, old.allotment, old.submitted_by) == (False, 0, None, None)
        assert ledger.queue() == []
        lease = ledger.acquire("old")
        with lease.transaction() as writing:
            live(writing, "old", 0)
        assert ledger.individual_page("old")[0][0].state is TrialState.COMPLETED
    _alembic(ledger_url, "0002")
    assert "api_keys" not in inspect(engine).get_table_names()
    engine.dispose()
    with Ledger(ledger_url) as ledger:
        assert ledger.search("old").best_fitness == 0.5


def test_an_unset_priority_is_the_usual_one(ledger: Ledger) -> None:
    """Searches of the command line have no service behind them."""
    create(ledger)
    with ledger._database.reading() as connection:
        row = connection.execute(select(searches_table.c.managed, searches_table.c.priority)).one()
    assert tuple(row) == (False, 0)


# --------------------------------------------------------------------------------------------- one writer at a time


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_child_that_is_forked_while_a_thread_is_about_to_write_has_its_own_turn(ledger: Ledger) -> None:
    search_id = create(ledger).id
    with ledger._database._turn():
        child = os.fork()
        if child == 0:
            status = 1
            try:
                began = time.monotonic()
                ledger.advance("child", search_id, 1)
                status = 0 if time.monotonic() - began < LOCK_SECONDS / 2 else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ledger.cursor("child", search_id) == 1


def test_many_threads_that_write_all_get_their_turn(ledger: Ledger) -> None:
    ids = [create(ledger).id for _ in range(4)]

    def write(number: int) -> float:
        longest = 0.0
        for sequence in range(1, 11):
            began = time.monotonic()
            ledger.advance(f"observer-{number}", ids[number % 4], sequence)
            longest = max(longest, time.monotonic() - began)
        return longest

    with ThreadPoolExecutor(24) as pool:
        longest = max(pool.map(write, range(24)))
    assert longest < LOCK_SECONDS / 2  # 0.2 s when nothing else runs
    assert {ledger.cursor(f"observer-{n}", ids[n % 4]) for n in range(24)} == {10}
