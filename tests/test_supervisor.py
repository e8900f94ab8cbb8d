"""The supervisor with real driver processes: who runs, who waits, who is replaced, who is taken over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from api.options import ServiceOptions
from api.supervisor import Supervisor
from api.supervisor.drivers import Driver, Launcher
from api.supervisor.pool import InlinePool
from api.supervisor.tail import last_line
from api.supervisor.troubles import Patience, Troubles
from evolve.ledger import EventKind, Request, SearchState
from evolve.ledger.owner import this_process
from evolve.trial import TrialState
from supervision import BrokenPool, Site, kill, site, wait_for

ENDLESS = 1000
"""Generations of a search that is still running when its test is over, however slow the machine."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as opened:
        yield opened


def test_searches_are_driven_on_either_database(ledger_url: str, tmp_path: Path) -> None:
    with site(tmp_path, ledger_url) as home:
        search = home.submit(generations=4, delay=0.1)
        supervisor = home.supervise()
        home.until_evaluated(search)
        assert supervisor.snapshot().used == 1
        kill(home.pid(search))
        home.until(search, SearchState.COMPLETED)
        assert home.starts(search) == 2


def test_a_higher_priority_takes_the_worker_and_gives_it_back(home: Site) -> None:
    low = home.submit("low", generations=30, delay=0.1)
    supervisor = home.supervise()
    home.until_evaluated(low)
    driver = home.pid(low)
    equal, high = home.submit("equal"), home.submit("high", priority=1, delay=1.0)
    supervisor.poke()
    home.until(high, SearchState.RUNNING)
    assert home.search(low).allotment == 0
    evaluated = home.search(low).evaluated
    home.until(high, SearchState.COMPLETED)
    assert home.search(low).evaluated <= evaluated + 1, "it had no worker"
    home.until_evaluated(low, evaluated + 3)
    assert home.pid(low) == driver
    assert home.starts(low) == 1
    assert home.search(equal).state is SearchState.CREATED, "among equals, who runs goes on"


def test_a_paused_search_makes_room_and_goes_on(home: Site) -> None:
    first = home.submit("first", generations=200, delay=0.1)
    held = home.submit("held")
    home.ledger.ask_driver(held, Request.PAUSE)
    supervisor = home.supervise()
    home.until_evaluated(first)
    assert home.search(held).state is SearchState.CREATED
    home.ledger.ask_driver(first, Request.PAUSE)
    home.ledger.ask_driver(held, None)
    supervisor.poke()
    home.until(first, SearchState.PAUSED)
    home.until(held, SearchState.COMPLETED)
    wait_for(lambda: len(supervisor.snapshot().drivers) == 1)
    (driver,) = supervisor.snapshot().drivers
    assert (driver.search_id, driver.workers) == (first, 0)
    evaluated = home.search(first).evaluated
    home.ledger.ask_driver(first, None)
    home.until_evaluated(first, evaluated + 2)
    assert home.starts(first) == 1


def test_searches_that_run_and_that_wait_are_cancelled(home: Site) -> None:
    running = home.submit("running", generations=500, delay=0.1)
    waiting = home.submit("waiting")
    supervisor = home.supervise()
    home.until_evaluated(running)
    home.ledger.ask_driver(waiting, Request.CANCEL)
    supervisor.poke()
    cancelled = home.until(waiting, SearchState.CANCELLED)
    assert cancelled.reason == "cancelled on request"
    assert cancelled.started_at is None
    home.ledger.ask_driver(running, Request.CANCEL)
    home.until(running, SearchState.CANCELLED)
    wait_for(lambda: supervisor.snapshot().drivers == ())
    assert supervisor.snapshot().used == 0


