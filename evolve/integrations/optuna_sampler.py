"""The genetic algorithm as a sampler of Optuna.

    >>> study = optuna.create_study(sampler=EvolveSampler(seed=0))
    >>> study.optimize(objective, n_trials=100)

A study is define-by-run, and a sampler may be loaded anew for any trial. So nothing is kept here: every trial is
bred from the best of the study's completed trials, which is what a steady-state population comes to, by the
operators of `evolve.search`, with chance from (seed, number of the trial).

Parameters that every completed trial has are bred together. One that is asked for in some trials only is bred by
itself, among the trials that have it.
"""

from __future__ import annotations

import math
import random
import secrets
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any
from zlib import crc32

import numpy as np
from optuna import Study
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import intersection_search_space
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from evolve.codec import Codec
from evolve.exceptions import SpaceError
from evolve.integrations.axes import OPERATORS, Axis, Choices, Numbers, Steps, Translation, check_settings
from evolve.search.base import Genome
from evolve.search.breeding import Breeder
from evolve.search.operators import Individual
from evolve.search.start import start_design
from evolve.trial import Json

_ATTEMPTS = 24
_PAIR = 2
_CHOICE_MUTATION = 0.25


class EvolveSampler(BaseSampler):
    """Breeds trials from the best ones so far.

    Args:
        seed: Equal seeds give equal studies, as far as trials finish in the same order; None draws one.
        independent_sampler: For parameters that not every trial has; None breeds them one by one.
        search: Settings of the genetic algorithm by their names in a search space, e.g. `population=16`,
            `crossover="sbx"`; `evolve.integrations.axes.OPERATORS` are those that count here.

    Raises:
        SpaceError: if a setting is unknown or breaks a rule.
    """

    def __init__(
        self, *, seed: int | None = None, independent_sampler: BaseSampler | None = None, **search: Json
    ) -> None:
        check_settings(search, OPERATORS)
        self._seed = secrets.randbelow(2**31) if seed is None else seed
        self._search = {**search, "seed": self._seed}
        self._independent = independent_sampler
        self._settings = _translation({"check": FloatDistribution(0.0, 1.0)}, self._search).space.search

    def reseed_rng(self) -> None:
        """Chance comes from the number of a trial, so there is nothing of ours to reseed."""
        if self._independent is not None:
            self._independent.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """What all completed trials have in common."""
        shared = intersection_search_space(study.get_trials(deepcopy=False))
        return {
            name: distribution
            for name, distribution in shared.items()
            if not distribution.single() and _is_gene(distribution)
        }

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A child of two of the best trials."""
        if not search_space:
            return {}
        chance = [self._seed, trial.number]
        return self._bear(study, trial.number, search_space, chance, spread=True)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A value bred from those of the best trials that have the parameter."""
        chance = [self._seed, trial.number, crc32(param_name.encode())]
        sampler = self._independent
        if sampler is None and not _is_gene(param_distribution):
            sampler = RandomSampler(seed=int(np.random.default_rng(chance).integers(2**31)))
        if sampler is not None:
            return sampler.sample_independent(study, trial, param_name, param_distribution)
        space = {param_name: param_distribution}
        return self._bear(study, trial.number, space, chance, spread=False)[param_name]

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Pass it on."""
        if self._independent is not None:
            self._independent.before_trial(study, trial)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Pass it on."""
        if self._independent is not None:
            self._independent.after_trial(study, trial, state, values)

    def _bear(
        self, study: Study, number: int, space: Mapping[str, BaseDistribution], chance: list[int], *, spread: bool
    ) -> dict[str, Any]:
        """Values for the parameters of `space`; `spread` lets the first generation fill it evenly."""
        self._raise_error_if_multi_objective(study)
        translation = _translation(space, {**_caution(space), **self._search})
        codec = Codec(translation.space)
        trials = [each for each in _finished(study) if _has(each, space)]
        rng = np.random.default_rng(chance)
        if spread and number < self._settings.population:
            design = start_design(self._settings.start, codec.dimensions, self._settings.population, self._seed)
            genome = design[number]
        elif len(trials) < _PAIR or self._is_immigrant(number, trials, study):
            genome = codec.sample(rng)
        else:
            best = _ranked(trials, study)[: self._settings.population]
            population = [
                Individual(codec.encode(translation.inner(each.params)), each.number, _fitness(each, study))
                for each in best
            ]
            known = {codec.key(translation.inner(each.params)) for each in trials}
            genome = _breed(Breeder(translation.space, codec), codec, population, known, rng)
        return translation.outer(codec.decode(genome))

    def _is_immigrant(self, number: int, trials: Sequence[FrozenTrial], study: Study) -> bool:
        """After generations without a new best, a part of one is sampled afresh."""
        settings = self._settings
        generation, place = divmod(number, settings.population)
        quiet = generation - _ranked(trials, study)[0].number // settings.population
        if settings.stagnation is None or quiet <= 0 or quiet % settings.stagnation:
            return False
        return place < settings.immigrants * settings.population


def _breed(
    breeder: Breeder, codec: Codec, population: list[Individual], known: set[str], rng: np.random.Generator
) -> Genome:
    """A child, new if one can be found; of few values all are known soon, and the good ones may come again."""
    generator = random.Random(int(rng.integers(2**63)))  # noqa: S311  # chance, not secrecy
    genome = breeder.breed(population, generator).genome
    for _ in range(_ATTEMPTS):
        if codec.key(codec.decode(genome)) not in known:
            break
        genome = breeder.breed(population, generator).genome
    return genome


def _finished(study: Study) -> list[FrozenTrial]:
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [each for each in completed if each.value is not None and math.isfinite(each.value)]


def _has(trial: FrozenTrial, space: Mapping[str, BaseDistribution]) -> bool:
    return all(trial.distributions.get(name) == distribution for name, distribution in space.items())


def _fitness(trial: FrozenTrial, study: Study) -> float:
    value = trial.value or 0.0
    return value if study.direction is StudyDirection.MAXIMIZE else -value


def _ranked(trials: Sequence[FrozenTrial], study: Study) -> list[FrozenTrial]:
    """The fittest first; of equals the older."""
    return sorted(trials, key=lambda each: (-_fitness(each, study), each.number))


def _translation(space: Mapping[str, BaseDistribution], search: Mapping[str, Json]) -> Translation[str]:
    return Translation({name: _axis(distribution) for name, distribution in space.items()}, search)


def _axis(distribution: BaseDistribution) -> Axis:
    if isinstance(distribution, CategoricalDistribution):
        return Choices(distribution.choices)
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        raise SpaceError(f"{distribution} is none of Optuna's own distributions")
    low, high, step = distribution.low, distribution.high, distribution.step
    whole = isinstance(distribution, IntDistribution)
    if step is None or (whole and step == 1):
        return Numbers(low, high, log=distribution.log, whole=whole)
    return Steps(low, step, 0, round((high - low) / step))


def _caution(space: Mapping[str, BaseDistribution]) -> dict[str, Json]:
    """A gene of a child mutates on average: of a single choice, that would never leave the good one alone."""
    choices = sum(isinstance(distribution, CategoricalDistribution) for distribution in space.values())
    return {"mutation_probability": _CHOICE_MUTATION} if choices == len(space) == 1 else {}


@lru_cache(maxsize=1024)
def _is_gene(distribution: BaseDistribution) -> bool:
    """Whether our genes can be like this; bounds may be too close or too far apart for them."""
    try:
        _translation({"check": distribution}, {})
    except SpaceError:
        return False
    return True
