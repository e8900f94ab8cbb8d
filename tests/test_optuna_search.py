"""Optuna's samplers and CMA-ES behind ask/tell."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evolve.codec import Codec
from evolve.search.base import Outcome, Proposal, SearchAlgorithm
from evolve.search.optuna_search import OptunaSearch
from evolve.search.samplers import Kind
from evolve.space import SearchSpace
from evolve.trial import FailureKind
from spaces import document, space
from workers.synthetic import quality

LANDSCAPE = {"optimum": {"n": 5, "kind": "b"}, "width": {"n": 8.0}}
KINDS: tuple[Kind, ...] = ("tpe", "gp", "cmaes", "random")
LENGTH: dict[Kind, int] = {"tpe": 40, "gp": 15, "cmaes": 60, "random": 30}
every_kind = pytest.mark.parametrize("kind", KINDS)
Judge = Callable[[Proposal], Outcome]


def judged(proposal: Proposal) -> Outcome:
    return Outcome(proposal, quality(proposal.params, LANDSCAPE))


def search(searched: SearchSpace, kind: Kind, individuals: int, judge: Judge = judged) -> list[Outcome]:
    algorithm, outcomes = OptunaSearch(searched, kind), []
    while len(outcomes) < individuals:
        for proposal in algorithm.ask(1):
            outcomes.append(judge(proposal))
            algorithm.tell(outcomes[-1])
    return outcomes


def test_the_space_names_the_kind() -> None:
    algorithm: SearchAlgorithm = OptunaSearch(space(search={"algorithm": "random"}))
    assert algorithm.ask(2)[1].operators == ("random",)
    with pytest.raises(ValueError, match="genetic"):
        OptunaSearch(space())


@every_kind
def test_individual_0_is_the_default_and_every_gene_tells_where_it_is_from(kind: Kind) -> None:
    outcomes = search(space(), kind, LENGTH[kind])
    first, *others = [each.proposal for each in outcomes]
    assert first.params == space().default()
    assert first.operators == ("default",)
    assert set(first.origins.values()) == {"default"}
    assert {each.operators for each in others} <= {(kind,), ("sample",)}
    for number, each in enumerate([first, *others]):
        assert (each.number, each.generation) == (number, number // 8)
        assert each.origins.keys() == each.params.keys()
        assert each.number == 0 or set(each.origins.values()) == {"sampled"}
        assert each.parents == ()


@every_kind
def test_what_is_known_is_trained_first_and_the_sampler_goes_on_from_there(kind: Kind) -> None:
    scored = [{"genes": {"x": place / 10}, "fitness": place / 10, "source": "file"} for place in range(3, 10)]
    searched = space(known=[*scored, {"genes": {"x": 0.25, "kind": "b"}}])
    proposals = [each.proposal for each in search(searched, kind, 10)]
    assert [each.operators for each in proposals[:6]] == [("default",), *[("known",)] * 5]
    assert [each.params["x"] for each in proposals[1:6]] == pytest.approx([0.25, 0.9, 0.8, 0.7, 0.6])
    assert {origin for each in proposals[1:6] for origin in each.origins.values()} == {"known"}
    assert {each.operators for each in proposals[6:]} <= {(kind,), ("sample",)}


@every_kind
def test_genes_are_there_exactly_where_they_exist(kind: Kind) -> None:
    outcomes = search(space(), kind, LENGTH[kind])
    for each in outcomes:
        assert space().check(each.proposal.params) == []
        assert Codec(space()).canonical(each.proposal.genome) == each.proposal.genome
    assert {"extra" in each.proposal.params for each in outcomes} == {True, False}


@every_kind
def test_constraints_hold_for_every_individual(kind: Kind) -> None:
    searched = SearchSpace.from_document({**document(), "constraints": ["x + y <= 0.4", "n * x < 2"]}, "test")
    outcomes = search(searched, kind, LENGTH[kind])
    for outcome in outcomes:
        assert searched.check(outcome.proposal.params) == []
    assert len({each.proposal.key for each in outcomes}) == LENGTH[kind]


@every_kind
def test_what_can_hardly_be_drawn_is_repaired(kind: Kind) -> None:
    genes: Any = {name: {"type": "float", "low": 0, "high": 1, "default": 0.5} for name in ("x", "y")}
    narrow = {**document(genes=genes), "constraints": ["x + y < 1.0001 and x + y > 0.99"]}
    searched = SearchSpace.from_document(narrow, "test")
    outcomes = search(searched, kind, 15)
    assert all(searched.check(outcome.proposal.params) == [] for outcome in outcomes)
    if kind != "random":
        assert any("repaired" in outcome.proposal.origins.values() for outcome in outcomes)


@every_kind
def test_no_training_is_proposed_twice_while_there_are_others(kind: Kind) -> None:
    genes: Any = {
        "kind": {"type": "categorical", "choices": ["a", "b", "c"], "default": "a"},
        "n": {"type": "int", "low": 1, "high": 4, "default": 1},
    }
    outcomes = search(space(genes=genes), kind, 14)
    assert len({each.proposal.key for each in outcomes[:12]}) == 12


@pytest.mark.parametrize("kind", ["tpe", "cmaes"])
def test_it_does_far_better_than_chance(kind: Kind) -> None:
    gains = []
    for seed in range(3):
        searched = space(search={"seed": seed})
        best, rolled = (max(each.fitness or 0 for each in search(searched, one, 150)) for one in (kind, "random"))
        gains.append(best - rolled)
    assert sum(gains) / len(gains) > 0.05


@pytest.mark.slow
def test_a_gaussian_process_needs_few_individuals() -> None:
    def smooth(proposal: Proposal) -> Outcome:
        x, n = proposal.params["x"], proposal.params["n"]
        assert isinstance(x, float)
        assert isinstance(n, int)
        return Outcome(proposal, -((x - 0.7) ** 2) - ((n - 5) / 8) ** 2)

    best = [max(each.fitness or -1 for each in search(space(search={"seed": s}), "gp", 35, smooth)) for s in (1, 2)]
    assert min(best) > -1e-3


@settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    seed=st.integers(0, 10_000),
    generational=st.booleans(),
    told=st.integers(0, 26),
    failures=st.sets(st.integers(0, 30)),
)
@every_kind
def test_replaying_the_history_continues_as_if_nothing_had_happened(
    kind: Kind, seed: int, generational: bool, told: int, failures: set[int]
) -> None:
    known = [{"genes": {"x": 0.9}, "fitness": 1.0}, {"genes": {"x": 0.4}}]
    searched = space(search={"seed": seed, "generational": generational}, known=known)

    def judge(proposal: Proposal) -> Outcome:
        if proposal.number in failures:
            return Outcome(proposal, None, FailureKind.DIVERGED)
        return judged(proposal)

    whole = search(searched, kind, 22 if kind == "gp" else 32, judge)
    revived = OptunaSearch(searched, kind)
    revived.replay([each.proposal for each in whole[:told]], whole[:told])
    for expected in whole[told:]:
        assert revived.ask(1) == [expected.proposal]
        revived.tell(expected)


@settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(1, 24))
@every_kind
def test_a_replay_with_trials_in_flight_and_verdicts_out_of_order_continues_the_same(
    kind: Kind, seed: int, cut: int
) -> None:
    searched, chance = space(search={"seed": seed % 7}), random.Random(seed)
    algorithm, running = OptunaSearch(searched, kind), []
    proposals: list[Proposal] = []
    outcomes: list[Outcome] = []
    while len(outcomes) < cut:
        asked = algorithm.ask(3 - len(running))
        running, proposals = running + asked, proposals + asked
        outcomes.append(judged(running.pop(chance.randrange(len(running)))))
        algorithm.tell(outcomes[-1])
    revived = OptunaSearch(searched, kind)
    revived.replay(proposals, outcomes)
    assert revived.ask(4) == algorithm.ask(4)


@every_kind
@pytest.mark.parametrize("workers", [1, 3, 8])
def test_a_generational_search_does_not_depend_on_the_order_of_arrival(kind: Kind, workers: int) -> None:
    searched = space(search={"generational": True, "population": 6})
    straight = [each.proposal for each in search(searched, kind, 24)]
    chance = random.Random(workers)
    algorithm, running, seen = OptunaSearch(searched, kind), [], []
    while len(seen) < 24:
        asked = algorithm.ask(workers - len(running))
        running, seen = running + asked, seen + asked
        algorithm.tell(judged(running.pop(chance.randrange(len(running)))))
    assert seen == straight


def test_a_generational_search_waits_for_its_generation() -> None:
    algorithm = OptunaSearch(space(search={"generational": True}), "tpe")
    first = algorithm.ask(100)
    assert len(first) == 8
    for proposal in first[:-1]:
        algorithm.tell(judged(proposal))
        assert algorithm.ask(3) == []
    algorithm.tell(judged(first[-1]))
    assert len(algorithm.ask(3)) == 3


@every_kind
def test_a_steady_state_search_never_waits(kind: Kind) -> None:
    algorithm = OptunaSearch(space(), kind)
    assert len(algorithm.ask(40)) == 40
    assert algorithm.possible_parents() == set()
    assert algorithm.ask(-1) == []


@every_kind
def test_a_search_in_which_all_fails_goes_on(kind: Kind) -> None:
    outcomes = search(space(), kind, 30, lambda proposal: Outcome(proposal, None, FailureKind.DIVERGED))
    assert len({each.proposal.key for each in outcomes}) == 30


@every_kind
def test_equal_fitness_everywhere_is_no_obstacle(kind: Kind) -> None:
    outcomes = search(space(), kind, 20, lambda proposal: Outcome(proposal, 0.5))
    assert len({each.proposal.key for each in outcomes}) == 20


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_a_batch_that_ran_out_of_memory_is_not_tried_again(kind: Kind) -> None:
    genes: Any = {
        "batch": {"type": "int", "low": 4, "high": 64, "log": True, "default": 16},
        "x": {"type": "float", "low": 0, "high": 1, "default": 0.2},
    }
    smallest = 65

    def judge(proposal: Proposal) -> Outcome:
        nonlocal smallest
        batch = proposal.params["batch"]
        assert isinstance(batch, int)
        assert batch < smallest
        if batch <= 20:
            return Outcome(proposal, batch / 100)
        smallest = batch
        return Outcome(proposal, None, FailureKind.OUT_OF_MEMORY)

    outcomes = search(space(genes=genes, train={"epochs": 1, "imgsz": 640}), kind, 60, judge)
    repaired = [each.proposal for each in outcomes if each.proposal.operators[-1] == "memory_repair"]
    assert repaired
    assert all(each.origins == {"batch": "repaired", "x": "sampled"} for each in repaired)


def test_one_gene_is_enough() -> None:
    genes: Any = {"x": {"type": "float", "low": 0, "high": 1, "default": 0.2}}
    for kind in KINDS:
        assert len({each.proposal.key for each in search(space(genes=genes), kind, 15)}) == 15


def trajectory(kind: Kind) -> str:
    genomes = [each.proposal.genome for each in search(space(), kind, 25)]
    return hashlib.sha256(repr(genomes).encode()).hexdigest()


@pytest.mark.slow
def test_the_trajectory_is_the_same_in_every_process() -> None:
    """Python's hashes of text differ between processes, and with them the order of sets."""
    program = "import test_optuna_search as t; print([t.trajectory(kind) for kind in t.KINDS])"
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent)])
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1


def test_nothing_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    for kind in KINDS:
        search(space(), kind, 13)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
