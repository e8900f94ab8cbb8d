"""Which finals are planned: the right ones, the same ones, and after any interruption exactly the rest."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolve.finals import final_seeds, finalists, plan, ranking
from evolve.ledger.records import IndividualRecord
from evolve.search.base import Proposal
from evolve.space import SearchSpace
from evolve.specs import record_of
from evolve.trial import FailureKind, Role, TrialState
from spaces import space


def spaced(top: int = 2, seeds: int = 3, epochs: int | None = None, **search: Any) -> SearchSpace:
    return space(finals={"top": top, "seeds": seeds, "epochs": epochs}, train={"epochs": 10}, search=search)


def member(number: int, fitness: float | None, key: str = "", **changes: Any) -> IndividualRecord:
    record = IndividualRecord(
        "s", number, number // 8, (number / 100,), {"x": number / 100}, key or f"key{number}", fitness=fitness,
        told=number, state=TrialState.COMPLETED,
    )  # fmt: skip
    return replace(record, **changes)


MEMBERS = [member(0, 0.3), member(1, 0.5), member(2, 0.7), member(3, 0.6), member(4, 0.2)]


def shape(proposals: list[Proposal]) -> list[tuple[int | None, int | None]]:
    return [(each.original, each.seed) for each in proposals]


def entered(proposals: list[Proposal]) -> list[IndividualRecord]:
    return [record_of("s", each) for each in proposals]


def test_the_best_and_the_default_are_trained_with_further_seeds() -> None:
    searched = spaced()
    _, second, third = final_seeds(searched)
    planned = plan(searched, MEMBERS)
    assert shape(planned) == [(each, seed) for seed in (second, third) for each in (0, 2, 3)]
    assert [each.number for each in planned] == [5, 6, 7, 8, 9, 10]
    assert {each.generation for each in planned} == {1}
    for each in planned:
        original = MEMBERS[each.original or 0]
        assert (each.role, each.operators, each.parents) == (Role.FINAL, ("final",), (original.number,))
        assert (each.key, each.params, each.genome) == (original.key, original.params, original.genome)
        assert each.settings == {}


def test_finals_of_another_length_are_trained_with_the_seed_of_the_search_as_well() -> None:
    planned = plan(spaced(epochs=30), MEMBERS)
    assert shape(planned)[:3] == [(0, None), (2, None), (3, None)]
    assert len(planned) == 9
    assert all(each.settings == {"epochs": 30} for each in planned)
    assert plan(spaced(epochs=10), MEMBERS) == plan(spaced(), MEMBERS)


def test_a_configuration_is_ranked_by_the_mean_over_its_seeds() -> None:
    lucky = [*MEMBERS, member(5, 0.4, "key2", role=Role.REPEAT, original=2, seed=77)]
    assert [each.original.number for each in ranking(spaced(), lucky)] == [3, 2, 1, 0, 4]
    assert [each.original.number for each in finalists(spaced(top=1), lucky)] == [3]


@pytest.mark.parametrize(
    "changes",
    [
        {"role": Role.PARTIAL, "settings": {"imgsz": 32}},
        {"role": Role.FINAL},
        {"fitness": None, "state": TrialState.STOPPED},
        {"fitness": None, "failure": FailureKind.DIVERGED, "state": TrialState.FAILED},
        {"key": "key0"},
    ],
)
def test_only_whole_trainings_of_others_than_the_default_qualify(changes: dict[str, Any]) -> None:
    found = finalists(spaced(top=9), [*MEMBERS, replace(member(5, 0.9), **changes)])
    assert [each.original.number for each in found] == [2, 3, 1, 4]


def test_what_was_trained_already_is_not_trained_again() -> None:
    searched = spaced()
    _, second, third = final_seeds(searched)
    repeated = [*MEMBERS, member(5, 0.31, "key0", role=Role.REPEAT, original=0, seed=second)]
    assert shape(plan(searched, repeated)) == [(2, second), (3, second), (0, third), (2, third), (3, third)]


@pytest.mark.parametrize(
    "changes",
    [
        {"role": Role.PARTIAL, "settings": {"epochs": 3}},
        {"inherited_from": 1},
        {"failure": FailureKind.INFRASTRUCTURE, "fitness": None},
        {"settings": {"epochs": 99}},
    ],
)
def test_what_is_another_training_does_not_stand_for_a_final(changes: dict[str, Any]) -> None:
    searched = spaced()
    twin = replace(member(5, 0.31, "key0", original=0, role=Role.REPEAT, seed=final_seeds(searched)[1]), **changes)
    assert len(plan(searched, [*MEMBERS, twin])) == 6


def test_nothing_is_planned_without_finals_or_without_anything_to_compare() -> None:
    assert plan(space(train={"epochs": 10}), MEMBERS) == []
    assert plan(spaced(), []) == []
    assert plan(spaced(), MEMBERS[:1]) == []
    assert plan(spaced(), [member(0, 0.5), member(1, None, failure=FailureKind.CODE)]) == []
    assert plan(spaced(seeds=1), MEMBERS) == []


def test_one_seed_more_keeps_the_others() -> None:
    seeds = [final_seeds(spaced(seeds=amount, seed=11)) for amount in range(1, 30)]
    assert all(more[:-1] == fewer for fewer, more in pairwise(seeds))
    assert seeds[0] == [11]
    assert len(set(seeds[-1])) == 29


@st.composite
def searches(draw: st.DrawFn) -> list[IndividualRecord]:
    values = draw(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=12))
    found = [member(0, 0.3)]
    for number, fitness in enumerate(values, 1):
        key = draw(st.sampled_from([f"key{number}", *(each.key for each in found)]))
        seed = draw(st.sampled_from([None, 1, 2, 3]))
        role = draw(st.sampled_from([Role.SEARCH, Role.REPEAT, Role.PARTIAL, Role.CONTINUATION]))
        failure = draw(st.sampled_from([None, FailureKind.DIVERGED])) if fitness is None else None
        found.append(member(number, fitness, key, seed=seed, role=role, failure=failure))
    return found


@given(
    searches(), st.integers(1, 4), st.integers(1, 5), st.sampled_from([None, 10, 25]), st.integers(0, 30), st.data()
)
def test_after_any_part_of_the_finals_exactly_the_rest_is_planned(
    members: list[IndividualRecord], top: int, seeds: int, epochs: int | None, done: int, data: st.DataObject
) -> None:
    searched = spaced(top, seeds, epochs)
    planned = plan(searched, members)
    assert plan(searched, members) == planned
    # whatever became of them: waiting, with a fitness that is better than all others, or failed
    outcomes = st.sampled_from([{}, {"fitness": 2.0}, {"failure": FailureKind.INFRASTRUCTURE}])
    begun = [replace(each, **data.draw(outcomes)) for each in entered(planned[:done])]
    assert plan(searched, [*members, *begun]) == planned[done:]


@given(searches(), st.integers(1, 4), st.integers(1, 5), st.sampled_from([None, 10, 25]))
def test_no_training_is_planned_twice_and_each_finalist_has_all_its_seeds(
    members: list[IndividualRecord], top: int, seeds: int, epochs: int | None
) -> None:
    searched = spaced(top, seeds, epochs)
    planned = plan(searched, members)
    trainings = [(each.key, each.seed) for each in planned]
    assert len(set(trainings)) == len(trainings)
    assert len(planned) <= (top + 1) * seeds
    if epochs == 25:
        assert len(planned) in (0, (len(finalists(searched, members)) + 1) * seeds)
