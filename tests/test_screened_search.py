"""The search as it is by default: a model chooses among offspring, and all that goes with it."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evolve.codec import Codec
from evolve.pareto import hypervolume
from evolve.search.base import Outcome, Proposal
from evolve.search.genetic import GeneticSearch
from evolve.search.geometry import Geometry
from evolve.space import SearchSpace
from evolve.trial import FailureKind, Role
from simulated_trials import Trials, assert_goes_on
from spaces import document, space

QUICK = {"screening": 20}
"""For tests in which it does not matter how good the children are."""
DEFAULT = {"screening": 250}
FLOAT = {"type": "float", "low": 0, "high": 1}
WIDE: dict[str, Any] = {
    **{f"x{place}": {**FLOAT, "default": 0.1 + 0.1 * place} for place in range(5)},
    "rate": {"type": "float", "low": 1e-5, "high": 1, "log": True, "default": 0.3},
    "depth": {"type": "int", "low": 1, "high": 9, "default": 2},
    "kind": {"type": "categorical", "choices": ["a", "b", "c"], "default": "a"},
    "extra": {**FLOAT, "default": 0.5, "when": {"kind": ["b", "c"]}},
}
EVERYTHING: dict[str, Any] = {
    **QUICK,
    "population": 6,
    "objective": "efficiency",
    "repeats": {"default": 1, "elites": 1},
    "rungs": {"over": "epochs", "levels": 1, "factor": 3},
    "stagnation": 1,
}


def value(params: Mapping[str, Any]) -> float:
    """Best where `kind` is b, `rate` 1e-3, `depth` 6 and all others 0.7; 1 there."""
    losses = [6 * (params[name] - 0.7) ** 2 for name in params if name[0] in "xe"]
    losses.append(6 * (math.log10(params.get("rate", 1e-3)) / 5 + 0.6) ** 2)
    losses.append(6 * ((params.get("depth", 6) - 6) / 8) ** 2)
    losses.append(0.0 if params.get("kind", "b") == "b" else 0.6)
    return math.exp(-sum(losses) / 4)


def judged(each: Proposal, level: float) -> float:
    return value(each.params)


def trials(searched: SearchSpace, curve: Any = judged, **more: Any) -> Trials:
    return Trials(searched, GeneticSearch(searched), curve, **more)


# promises that hold however good the children are


def test_the_default_comes_first_and_nothing_comes_twice() -> None:
    searched = space(search=QUICK)
    run = trials(searched, lambda each, level: each.params["x"], slots=3).run(60)  # type: ignore[arg-type, return-value]
    assert run.proposals[0].params == searched.default()
    assert len({each.key for each in run.proposals}) == 60
    screened = [each for each in run.proposals if "screened" in each.operators]
    assert len(screened) > 40
    for each in screened:
        assert searched.check(each.params) == []
        assert each.origins.keys() == each.params.keys()
        assert all(parent < each.number for parent in each.parents)
        for gene, origin in each.origins.items():
            if origin.startswith("inherited:"):
                parent = run.proposals[int(origin.removeprefix("inherited:"))]
                assert parent.number in each.parents
                assert parent.params.get(gene) == each.params[gene]


def test_constraints_always_hold() -> None:
    searched = SearchSpace.from_document(
        document(genes=WIDE, search=QUICK, constraints=["x0 + x1 <= 0.6", "depth * x2 < 3"]), "test"
    )
    for each in trials(searched).run(40).proposals:
        assert searched.check(each.params) == []


def test_a_space_with_few_points_is_searched_to_its_end() -> None:
    genes = {"kind": WIDE["kind"], "depth": {"type": "int", "low": 1, "high": 3, "default": 2}}
    run = trials(space(genes=genes, search=QUICK)).run(14)
    assert len({each.key for each in run.proposals}) == 9
    assert len(run.outcomes) == 14


def _failing(which: str) -> Any:
    kinds = {
        "some": lambda each: [None, FailureKind.DIVERGED, FailureKind.OUT_OF_MEMORY, None][each.number % 4],
        "diverged": lambda each: FailureKind.DIVERGED,
        "out of memory": lambda each: FailureKind.OUT_OF_MEMORY,
        "but the default": lambda each: FailureKind.CODE if each.number else None,
    }
    return kinds[which]


@pytest.mark.parametrize("which", ["some", "diverged", "out of memory", "but the default"])
@pytest.mark.parametrize("rungs", [None, EVERYTHING["rungs"]])
def test_failures_never_break_it(which: str, rungs: dict[str, Any] | None) -> None:
    genes = {**WIDE, "batch": {"type": "int", "low": 4, "high": 64, "log": True, "default": 16}}
    searched = space(genes=genes, train={"epochs": 9}, search={**QUICK, "rungs": rungs})
    run = trials(searched, failure=_failing(which)).run(24)
    assert len(run.outcomes) == 24
    assert len({each.key for each in run.proposals if each.original is None}) == sum(
        each.original is None for each in run.proposals
    )


def test_what_diverged_is_avoided() -> None:
    searched = space(genes=WIDE, search={"screening": 100})
    run = trials(
        searched,
        failure=lambda each: FailureKind.DIVERGED if float(each.params["x0"]) > 0.5 else None,  # type: ignore[arg-type]
    ).run(40)
    early, late = run.outcomes[1:8], run.outcomes[-15:]
    assert sum(outcome.failure is not None for outcome in late) <= 4
    assert any(outcome.failure for outcome in early)


def test_those_in_training_are_spread_out() -> None:
    searched = space(genes=WIDE, search=DEFAULT)
    codec = Codec(searched)
    geometry = Geometry(searched, codec)
    run = trials(searched).run(12)
    asked = [each for each in run.search.ask(8) if "screened" in each.operators]
    columns = geometry.columns(geometry.snap(np.array([each.genome for each in asked])))
    apart = [
        float(np.abs(columns[one] - columns[other]).max()) for one in range(len(asked)) for other in range(one)
    ]
    assert len(asked) >= 7
    assert len({each.key for each in asked}) == len(asked)
    assert min(apart) > 0.015


def test_parents_are_those_who_hold_what_was_trained() -> None:
    """The one that was stopped left no weights; a repeat is another training of the same genes."""
    roles = set.union(*map(roles_of_parents, range(1, 4)))
    assert Role.CONTINUATION in roles
    assert Role.REPEAT not in roles


def roles_of_parents(seed: int) -> set[Role]:
    search = {**EVERYTHING, "objective": "fitness", "inherit_weights": True, "population": 8, "seed": seed}
    searched = space(genes=WIDE, train={"epochs": 9}, search=search)

    class Watched(GeneticSearch):
        def draft(self) -> Proposal:
            possible, drafted = self.possible_parents(), super().draft()
            if "screened" in drafted.operators:
                assert set(drafted.parents) <= possible
                bred.update(drafted.parents)
            return drafted

    bred: set[int] = set()
    run = Trials(searched, Watched(searched), judged).run(36)
    return {each.role for each in run.proposals if each.number in bred}


# what it is worth


def trainings_until(goal: float, most: int, **search: Any) -> int:
    numbers = {name: gene for name, gene in WIDE.items() if name not in ("kind", "extra")}
    run = trials(space(genes=numbers, search=search))
    while run.best < goal and run.step(most):
        pass
    return len(run.outcomes)


def test_it_finds_the_optimum_in_far_fewer_trainings_than_without_a_model() -> None:
    screened = [trainings_until(0.95, 60, seed=seed, **DEFAULT) for seed in range(4)]
    unscreened = [trainings_until(0.95, 200, seed=seed) for seed in range(4)]
    assert sum(screened) < 0.7 * sum(unscreened)


def test_efficiency_spends_less_time_for_the_same_gain() -> None:
    def pace(each: Proposal) -> float:
        return 1.0 + 9.0 * float(each.params["x4"])  # type: ignore[arg-type]

    def curve(each: Proposal, level: float) -> float:
        return value({**each.params, "x4": 0.7})  # what costs time gains nothing

    spent: dict[str, list[float]] = {"efficiency": [], "fitness": []}
    for objective, seconds in spent.items():
        for seed in range(3):
            search = {"screening": 60, "seed": seed, "objective": objective}
            run = trials(space(genes=WIDE, search=search), curve, pace=pace)
            while run.best < 0.8 and run.step(40):
                pass
            seconds.append(run.clock)
    assert sum(spent["efficiency"]) < 0.85 * sum(spent["fitness"])


def test_several_objectives_beat_chance() -> None:
    ways = {"metrics/mAP50-95(B)": "maximise", "model/latency_ms": "minimise"}

    def objectives(each: Proposal) -> tuple[float, ...]:
        return value(each.params), -float(each.params["x0"])  # type: ignore[arg-type]

    searched = space(genes=WIDE, objectives=ways, search={"screening": 100})
    run = trials(searched, objectives=objectives).run(40)
    found = hypervolume([outcome.objectives for outcome in run.outcomes], (0.0, -1.0))
    codec, rng = Codec(searched), np.random.default_rng(0)
    rolled = [codec.decode(codec.sample(rng)) for _ in range(120)]
    by_chance = hypervolume([(value(params), -params["x0"]) for params in rolled], (0.0, -1.0))  # type: ignore[operator]
    assert found > by_chance + 0.05


def test_a_warm_start_is_ahead_of_a_cold_one() -> None:
    known = trials(space(genes=WIDE, search=QUICK)).run(40)
    entries = [
        {"genes": dict(outcome.proposal.params), "fitness": 100 * (outcome.fitness or 0), "source": "earlier"}
        for outcome in known.outcomes
        if outcome.proposal.number
    ]
    for seed in range(2):
        search = {"screening": 100, "seed": seed}
        warm = trials(space(genes=WIDE, search=search, known=entries)).run(9).best
        cold = trials(space(genes=WIDE, search=search)).run(9).best
        assert warm > cold + 0.05


def test_repeats_tell_luck_from_skill() -> None:
    def noisy(each: Proposal, level: float) -> float:
        return value(each.params) + random.Random(f"{each.key} {each.seed}").gauss(0, 0.1)

    search = {**QUICK, "repeats": {"default": 3, "elites": 2}}
    run = trials(space(genes=WIDE, search=search), noisy, slots=2).run(50)
    repeats = [each for each in run.proposals if each.role is Role.REPEAT]
    assert sum(each.original == 0 for each in repeats) == 3
    by_number = {each.number: each for each in run.proposals}
    for each in repeats:
        assert each.original is not None
        assert each.genome == by_number[each.original].genome
    seeds = [(each.original, each.seed) for each in repeats]
    assert len(set(seeds)) == len(seeds)
    members = {each.number: each.fitness.values[0] for each in run.search._population.members}  # type: ignore[attr-defined]
    assert not members.keys() & {each.number for each in repeats}
    fitness = {outcome.proposal.number: outcome.fitness for outcome in run.outcomes}
    for number in {each.original for each in repeats} & members.keys():
        of_it = [fitness[number], *(fitness[each.number] for each in repeats if each.original == number)]
        assert members[number] == pytest.approx(np.mean(of_it))


# replay, and the order of arrival


def slow_at_first(each: Proposal, level: float) -> float:
    return value(each.params) * (1 - 0.5**level) + 0.001 * ((each.seed or 0) % 7)


def pace_of_genes(each: Proposal) -> float:
    return 1.0 + float(each.params["x0"])  # type: ignore[arg-type]


def everything(seed: int, *, generational: bool, known: bool) -> SearchSpace:
    names = ("x0", "x1", "rate", "kind", "extra")
    entries = [
        {"genes": {"x0": 0.1 * place, "kind": "b"}, "fitness": 0.1 * place, "source": "s"} for place in range(1, 6)
    ]
    return space(
        genes={name: WIDE[name] for name in names},
        train={"epochs": 9},
        search={**EVERYTHING, "seed": seed, "generational": generational},
        known=[*entries, {"genes": {"x1": 0.9}}] if known else [],
    )


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.integers(0, 10_000),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1, 4]),
    st.floats(0, 1),
    st.sets(st.integers(1, 30), max_size=5),
)
def test_a_replay_continues_exactly_with_everything_on(
    seed: int, generational: bool, known: bool, slots: int, cut: float, failures: set[int]
) -> None:
    searched = everything(seed, generational=generational, known=known)
    run = trials(
        searched,
        slow_at_first,
        slots=slots,
        pace=pace_of_genes,
        failure=lambda each: FailureKind.DIVERGED if each.number in failures else None,
        chance=random.Random(seed),
    ).run(30)
    assert_goes_on(GeneticSearch(searched), run.log, cut)


@pytest.mark.parametrize("slots", [2, 6])
def test_a_generational_search_does_not_depend_on_who_arrives_first(slots: int) -> None:
    searched = everything(7, generational=True, known=slots == 2)
    straight = trials(searched, slow_at_first, pace=pace_of_genes).run(36)
    assert {each.role for each in straight.proposals} == {Role.SEARCH, Role.CONTINUATION, Role.REPEAT}
    other = trials(searched, slow_at_first, slots=slots, pace=pace_of_genes, chance=random.Random(slots)).run(36)
    assert other.proposals == straight.proposals


def test_several_objectives_are_replayed_exactly() -> None:
    ways = {"metrics/mAP50-95(B)": "maximise", "model/latency_ms": "minimise"}
    searched = space(genes=WIDE, objectives=ways, search={**QUICK, "seed": 9})

    def objectives(each: Proposal) -> tuple[float, ...]:
        return value(each.params), -float(each.params["x0"])  # type: ignore[arg-type]

    run = trials(searched, slots=3, objectives=objectives, chance=random.Random(0)).run(24)
    assert {len(each.objectives) for each in run.log if isinstance(each, Outcome)} == {2}
    assert_goes_on(GeneticSearch(searched), run.log, 0.6)
