"""Pages, sums and queues of the ledger, each against a plain evaluation in Python, over both databases."""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import event, text

from evolve.exceptions import InputError
from evolve.ledger import IndividualRecord, Ledger, SearchRecord, SearchState
from evolve.ledger.pages import INDIVIDUAL_ORDERS, MOST, SEARCH_ORDERS
from evolve.overview import GenerationSummary, failure_counts, generations
from evolve.trial import FailureKind, TrialState
from ledger_bulk import NAMES, fill
from ledger_fixtures import begin, create, newborn

HOSTILE = ("\x00", "\ud800", "%", "'; DROP TABLE searches; --", "x" * 10_000, "")


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    with Ledger(ledger_url) as opened:
        yield opened


def _ids(page: tuple[list[SearchRecord], int]) -> list[str]:
    return [each.id for each in page[0]]


def _by(value: Callable[[Any], Any], *, down: bool) -> Callable[[Any], Any]:
    """A sort key: what has no value last, whichever way the others go."""

    def key(record: Any) -> tuple[bool, Any]:
        found = value(record)
        return (found is None, 0.0 if found is None else -found if down else found)

    return key


# ------------------------------------------------------------------------------------------------ pages of searches


def test_pages_of_searches_are_what_python_filters_and_counts(ledger: Ledger) -> None:
    fill(ledger, 60, 0)
    everything = ledger.searches(limit=1000)
    assert len(everything) == 60
    choices: dict[str, tuple[Any, ...]] = {
        "states": (None, [], [SearchState.CREATED, SearchState.FAILED]),
        "name": (None, NAMES[1], "nobody"),
        "text": (None, "HELM", "<b>", "0%_", "à"),
        "managed": (None, True, False),
        "submitted_by": (None, "bob"),
    }
    seen = Counter[int]()
    for values in itertools.product(*choices.values()):
        filters = dict(zip(choices, values, strict=True))
        expected = [each for each in everything if _wanted(each, **filters)]
        page, count = ledger.search_page(**filters, limit=7, offset=2)
        assert (page, count) == (expected[2:9], len(expected)), filters
        seen[min(count, 3)] += 1
    assert min(seen[0], seen[3]) > 20  # the filters let something through, and hold something back


def _wanted(
    search: SearchRecord,
    states: list[SearchState] | None,
    name: str | None,
    text: str | None,
    managed: bool | None,
    submitted_by: str | None,
) -> bool:
    return (
        (states is None or search.state in states)
        and (name is None or search.name == name)
        and (text is None or text.lower() in search.name.lower() or search.id.startswith(text))
        and (managed is None or search.managed is managed)
        and (submitted_by is None or search.submitted_by == submitted_by)
    )


def test_orders_of_searches(ledger: Ledger) -> None:
    ids = fill(ledger, 40, 0)
    oldest_first = ledger.searches(limit=100)[::-1]
    assert _ids(ledger.search_page(order="created", limit=100)) == ids
    assert _ids(ledger.search_page(limit=100)) == ids[::-1]
    values: dict[str, Callable[[SearchRecord], Any]] = {
        "best": lambda each: each.best_fitness,
        "evaluated": lambda each: each.evaluated,
        "gpu_seconds": lambda each: each.gpu_seconds,
        "priority": lambda each: each.priority,
    }
    for name, down in itertools.product(values, (False, True)):
        expected = [each.id for each in sorted(oldest_first, key=_by(values[name], down=down))]
        pages = [_ids(ledger.search_page(order="-" * down + name, limit=9, offset=n)) for n in range(0, 40, 9)]
        assert list(itertools.chain(*pages)) == expected, name
    for name in ("name", "state"):  # whose collation is the database's own
        found = [getattr(each, name) for each in ledger.search_page(order=name, limit=100)[0]]
        assert [value for value, _ in itertools.groupby(found)] == list(dict.fromkeys(found))
    assert set(SEARCH_ORDERS) == {*values, "created", "name", "state"}


