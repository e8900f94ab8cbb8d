"""Offspring by the hundred: where they lie, and where each of their coordinates is from."""

from __future__ import annotations

import random
import threading

import numpy as np
import pytest
from deap import tools
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evolve.codec import Codec
from evolve.search.geometry import Geometry
from evolve.search.operators import build_toolbox
from evolve.search.variation import BLENDED, DEFAULT, MUTATED, SAMPLED, SHARES, Brood, Variation
from evolve.space import SearchSpace
from spaces import space
from test_geometry import KINDS

few = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
COUNT = 120


class Nursery:
    """A space with all that varies its genomes."""

    def __init__(self, searched: SearchSpace) -> None:
        self.codec = Codec(searched)
        self.geometry = Geometry(searched, self.codec)
        self.variation = Variation(build_toolbox(searched.search), searched.search, self.geometry)

    def parents(self, count: int, seed: int) -> Brood:
        """Distinct ones, with numbers from 10 on."""
        genomes = np.random.default_rng(seed).random((count, self.codec.dimensions))
        origins = np.repeat(10 + np.arange(count)[:, None], self.codec.dimensions, axis=1)
        return Brood(self.geometry.snap(genomes), origins, ("",) * count)

    def breed(self, parents: Brood, seed: int, count: int = COUNT) -> Brood:
        return self.variation.breed(parents, count, random.Random(seed))


operators = st.fixed_dictionaries(
    {
        "crossover": st.sampled_from(["uniform", "blend", "sbx"]),
        "mutation": st.sampled_from(["gaussian", "polynomial"]),
        "blend_alpha": st.sampled_from([0.0, 0.5, 2.0]),
    }
)


@few
@given(operators, st.integers(2, 12), st.integers(0, 10_000))
def test_children_are_configurations(chosen: dict[str, object], count: int, seed: int) -> None:
    nursery = Nursery(space(genes=KINDS, search=chosen))
    children = nursery.breed(nursery.parents(count, seed), seed)
    assert len(children) == COUNT == len(children.operators) == len(children.origins)
    assert np.isfinite(children.genomes).all()
    assert ((children.genomes >= 0) & (children.genomes <= 1)).all()
    np.testing.assert_allclose(nursery.geometry.snap(children.genomes), children.genomes, atol=1e-12)
    canonical = [nursery.codec.canonical(genome) for genome in children.genomes.tolist()]
    np.testing.assert_allclose(canonical, children.genomes, atol=1e-5)


@few
@given(operators, st.integers(2, 12), st.integers(0, 10_000))
def test_a_coordinate_is_that_of_the_individual_it_is_said_to_be_from(
    chosen: dict[str, object], count: int, seed: int
) -> None:
    nursery = Nursery(space(genes=KINDS, search=chosen))
    parents = nursery.parents(count, seed)
    children = nursery.breed(parents, seed)
    real = children.origins >= 0
    assert set(children.origins[~real].tolist()) <= {MUTATED, BLENDED, SAMPLED, DEFAULT}
    assert set(children.origins[real].tolist()) <= set(range(10, 10 + count))
    exists, existed = nursery.geometry.active(children.genomes), nursery.geometry.active(parents.genomes)
    assert real[exists].mean() > 0.2
    for row, column in zip(*np.nonzero(real & exists), strict=True):
        parent = children.origins[row, column] - 10
        assert existed[parent, column]
        assert children.genomes[row, column] == parents.genomes[parent, column]


def test_children_of_imagined_parents_know_their_real_ancestors() -> None:
    nursery = Nursery(space(genes=KINDS))
    parents = nursery.parents(6, 0)
    family = parents
    for generation in range(4):
        family = nursery.breed(family, generation)
    real = family.origins >= 0
    assert 0.05 < real.mean() < 0.95
    for row, column in zip(*np.nonzero(real), strict=True):
        assert family.genomes[row, column] == parents.genomes[family.origins[row, column] - 10, column]


@few
@given(operators, st.integers(0, 10_000))
def test_choices_come_whole(chosen: dict[str, object], seed: int) -> None:
    nursery = Nursery(space(genes=KINDS, search=chosen))
    children = nursery.breed(nursery.parents(6, seed), seed)
    for column, count in enumerate(nursery.geometry.choices):
        if count:
            places = children.genomes[:, column] * count - 0.5
            np.testing.assert_allclose(places, places.round(), atol=1e-9)


