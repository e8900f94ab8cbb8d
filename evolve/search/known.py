"""What a search knows before it begins: the `known` of its space as genomes, with scores that can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evolve.codec import Codec, Genome
    from evolve.space import SearchSpace

_BLOM = 0.375


def known_points(space: SearchSpace, codec: Codec) -> list[tuple[Genome, float | None]]:
    """The known configurations as distinct, canonical, feasible genomes, each with its score.

    Those without a fitness come first, as somebody wants them trained; then the others, the best of every source
    before the second best of any. One that breaks a constraint is mended, or left out where that is not possible.

    A score is rank-normal within a source: fitness in one source may be mAP on other data, or a loss turned round,
    so only the order counts. It is None where no source has a fitness; of several sources it is the mean.

    Args:
        space: The space.
        codec: Its codec.
    """
    wanted: dict[Genome, None] = {}
    sources: dict[str, dict[Genome, list[float]]] = {}
    for each in space.known:
        genome = codec.mend(codec.encode(each.genes))
        if genome is None:
            continue
        if each.fitness is None:
            wanted[genome] = None
        else:
            sources.setdefault(each.source, {}).setdefault(genome, []).append(each.fitness)
    ranked = [_ranked(trained) for trained in sources.values()]
    scores: dict[Genome, list[float]] = {}
    for source in ranked:
        for genome, score in source.items():
            scores.setdefault(genome, []).append(score)
    order = dict.fromkeys([*wanted, *_in_turns(ranked)])
    return [(genome, _mean(scores[genome]) if genome in scores else None) for genome in order]


def _ranked(trained: Mapping[Genome, Sequence[float]]) -> dict[Genome, float]:
    """The genomes of one source, best first, with their scores; equal fitness gives equal scores."""
    fitness = {genome: _mean(values) for genome, values in trained.items()}
    worst_first = sorted(fitness.values())
    places: dict[float, list[int]] = {}
    for place, value in enumerate(worst_first, 1):
        places.setdefault(value, []).append(place)
    normal, amount = NormalDist(), len(worst_first)
    score = {
        value: normal.inv_cdf((_mean(ranks) - _BLOM) / (amount + 1 - 2 * _BLOM)) for value, ranks in places.items()
    }
    best_first = sorted(fitness, key=fitness.__getitem__, reverse=True)
    return {genome: score[fitness[genome]] for genome in best_first}


def _in_turns(sources: Iterable[Iterable[Genome]]) -> Iterator[Genome]:
    for turn in zip_longest(*sources):
        yield from (genome for genome in turn if genome is not None)


def _mean(values: Sequence[float]) -> float:
    return sum(value / len(values) for value in values)  # the sum of the largest floats would be infinite