def test_search_is_found_by_the_beginning_of_its_id(ledger: Ledger) -> None:
    ids = fill(ledger, 20, 0)
    assert ids[3] in _ids(ledger.search_page(text=ids[3][:6]))
    assert _ids(ledger.search_page(text=ids[3])) == [ids[3]]


def test_light_page_leaves_the_documents_out(ledger: Ledger) -> None:
    fill(ledger, 3, 0)
    whole, _ = ledger.search_page()
    light, _ = ledger.search_page(light=True)
    assert all(each.document and each.options and each.environment for each in whole)
    assert not any(each.document or each.options or each.environment for each in light)
    assert [(each.id, each.priority) for each in light] == [(each.id, each.priority) for each in whole]


def test_numbers_and_texts_from_strangers_break_no_page(ledger: Ledger) -> None:
    search_id = fill(ledger, 3, 4)[0]
    for number in (-1, 0, 2**31, 2**63, 10**30):
        assert ledger.search_page(limit=2, offset=number)[1] == 3
        assert len(ledger.search_page(limit=number)[0]) == max(0, min(number, 3))
        assert ledger.individual_page(search_id, limit=number, offset=number)[1] == 4
        assert ledger.individual_page(search_id, generation=number)[1] == (4 if number == 0 else 0)
    for hostile in HOSTILE:
        assert ledger.search_page(name=hostile)[1] == 0
        assert ledger.search_page(text=hostile)[1] == _containing(ledger, hostile)
        assert ledger.search_page(submitted_by=hostile) == ([], 0)
        assert ledger.individual_page(hostile) == ([], 0)
        assert ledger.individual_page(search_id, failure=hostile) == ([], 0)
        assert ledger.heads([hostile]) == {}
        assert ledger.generation_summaries(hostile) == []
        assert ledger.running(hostile) == []
        assert ledger.failure_counts(hostile) == {}
        with pytest.raises(InputError, match=r"^order: must be one of .*name"):
            ledger.search_page(order=hostile)
        with pytest.raises(InputError, match=r"^order: must be one of number, -number, fitness, -fitness, but"):
            ledger.individual_page(search_id, sort=hostile)


def _containing(ledger: Ledger, part: str) -> int:
    return sum(part in each.name for each in ledger.searches())


def test_no_page_is_longer_than_the_longest(ledger: Ledger) -> None:
    search_id = fill(ledger, 1, MOST + 5)[0]
    page, count = ledger.individual_page(search_id, limit=10**6)
    assert (len(page), count) == (MOST, MOST + 5)


# --------------------------------------------------------------------------------------------- pages of individuals


def test_pages_of_individuals_are_what_python_filters_and_sorts(ledger: Ledger) -> None:
    search_id = fill(ledger, 2, 25)[0]
    everything = ledger.individuals(search_id)
    choices: dict[str, tuple[Any, ...]] = {
        "sort": ("number", "-number", "fitness", "-fitness"),
        "states": (None, [TrialState.COMPLETED], [TrialState.FAILED, TrialState.RUNNING]),
        "generation": (None, 1, 99),
        "failure": (None, FailureKind.HANG, "out_of_memory"),
    }
    for values in itertools.product(*choices.values()):
        filters = dict(zip(choices, values, strict=True))
        expected = _individuals_wanted(everything, **filters)
        pages = [ledger.individual_page(search_id, **filters, limit=9, offset=n) for n in range(0, 27, 9)]
        assert list(itertools.chain(*(page for page, _ in pages))) == expected, filters
        assert {count for _, count in pages} == {len(expected)}
    assert set(INDIVIDUAL_ORDERS) == {"number", "fitness"}


def _individuals_wanted(
    everything: list[IndividualRecord],
    sort: str,
    states: list[TrialState] | None,
    generation: int | None,
    failure: str | None,
) -> list[IndividualRecord]:
    down = sort.startswith("-")
    attribute = sort.removeprefix("-")
    wanted = [
        each
        for each in everything
        if (states is None or each.state in states)
        and (generation is None or each.generation == generation)
        and (failure is None or each.failure == failure)
    ]
    return sorted(wanted, key=_by(lambda each: getattr(each, attribute), down=down))