def test_a_choice_that_both_parents_have_changes_by_mutation_alone() -> None:
    genes = {name: KINDS[name] for name in ("rate", "share", "kind")}
    nursery = Nursery(space(genes=genes, search={"crossover": "blend"}))
    parents = nursery.parents(8, 1)
    parents.genomes[:, 2] = 0.5
    children = nursery.breed(parents, 1, 600)
    changed = {name for name, genome in zip(children.operators, children.genomes, strict=True) if genome[2] != 0.5}
    assert changed == {"gaussian_mutation", "immigrant"}


@pytest.mark.parametrize("count", [2, 3, 4, 20])
def test_few_parents_are_enough(count: int) -> None:
    nursery = Nursery(space(genes=KINDS))
    children = nursery.breed(nursery.parents(count, 2), 2, 500)
    used = {name: children.operators.count(name) / 500 for name in set(children.operators)}
    expected = {"uniform_crossover", "gaussian_mutation", "immigrant"}
    assert used.keys() == expected | ({"differential_variation"} if count >= 4 else set())
    if count >= 4:
        assert used["differential_variation"] == pytest.approx(SHARES["differential"], abs=0.08)


@pytest.mark.parametrize("count", [0, 1])
def test_few_children_are_no_trouble(count: int) -> None:
    nursery = Nursery(space(genes=KINDS))
    children = nursery.breed(nursery.parents(5, 3), 3, count)
    assert children.genomes.shape == (count, len(KINDS))
    assert len(children) == count


def test_a_space_of_one_gene() -> None:
    for name in ("rate", "depth", "kind", "on"):
        nursery = Nursery(space(genes={name: KINDS[name]}))
        children = nursery.breed(nursery.parents(4, 4), 4)
        assert children.genomes.shape == (COUNT, 1)
        assert len(np.unique(children.genomes)) > 1


def test_every_mutant_differs_and_the_best_breed_most() -> None:
    genes = {f"x{place}": {"type": "float", "low": 0, "high": 1, "default": 0.5} for place in range(5)}
    nursery = Nursery(space(genes=genes))
    parents = nursery.parents(20, 5)
    children = nursery.breed(parents, 5, 800)
    mutants = [place for place, name in enumerate(children.operators) if name == "gaussian_mutation"]
    assert all((children.origins[place] == MUTATED).any() for place in mutants)
    ancestors = children.origins[children.origins >= 0]
    assert (ancestors < 20).sum() > 1.5 * (ancestors >= 20).sum()


@few
@given(operators, st.integers(0, 10_000))
def test_all_chance_comes_from_the_generator(chosen: dict[str, object], seed: int) -> None:
    nursery = Nursery(space(genes=KINDS, search=chosen))
    parents = nursery.parents(6, seed)
    random.seed(seed)
    np.random.seed(seed)
    state, arrays = random.getstate(), np.random.get_state()[1]
    one, other = nursery.breed(parents, seed), nursery.breed(parents, seed)
    assert random.getstate() == state
    np.testing.assert_array_equal(np.random.get_state()[1], arrays)
    np.testing.assert_array_equal(one.genomes, other.genomes)
    np.testing.assert_array_equal(one.origins, other.origins)
    assert one.operators == other.operators
    assert not np.array_equal(one.genomes, nursery.breed(parents, seed + 1).genomes)


def test_other_threads_draw_as_ever_while_one_breeds() -> None:
    nursery = Nursery(space(genes=KINDS))
    parents = nursery.parents(6, 6)
    expected = nursery.breed(parents, 6, 400)
    bred: list[Brood] = []
    breeding = threading.Thread(target=lambda: bred.extend(nursery.breed(parents, 6, 400) for _ in range(8)))
    random.seed(7)
    straight = [_crossed() for _ in range(2000)]
    random.seed(7)
    breeding.start()
    meanwhile = []
    while breeding.is_alive() or len(meanwhile) < 2000:
        meanwhile.append(_crossed())
    breeding.join()
    assert meanwhile[:2000] == straight
    assert len(bred) == 8
    for brood in bred:
        np.testing.assert_array_equal(brood.genomes, expected.genomes)


def _crossed() -> list[float]:
    one, other = [0.1] * 4, [0.9] * 4
    tools.cxUniform(one, other, 0.5)
    return one


def test_broods_are_taken_apart_and_joined() -> None:
    nursery = Nursery(space(genes=KINDS))
    children = nursery.breed(nursery.parents(6, 8), 8, 9)
    joined = children.take([2, 0]).join(children.take([]))
    assert len(joined) == 2
    np.testing.assert_array_equal(joined.genomes, children.genomes[[2, 0]])
    assert joined.operators == (children.operators[2], children.operators[0])
