"""What a search has found, and whether that is more than luck.

Every contender is compared with the default configuration by trainings that had no part in choosing it: a best of
hundreds owes its place to its luck, too, and would keep that luck in its mean. So the trainings of the search,
among them those with its own seed, are shown beside the others but do not count, unless there are no others. Nobody
has chosen the default, so all its trainings count.

With three or more seeds in common, a gain is taken seed by seed, and its interval from what is left when the
effects of configurations and seeds are taken out of all contenders (of two: the paired t test). With fewer, that
leaves too little to tell anything; then the noise of a seed is pooled over all contenders, as in Student's test.

The winner is the best of several, so its interval on the validation split allows for that many looks (Bonferroni):
of all configurations of the search, where its only trainings are those that it was chosen by. The test split has no
part in choosing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev, variance
from typing import TypeAlias

import numpy as np

from evolve.finals import Configuration, final_settings, finalists, ranking, seed_of, trainings
from evolve.ledger.records import IndividualRecord
from evolve.space import SearchSpace
from evolve.trial import Role, TrialFailed
from evolve.verdict import SINGLE, Answer, Contender, Gain, Sample

CONFIDENCE = 0.95
PAIRS = 3
"""So many seeds in common make pairs worth their price in degrees of freedom."""
TEST = "test/"
"""Before the names of metrics that were measured on the test split."""
OF_SPLITS = ("metrics/", "train/", "val/", TEST)
"""Before the names of metrics that differ between the splits; what a model costs does not."""

Values: TypeAlias = dict[int, float]
"""Fitness by seed."""


@dataclass(frozen=True)
class _Entry:
    """A configuration with its trainings, by seed."""

    original: IndividualRecord
    trained: Mapping[int, IndividualRecord]
    chosen_by: frozenset[int]
    failed: int

    @property
    def is_default(self) -> bool:
        return self.original.number == 0


def answer_of(
    space: SearchSpace,
    individuals: Sequence[IndividualRecord],
    has_weights: Callable[[int], bool] = lambda number: True,
) -> Answer | None:
    """The answer of a search, from its finals or, without them, from its repeats; None if nothing has a fitness.

    Args:
        space: Of the search.
        individuals: All of it, by number.
        has_weights: Whether the weights that an individual left can still be had.
    """
    entries = _entries(space, individuals)
    if not any(each.trained for each in entries):
        return None
    validation, fresh = _validation(entries)
    looks = sum(map(bool, validation[1:])) if fresh else len(ranking(space, individuals))
    test = [_on_test(space, each) for each in entries]
    gains = _gains(validation, looks)
    test_gains = _gains(test, looks=1)
    contenders = [
        Contender(
            original=entry.original.number,
            individual=_best_training(entry, has_weights),
            seeds=tuple(sorted(values)),
            validation=_sample(values),
            test=_sample(scored),
            gain=gain,
            test_gain=test_gain,
            selected=_sample(_selected(entry, values)),
            failed=entry.failed,
        )
        for entry, values, scored, gain, test_gain in zip(entries, validation, test, gains, test_gains, strict=True)
        if entry.trained or entry.failed
    ]
    contenders.sort(key=lambda each: math.inf if each.mean is None else -each.mean)  # stable
    return Answer(
        source=_source(space, validation),
        winner=contenders[0].original,
        noise=_noise(validation),
        test_noise=_noise(test),
        fresh=fresh,
        looks=max(looks, 1),
        contenders=tuple(contenders),
    )


def _source(space: SearchSpace, validation: Sequence[Values]) -> str:
    if space.finals is not None:
        return "finals"
    return "repeats" if any(len(values) > 1 for values in validation) else SINGLE


# who is compared, by which trainings


def _entries(space: SearchSpace, individuals: Sequence[IndividualRecord]) -> list[_Entry]:
    """The default first, then the others in the order in which the search ranks them."""
    if not individuals:
        return []
    finals = space.finals is not None
    trained = trainings(space, individuals, final_settings(space))
    rivals = finalists(space, individuals) if finals else _best(space, individuals)
    originals = [individuals[0], *(each.original for each in rivals)]
    chosen = (Role.SEARCH, Role.CONTINUATION, Role.REPEAT) if finals else (Role.SEARCH, Role.CONTINUATION)
    return [
        _Entry(
            original=original,
            trained=(by_seed := trained.get(original.key, {})),
            chosen_by=frozenset(seed for seed, each in by_seed.items() if each.role in chosen and original.number),
            failed=sum(each.key == original.key and each.failure is not None for each in individuals),
        )
        for original in originals
    ]


def _best(space: SearchSpace, individuals: Sequence[IndividualRecord]) -> list[Configuration]:
    """The configuration with the highest fitness of a training that is no repeat, unless that is the default."""
    own = [
        each for each in individuals if each.role in (Role.SEARCH, Role.CONTINUATION) and each.fitness is not None
    ]
    if not own:
        return []
    best = max(own, key=lambda each: (each.fitness or 0.0, -each.number))
    if best.key == individuals[0].key:
        return []
    return [Configuration(best, {seed_of(space, best): best.fitness or 0.0})]


def _validation(entries: Sequence[_Entry]) -> tuple[list[Values], bool]:
    """For each contender the trainings that count, and whether those are others than it was chosen by."""
    fresh = [_fitness(each, [seed for seed in each.trained if seed not in each.chosen_by]) for each in entries]
    if not any(fresh[1:]):
        return [_fitness(each, each.trained) for each in entries], len(entries) == 1
    shared = set[int]().union(*fresh[1:])
    paired = {seed: value for seed, value in fresh[0].items() if seed in shared}
    return [paired if len(paired) >= PAIRS else fresh[0], *fresh[1:]], True


def _fitness(entry: _Entry, seeds: Sequence[int] | Mapping[int, object]) -> Values:
    return {seed: each.fitness for seed in seeds if (each := entry.trained[seed]).fitness is not None}


def _on_test(space: SearchSpace, entry: _Entry) -> Values:
    scored: Values = {}
    for seed, each in entry.trained.items():
        on_test = {name.removeprefix(TEST): value for name, value in each.metrics.items() if name.startswith(TEST)}
        if on_test:
            anyhow = {name: value for name, value in each.metrics.items() if not name.startswith(OF_SPLITS)}
            try:
                scored[seed] = space.fitness.of({**anyhow, **on_test})
            except TrialFailed:  # the fitness needs what is not measured there
                continue
    return scored


def _selected(entry: _Entry, counted: Values) -> Values:
    return _fitness(entry, [seed for seed in entry.trained if seed in entry.chosen_by and seed not in counted])


def _best_training(entry: _Entry, has_weights: Callable[[int], bool]) -> int:
    """Of equals the one with the first seed; one that lost its weights only if all have."""
    rivals = sorted(entry.trained.values(), key=lambda each: (-(each.fitness or 0.0), each.number))
    usable = [each for each in rivals if has_weights(each.number)] or rivals or [entry.original]
    return usable[0].number


# statistics


def _sample(values: Values) -> Sample | None:
    if not values:
        return None
    ordered = [values[seed] for seed in sorted(values)]
    return Sample(fmean(ordered), stdev(ordered) if len(ordered) > 1 else None, len(ordered))


def _gains(samples: Sequence[Values], looks: int) -> list[Gain | None]:
    """What each contender gains over the first, which is the default.

    Args:
        samples: Fitness by seed, of each contender.
        looks: Of how many the winner is the best.
    """
    confidence = 1 - (1 - CONFIDENCE) / max(looks, 1)
    default = samples[0]
    return [None, *(_gain(values, default, samples, confidence) for values in samples[1:])]


def _gain(values: Values, default: Values, samples: Sequence[Values], confidence: float) -> Gain | None:
    if not values or not default:
        return None
    seeds = sorted(values.keys() & default.keys())
    if len(seeds) >= PAIRS:
        return _paired(values, default, samples, seeds, confidence)
    difference = fmean(values.values()) - fmean(default.values())
    noise, freedom = _pooled(samples)
    if noise is None:
        return Gain(difference, None)
    margin = _quantile(confidence, freedom) * noise * math.sqrt(1 / len(values) + 1 / len(default))
    return Gain(difference, margin)


def _paired(
    values: Values, default: Values, samples: Sequence[Values], seeds: Sequence[int], confidence: float
) -> Gain:
    """Two-way layout over all contenders that have these seeds: of two, this is the paired t test."""
    block = np.array([[each[seed] for seed in seeds] for each in samples if each.keys() >= set(seeds)])
    residuals = block - block.mean(axis=0) - block.mean(axis=1, keepdims=True) + block.mean()
    freedom = (block.shape[0] - 1) * (block.shape[1] - 1)
    spread = math.sqrt(float((residuals**2).sum()) / freedom)
    margin = _quantile(confidence, freedom) * spread * math.sqrt(2 / len(seeds))
    return Gain(fmean(values[seed] - default[seed] for seed in seeds), margin, paired=True)


def _noise(samples: Sequence[Values]) -> float | None:
    return _pooled(samples)[0]


def _pooled(samples: Sequence[Values]) -> tuple[float | None, int]:
    """Standard deviation of a seed over all contenders, and its degrees of freedom."""
    several = [sorted(values.values()) for values in samples if len(values) > 1]
    freedom = sum(len(values) - 1 for values in several)
    if not freedom:
        return None, 0
    return math.sqrt(sum(variance(values) * (len(values) - 1) for values in several) / freedom), freedom


def _quantile(confidence: float, freedom: int) -> float:
    """By how many standard errors an interval reaches to either side."""
    from scipy.stats import t  # takes half a second, which only the end of a search has

    return float(t.ppf(0.5 + confidence / 2, freedom))
