"""What proposes points to a search that is not genetic: Optuna's samplers and CMA-ES, behind one interface.

All of them see the unit cube: a numeric gene is a float in [0, 1], a categorical one a choice among the indices
of its values. Log scales, rounding and names stay the codec's, and what a sampler is told is the coordinate of
the value that was trained, not the one it drew.

A sampler keeps no random state between individuals: drafts are drawn from a seed that comes with the request. So
what it drafts depends on the individuals begun and concluded alone, and a replay needs no more than these.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np

from evolve.codec import Codec
from evolve.search.base import Genome
from evolve.space import SearchSpace

if TYPE_CHECKING:
    from cmaes import CMA
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

Kind: TypeAlias = Literal["tpe", "gp", "cmaes", "random"]

_STUDY = "search"
_DRAFT = 0
_STEP = 0.2
_RESTART_FACTOR = 2


class Sampler(Protocol):
    """Learns from individuals and drafts further ones; drafts need not be feasible, nor new."""

    def begin(self, number: int, genome: Genome, *, drafted: bool) -> None:
        """An individual is being trained; `drafted` tells whether its genome is as this sampler drew it."""
        ...

    def conclude(self, number: int, fitness: float | None) -> None:
        """Its fitness is known, or it failed."""
        ...

    def drafts(self, seed: int) -> Iterator[Genome]:
        """Canonical genomes without end, the same ones for the same seed and history."""
        ...


def make_sampler(kind: Kind, space: SearchSpace, codec: Codec) -> Sampler:
    """The sampler of a kind, knowing nothing yet."""
    if kind == "cmaes":
        return CmaSampler(space, codec)
    return StudySampler(kind, space, codec)


class StudySampler:
    """Optuna's TPE, Gaussian process or random sampler over an in-memory study.

    The study holds a trial for every individual, with its true values; those in training are RUNNING trials. Its
    first trial stays WAITING for ever, which no sampler looks at: drafts are drawn in its name, so that what is
    drawn and discarded leaves no trace.

    Under TPE and at random a gene is drawn, and learnt from, where it exists. A Gaussian process needs all
    coordinates of all trials: there a gene that does not exist stands at its default, as it does in a genome.
    """

    def __init__(self, kind: Kind, space: SearchSpace, codec: Codec) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)  # it announces every study otherwise
        self._kind = kind
        self._codec = codec
        self._default = codec.encode(space.default())
        self._counts = {name: gene.choice_count for name, gene in space.genes.items()}
        self._conditional = {name for name, gene in space.genes.items() if gene.when}
        order = TopologicalSorter({name: gene.when for name, gene in space.genes.items()}).static_order()
        place = {name: dimension for dimension, name in enumerate(codec.names)}
        self._order = [(name, place[name]) for name in order]
        self._distributions = {name: _distribution(count) for name, count in self._counts.items()}
        self._storage = optuna.storages.InMemoryStorage()
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=_STUDY,
            direction="maximize",
            sampler=optuna.samplers.RandomSampler(seed=0),
        )
        self._study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.WAITING))
        self._trials: dict[int, int] = {}

    def begin(self, number: int, genome: Genome, *, drafted: bool) -> None:
        """Add a RUNNING trial."""
        from optuna.trial import TrialState, create_trial

        names = self._codec.names if self._kind == "gp" else tuple(self._codec.decode(genome))
        coordinates = dict(zip(self._codec.names, genome, strict=True))
        self._trials[number] = len(self._trials) + 1
        self._study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params={name: self._parameter(name, coordinates[name]) for name in names},
                distributions={name: self._distributions[name] for name in names},
            )
        )

    def conclude(self, number: int, fitness: float | None) -> None:
        """Complete or fail its trial."""
        from optuna.trial import TrialState

        trial = self._trials[number]
        if fitness is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, fitness)

    def drafts(self, seed: int) -> Iterator[Genome]:
        """Draw from a sampler of this seed."""
        import optuna

        sampler = self._make(seed)
        # a study remembers the trials that it has once listed; a new one over the same storage sees all
        study = optuna.load_study(study_name=_STUDY, storage=self._storage, sampler=sampler)
        trial = study.get_trials(deepcopy=False)[_DRAFT]
        while True:
            relative = sampler.infer_relative_search_space(study, trial)
            drawn = sampler.sample_relative(study, trial, relative)
            yield self._complete(partial(self._draw, sampler, study, trial, drawn))

    def _make(self, seed: int) -> BaseSampler:
        from optuna import samplers

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the interface may change, of which our tests tell us
            if self._kind == "tpe":
                return samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
            if self._kind == "gp":
                return samplers.GPSampler(seed=seed, warn_independent_sampling=False)
            return samplers.RandomSampler(seed=seed)

    def _complete(self, draw: Callable[[str], float]) -> Genome:
        """A genome whose genes are drawn where they exist, each after those that control it."""
        genome = list(self._default)
        for name, dimension in self._order:
            if name not in self._conditional or name in self._codec.decode(genome):
                genome[dimension] = draw(name)
        return self._codec.canonical(genome)

    def _draw(
        self, sampler: BaseSampler, study: Study, trial: FrozenTrial, drawn: dict[str, Any], name: str
    ) -> float:
        if name in drawn:
            value = drawn[name]
        else:
            value = sampler.sample_independent(study, trial, name, self._distributions[name])
        count = self._counts[name]
        return float(value) if count is None else (int(value) + 0.5) / count

    def _parameter(self, name: str, coordinate: float) -> float | int:
        count = self._counts[name]
        return coordinate if count is None else min(int(coordinate * count), count - 1)


def _distribution(count: int | None) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    return FloatDistribution(0.0, 1.0) if count is None else CategoricalDistribution(tuple(range(count)))


class CmaSampler:
    """CMA-ES by the package that Optuna's CmaEsSampler stands on.

    Optuna's own sampler keeps its state as a pickle within trials and sorts verdicts by the moment at which an
    individual was asked for, which no record holds. Here verdicts are taken in the order told, a population at a
    time, whenever they were asked for: with a few trials in flight some stem from the distribution before.

    It learns from its own draws only. A point from elsewhere may be many standard deviations away, and the
    covariance would follow it. When it has converged, it starts again with a larger population (Auger and Hansen,
    "A Restart CMA Evolution Strategy With Increasing Population Size", CEC 2005).
    """

    def __init__(self, space: SearchSpace, codec: Codec) -> None:
        self._codec = codec
        self._running: dict[int, Genome] = {}
        self._batch: list[tuple[np.ndarray, float]] = []
        self._restarts = 0
        self._optimizer = self._start(np.array(codec.encode(space.default())))

    def begin(self, number: int, genome: Genome, *, drafted: bool) -> None:
        """Remember what is being trained."""
        if drafted:
            self._running[number] = genome

    def conclude(self, number: int, fitness: float | None) -> None:
        """Move the distribution when a population is complete."""
        genome = self._running.pop(number, None)
        if genome is None or fitness is None:
            return
        self._batch.append((np.array(genome), -fitness))
        if len(self._batch) < self._optimizer.population_size:
            return
        self._optimizer.tell(self._batch)
        self._batch = []
        if self._optimizer.should_stop():
            self._restarts += 1
            rng = np.random.default_rng(self._restarts)
            self._optimizer = self._start(rng.random(self._codec.dimensions), self._optimizer.population_size)

    def drafts(self, seed: int) -> Iterator[Genome]:
        """Draw from the distribution."""
        self._optimizer.reseed_rng(seed)
        while True:
            yield self._codec.canonical(self._optimizer.ask().tolist())

    def _start(self, mean: np.ndarray, population: int | None = None) -> CMA:
        from cmaes import CMA

        bounds = np.tile([0.0, 1.0], (self._codec.dimensions, 1))
        size = None if population is None else _RESTART_FACTOR * population
        return CMA(mean=mean, sigma=_STEP, bounds=bounds, seed=0, population_size=size)
