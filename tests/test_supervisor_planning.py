"""The promises of the plan, over queues of every shape."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from api.supervisor.planning import Candidate, in_line, plan

SHAPES = st.builds(
    Candidate,
    search_id=st.just(""),
    priority=st.integers(-2, 2),
    most=st.integers(1, 6),
    workers=st.integers(0, 4),
)
QUEUES = st.lists(SHAPES, max_size=12).map(
    lambda shapes: [replace(each, search_id=f"s{number}") for number, each in enumerate(shapes)]
)
SLOTS = st.integers(0, 16)


@given(QUEUES, SLOTS)
def test_nobody_gets_what_is_not_there_or_of_no_use(queue: list[Candidate], slots: int) -> None:
    granted = plan(queue, slots)
    most = {each.search_id: each.most for each in queue}
    assert sum(granted.values()) <= slots
    assert all(1 <= workers <= most[search_id] for search_id, workers in granted.items())


@given(QUEUES, SLOTS)
def test_no_worker_is_idle_that_somebody_could_use(queue: list[Candidate], slots: int) -> None:
    assert sum(plan(queue, slots).values()) == min(slots, sum(each.most for each in queue))


@given(QUEUES, SLOTS)
def test_priorities_are_strict(queue: list[Candidate], slots: int) -> None:
    granted = plan(queue, slots)
    for each in queue:
        if granted.get(each.search_id, 0) < each.most:
            assert not [low for low in queue if low.priority < each.priority and low.search_id in granted]


@given(QUEUES, SLOTS)
def test_equals_share_equally(queue: list[Candidate], slots: int) -> None:
    granted = plan(queue, slots)
    running = [each for each in queue if each.search_id in granted]
    for one in running:
        for other in running:
            if one.priority == other.priority and granted[one.search_id] < one.most:
                assert granted[one.search_id] >= granted[other.search_id] - 1


@given(QUEUES, SLOTS)
def test_the_last_worker_is_lost_to_higher_priorities_only(queue: list[Candidate], slots: int) -> None:
    granted = plan(queue, slots)
    for each in queue:
        if each.workers and each.search_id not in granted:
            equals = [other for other in queue if other.priority == each.priority]
            assert all(other.workers for other in equals if other.search_id in granted)


@given(QUEUES, SLOTS)
def test_those_that_wait_are_served_by_age(queue: list[Candidate], slots: int) -> None:
    granted = plan(queue, slots)
    for older, younger in pairwise([each for each in queue if not each.workers and each.priority == 0]):
        assert older.search_id in granted or younger.search_id not in granted


@given(QUEUES, SLOTS)
def test_a_plan_that_is_carried_out_stays(queue: list[Candidate], slots: int) -> None:
    granted = plan(queue, slots)
    carried_out = [replace(each, workers=granted.get(each.search_id, 0)) for each in queue]
    assert plan(carried_out, slots) == granted


@given(QUEUES, SLOTS)
def test_only_the_first_in_line_matter(queue: list[Candidate], slots: int) -> None:
    assert plan(in_line(queue)[:slots], slots) == plan(queue, slots)


def test_examples() -> None:
    old, new = Candidate("old", workers=4, most=8), Candidate("new", most=8)
    assert plan([old], 4) == {"old": 4}
    assert plan([old, new], 4) == {"old": 2, "new": 2}
    assert plan([old, new], 3) == {"old": 2, "new": 1}
    assert plan([old, replace(new, priority=1)], 4) == {"new": 4}
    assert plan([old, replace(new, priority=1, most=3)], 4) == {"old": 1, "new": 3}
    assert plan([old, new], 1) == {"old": 1}


def test_a_long_queue_is_planned_at_once() -> None:
    queue = [Candidate(f"s{number}", number % 7, 8) for number in range(10_000)]
    started = time.perf_counter()
    granted = plan(queue, 64)
    assert time.perf_counter() - started < 0.5
    assert len(granted) == 64
