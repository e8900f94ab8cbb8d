"""The genetic algorithm behind ask/tell."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evolve.codec import Codec
from evolve.search.base import Outcome, Proposal
from evolve.search.genetic import GeneticSearch
from evolve.space import SearchSpace
from evolve.trial import FailureKind
from spaces import document, space
from workers.synthetic import quality

LANDSCAPE = {"optimum": {"n": 5, "kind": "b"}, "width": {"n": 8.0}}
Judge = Callable[[Proposal], Outcome]


def judged(proposal: Proposal) -> Outcome:
    return Outcome(proposal, quality(proposal.params, LANDSCAPE))


def evolve(searched: SearchSpace, individuals: int, judge: Judge = judged) -> list[Outcome]:
    algorithm, outcomes = GeneticSearch(searched), []
    while len(outcomes) < individuals:
        for proposal in algorithm.ask(1):
            outcomes.append(judge(proposal))
            algorithm.tell(outcomes[-1])
    return outcomes


def test_individual_0_is_the_default_and_numbers_give_generations() -> None:
    outcomes = evolve(space(), 20)
    first = outcomes[0].proposal
    assert first.params == space().default()
    assert first.operators == ("default",)
    assert [each.proposal.number for each in outcomes] == list(range(20))
    assert [each.proposal.generation for each in outcomes] == [number // 8 for number in range(20)]


def test_the_first_generation_fills_the_space() -> None:
    for start in ("sobol", "latin_hypercube"):
        outcomes = evolve(space(search={"population": 16, "start": start}), 16)
        values = [each.proposal.params["x"] for each in outcomes[1:]]
        assert {int(4 * value) for value in values if isinstance(value, float)} == {0, 1, 2, 3}


def test_it_finds_the_optimum_and_does_far_better_than_chance() -> None:
    gains = []
    for seed in range(5):
        searched = space(search={"seed": seed, "population": 10})
        best = max(each.fitness or 0 for each in evolve(searched, 200))
        codec, rng = Codec(searched), random.Random(seed)
        rolled = [codec.decode(codec.canonical([rng.random() for _ in codec.names])) for _ in range(200)]
        gains.append(best - max(quality(params, LANDSCAPE) for params in rolled))
        assert best > 0.97
    assert sum(gains) / len(gains) > 0.05


def test_no_training_is_proposed_twice_while_there_are_others() -> None:
    outcomes = evolve(space(), 150)
    assert len({each.proposal.key for each in outcomes}) == 150


def test_a_space_with_few_points_is_searched_to_its_end() -> None:
    genes = {"kind": {"type": "categorical", "choices": ["a", "b", "c"], "default": "a"}}
    outcomes = evolve(space(genes=genes), 24)
    assert {each.proposal.params["kind"] for each in outcomes} == {"a", "b", "c"}


def test_every_gene_tells_where_it_is_from() -> None:
    outcomes = evolve(space(), 120)
    by_number = {each.proposal.number: each.proposal for each in outcomes}
    bred = [each.proposal for each in outcomes if each.proposal.parents]
    assert bred
    for child in bred:
        assert child.operators[0] == "tournament"
        assert child.origins.keys() == child.params.keys()
        for gene, origin in child.origins.items():
            if origin.startswith("inherited:"):
                parent = by_number[int(origin.removeprefix("inherited:"))]
                assert parent.params[gene] == child.params[gene]
                assert parent.number in child.parents
            else:
                assert origin in ("mutated", "default")


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    seed=st.integers(0, 10_000),
    generational=st.booleans(),
    crossover=st.sampled_from(["uniform", "blend", "sbx"]),
    told=st.integers(0, 60),
    failures=st.sets(st.integers(0, 70)),
)
def test_replaying_the_history_continues_as_if_nothing_had_happened(
    seed: int, generational: bool, crossover: str, told: int, failures: set[int]
) -> None:
    searched = space(search={"seed": seed, "generational": generational, "crossover": crossover, "stagnation": 1})

    def judge(proposal: Proposal) -> Outcome:
        if proposal.number in failures:
            return Outcome(proposal, None, FailureKind.DIVERGED)
        return judged(proposal)

    whole = evolve(searched, 72, judge)
    revived = GeneticSearch(searched)
    revived.replay([each.proposal for each in whole[:told]], whole[:told])
    for expected in whole[told:]:
        assert revived.ask(1) == [expected.proposal]
        revived.tell(expected)


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_a_generational_search_does_not_depend_on_the_order_of_arrival(workers: int) -> None:
    searched = space(search={"generational": True, "stagnation": 1, "population": 6})
    straight = [each.proposal for each in evolve(searched, 36)]
    chance = random.Random(workers)
    algorithm, running, seen = GeneticSearch(searched), [], []
    while len(seen) < 36:
        asked = algorithm.ask(workers - len(running))
        running, seen = running + asked, seen + asked
        algorithm.tell(judged(running.pop(chance.randrange(len(running)))))
    assert seen == straight


def test_a_generational_search_waits_for_its_generation() -> None:
    algorithm = GeneticSearch(space(search={"generational": True}))
    first = algorithm.ask(100)
    assert len(first) == 8
    for proposal in first[:-1]:
        algorithm.tell(judged(proposal))
        assert algorithm.ask(3) == []
    algorithm.tell(judged(first[-1]))
    assert len(algorithm.ask(3)) == 3


def test_a_steady_state_search_never_waits() -> None:
    algorithm = GeneticSearch(space())
    assert len(algorithm.ask(40)) == 40


def test_stagnation_brings_immigrants() -> None:
    def flat(proposal: Proposal) -> Outcome:
        return Outcome(proposal, 0.5)

    outcomes = evolve(space(search={"stagnation": 2, "immigrants": 0.25, "min_diversity": 0}), 60, flat)
    immigrants = [each.proposal for each in outcomes if each.proposal.operators == ("immigrant",)]
    assert len(immigrants) >= 2
    assert all(each.number % 8 < 2 for each in immigrants)
    never = evolve(space(search={"stagnation": None}), 60, flat)
    assert not [each for each in never if each.proposal.operators == ("immigrant",)]


def batch_space(**sections: Any) -> SearchSpace:
    genes = {
        "batch": {"type": "int", "low": 4, "high": 64, "log": True, "default": 16},
        "x": {"type": "float", "low": 0, "high": 1, "default": 0.2},
    }
    return space(genes=genes, train={"epochs": 1, "imgsz": 640}, **sections)


@pytest.mark.parametrize("generational", [False, True])
def test_a_batch_that_ran_out_of_memory_is_not_tried_again(generational: bool) -> None:
    def judge(proposal: Proposal) -> Outcome:
        if int(proposal.params["batch"]) > 20:  # type: ignore[arg-type]
            return Outcome(proposal, None, FailureKind.OUT_OF_MEMORY)
        return Outcome(proposal, int(proposal.params["batch"]) / 100)  # type: ignore[arg-type]

    outcomes = evolve(batch_space(search={"generational": generational}), 96, judge)
    smallest, repaired = 65, 0
    for number, outcome in enumerate(outcomes):
        batch = int(outcome.proposal.params["batch"])  # type: ignore[arg-type]
        if not generational or number % 8 == 0:
            known = smallest
        assert batch < known
        if outcome.failure:
            smallest = min(smallest, batch)
        if outcome.proposal.origins["batch"] == "repaired":
            repaired += 1
            assert outcome.proposal.operators[-1] == "memory_repair"
    assert repaired


def test_constraints_hold_for_every_individual() -> None:
    searched = SearchSpace.from_document({**document(), "constraints": ["x + y <= 0.6", "n * x < 3"]}, "test")
    for outcome in evolve(searched, 150):
        assert searched.check(outcome.proposal.params) == []


def test_failures_never_become_parents() -> None:
    def judge(proposal: Proposal) -> Outcome:
        failed = proposal.number % 3 == 1
        return Outcome(proposal, None, FailureKind.DIVERGED) if failed else judged(proposal)

    for outcome in evolve(space(), 80, judge):
        assert all(parent % 3 != 1 for parent in outcome.proposal.parents)


def test_a_search_in_which_all_fails_goes_on_sampling() -> None:
    outcomes = evolve(space(), 30, lambda proposal: Outcome(proposal, None, FailureKind.DIVERGED))
    assert all(not each.proposal.parents for each in outcomes)


def test_of_twins_the_older_one_stays_a_parent() -> None:
    search = GeneticSearch(space(search={"population": 2}))
    first, second = search.ask(2)
    for outcome in (Outcome(first, 0.1), Outcome(second, 0.9), Outcome(replace(first, number=7), 0.1)):
        search.tell(outcome)
    parents = {parent for child in search.ask(20) for parent in child.parents}
    assert parents <= {0, 1}