def test_a_driver_that_ends_is_replaced_and_nothing_finished_is_trained_twice(home: Site) -> None:
    search = home.submit(population=4, generations=4, delay=0.1)
    home.supervise()
    home.until_evaluated(search, 3)
    kill(home.pid(search))
    finished = home.search(search).evaluated
    home.until_evaluated(search, finished + 3)
    os.kill(home.pid(search), signal.SIGTERM)
    record = home.until(search, SearchState.COMPLETED)
    assert home.starts(search) == 3
    assert record.evaluated == 16
    attempts = home.ledger.evaluations(search)
    completed = [each.individual for each in attempts if each.state is TrialState.COMPLETED]
    assert len(completed) == len(set(completed)) == record.trained
    assert {each.individual for each in attempts if each.attempt > 1}.isdisjoint(range(finished))
    ends = home.ledger.events(search, limit=1000, kinds=[EventKind.SEARCH_FINISHED])
    assert [event.data["state"] for event in ends] == ["interrupted", "completed"]


def test_drivers_outlive_their_supervisor_and_are_taken_over(home: Site) -> None:
    searches = [home.submit(f"search {number}", generations=ENDLESS, delay=0.1) for number in range(3)]
    former = home.supervise(workers=3)
    for search in searches:
        home.until_evaluated(search)
    pids = {search: home.pid(search) for search in searches}
    since = {driver.search_id: driver.since for driver in former.snapshot().drivers}
    assert {driver.search_id for driver in former.stop().drivers} == set(searches)
    evaluated = home.search(searches[0]).evaluated
    home.until_evaluated(searches[0], evaluated + 2)
    latter = home.supervise(workers=3)
    wait_for(lambda: len(latter.snapshot().drivers) == 3)
    found = latter.snapshot()
    assert {driver.search_id: driver.pid for driver in found.drivers} == pids
    assert {driver.search_id: driver.since for driver in found.drivers} == since
    assert found.used == 3
    kill(pids[searches[2]])
    wait_for(lambda: home.starts(searches[2]) == 2)
    assert [home.starts(search) for search in searches] == [1, 1, 2]
    assert {search: home.pid(search) for search in searches[:2]} == {
        search: pids[search] for search in searches[:2]
    }


def test_a_driver_that_has_no_lease_yet_is_taken_over_too(home: Site) -> None:
    search = home.submit(generations=ENDLESS, delay=0.1)
    former = home.supervise()
    wait_for(lambda: former.snapshot().drivers)
    former.stop()
    assert not home.search(search).leased, "stopped before the driver was there"
    (driver,) = former.snapshot().drivers
    latter = home.supervise()
    wait_for(lambda: latter.snapshot().drivers)
    assert latter.snapshot().drivers == (driver,)
    home.until_evaluated(search)
    assert home.pid(search) == driver.pid
    assert home.starts(search) == 1


