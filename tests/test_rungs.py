"""Rungs: who is stopped, who goes on later, and what becomes of rungs that mislead."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evolve.search.base import Decision, Outcome, Proposal
from evolve.search.genetic import GeneticSearch
from evolve.search.rungs import CONTROL, PROBATION, Rungs, is_exempt, misleads
from evolve.space import SearchSpace
from evolve.trial import FailureKind, Role
from simulated_trials import Curve, Trials, assert_goes_on
from spaces import space
from workers.synthetic import quality

EPOCHS = 27
LANDSCAPE = {"optimum": {"n": 5, "kind": "b"}, "width": {"n": 8.0}}
few = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
values_on_a_rung = st.lists(st.floats(0, 1), min_size=1, max_size=PROBATION)


def rung_space(
    over: str = "epochs",
    *,
    levels: int = 2,
    factor: float = 3,
    stop: Mapping[str, Any] | None = None,
    **search: Any,
) -> SearchSpace:
    rungs = {"over": over, "levels": levels, "factor": factor}
    return space(train={"epochs": EPOCHS}, stop=dict(stop or {}), search={"rungs": rungs, **search})


def proposal(number: int, role: Role = Role.SEARCH, original: int | None = None) -> Proposal:
    return Proposal(number, number // 8, (), {}, str(number), role=role, original=original)


def climbing(values: Sequence[float], rungs: Rungs, epoch: int = 3) -> list[Decision]:
    """Decisions on newborns that reach a rung one after the other; those who always pass are left out."""
    numbers = [number for number in range(1, 2 * len(values) + 9) if not is_exempt(number)][: len(values)]
    for number in numbers:
        rungs.enter(proposal(number))
    return [rungs.report(number, epoch, value) for number, value in zip(numbers, values, strict=True)]


# who is stopped


@few
@given(values_on_a_rung, st.sampled_from([1.5, 2.0, 3.0, 4.0]))
def test_who_is_not_among_the_best_so_far_is_stopped_and_nobody_waits(values: list[float], factor: float) -> None:
    rungs = Rungs(rung_space(levels=1, factor=factor))
    epoch = int(rungs.levels[0])
    for place, decision in enumerate(climbing(values, rungs, epoch)):
        better = sum(value > values[place] for value in values[:place])
        among_best = better < (place + 1) // factor
        assert (decision is Decision.CONTINUE) is among_best


def test_of_many_in_any_order_few_more_than_one_of_factor_go_on() -> None:
    shares = []
    for seed in range(20):
        chance = random.Random(seed)
        values = [chance.random() for _ in range(PROBATION - 2)]
        decisions = climbing(values, Rungs(rung_space()))
        shares.append(decisions.count(Decision.CONTINUE) / len(values))
    assert sum(shares) / len(shares) < 1 / 3 + 0.1
    ascending = climbing([place / 100 for place in range(PROBATION - 1)], Rungs(rung_space()))
    assert ascending[2:] == [Decision.CONTINUE] * (PROBATION - 3)
    descending = climbing([-place / 100 for place in range(PROBATION - 1)], Rungs(rung_space()))
    assert Decision.CONTINUE not in descending[2:]


def test_equals_are_not_stopped() -> None:
    decisions = climbing([0.0] * 20, Rungs(rung_space()))
    assert decisions[2:] == [Decision.CONTINUE] * 18


def test_nothing_is_decided_between_rungs_or_without_any() -> None:
    rungs = Rungs(rung_space())
    assert rungs.levels == (3.0, 9.0)
    climbing([0.9] * 9, rungs)
    for epoch in (1, 2, 4, 8, 10, 26, 27):
        assert rungs.report(1, epoch, 0.0) is Decision.CONTINUE
    none = Rungs(space(train={"epochs": EPOCHS}))
    assert climbing([0.9] * 9 + [0.0] * 9, none) == [Decision.CONTINUE] * 18


def test_the_best_so_far_counts_and_not_the_last() -> None:
    rungs = Rungs(rung_space())
    climbing([0.5, 0.4, 0.3, 0.2, 0.1], rungs)
    rungs.enter(proposal(6))
    rungs.report(6, 2, 0.9)
    assert rungs.report(6, 3, 0.0) is Decision.CONTINUE


def test_some_always_pass() -> None:
    rungs = Rungs(rung_space())
    climbing([0.9] * 9, rungs)
    for number in (CONTROL - 1, 2 * CONTROL - 1):
        assert is_exempt(number)
        rungs.enter(proposal(number))
        assert rungs.report(number, 3, 0.0) is Decision.CONTINUE


def test_rungs_are_for_the_first_individuals() -> None:
    rungs = Rungs(rung_space())
    for number in range(PROBATION + 1):
        rungs.enter(proposal(number))
    for number in range(1, 11):
        rungs.report(number, 3, 0.9)
    assert rungs.report(PROBATION - 2, 3, 0.0) is Decision.STOP
    assert rungs.report(PROBATION, 3, 0.0) is Decision.CONTINUE


# who goes on


def test_the_default_is_trained_to_its_end_after_the_first_individuals() -> None:
    rungs = Rungs(rung_space())
    rungs.enter(proposal(0))
    climbing([0.9] * (PROBATION - 2), rungs)
    assert rungs.report(0, 3, 0.0) is Decision.STOP
    stopped(rungs, 0, e3=0.0)
    assert rungs.due() is None
    assert 0 in rungs.continuable()
    rungs.enter(proposal(PROBATION - 1))
    assert rungs.due() == (0, Role.CONTINUATION, {})
    rungs.enter(proposal(PROBATION, Role.CONTINUATION, 0))
    assert rungs.report(PROBATION, 9, 0.0) is Decision.CONTINUE


@pytest.mark.parametrize(
    ("search", "stop"),
    [
        ({"population": 5, "generations": 2 * PROBATION // 5}, {}),
        ({"population": 10}, {"plateau": 2}),
        ({}, {"evaluations": 2 * PROBATION}),
        ({}, {"hours": 100.0}),
        ({}, {"gpu_hours": 100.0}),
        ({}, {"target": 0.9}),
    ],
)
def test_in_a_search_that_may_end_soon_the_default_is_never_stopped(
    search: dict[str, Any], stop: dict[str, Any]
) -> None:
    rungs = Rungs(rung_space(stop=stop, **search))
    climbing([0.9] * 9, rungs)
    rungs.enter(proposal(0))
    assert rungs.report(0, 3, 0.0) is Decision.CONTINUE


def test_a_plateau_far_away_does_not_spare_the_default_the_rungs() -> None:
    rungs = Rungs(rung_space(population=10, stop={"plateau": 3}))
    climbing([0.9] * 9, rungs)
    rungs.enter(proposal(0))
    assert rungs.report(0, 3, 0.0) is Decision.STOP


def stopped(rungs: Rungs, number: int, last: int | None = None, **passed: float) -> None:
    original = proposal(number if last is None else last)
    rungs.learn(Outcome(original, None, rungs={float(level[1:]): value for level, value in passed.items()}))


def test_who_turns_out_to_be_among_the_best_goes_on_once() -> None:
    rungs = Rungs(rung_space())
    for number, value in ((1, 0.5), (2, 0.4)):
        rungs.enter(proposal(number))
        assert rungs.report(number, 3, value) is Decision.STOP
        stopped(rungs, number, e3=value)
    assert rungs.due() is None
    rungs.enter(proposal(3))
    assert rungs.report(3, 3, 0.1) is Decision.STOP
    assert rungs.due() == (1, Role.CONTINUATION, {})
    rungs.enter(proposal(4, Role.CONTINUATION, 1))
    assert rungs.due() is None
    assert rungs.first(4) == 1


def test_the_highest_rung_comes_first() -> None:
    rungs = Rungs(rung_space())
    for number in range(1, 10):
        rungs.enter(proposal(number))
        stopped(rungs, number, e3=number / 10)
    for number in (7, 8, 9):
        stopped(rungs, number, e3=number / 10, e9=number / 10)
    assert rungs.due() == (9, Role.CONTINUATION, {})


def test_who_is_far_from_the_best_will_not_go_on() -> None:
    rungs = Rungs(rung_space())
    for number in range(1, 10):
        rungs.enter(proposal(number))
        stopped(rungs, number, e3=number / 10)
    kept = rungs.continuable()
    assert {7, 8, 9} <= kept
    assert not kept & {1, 2}


# in a search


def saturating(each: Proposal, level: float) -> float:
    """Curves that keep the order of what they come to."""
    return quality(each.params, LANDSCAPE) * (1 - math.exp(-0.2 * level))


def reversed_until_the_end(each: Proposal, level: float) -> float:
    """What looks worst is best."""
    value = quality(each.params, LANDSCAPE)
    return value if level >= EPOCHS else 1.0 - value


def trials(searched: SearchSpace, curve: Curve = saturating, **more: Any) -> Trials:
    return Trials(searched, GeneticSearch(searched), curve, **more)


def lines(run: Trials) -> dict[int, list[Proposal]]:
    """Every individual with its continuations."""
    first: dict[int, int] = {}
    found: dict[int, list[Proposal]] = {}
    for each in run.proposals:
        first[each.number] = first.get(each.original, each.number) if each.original is not None else each.number
        found.setdefault(first[each.number], []).append(each)
    return found


def test_individuals_climb_over_two_rungs() -> None:
    run = trials(rung_space(seed=1)).run(60)
    by_number = {outcome.proposal.number: outcome for outcome in run.outcomes}
    climbers = [line for line in lines(run).values() if len(line) == 3]
    assert climbers
    for line in climbers:
        first, second, third = (by_number[each.number] for each in line)
        assert [len(each.rungs) for each in (first, second, third)] == [1, 2, 2]
        assert first.fitness is second.fitness is None
        assert third.fitness is not None
        assert [each.role for each in line] == [Role.SEARCH, Role.CONTINUATION, Role.CONTINUATION]
        assert len({each.genome for each in line}) == 1
        for before, each in itertools.pairwise(line):
            assert (each.original, each.parents, each.operators) == (
                before.number,
                (before.number,),
                ("continuation",),
            )
            assert set(each.origins.values()) == {f"inherited:{before.number}"}


@pytest.mark.parametrize("slots", [1, 4])
def test_continuations_come_before_newborns(slots: int) -> None:
    class Watched(GeneticSearch):
        def draft(self) -> Proposal:
            due, drafted = self._rungs.due(), super().draft()
            assert drafted.original == (due[0] if due else None)
            return drafted

    searched = rung_space(seed=2)
    run = Trials(searched, Watched(searched), saturating, slots=slots).run(60)
    assert [each for each in run.proposals if each.original is not None]


def test_nobody_is_continued_twice_or_while_it_runs() -> None:
    run = trials(rung_space(seed=3), slots=5, chance=random.Random(0)).run(80)
    originals = [each.original for each in run.proposals if each.role is Role.CONTINUATION]
    assert originals
    assert len(originals) == len(set(originals))
    heard: set[int] = set()
    for each in run.log:
        if isinstance(each, Outcome):
            heard.add(each.proposal.number)
        elif isinstance(each, Proposal) and each.original is not None:
            assert each.original in heard


@pytest.mark.parametrize(("over", "levels"), [("imgsz", (64, 224)), ("fraction", (0.11, 0.33))])
def test_cheap_trainings_come_first_and_the_best_are_trained_anew(over: str, levels: tuple[float, ...]) -> None:
    shares = [climb(over, levels, seed) for seed in range(5)]
    assert sum(shares) / len(shares) <= 1 / 3


def climb(over: str, levels: tuple[float, ...], seed: int) -> float:
    """The share of the first individuals that came to a whole training, in a search whose every step is checked."""
    run = trials(rung_space(over, seed=seed), lambda each, level: quality(each.params, LANDSCAPE)).run(40)
    beginners = [line[0] for line in lines(run).values()][:PROBATION]
    for each in beginners:
        if is_exempt(each.number):
            assert (each.role, dict(each.settings)) == (Role.SEARCH, {})
        else:
            assert (each.role, dict(each.settings)) == (Role.PARTIAL, {over: levels[0]})
    grown = [line for line in lines(run).values() if len(line) == 3]
    assert grown
    for line in grown:
        assert [dict(each.settings) for each in line] == [{over: levels[0]}, {over: levels[1]}, {}]
        assert [each.role for each in line] == [Role.PARTIAL, Role.PARTIAL, Role.CONTINUATION]
    judged = [each for each in beginners if each.number and not is_exempt(each.number)]
    early = [line for line in lines(run).values() if line[0] in judged]
    return sum(len(line) == 3 for line in early) / len(early)


@pytest.mark.parametrize("over", ["epochs", "imgsz"])
def test_other_trainings_of_an_individual_are_never_stopped(over: str) -> None:
    """A repeat that was stopped would be continued as if it were somebody new, with the luck of its seed."""
    searched = rung_space(over, repeats={"default": 3, "elites": 2}, seed=4)

    def unlucky(each: Proposal, level: float) -> float:
        return 0.0 if each.role is Role.REPEAT and level < EPOCHS else saturating(each, level)

    run = trials(searched, unlucky, slots=3).run(50)
    repeats = [outcome for outcome in run.outcomes if outcome.proposal.role is Role.REPEAT]
    default = {each.number for each in lines(run)[0]}
    assert sum(each.proposal.original in default for each in repeats) == 3
    assert all(each.fitness is not None for each in repeats)
    numbers = {each.proposal.number for each in repeats}
    assert not [each for each in run.proposals if each.original in numbers]


def test_a_failure_on_the_way_is_no_reason_to_go_on() -> None:
    searched = rung_space(seed=5)
    run = trials(searched, failure=lambda each: FailureKind.DIVERGED if each.number % 3 else None).run(60)
    failed = {outcome.proposal.number for outcome in run.outcomes if outcome.failure}
    assert failed
    assert not failed & {each.original for each in run.proposals}


# rungs that mislead, and rungs that help


def test_ranks_that_disagree_mislead() -> None:
    straight = [(value, value) for value in range(10)]
    assert not misleads(straight)
    assert misleads([(value, -other) for value, other in straight])
    assert not misleads([(value, -other) for value, other in straight[:5]]), "too few to tell"
    assert misleads([(0.0, other) for _, other in straight]), "all alike on the rung"


def wholes_within(run: Trials) -> int:
    return sum(outcome.fitness is not None for outcome in run.outcomes)


def test_rungs_that_mislead_are_given_up_and_cost_little() -> None:
    epochs, whole = 0, 0
    for seed in range(6):
        run = trials(rung_space(seed=seed), reversed_until_the_end).run(100)
        stops = [place for place, outcome in enumerate(run.outcomes) if outcome.is_partial]
        misled = [place for place, outcome in enumerate(run.outcomes) if outcome.fitness is not None][5]
        assert misled < 45
        assert not [place for place in stops if place > 45]
        epochs, whole = epochs + run.epochs, whole + wholes_within(run)
    assert epochs < 1.1 * EPOCHS * whole, "trainings that were given up in vain"


def test_rungs_that_help_find_as_much_in_fewer_epochs() -> None:
    with_rungs, without = [], []
    for seed in range(12):
        searched = space(train={"epochs": EPOCHS}, search={"seed": seed})
        with_rungs.append(trials(rung_space(seed=seed)).run_for(20 * EPOCHS).best)
        without.append(trials(searched).run_for(20 * EPOCHS).best)
    assert sum(with_rungs) / 12 > sum(without) / 12 + 0.03


# replay, and the order of arrival


@few
@given(
    st.integers(0, 10_000),
    st.booleans(),
    st.sampled_from(["epochs", "imgsz"]),
    st.sampled_from([saturating, reversed_until_the_end]),
    st.sampled_from([1, 4]),
    st.floats(0, 1),
)
def test_a_replay_continues_as_if_nothing_had_happened(
    seed: int, generational: bool, over: str, curve: Curve, slots: int, cut: float
) -> None:
    searched = rung_space(over, seed=seed, generational=generational, stagnation=1)
    run = trials(searched, curve, slots=slots, chance=random.Random(seed)).run(60)
    assert_goes_on(GeneticSearch(searched), run.log, cut)


@pytest.mark.parametrize("over", ["epochs", "imgsz"])
@pytest.mark.parametrize("slots", [1, 3, 8])
def test_in_a_generational_search_it_does_not_matter_who_arrives_first(over: str, slots: int) -> None:
    searched = rung_space(over, generational=True, seed=6, repeats={"default": 1, "elites": 1})
    straight = trials(searched).run(64)
    assert {outcome.is_partial for outcome in straight.outcomes} == {True, False}
    other = trials(searched, slots=slots, chance=random.Random(slots)).run(64)
    assert other.proposals == straight.proposals
    assert sorted(other.outcomes, key=lambda each: each.proposal.number) == straight.outcomes
