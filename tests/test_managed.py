"""What a driver of a service does: prepare, record what it found, follow the workers that it is granted."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolve.compose import Prepared, RunOptions
from evolve.compose.managed import drive_managed
from evolve.dispatch import InlineDispatcher
from evolve.exceptions import DataError, LeaseHeld, PoolUnavailable
from evolve.keeper import LeaseKeeper
from evolve.ledger import EventKind, Request, SearchState
from evolve.logs import trim
from evolve.runner import Ending
from evolve.space import SearchSpace
from evolve.trial import TrialSpec
from search_helpers import make_runner
from supervision import Site, site
from workers.synthetic import SyntheticObjective

INLINE = RunOptions(inline=True)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setitem(sys.modules, "mlflow", None)  # cannot be imported
    with site(tmp_path) as opened:
        yield opened


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Preparations find pretrained weights once, and none ever after; notes which weights each was asked for."""
    asked: list[str] = []

    def prepare(space: SearchSpace, *rest: object) -> Prepared:
        asked.append(space.weights)
        if space.weights == "auto" and len(asked) == 1:
            return Prepared(data_hash="d1", weights="/found/yolo12n.pt", notes=("weights were found",))
        return Prepared(data_hash="d1", weights=space.weights)

    monkeypatch.setattr("evolve.compose.preparation.prepare", prepare)
    return asked


def drive(home: Site, search: str, pool: RunOptions = INLINE) -> Ending | None:
    return drive_managed(home.ledger, search, home.settings, pool)


def test_what_a_first_preparation_found_is_recorded_and_used_again(home: Site, prepared: list[str]) -> None:
    search = home.submit(weights="auto")
    with pytest.raises(PoolUnavailable, match="--ray-address"):
        drive(home, search, RunOptions(ray_address="nowhere"))
    record = home.search(search)
    assert record.data_hash == "d1"
    assert record.options["weights"] == "/found/yolo12n.pt"
    assert record.options["notes"] == ["weights were found"]
    assert record.environment["python"]
    assert record.state is SearchState.INTERRUPTED
    assert record.reason.startswith("the driver failed: PoolUnavailable: --ray-address: must be")
    assert drive(home, search) == Ending(SearchState.COMPLETED, "1 generation is complete")
    assert prepared == ["auto", "/found/yolo12n.pt"]
    again = home.search(search)
    assert again.options == record.options, "notes of the first preparation stay"
    notices = home.ledger.events(search, kinds=[EventKind.NOTICE])
    assert [event.data["message"] for event in notices] == ["weights were found"]


def test_notes_of_the_submission_stay(home: Site, prepared: list[str]) -> None:
    search = home.submit(weights="auto", notes=("begins with what another found",))
    drive(home, search)
    expected = ["begins with what another found", "weights were found"]
    assert home.search(search).options["notes"] == expected
    notices = home.ledger.events(search, kinds=[EventKind.NOTICE])
    assert [event.data["message"] for event in notices] == expected


def test_data_that_changed_since_the_first_preparation_end_the_search(home: Site, prepared: list[str]) -> None:
    search = home.submit(data_hash="another")
    ending = drive(home, search)
    assert ending is not None
    assert ending.state is home.search(search).state is SearchState.FAILED
    assert "the data changed" in ending.reason


def test_data_that_cannot_be_used_end_the_search(home: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(*rest: object) -> Prepared:
        raise DataError("data.yaml: broken; mend it")

    monkeypatch.setattr("evolve.compose.preparation.prepare", prepare)
    search = home.submit()
    assert drive(home, search) == Ending(SearchState.FAILED, "cannot be trained: data.yaml: broken; mend it")
    assert drive(home, search) is None, "and it is not tried again"


def test_a_search_is_cancelled_while_it_is_prepared(home: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    search = home.submit()

    def prepare(*rest: object) -> Prepared:
        home.ledger.ask_driver(search, Request.CANCEL)
        for _ in range(600):
            time.sleep(0.1)
        raise AssertionError("it was left to wait")

    monkeypatch.setattr("evolve.compose.preparation.prepare", prepare)
    began = time.monotonic()
    assert drive(home, search) == Ending(SearchState.CANCELLED, "cancelled on request")
    assert time.monotonic() - began < 20
    assert home.search(search).state is SearchState.CANCELLED


def test_a_search_that_is_driven_or_over_is_left_alone(home: Site) -> None:
    search = home.submit()
    lease = home.ledger.acquire(search)
    with pytest.raises(LeaseHeld):
        drive(home, search)
    lease.release(SearchState.CANCELLED)
    assert drive(home, search) is None


class Wide(InlineDispatcher):
    """As many slots as it is told to have, although it trains one by one."""

    def __init__(self) -> None:
        super().__init__(SyntheticObjective())
        self.sizes: list[int] = []

    def resize(self, slots: int) -> None:
        self.sizes.append(slots)
        self.slots = slots


def test_a_runner_trains_as_many_at_once_as_it_is_granted(home: Site) -> None:
    search = home.submit(generations=20, population=4, delay=0.02)
    dispatcher = Wide()
    most = 0

    class Watching(SyntheticObjective):
        def run(self, spec: TrialSpec):  # type: ignore[no-untyped-def]
            nonlocal most
            most = max(most, len(home.ledger.running(search)))
            if spec.individual == 20:
                home.ledger.allot(search, 3)
                time.sleep(0.2)  # the lease is renewed meanwhile
            return (yield from super().run(spec))

    dispatcher._objective = Watching()
    home.ledger.allot(search, 2)
    with LeaseKeeper(home.ledger.acquire(search), interval=0.05) as keeper:
        runner = make_runner(home.ledger, home.search(search), keeper, dispatcher=dispatcher, allotted=True)
        assert runner.run().state is SearchState.COMPLETED
    assert dispatcher.sizes == [2, 3]
    assert most == 3


def test_a_runner_that_is_long_without_workers_makes_room(home: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evolve.runner.IDLE_SECONDS", 1.0)
    monkeypatch.setattr("evolve.runner.POLL_SECONDS", 0.05)
    search = home.submit()
    home.ledger.allot(search, 0)
    began = time.monotonic()
    with LeaseKeeper(home.ledger.acquire(search), interval=0.05) as keeper:
        runner = make_runner(home.ledger, home.search(search), keeper, allotted=True)
        assert runner.run() == Ending(SearchState.INTERRUPTED, "waits for workers")
    assert time.monotonic() - began > 1.0
    assert home.search(search).evaluated == 0
    with LeaseKeeper(home.ledger.acquire(search), interval=0.05) as keeper:
        runner = make_runner(home.ledger, home.search(search), keeper)
        assert runner.run().state is SearchState.COMPLETED, "from the command line, nobody rations workers"


def test_a_log_keeps_whole_lines_of_its_end(tmp_path: Path) -> None:
    path = tmp_path / "driver.log"
    lines = [f"line {number}\n" for number in range(10_000)]
    path.write_text("".join(lines))
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
    try:
        trim(descriptor, most=10**6, kept=100)
        assert path.stat().st_size == len("".join(lines))
        trim(descriptor, most=1000, kept=100)
        os.write(descriptor, b"more\n")
    finally:
        os.close(descriptor)
    kept = path.read_text().splitlines(keepends=True)
    assert kept[0] == "[...]\n"
    assert kept[1:-1] == lines[-len(kept) + 2 :]
    assert kept[-1] == "more\n"
    assert path.stat().st_size < 150