def test_a_driver_that_is_frozen_is_replaced(home: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.supervisor.supervisor.FROZEN_SECONDS", 1.0)
    search = home.submit(generations=ENDLESS, delay=0.1)
    supervisor = Supervisor(home.ledger, home.settings, ServiceOptions(pool="inline"))
    frozen = subprocess.Popen(
        [sys.executable, "-c", HOLD, home.settings.ledger_url, search], stdout=subprocess.PIPE, text=True
    )
    try:
        assert frozen.stdout is not None
        assert frozen.stdout.readline()
        supervisor.look()
        (driver,) = supervisor.snapshot().drivers
        assert driver.pid == frozen.pid
        wait_for(lambda: not home.search(search).leased)
        supervisor.look()
        assert frozen.poll() is None, "it is given time"
        time.sleep(1.1)
        supervisor.look()
        assert frozen.wait(10) == -signal.SIGKILL
        supervisor.start()
        home.until_evaluated(search)
    finally:
        frozen.communicate()
        supervisor.stop()


HOLD = """
import sys, time
from evolve.ledger import Ledger
Ledger(sys.argv[1]).acquire(sys.argv[2], ttl=2.0)
print("held", flush=True)
time.sleep(60)
"""


def test_drivers_that_die_at_once_are_given_up_with_the_reason(home: Site) -> None:
    search = home.submit()
    home.supervise(pool=BrokenPool())
    failed = home.until(search, SearchState.FAILED)
    assert failed.reason.startswith("its driver died 3 times in a row, the last time with: ")
    assert "--nonsense" in failed.reason
    assert home.logs().count("driver started") == 3
    home.ledger.requeue(search)
    home.supervise()
    home.until(search, SearchState.COMPLETED)


def test_a_search_that_cannot_be_trained_fails_with_the_rule_that_it_breaks(home: Site) -> None:
    search = home.submit(objective="no_such_module:train")
    home.supervise()
    failed = home.until(search, SearchState.FAILED)
    assert "no module named 'no_such_module'" in failed.reason
    assert "\n" not in failed.reason
    assert home.logs().count("driver started") == 1


def test_a_pool_that_cannot_be_reached_costs_no_search_its_life(home: Site) -> None:
    pool = InlinePool(1, 0.0, None)
    pool.arguments = ["--ray-address", "127.0.0.1:9"]
    search = home.submit()
    home.supervise(pool=pool, patience=Patience(deaths=1))
    wait_for(lambda: "--ray-address: must be a running Ray cluster" in home.logs())
    wait_for(lambda: home.search(search).owner is None)
    record = home.search(search)
    assert record.state is SearchState.INTERRUPTED
    assert "\n" not in record.reason


class Unready(InlinePool):
    """Is never there."""

    is_ready = False


def test_a_long_queue_is_cheap(home: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1000):
        home.submit(f"search {number}", priority=number % 3)
    read: list[str] = []
    whole = home.ledger.search
    monkeypatch.setattr(home.ledger, "search", lambda ref: read.append(ref) or whole(ref))
    supervisor = Supervisor(home.ledger, home.settings, ServiceOptions(), pool=Unready(4, 0.0, None))
    supervisor.look()
    assert len(read) == 4, "documents of those that get workers, and of no others"
    allotted = [search for search in home.ledger.queue() if search.allotment]
    assert [search.priority for search in allotted] == [2] * 4
    began = time.perf_counter()
    for _ in range(3):
        supervisor.look()
    assert (time.perf_counter() - began) / 3 < 0.5
    assert len(read) == 4
    assert supervisor.snapshot().queued == 1000
    supervisor.stop()


def test_pauses_between_deaths_grow(home: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    search = home.search(home.submit())
    driver = Driver(search.id, this_process(), 0.0, Path("nowhere.log"), started=now)
    troubles = Troubles(Patience(quick_seconds=60, deaths=5, pause_seconds=1))
    assert troubles.may_start(search.id)
    for pause in (1, 2, 4, 8):
        assert troubles.enter(search, driver, -9) is None
        now += pause - 0.1
        assert not troubles.may_start(search.id)
        now += 0.2
        assert troubles.may_start(search.id)
    for _ in range(20):
        assert troubles.enter(search, driver, 69) is None, "the pool is away"
    now += 59
    assert not troubles.may_start(search.id)
    now += 2
    assert troubles.may_start(search.id)
    assert troubles.enter(search, driver, -9) is None, "it lived for long, so the count begins anew"
    reasons = [troubles.enter(search, replace(driver, started=now), -9) for _ in range(4)]
    assert reasons == [None, None, None, "its driver died 5 times in a row, the last time with: killed by signal 9"]


def test_the_last_words_of_a_driver_are_its_own(tmp_path: Path) -> None:
    log = tmp_path / "driver.log"
    log.write_text("evolve: of a former one\n\n")
    start = log.stat().st_size
    assert last_line(log, start) == ""
    with log.open("a") as file:
        file.write("Traceback\n" + "x" * 10_000 + "\nValueError: broken\n \n")
    assert last_line(log, start) == "ValueError: broken"
    assert last_line(tmp_path / "none.log") == ""


@pytest.mark.parametrize("text", ["", "[]", "{", json.dumps({"owner": "elsewhere:1:2@3", "since": 1}), "\x00"])
def test_a_damaged_note_of_a_driver_is_no_driver(home: Site, text: str) -> None:
    search = home.search(home.submit())
    Path(search.directory).mkdir(parents=True)
    Path(search.directory, "driver.json").write_text(text)
    assert Launcher(home.settings).find(search) is None
