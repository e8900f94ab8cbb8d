"""One contract over both databases: what is written is what is read, whole or not at all."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, event, text

from evolve.exceptions import LedgerError, SearchNotFound
from evolve.ledger import EventKind, Lease, Ledger, Request, SearchState, Transaction
from evolve.ledger.dialect import encode_json
from evolve.ledger.models import metadata
from evolve.ledger.schema import HEAD, REVISIONS
from evolve.trial import EpochReport, Failure, FailureKind, Role, TrialResult, TrialState
from ledger_fixtures import (
    METRIC,
    assert_consistent,
    attempt_of,
    begin,
    create,
    live,
    newborn,
    report,
    result,
)

FIXTURES = str(Path(__file__).with_name("ledger_fixtures.py"))


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    with Ledger(ledger_url) as opened:
        yield opened


@pytest.fixture
def lease(ledger: Ledger) -> Lease:
    return ledger.acquire(create(ledger).id)


def _kinds(ledger: Ledger, search_id: str) -> list[EventKind]:
    return [event.kind for event in ledger.events(search_id)]


def _engine(url: str) -> Engine:
    return create_engine(url.replace("postgresql:", "postgresql+psycopg:"))


def _live_and_raise(writing: Transaction, search_id: str, number: int) -> None:
    live(writing, search_id, number, fitness=0.9)
    raise ZeroDivisionError


# ---------------------------------------------------------------------------------------------------- searches


def test_new_search_reads_back(ledger: Ledger) -> None:
    made = create(ledger)
    assert ledger.search(made.id) == made
    assert len(made.id) == 8
    assert int(made.id, 16) >= 0
    assert made.state is SearchState.CREATED
    assert made.document == {"genes": {"lr0": {"low": 1e-5, "high": 0.1}}}
    assert (made.evaluated, made.gpu_seconds, made.best_fitness, made.owner) == (0, 0.0, None, None)
    assert abs(made.created_at - time.time()) < 60
    event = ledger.events(made.id)[0]
    assert (event.sequence, event.kind, event.data) == (1, EventKind.SEARCH_CREATED, {"name": "helmets"})


def test_search_is_found_by_id_then_newest_name_then_prefix(ledger: Ledger) -> None:
    first = create(ledger, "a", search_id="abcd1234")
    create(ledger, "a", search_id="abcd9999")
    newest = create(ledger, "a", search_id="00000001")
    clash = create(ledger, "abcd9999")
    assert ledger.search("abcd1") == first
    assert ledger.search("a") == newest
    assert ledger.search("abcd9999").id == "abcd9999"
    assert ledger.search(clash.id).name == "abcd9999"
    like_an_id = create(ledger, "abcd1")
    assert ledger.search("abcd1") == like_an_id
    assert ledger.search("abcd12") == first


@pytest.mark.parametrize("ref", ["abc", "abcd", "zzzzzz", "", "ab%", "____", "\x00", "ABCD123\ud800"])
def test_unknown_or_ambiguous_search_names_the_remedy(ledger: Ledger, ref: str) -> None:
    create(ledger, "a", search_id="abcd1234")
    create(ledger, "a", search_id="abcd9999")
    with pytest.raises(SearchNotFound, match="evolve list"):
        ledger.search(ref)


def test_lists_are_newest_first_and_filtered(ledger: Ledger) -> None:
    made = [create(ledger, name) for name in ("a", "b", "a", "c")]
    ids = [search.id for search in made]
    ledger.acquire(ids[2]).release(SearchState.FAILED, "no data")
    assert [search.id for search in ledger.searches()] == ids[::-1]
    assert [search.id for search in ledger.searches(limit=2, offset=1)] == [ids[2], ids[1]]
    assert [search.id for search in ledger.searches(name="a")] == [ids[2], ids[0]]
    assert [search.id for search in ledger.searches(states=[SearchState.FAILED])] == [ids[2]]
    assert ledger.searches(states=[]) == []


def test_taken_id_is_refused(ledger: Ledger) -> None:
    create(ledger, search_id="mine")
    with pytest.raises(LedgerError, match="taken"):
        create(ledger, search_id="mine")


def test_request_waits_for_the_driver_and_ends_with_the_search(ledger: Ledger) -> None:
    search_id = create(ledger).id
    ledger.ask_driver(search_id, Request.PAUSE)
    lease = ledger.acquire(search_id)
    assert lease.renew().request is Request.PAUSE
    ledger.ask_driver(search_id, Request.CANCEL)
    assert lease.renew().request is Request.CANCEL
    lease.release(SearchState.CANCELLED, "asked to")
    assert ledger.search(search_id).request is None
    with pytest.raises(SearchNotFound):
        ledger.ask_driver("nosuchid", Request.PAUSE)


# -------------------------------------------------------------------------------------------------- a search's life


def test_whole_life_reads_back(ledger: Ledger, lease: Lease) -> None:
    search_id = lease.search_id
    with lease.transaction() as writing:
        writing.start(resumed=False)
        begin(writing, search_id, 0)
        writing.reported(0, 1, report(1, 0.25))
        writing.reported(0, 1, report(2, 0.5))
        writing.completed(0, 1, result())
        told = writing.evaluated(0, state=TrialState.COMPLETED, fitness=0.5, metrics={METRIC: 0.5})
        writing.generation_finished(0, {"mean": 0.5})
        writing.notice("the disk is nearly full")
    assert told == 0

    individual = ledger.individuals(search_id)[0]
    born = newborn(search_id, 0)
    assert (individual.genome, individual.params, individual.origins) == (
        born.genome,
        born.params,
        born.origins,
    )
    assert (individual.told, individual.state, individual.fitness, individual.attempts) == (
        0,
        TrialState.COMPLETED,
        0.5,
        1,
    )
    evaluation = ledger.evaluations(search_id, 0)[0]
    assert evaluation.requested == {"epochs": 3, "imgsz": 64, "lr0": 0.01}
    assert evaluation.differences == {"batch": [16, 8]}
    assert (evaluation.worker, evaluation.weights, evaluation.seed) == ("host/gpu0", "/runs/best.pt", 7)
    assert (evaluation.epochs, evaluation.epochs_trained) == (3, 3)
    assert evaluation.notes == ("no pretrained weights",)
    assert [(epoch.epoch, epoch.metrics[METRIC]) for epoch in ledger.epochs(search_id, 0)] == [
        (1, 0.25),
        (2, 0.5),
    ]
    assert _kinds(ledger, search_id) == [
        EventKind.SEARCH_CREATED,
        EventKind.SEARCH_STARTED,
        EventKind.INDIVIDUAL_PROPOSED,
        EventKind.TRIAL_STARTED,
        EventKind.EPOCH_REPORTED,
        EventKind.EPOCH_REPORTED,
        EventKind.TRIAL_COMPLETED,
        EventKind.INDIVIDUAL_EVALUATED,
        EventKind.NEW_BEST,
        EventKind.GENERATION_FINISHED,
        EventKind.NOTICE,
    ]
    assert ledger.events(search_id)[9].data == {"generation": 0, "mean": 0.5}
    search = ledger.search(search_id)
    assert (search.trained, search.trial_seconds, search.gpu_seconds) == (1, 4.0, 2.0)
    assert search.default_fitness == 0.5
    assert_consistent(ledger, search_id)


def test_states_of_a_search(ledger: Ledger, lease: Lease) -> None:
    def state() -> tuple[SearchState, str]:
        search = ledger.search(lease.search_id)
        return search.state, search.reason

    with lease.transaction() as writing:
        writing.start(resumed=False)
    started = ledger.search(lease.search_id).started_at
    with lease.transaction() as writing:
        writing.pause("disk nearly full")
    assert state() == (SearchState.PAUSED, "disk nearly full")
    with lease.transaction() as writing:
        writing.unpause("room again")
    assert state() == (SearchState.RUNNING, "")
    lease.release(SearchState.FAILED, "the same error 5 times")
    assert state() == (SearchState.FAILED, "the same error 5 times")
    assert ledger.search(lease.search_id).finished_at is not None

    again = ledger.acquire(lease.search_id)
    with again.transaction() as writing:
        writing.start(resumed=True)
    search = ledger.search(lease.search_id)
    assert (search.started_at, search.finished_at, search.state) == (started, None, SearchState.RUNNING)
    again.release(SearchState.INTERRUPTED, "SIGTERM")
    assert ledger.search(lease.search_id).finished_at is None
    assert _kinds(ledger, lease.search_id).count(EventKind.SEARCH_FINISHED) == 2


def test_retry_after_failure(ledger: Ledger, lease: Lease) -> None:
    search_id = lease.search_id
    with lease.transaction() as writing:
        begin(writing, search_id, 0)
        writing.reported(0, 1, report(2, seconds=5.0))
    with lease.transaction() as writing:
        failure = Failure(FailureKind.INFRASTRUCTURE, "node lost \x00\ud800", details="trace\x00")
        writing.failed(0, 1, failure, retry=True, gpus=0.5)
        begin(writing, search_id, 0, attempt=2)
        writing.interrupted(0, 2)
        begin(writing, search_id, 0, attempt=3)
        writing.stopped(0, 3)
    failed, interrupted, stopped = ledger.evaluations(search_id)
    assert (failed.state, failed.failure, failed.epochs_trained) == (
        TrialState.FAILED,
        FailureKind.INFRASTRUCTURE,
        2,
    )
    assert failed.failure_message.startswith("node lost ")
    assert (failed.seconds, failed.gpu_seconds) == (5.0, 2.5)
    assert (interrupted.state, interrupted.seconds) == (TrialState.INTERRUPTED, 0.0)
    assert stopped.state is TrialState.STOPPED
    individual = ledger.individuals(search_id)[0]
    assert (individual.state, individual.attempts, individual.told) == (TrialState.STOPPED, 3, None)
    assert ledger.search(search_id).failed == 1
    assert_consistent(ledger, search_id)


def test_time_of_a_failure_counts_without_any_report(ledger: Ledger, lease: Lease) -> None:
    with lease.transaction() as writing:
        begin(writing, lease.search_id, 0)
    time.sleep(0.05)
    with lease.transaction() as writing:
        writing.failed(0, 1, Failure(FailureKind.HANG, "no report"), retry=False, gpus=1.0)
    search = ledger.search(lease.search_id)
    assert 0.04 < search.trial_seconds < 60
    assert search.gpu_seconds == search.trial_seconds


def test_only_a_completed_individual_can_be_the_best(ledger: Ledger, lease: Lease) -> None:
    verdicts = [
        (TrialState.COMPLETED, 0.4),
        (TrialState.STOPPED, 0.9),
        (TrialState.FAILED, None),
        (TrialState.COMPLETED, 0.4),
        (TrialState.COMPLETED, 0.6),
    ]
    with lease.transaction() as writing:
        for number, (state, fitness) in enumerate(verdicts):
            writing.propose(newborn(lease.search_id, number))
            assert writing.evaluated(number, state=state, fitness=fitness) == number
    search = ledger.search(lease.search_id)
    assert (search.best_individual, search.best_fitness, search.default_fitness) == (4, 0.6, 0.4)
    best = [event for event in ledger.events(lease.search_id) if event.kind is EventKind.NEW_BEST]
    assert [(event.individual, event.data) for event in best] == [
        (0, {"fitness": 0.4, "previous": None}),
        (4, {"fitness": 0.6, "previous": 0.4}),
    ]
    assert_consistent(ledger, lease.search_id)


def test_repeats_and_finals_are_no_new_best_and_the_default_has_the_mean_of_its_repeats(
    ledger: Ledger, lease: Lease
) -> None:
    lives = [(0, Role.SEARCH, None, 0.4), (1, Role.SEARCH, None, 0.5), (2, Role.REPEAT, 0, 0.6),
             (3, Role.REPEAT, 1, 0.9), (4, Role.FINAL, 0, 0.95), (5, Role.CONTINUATION, 1, 0.7)]  # fmt: skip
    with lease.transaction() as writing:
        for number, role, original, fitness in lives:
            writing.propose(replace(newborn(lease.search_id, number), role=role, original=original))
            writing.evaluated(number, state=TrialState.COMPLETED, fitness=fitness, role=role, original=original)
    search = ledger.search(lease.search_id)
    assert (search.best_individual, search.best_fitness, search.default_fitness) == (5, 0.7, 0.5)


def test_the_default_may_have_been_continued(ledger: Ledger, lease: Lease) -> None:
    lives = [(0, Role.SEARCH, None, None), (1, Role.SEARCH, None, 0.5), (2, Role.CONTINUATION, 0, None),
             (3, Role.CONTINUATION, 2, 0.4), (4, Role.REPEAT, 3, 0.6), (5, Role.REPEAT, 1, 0.9)]  # fmt: skip
    with lease.transaction() as writing:
        for number, role, original, fitness in lives:
            state = TrialState.STOPPED if fitness is None else TrialState.COMPLETED
            writing.propose(replace(newborn(lease.search_id, number), role=role, original=original))
            writing.evaluated(number, state=state, fitness=fitness, role=role, original=original)
    search = ledger.search(lease.search_id)
    assert (search.best_individual, search.default_fitness) == (1, 0.5)


def test_an_answer_is_written_with_the_end_or_not_at_all(ledger: Ledger, lease: Lease) -> None:
    def conclude(writing: Transaction) -> None:
        writing.answer({"winner": 3})
        writing.crown(7, 0.6, 0.4)

    def conclude_and_fail(writing: Transaction) -> None:
        conclude(writing)
        raise RuntimeError

    with lease.transaction() as writing:
        writing.begin_finals("2 generations are complete", 4)
    with pytest.raises(RuntimeError):
        lease.release(SearchState.COMPLETED, "done", conclude_and_fail)
    assert ledger.search(lease.search_id).answer is None
    lease.release(SearchState.COMPLETED, "done", conclude)
    search = ledger.search(lease.search_id)
    assert (search.state, search.answer) == (SearchState.COMPLETED, {"winner": 3})
    assert (search.best_individual, search.best_fitness, search.default_fitness) == (7, 0.6, 0.4)
    events = ledger.events(lease.search_id)[-2:]
    assert [each.kind for each in events] == [EventKind.FINALS_STARTED, EventKind.SEARCH_FINISHED]
    assert events[0].data == {"reason": "2 generations are complete", "trainings": 4}


def test_verdict_is_final_and_needs_an_individual(ledger: Ledger, lease: Lease) -> None:
    with lease.transaction() as writing:
        live(writing, lease.search_id, 0)
    for number in (0, 1):
        with pytest.raises(LedgerError, match="verdict"), lease.transaction() as writing:
            writing.evaluated(number, state=TrialState.COMPLETED, fitness=0.9)
    with pytest.raises(ValueError, match="finite"), lease.transaction() as writing:
        writing.evaluated(0, state=TrialState.COMPLETED, fitness=math.nan)
    assert_consistent(ledger, lease.search_id)


def test_finished_attempt_stays_finished(ledger: Ledger, lease: Lease) -> None:
    with lease.transaction() as writing:
        begin(writing, lease.search_id, 0)
        writing.completed(0, 1, result())
    with pytest.raises(LedgerError, match="finished"), lease.transaction() as writing:
        writing.stopped(0, 1)
    with pytest.raises(LedgerError, match=r"0\.2 is unknown"), lease.transaction() as writing:
        writing.completed(0, 2, result())
    assert ledger.search(lease.search_id).trained == 1
    assert_consistent(ledger, lease.search_id)


def test_lease_writes_to_its_own_search_only(ledger: Ledger, lease: Lease) -> None:
    other = create(ledger).id
    with pytest.raises(LedgerError, match="cannot write"), lease.transaction() as writing:
        writing.propose(newborn(other, 0))
    with pytest.raises(LedgerError, match="cannot write"), lease.transaction() as writing:
        writing.submit(attempt_of(other, 0))


def test_exception_takes_everything_back(ledger: Ledger, lease: Lease) -> None:
    with lease.transaction() as writing:
        live(writing, lease.search_id, 0)
    before = ledger.search(lease.search_id)
    events = ledger.events(lease.search_id)
    with pytest.raises(ZeroDivisionError), lease.transaction() as writing:
        _live_and_raise(writing, lease.search_id, 1)
    with pytest.raises(LedgerError), lease.transaction() as writing:
        live(writing, lease.search_id, 0)
    assert ledger.search(lease.search_id) == before
    assert ledger.events(lease.search_id) == events
    assert len(ledger.individuals(lease.search_id)) == 1
    with lease.transaction() as writing:
        live(writing, lease.search_id, 1)
    assert_consistent(ledger, lease.search_id)


def test_epoch_trained_again_replaces_its_report(ledger: Ledger, lease: Lease) -> None:
    with lease.transaction() as writing:
        begin(writing, lease.search_id, 0)
        for value in (0.1, math.nan, 0.3):
            writing.reported(0, 1, report(1, value))
    assert [epoch.metrics[METRIC] for epoch in ledger.epochs(lease.search_id)] == [0.3]
    assert _kinds(ledger, lease.search_id).count(EventKind.EPOCH_REPORTED) == 3


def test_numbers_that_json_lacks_survive(ledger: Ledger, ledger_url: str, lease: Lease) -> None:
    odd = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf, "one": 1.0}
    with lease.transaction() as writing:
        begin(writing, lease.search_id, 0)
        writing.reported(0, 1, EpochReport(1, 3, odd, 1.0))
        writing.completed(0, 1, TrialResult(odd, effective={"lr0": math.nan}))
        writing.evaluated(0, state=TrialState.FAILED, fitness=None, metrics=odd)
    for metrics in (
        ledger.epochs(lease.search_id)[0].metrics,
        ledger.evaluations(lease.search_id)[0].metrics,
        ledger.history(lease.search_id)[0].metrics,
    ):
        assert math.isnan(metrics["nan"])
        assert (metrics["inf"], metrics["-inf"], metrics["one"]) == (math.inf, -math.inf, 1.0)
    assert ledger.evaluations(lease.search_id)[0].effective == {"lr0": "nan"}
    reported = next(e for e in ledger.events(lease.search_id) if e.kind is EventKind.EPOCH_REPORTED)
    assert reported.data["metrics"] == {"nan": "nan", "inf": "inf", "-inf": "-inf", "one": 1.0}
    engine = _engine(ledger_url)
    with engine.connect() as connection:
        raw = connection.execute(text("SELECT CAST(metrics AS text) FROM epochs")).scalar_one()
    engine.dispose()
    assert json.loads(raw, parse_constant=pytest.fail)["nan"] == "nan"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    )
)
def test_every_document_becomes_valid_json(value: object) -> None:
    assert json.loads(encode_json(value), parse_constant=pytest.fail) is not ...


def test_individuals_by_number_generation_and_page(ledger: Ledger, lease: Lease) -> None:
    with lease.transaction() as writing:
        for number in range(10):
            writing.propose(newborn(lease.search_id, number, generation=number // 4))
        for number in (7, 2, 5):
            writing.evaluated(number, state=TrialState.COMPLETED, fitness=number / 10)

    def numbers(**filters: object) -> list[int]:
        return [individual.number for individual in ledger.individuals(lease.search_id, **filters)]

    assert numbers() == list(range(10))
    assert numbers(generation=1) == [4, 5, 6, 7]
    assert numbers(numbers={9, 3, 77}) == [3, 9]
    assert numbers(numbers=()) == []
    assert numbers(limit=3, offset=2) == [2, 3, 4]
    assert numbers(offset=8) == [8, 9]
    assert [individual.number for individual in ledger.history(lease.search_id)] == [7, 2, 5]


# ---------------------------------------------------------------------------------------------- events and cursors


def test_events_in_pages(ledger: Ledger, lease: Lease) -> None:
    with lease.transaction() as writing:
        for number in range(20):
            writing.notice(f"{number}")
    assert [event.sequence for event in ledger.events(lease.search_id, after=5, limit=4)] == [6, 7, 8, 9]
    assert ledger.events(lease.search_id, after=21) == []
    times = [event.at for event in ledger.events(lease.search_id)]
    assert times == sorted(times)


def test_time_without_a_driver_is_not_active(ledger: Ledger) -> None:
    search_id = create(ledger).id
    assert ledger.active_seconds(search_id) == 0.0
    for resumed in (False, True):
        time.sleep(0.2)
        lease = ledger.acquire(search_id)
        with lease.transaction() as writing:
            writing.start(resumed=resumed)
        lease.release(SearchState.INTERRUPTED)
    begun = ledger.search(search_id).started_at
    whole = ledger.events(search_id)[-1].at - begun
    assert 0.0 < ledger.active_seconds(search_id) <= whole - 0.2


def test_cursor_never_goes_back(ledger: Ledger) -> None:
    search_id = create(ledger).id
    assert ledger.cursor("mlflow", search_id) == 0
    for sequence, expected in ((5, 5), (3, 5), (9, 9)):
        ledger.advance("mlflow", search_id, sequence)
        assert ledger.cursor("mlflow", search_id) == expected
    assert ledger.cursor("webhook", search_id) == 0


# ------------------------------------------------------------------------------------- threads, forks and processes


def test_threads_read_while_the_driver_writes(ledger: Ledger, lease: Lease) -> None:
    search_id = lease.search_id

    def follow() -> int:
        seen, deadline = 0, time.monotonic() + 60
        while seen < 61 and time.monotonic() < deadline:
            for each in ledger.events(search_id, after=seen):
                assert each.sequence == seen + 1
                seen = each.sequence
            ledger.advance("follower", search_id, seen)
        return seen

    with ThreadPoolExecutor(3) as pool:
        followers = [pool.submit(follow) for _ in range(3)]
        for number in range(10):
            with lease.transaction() as writing:
                live(writing, search_id, number, fitness=1.0 - number / 10)
        with lease.transaction() as writing:
            for number in range(9):
                writing.notice(f"{number}")
        assert [follower.result() for follower in followers] == [61, 61, 61]
    assert_consistent(ledger, search_id)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_child_uses_connections_of_its_own(ledger: Ledger, lease: Lease) -> None:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            ledger.advance("child", lease.search_id, 5)
            status = 0 if ledger.cursor("child", lease.search_id) == 5 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with lease.transaction() as writing:
        live(writing, lease.search_id, 0)
    assert ledger.cursor("child", lease.search_id) == 5
    assert_consistent(ledger, lease.search_id)


def test_four_processes_open_a_new_ledger_at_once(ledger_url: str) -> None:
    command = [sys.executable, FIXTURES, "open", ledger_url]
    children = [
        subprocess.Popen([*command, f"search-{n}"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for n in range(4)
    ]
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    complaints = [child.communicate(timeout=120)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0, 0], complaints
    with Ledger(ledger_url) as ledger:
        assert {search.name for search in ledger.searches()} == {f"search-{n}" for n in range(4)}


# ------------------------------------------------------------------------------------------------------ the schema


def test_migrations_make_the_tables_that_the_code_uses(ledger: Ledger, ledger_url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = _engine(ledger_url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_known_revisions_are_those_on_disk() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    from evolve.ledger import migrations

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [HEAD]
    assert sorted(revision.revision for revision in script.walk_revisions()) == sorted(REVISIONS)


def test_newer_database_is_refused(ledger_url: str) -> None:
    Ledger(ledger_url).close()
    engine = _engine(ledger_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(LedgerError, match="got 9999; a newer version of evolve wrote it"):
        Ledger(ledger_url)


def test_somebody_elses_database_is_refused(ledger_url: str) -> None:
    engine = _engine(ledger_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE searches (id integer)"))
    engine.dispose()
    with pytest.raises(LedgerError, match="not a ledger"):
        Ledger(ledger_url)


def test_known_ledger_opens_quickly_and_without_alembic(ledger_url: str) -> None:
    Ledger(ledger_url).close()
    code = (
        "import sys, time; from evolve.ledger import Ledger; Ledger(sys.argv[1]).close();"
        "t = time.perf_counter(); Ledger(sys.argv[1]).close(); print(time.perf_counter() - t);"
        "assert 'alembic' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, ledger_url], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.5  # 0.002 s on SQLite and 0.02 s on PostgreSQL when nothing else runs


def test_no_statement_scans_or_sorts_a_table(tmp_path: Path) -> None:
    """What an evaluation costs must not grow with the number of evaluations before it."""
    statements: dict[str, object] = {}

    def note(connection: object, cursor: object, statement: str, parameters: object, *rest: object) -> None:
        statements[statement] = parameters

    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        event.listen(ledger._database.engine, "before_cursor_execute", note)
        search_id = create(ledger).id
        lease = ledger.acquire(search_id)
        lease.renew()
        with lease.transaction() as writing:
            writing.start(resumed=False)
            live(writing, search_id, 0)
            begin(writing, search_id, 1)
            writing.stopped(1, 1)
        ledger.individuals(search_id, generation=1)
        ledger.individuals(search_id, numbers=[1, 2])
        ledger.individuals(search_id, limit=5)
        ledger.history(search_id)
        ledger.evaluations(search_id, 0)
        ledger.epochs(search_id, 0)
        ledger.events(search_id, after=3)
        ledger.advance("mlflow", search_id, 2)
        ledger.cursor("mlflow", search_id)
        ledger.search(search_id)
        ledger.searches(name="helmets")
        lease.release(SearchState.COMPLETED)
        plans = {
            (statement, row[3])
            for statement, parameters in list(statements.items())
            if not statement.startswith(("BEGIN", "INSERT"))
            for row in _explain(tmp_path / "ledger.db", statement, parameters)
            if row[3] != "SCAN CONSTANT ROW"  # a SELECT without a table
        }
    assert len(plans) >= 15
    assert [plan for plan in plans if "SCAN" in plan[1] or "TEMP B-TREE" in plan[1]] == []


def _explain(path: Path, statement: str, parameters: object) -> list[tuple[int, int, int, str]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
    finally:
        connection.close()


# ------------------------------------------------------------------------------------------------------- bad input


def _one_line(url: str) -> str:
    with pytest.raises(LedgerError) as caught:
        Ledger(url)
    message = str(caught.value)
    assert "\n" not in message
    assert "EVOLVE_DATABASE_URL" in message
    assert "secret" not in message
    return message


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("not a url", "not a database URL"),
        ("postgresql://me:secret@host:port/x", "not a database URL"),
        ("mysql://me:secret@host/x", "got mysql"),
        ("sqlite://", "a file must be named"),
        ("sqlite:///:memory:", "a file must be named"),
        ("postgresql://me:secret@127.0.0.1:1/x?password=secret", "refused"),
    ],
)
def test_unusable_url(url: str, says: str) -> None:
    assert says in _one_line(url)


def test_unusable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in _one_line(f"sqlite:///{tmp_path}/file/ledger.db")
    assert "unable to open" in _one_line(f"sqlite:///{tmp_path}")


def test_corrupt_database(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no database" * 1000)
    assert "not a database" in _one_line(f"sqlite:///{tmp_path}/ledger.db")


def test_locked_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db?timeout=0.1"
    with Ledger(url) as ledger:
        blocker = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match=r"database is locked; .*EVOLVE_DATABASE_URL"):
            create(ledger)
        assert ledger.searches() == []  # readers never wait
        blocker.execute("ROLLBACK")
        blocker.close()
        create(ledger)


def test_missing_folder_is_created(tmp_path: Path) -> None:
    with Ledger(f"sqlite:///{tmp_path}/deep/er/ledger.db") as ledger:
        create(ledger)
    assert (tmp_path / "deep/er/ledger.db").exists()


def test_sqlite_syncs_every_commit(tmp_path: Path) -> None:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger, ledger._database.reading() as connection:
        pragmas = ("journal_mode", "synchronous", "foreign_keys")
        values = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas]
    assert values == ["wal", 2, 1]


# ------------------------------------------------------------------------------------------------------ any course

_FATES = st.sampled_from(["complete", "fail", "retry", "stop", "interrupt", "leave", "abort"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lives=st.lists(st.tuples(_FATES, st.sampled_from([0.1, 0.2, 0.3])), max_size=8))
def test_totals_equal_a_recount_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, lives: list[tuple[str, float]]
) -> None:
    with Ledger(f"sqlite:///{tmp_path_factory.mktemp('course')}/ledger.db") as ledger:
        lease = ledger.acquire(create(ledger).id)
        number = 0
        for fate, fitness in lives:
            try:
                with lease.transaction() as writing:
                    _suffer(writing, lease.search_id, number, fate, fitness)
                number += 1
            except InterruptedError:
                pass
        assert len(ledger.individuals(lease.search_id)) == number
        assert_consistent(ledger, lease.search_id)


def _suffer(writing: Transaction, search_id: str, number: int, fate: str, fitness: float) -> None:
    begin(writing, search_id, number)
    writing.reported(number, 1, report(1))
    failure = Failure(FailureKind.DIVERGED, "loss is NaN", epoch=1)
    if fate == "complete":
        writing.completed(number, 1, result(fitness))
        writing.evaluated(number, state=TrialState.COMPLETED, fitness=fitness)
    elif fate == "stop":
        writing.stopped(number, 1)
        writing.evaluated(number, state=TrialState.STOPPED, fitness=fitness)
    elif fate == "interrupt":
        writing.interrupted(number, 1)
    elif fate in ("fail", "retry"):
        writing.failed(number, 1, failure, retry=fate == "retry")
        if fate == "retry":
            begin(writing, search_id, number, attempt=2)
            writing.completed(number, 2, result(fitness))
        state = TrialState.COMPLETED if fate == "retry" else TrialState.FAILED
        writing.evaluated(number, state=state, fitness=fitness if fate == "retry" else None)
    elif fate == "abort":
        raise InterruptedError
