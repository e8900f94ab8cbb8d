"""Screened offspring: bred by the hundred, judged by a model, and only the most promising one is trained.

For a few inner generations children are bred of the fittest, a surrogate judges them, and the best of them breed
in turn. So it is a genetic algorithm within the genetic algorithm, on a landscape that costs nothing to ask.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from evolve.codec import Codec
from evolve.search.archive import Archive, representative
from evolve.search.base import Genome, Outcome
from evolve.search.costs import Costs
from evolve.search.geometry import Array, Geometry
from evolve.search.operators import build_toolbox
from evolve.search.surrogate import Surrogate, checkpoint
from evolve.search.variation import Brood, Places, Variation
from evolve.space import SearchSpace

FEWEST = 3
"""Individuals that must be known before a model is asked."""
STARTERS, STARTERS_ON_RUNGS = 5, 9
"""Individuals that fill the space evenly, the default among them, before a model takes over.

With rungs most of them cost little."""
DOUBT = 9.0
"""By how much the model's length scales are shortened, by turns, when it finds nothing better any more."""
_PAIR = 2

_GENERATIONS = 6
_SURVIVORS = 20
_WATCHED = 40
_STRANGERS = 8
_MUCH = 16
_CANDIDATES = 60
_MOST_LEARNT = 100
_MOST_KNOWN = 150
_MOST_POINTS = 50
_DIGITS = 6


@dataclass(frozen=True)
class Question:
    """What a proposal is to be found for.

    Attributes:
        pending: Genomes in training.
        parents: Numbers of those that may be parents; None for all.
        weights: Of the objectives; None where there is one.
        daring: Whether what little is known of counts for more than what is expected.
        generator: All chance comes from here.
    """

    pending: Sequence[Genome]
    parents: Collection[int] | None
    weights: Array | None
    daring: bool
    generator: random.Random


