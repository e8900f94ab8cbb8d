"""Variation: what DEAP's operators promise, and what we promise on top."""

from __future__ import annotations

import random

import numpy as np
import pytest
from deap import tools
from hypothesis import given
from hypothesis import strategies as st

from evolve.codec import Codec
from evolve.search.breeding import Breeder
from evolve.search.chance import drawing_from
from evolve.search.operators import (
    MUTATED,
    Child,
    Individual,
    build_toolbox,
    cross,
    inherited,
    mutate,
    select_parents,
)
from evolve.space import SearchSettings, SearchSpace
from spaces import METRIC, space

SLIDES = {
    "name": "slides",
    "fitness": METRIC,
    "genes": {
        "lr": {"type": "float", "low": 1e-5, "high": 0.1, "log": True, "default": 0.01},
        "batch": {"type": "int", "low": 4, "high": 64, "default": 16},
        "decay": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True, "default": 5e-4},
        "iou": {"type": "float", "low": 0.3, "high": 0.8, "default": 0.7},
    },
}
FATHER = {"lr": 0.001, "batch": 32, "decay": 0.0005, "iou": 0.7}
MOTHER = {"lr": 0.005, "batch": 16, "decay": 0.0008, "iou": 0.6}

genomes = st.lists(st.floats(0, 1), min_size=4, max_size=4)


def population(codec: Codec, *members: dict[str, float]) -> list[Individual]:
    return [Individual(codec.encode(params), number, 0.5 + number / 10) for number, params in enumerate(members)]


def test_uniform_crossover_can_give_the_child_of_the_slides() -> None:
    slides = SearchSpace.from_document(SLIDES, "test")
    codec = Codec(slides)
    first, second = population(codec, FATHER, MOTHER)
    toolbox = build_toolbox(slides.search)
    children = [codec.decode(cross(toolbox, first, second, {}, random.Random(seed)).genome) for seed in range(200)]
    assert {"lr": 0.001, "batch": 16, "decay": 0.0005, "iou": 0.6} in children
    for child in children:
        assert all(child[name] in (FATHER[name], MOTHER[name]) for name in child)


def test_mutation_can_change_the_learning_rate_of_that_child_alone() -> None:
    slides = SearchSpace.from_document(SLIDES, "test")
    codec = Codec(slides)
    child = Child(list(codec.encode({"lr": 0.001, "batch": 16, "decay": 0.0005, "iou": 0.6})), ["inherited:0"] * 4)
    toolbox = build_toolbox(slides.search)
    rates = []
    for seed in range(300):
        mutated = mutate(toolbox, child, [0], {}, random.Random(seed))
        values = codec.decode(mutated.genome)
        assert (values["batch"], values["decay"], values["iou"]) == (16, 0.0005, 0.6)
        assert mutated.origins == [MUTATED, "inherited:0", "inherited:0", "inherited:0"]
        rates.append(values["lr"])
    assert min(abs(rate - 0.002) for rate in rates) < 0.0001


@pytest.mark.parametrize("crossover", ["uniform", "blend", "sbx"])
@pytest.mark.parametrize("mutation", ["gaussian", "polynomial"])
@given(one=genomes, other=genomes, seed=st.integers(0, 2**32))
def test_children_stay_in_the_cube_and_parents_stay_as_they_are(
    crossover: str, mutation: str, one: list[float], other: list[float], seed: int
) -> None:
    toolbox = build_toolbox(SearchSettings(crossover=crossover, mutation=mutation, mutation_sigma=1.0))
    first, second = Individual(one, 1, 0.1), Individual(other, 2, 0.2)
    choices = {3: 5}
    child = cross(toolbox, first, second, choices, random.Random(seed))
    child = mutate(toolbox, child, [0, 3], choices, random.Random(seed))
    assert list(first) == one
    assert list(second) == other
    assert all(0 <= coordinate <= 1 for coordinate in child.genome)
    assert child.origins[0] == MUTATED
    for dimension in (1, 2):
        if child.origins[dimension] == inherited(1):
            assert child.genome[dimension] == one[dimension]


@given(seed=st.integers(0, 2**32), count=st.integers(2, 7), coordinate=st.floats(0, 1))
def test_a_mutated_category_is_another_one(seed: int, count: int, coordinate: float) -> None:
    toolbox = build_toolbox(SearchSettings())
    mutated = mutate(toolbox, Child([coordinate], ["sampled"]), [0], {0: count}, random.Random(seed))
    before, after = (min(count - 1, int(each * count)) for each in (coordinate, mutated.genome[0]))
    assert before != after


def test_a_category_is_never_blended() -> None:
    toolbox = build_toolbox(SearchSettings(crossover="blend"))
    first, second = Individual([0.1, 0.1], 1, 0.1), Individual([0.9, 0.9], 2, 0.2)
    for seed in range(50):
        child = cross(toolbox, first, second, {1: 3}, random.Random(seed))
        assert child.genome[1] in (0.1, 0.9)
        assert child.origins[0] == "blended"


def test_tournaments_prefer_the_fit_and_truncation_takes_only_the_top() -> None:
    members = [Individual([0.5], number, number / 100) for number in range(100)]
    tournament = build_toolbox(SearchSettings(tournament_size=5))
    chosen = [select_parents(tournament, members, random.Random(seed))[0].number for seed in range(300)]
    assert np.mean(chosen) > 75
    truncation = build_toolbox(SearchSettings(selection="truncation", truncation=0.1))
    for seed in range(100):
        first, second = select_parents(truncation, members, random.Random(seed))
        assert first.number > second.number >= 89
    assert len({id(each) for each in select_parents(truncation, members[:2], random.Random(0))}) == 2


def test_deap_draws_from_the_given_generator_and_elsewhere_from_its_own() -> None:
    def crossed(seed: int | None) -> list[float]:
        one, other = [0.1] * 8, [0.9] * 8
        if seed is None:
            tools.cxUniform(one, other, 0.5)
        else:
            with drawing_from(random.Random(seed)):
                tools.cxUniform(one, other, 0.5)
        return one

    random.seed(5)
    state = random.getstate()
    assert crossed(7) == crossed(7)
    assert random.getstate() == state
    crossed(None)
    assert random.getstate() != state


def test_a_gene_that_only_the_other_parent_has_is_taken_from_it() -> None:
    genes = {
        "kind": {"type": "categorical", "choices": ["a", "b"], "default": "a"},
        "extra": {"type": "float", "low": 0, "high": 1, "default": 0.5, "when": {"kind": "b"}},
        "x": {"type": "float", "low": 0, "high": 1, "default": 0.5},
    }
    conditional = space(genes=genes, search={"mutation_probability": 1e-9, "crossover_probability": 1.0})
    codec = Codec(conditional)
    without, holder = population(codec, {"kind": "a", "x": 0.1}, {"kind": "b", "extra": 0.9, "x": 0.2})
    breeder = Breeder(conditional, codec)
    births = [breeder.breed([without, holder], random.Random(seed)) for seed in range(60)]
    with_extra = [birth for birth in births if "extra" in codec.decode(birth.genome)]
    assert with_extra
    for birth in with_extra:
        assert codec.decode(birth.genome)["extra"] == 0.9
        assert birth.origins[1] == inherited(1)