# ------------------------------------------------------------------------------------------------------------- sums


def _assert_same(summaries: list[GenerationSummary], expected: list[GenerationSummary]) -> None:
    assert len(summaries) == len(expected)
    for ours, plain in zip(summaries, expected, strict=True):
        for name in ("generation", "evaluated", "failed", "open", "best", "best_so_far"):
            assert getattr(ours, name) == getattr(plain, name)
        assert ours.mean == (None if plain.mean is None else pytest.approx(plain.mean, rel=1e-12))
        spread = None if plain.std is None else pytest.approx(plain.std, rel=1e-6, abs=1e-12 * abs(plain.mean or 0))
        assert ours.std == spread


def test_generations_are_those_that_python_sums_up(ledger: Ledger) -> None:
    for search_id in fill(ledger, 3, 45):
        people = ledger.individuals(search_id)
        expected = generations(people)
        assert len(expected) == 5
        assert any(each.std for each in expected)
        _assert_same(ledger.generation_summaries(search_id), expected)
    assert ledger.generation_summaries(create(ledger).id) == []


@pytest.mark.parametrize(
    "scores",
    [
        [None, None],
        [0.25],
        [0.5, 0.5, None],
        [0.7 + 1e-9, 0.7, 0.7 - 1e-9],
        [1e300, -1e300, 3.0],
        [1e-200, 2e-200],
        [-5.0, -7.5],
    ],
)
def test_a_generation_of_any_scores(ledger: Ledger, scores: list[float | None]) -> None:
    lease = ledger.acquire(create(ledger).id)
    with lease.transaction() as writing:
        for number, score in enumerate(scores):
            writing.propose(newborn(lease.search_id, number))
            state = TrialState.FAILED if score is None else TrialState.COMPLETED
            writing.evaluated(number, state=state, fitness=score)
        writing.propose(newborn(lease.search_id, len(scores), generation=1))
    _assert_same(ledger.generation_summaries(lease.search_id), generations(ledger.individuals(lease.search_id)))


def test_counts_and_totals_are_those_of_a_recount(ledger: Ledger) -> None:
    assert set(ledger.state_counts().values()) == {0}
    assert ledger.totals().evaluated == 0
    ids = fill(ledger, 30, 12)
    ledger.acquire(ids[7])
    everything = ledger.searches(limit=100)
    counts = Counter(str(each.state) for each in everything)
    assert ledger.state_counts() == {str(state): counts[state] for state in SearchState}
    totals = ledger.totals()
    assert totals.searches == {state: counts[state] for state in SearchState}
    for name in ("evaluated", "trained", "failed"):
        assert getattr(totals, name) == sum(getattr(each, name) for each in everything)
    for name in ("gpu_seconds", "trial_seconds"):
        assert math.isclose(getattr(totals, name), sum(getattr(each, name) for each in everything))
    driven = Counter(each.state for each in ledger.evaluations(ids[7]))
    assert totals.driven == 1
    assert (totals.trials_pending, totals.trials_running) == (
        driven[TrialState.PENDING],
        driven[TrialState.RUNNING],
    )
    for search_id in ids:
        assert ledger.failure_counts(search_id) == dict(failure_counts(ledger.individuals(search_id)))
        under_way = [each for each in ledger.evaluations(search_id) if not each.state.is_finished]
        assert ledger.running(search_id) == under_way


# ---------------------------------------------------------------------------------------------- queue and cursors


def test_queue_holds_what_a_service_has_to_drive(ledger: Ledger) -> None:
    fill(ledger, 80, 0)
    waiting = [
        each
        for each in ledger.searches(limit=100)[::-1]
        if each.managed and not each.state.is_over and each.state is not SearchState.FAILED
    ]
    queue = ledger.queue()
    assert [each.id for each in queue] == [each.id for each in sorted(waiting, key=lambda each: -each.priority)]
    assert len(queue) > 10
    assert {each.state for each in queue} == {
        SearchState.CREATED,
        SearchState.RUNNING,
        SearchState.PAUSED,
        SearchState.INTERRUPTED,
    }
    assert not any(each.document for each in queue)


