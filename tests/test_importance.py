"""The importance of genes: what matters is found, and where nothing can be said, that is said."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from evolve.importance import FEWEST, importance
from sample_searches import GENES, individual, sample_ledger

TWO = {
    "cause": {"type": "float", "low": 0.0, "high": 1.0, "default": 0.5},
    "idle": {"type": "float", "low": 1e-5, "high": 1.0, "log": True, "default": 0.1},
    "flag": {"type": "boolean", "default": False},
    "only": {"type": "int", "low": 1, "high": 9, "default": 3, "when": {"flag": [True]}},
}


def population(size, fitness):
    rng = random.Random(3)
    made = []
    for number in range(size):
        params = {"cause": rng.random(), "idle": 10 ** rng.uniform(-5, 0), "flag": rng.random() < 0.5}
        if params["flag"]:
            params["only"] = rng.randint(1, 9)
        made.append(replace(individual(number, params), fitness=fitness(params, rng), told=number))
    return made


def test_the_gene_that_decides_comes_first() -> None:
    found = importance(TWO, population(60, lambda params, rng: params["cause"] + rng.gauss(0, 0.02)))
    assert found.problem == ""
    assert next(iter(found.shares)) == "cause"
    assert found.shares["cause"] > 0.8
    assert found.explained > 0.8
    assert set(found.shares) == set(TWO)
    assert found.individuals == 60


def test_a_gene_that_only_exists_sometimes_is_judged_too() -> None:
    found = importance(TWO, population(80, lambda params, rng: params.get("only", 3) + rng.gauss(0, 0.1)))
    assert next(iter(found.shares)) == "only"


def test_noise_is_called_noise() -> None:
    found = importance(TWO, population(60, lambda params, rng: rng.random()))
    assert found.shares == {}
    assert "predict nothing" in found.problem


@pytest.mark.parametrize("size", [0, 1, FEWEST - 1])
def test_too_few_individuals_are_said_to_be_too_few(size: int) -> None:
    found = importance(TWO, population(size, lambda params, rng: params["cause"]))
    assert found.shares == {}
    assert found.problem == f"{FEWEST} individuals with a fitness are needed, and there are {size}"


def test_equal_fitnesses_say_nothing() -> None:
    assert "same fitness" in importance(TWO, population(40, lambda params, rng: 0.5)).problem


def test_failures_are_left_out_and_a_long_search_is_thinned_evenly() -> None:
    sample = sample_ledger(500)
    found = importance(GENES, sample.members)
    assert found.individuals == 300
    assert next(iter(found.shares)) == "lr0"
    assert importance(GENES, sample.members) == found