class Screening:
    """Breeds and judges offspring; what it says depends on the outcomes that it was told, in their order.

    Args:
        space: The space; its settings choose operators and the number of offspring.
        codec: Its codec.
        points: Genomes with scores from elsewhere. A model is told where each observation is from, and so learns
            how far to trust them.
    """

    def __init__(self, space: SearchSpace, codec: Codec, points: Sequence[tuple[Genome, float]] = ()) -> None:
        self._codec = codec
        self._constrained = bool(space.constraints)
        self._count = space.search.screening
        self._starters = STARTERS_ON_RUNGS if space.rung_levels() else STARTERS
        self._geometry = Geometry(space, codec)
        self._variation = Variation(build_toolbox(space.search), space.search, self._geometry)
        self.archive = Archive(self._geometry, space.full_training())
        self._costs = Costs(space.full_training()) if space.search.objective == "efficiency" else None
        self._points, self._scores = self._elsewhere(points)
        self._known: set[bytes] = set()
        self._learnt = (0, False)  # from how many observations, and whether only from whole trainings
        self._surrogate: Surrogate | None = None

    def _elsewhere(self, points: Sequence[tuple[Genome, float]]) -> tuple[Array, Array]:
        scores = np.array([score for _, score in points])
        chosen = representative(scores, _MOST_POINTS)
        genomes = np.array([points[place][0] for place in chosen]).reshape(len(chosen), self._codec.dimensions)
        away = np.tile([0.0, 1.0], (len(chosen), 1))  # whole trainings, but elsewhere
        return np.column_stack([self._geometry.columns(self._geometry.snap(genomes)), away]), scores[chosen]

    def is_ready(self, number: int) -> bool:
        """Whether enough is known for a model to have a say in the `number`-th individual."""
        known = len(set(self.archive.numbers))
        if len(self._scores) >= FEWEST:
            return known > 0
        return known >= FEWEST and number >= self._starters

    def learn(self, outcome: Outcome, number: int) -> None:
        """Take in a verdict on the individual that first entered under `number`."""
        self.archive.add(outcome, number)
        if self._costs is not None:
            self._costs.add(outcome, self._columns(self._snapped(outcome.proposal.genome))[0])

    def know(self, genome: Genome) -> None:
        """This one has been proposed, and is not to be proposed again."""
        self._known.add(_digest(self._snapped(genome)[0]))

    def best(self, question: Question) -> Brood:
        """The offspring that promise most, the best first; possibly none that is new and feasible."""
        places = self.archive.telling()
        scores = self.archive.scores(places, question.weights)
        surrogate = self._informed(question, places, scores)
        kind = self._neglected(question) if question.daring else None
        if kind is not None and len(places) < _MUCH:
            strangers = self._variation.strangers(*kind, _STRANGERS, question.generator)
            if len(found := self._select(strangers, surrogate, daring=False)):
                return found
        parents = self._parents(question, places, scores, surrogate)
        pool: Brood | None = None
        for _ in range(_GENERATIONS):
            children = self._variation.breed(parents, self._count, question.generator)
            if kind is not None:
                children = self._variation.choose(children, *kind)
            candidates = children if pool is None else pool.join(children)
            pool = self._select(candidates, surrogate, daring=question.daring)
            if len(pool) >= _PAIR:
                parents = pool
        return pool if pool is not None else parents.take([])

    def _informed(self, question: Question, places: Places, scores: Array) -> Surrogate:
        """A surrogate that knows all that is known, under hyperparameters that are learnt now and then."""
        archive = self.archive
        learn_from = checkpoint(len(places)), archive.is_rich
        if self._surrogate is None or self._learnt != learn_from:
            self._surrogate, self._learnt = self._learnt_from(places[: learn_from[0]]), learn_from
        doubt = DOUBT if question.daring and archive.is_stalled else 1.0
        chosen = representative(scores, _MOST_KNOWN)
        places, scores = places[chosen], scores[chosen]
        pending = (
            self._columns(self._geometry.snap(np.array(question.pending))) if question.pending else np.empty(0)
        )
        whole = archive.whole(places)
        candidates = self._from_here(archive.seen(whole if len(whole) else places))
        seen = self._with_points(archive.seen(places))
        self._surrogate.condition(seen, np.concatenate([scores, self._scores]), pending, candidates, doubt)
        return self._surrogate

    def _learnt_from(self, places: Places) -> Surrogate:
        scores = self.archive.scores(places)
        chosen = representative(scores, _MOST_LEARNT)
        seen = self._with_points(self.archive.seen(places[chosen]))
        surrogate = Surrogate(seen.shape[1])
        surrogate.learn(seen, np.concatenate([scores[chosen], self._scores]))
        return surrogate

    def _with_points(self, seen: Array) -> Array:
        """Observations of this search, and then those from elsewhere."""
        return np.vstack([self._from_here(seen), self._points]) if len(self._scores) else seen

    def _from_here(self, seen: Array) -> Array:
        return np.column_stack([seen, np.zeros(len(seen))]) if len(self._scores) else seen

    def _neglected(self, question: Question) -> tuple[int, float] | None:
        """A choice of a gene that controls others which was hardly tried: its dimension and coordinate.

        A model takes what it knows of one kind for all kinds, and stays where its luck was. So each gets
        its fair share for a while.
        """
        if not self._geometry.controlling:
            return None
        pending = np.array(question.pending).reshape(-1, self._codec.dimensions)
        tried = [*self.archive.individuals(), *self._geometry.snap(pending)]
        for dimension in self._geometry.controlling:
            count = int(self._geometry.choices[dimension])
            shares = np.bincount([int(genome[dimension] * count) for genome in tried], minlength=count)
            if shares.min() < min(len(tried), _WATCHED) / count:
                return dimension, (int(np.argmin(shares)) + 0.5) / count
        return None

    def _parents(self, question: Question, places: Places, scores: Array, surrogate: Surrogate) -> Brood:
        """The individuals that are expected to be the fittest; noise makes the best observed ones look better."""
        archive, allowed = self.archive, question.parents
        found: dict[int, int] = {}
        for place in places[np.argsort(-scores, kind="stable")].tolist():
            number = archive.numbers[place]
            if number not in found and (allowed is None or archive.holders.get(number) in allowed):
                found[number] = place
            if len(found) == _CANDIDATES:
                break
        genomes = archive.genomes(list(found.values()))
        order = np.argsort(-surrogate.mean(self._columns(genomes)), kind="stable")[:_SURVIVORS]
        numbers = np.array([archive.holders.get(number, number) for number in found])[order]
        origins = np.repeat(numbers[:, None], genomes.shape[1], axis=1)
        return Brood(genomes[order], origins, ("",) * len(order))

    def _select(self, brood: Brood, surrogate: Surrogate, *, daring: bool) -> Brood:
        """The most promising ones that are new and feasible, no two alike."""
        _, first = np.unique(brood.genomes.round(_DIGITS), axis=0, return_index=True)
        brood = brood.take(np.sort(first))
        columns = self._columns(brood.genomes)
        promise = self._promise(columns, surrogate, daring=daring)
        kept: list[int] = []
        for place in np.argsort(-promise, kind="stable").tolist():
            if self._may_be_trained(brood.genomes[place]):
                kept.append(place)
            if len(kept) == _SURVIVORS:
                break
        return brood.take(kept)

    def _promise(self, columns: Array, surrogate: Surrogate, *, daring: bool) -> Array:
        """What decides, of genomes as whole trainings: the expected gain, or what could be gained with luck.

        Expected improvement stays where it has found something; the upper bound also goes where little is known. In
        turns they find more than either.
        """
        if self._costs is not None:  # for each second
            return surrogate.log_expected_improvement(columns) - self._costs.log_seconds(columns)
        return surrogate.upper_bound(columns) if daring else surrogate.log_expected_improvement(columns)

    def _may_be_trained(self, genome: Array) -> bool:
        if _digest(genome) in self._known:
            return False
        return not self._constrained or self._codec.feasible(genome.tolist())

    def _snapped(self, genome: Genome) -> Array:
        return self._geometry.snap(np.array([genome]))

    def _columns(self, genomes: Array) -> Array:
        """As whole trainings."""
        return self._from_here(np.column_stack([self._geometry.columns(genomes), np.zeros(len(genomes))]))


def _digest(genome: Array) -> bytes:
    return (genome.round(_DIGITS) + 0.0).tobytes()