def test_searches_behind_are_those_with_news(ledger: Ledger) -> None:
    ids = fill(ledger, 9, 0)  # with 1, 2, 3, 1, 2, 3, ... events
    ledger.advance("mirror", ids[0], 1)
    ledger.advance("mirror", ids[1], 1)
    ledger.advance("another", ids[2], 3)
    behind = ledger.searches_behind("mirror")
    assert behind == [(each, int(n == 1), 1 + n % 3) for n, each in enumerate(ids) if n]
    assert ledger.searches_behind("mirror", 3) == behind[:3]
    assert ledger.searches_behind("mirror", search_id=ids[4]) == [(ids[4], 0, 2)]
    assert ledger.searches_behind("mirror", search_id=ids[0]) == []
    for hostile in HOSTILE:
        assert ledger.searches_behind("mirror", search_id=hostile) == []
        assert len(ledger.searches_behind(hostile)) == 9
    assert ledger.heads(ids[:3]) == dict(zip(ids[:3], (1, 2, 3), strict=True))
    assert ledger.heads([]) == {}
    lease = ledger.acquire(ids[0])
    with lease.transaction() as writing:
        begin(writing, ids[0], 0)
    assert ledger.heads([ids[0], "nobody"]) == {ids[0]: 3}
    assert ledger.searches_behind("mirror", 1) == [(ids[0], 1, 3)]


def test_cursor_of_a_deleted_search_is_nobodys_trouble(ledger: Ledger) -> None:
    search_id = create(ledger).id
    ledger.advance("mirror", search_id, 1)
    ledger.delete_search(search_id)
    ledger.advance("mirror", search_id, 2)
    assert ledger.cursor("mirror", search_id) == 0


# ---------------------------------------------------------------------------------------------------------- indexes


def test_pages_of_a_large_ledger_are_read_from_indexes(ledger: Ledger) -> None:
    """200 searches with 20,000 individuals: no question about one search looks at the others."""
    search_id = fill(ledger, 2, 100, seed=2)[0]
    alone = _cost(ledger, search_id)
    ids = fill(ledger, 200, 100)
    assert _cost(ledger, search_id) < 5 * alone + 0.05
    statements = _statements(ledger)
    ledger.individual_page(search_id, limit=10)
    ledger.individual_page(search_id, sort="-fitness", limit=10)
    ledger.individual_page(search_id, generation=3, states=[TrialState.FAILED])
    ledger.generation_summaries(search_id)
    ledger.failure_counts(search_id)
    ledger.running(search_id)
    ledger.heads(ids[:10])
    with ledger._database.writing() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("ANALYZE"))
    plans = [line for each in list(statements.items()) for line in _plan(ledger, *each)]
    assert len(plans) >= 10
    scans = [line for line in plans if line.startswith("SCAN ") or "Seq Scan on " in line]
    allowed = ("page", "anon", "searches")  # a page that was cut out already; 200 searches may fit one look
    assert [line for line in scans if not any(name in line for name in allowed)] == [], plans
    assert any("ix_individuals_page" in line for line in plans), plans


def _cost(ledger: Ledger, search_id: str) -> float:
    best = math.inf
    for _ in range(5):
        began = time.perf_counter()
        ledger.individual_page(search_id, sort="-fitness", limit=20)
        ledger.generation_summaries(search_id)
        ledger.running(search_id)
        ledger.search_page(light=True, limit=20)
        best = min(best, time.perf_counter() - began)
    return best


def _statements(ledger: Ledger) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        if statement.startswith("SELECT"):
            found[statement] = parameters

    event.listen(ledger._database.engine, "before_cursor_execute", note)
    return found


def _plan(ledger: Ledger, statement: str, parameters: Any) -> list[str]:
    with ledger._database.reading() as connection:
        explain = "EXPLAIN" if connection.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
        return [str(row[-1]) for row in connection.exec_driver_sql(f"{explain} {statement}", parameters)]
