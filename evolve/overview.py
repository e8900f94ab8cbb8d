"""What the individuals of a search amount to: generations, the best, failures, ancestors."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean, pstdev

from evolve.ledger.records import GenerationSummary, IndividualRecord
from evolve.trial import Role

__all__ = [
    "GenerationSummary",
    "ancestors",
    "births",
    "costs",
    "default_fitness",
    "default_of",
    "failure_counts",
    "generations",
    "searched",
    "top",
]


def generations(individuals: Iterable[IndividualRecord]) -> list[GenerationSummary]:
    """The generations in their order; the finals, which come after the last one, are none."""
    members: defaultdict[int, list[IndividualRecord]] = defaultdict(list)
    for individual in individuals:
        if individual.role is not Role.FINAL:
            members[individual.generation].append(individual)
    summaries: list[GenerationSummary] = []
    best_so_far: float | None = None
    for generation in sorted(members):
        group = members[generation]
        scores = [each.fitness for each in group if each.fitness is not None]
        best = max(scores, default=None)
        best_so_far = max((value for value in (best, best_so_far) if value is not None), default=None)
        verdicts = sum(each.told is not None for each in group)
        failed = sum(each.failure is not None for each in group)
        summaries.append(
            GenerationSummary(
                generation=generation,
                evaluated=len(scores),
                failed=failed,
                open=len(group) - verdicts,
                best=best,
                mean=fmean(scores) if scores else None,
                std=pstdev(scores) if scores else None,
                best_so_far=best_so_far,
                stopped=verdicts - len(scores) - failed,
            )
        )
    return summaries


def top(individuals: Iterable[IndividualRecord], amount: int) -> list[IndividualRecord]:
    """The `amount` fittest, the earlier one first among equals; a configuration by its own training, no repeat."""
    own = (each for each in individuals if each.role not in (Role.REPEAT, Role.FINAL))
    scored = [(-each.fitness, each.number, each) for each in own if each.fitness is not None]
    return [individual for _, _, individual in sorted(scored, key=lambda entry: entry[:2])[:amount]]


def default_fitness(individuals: Iterable[IndividualRecord]) -> float | None:
    """Of the default configuration as the search trained it; finals may be longer. The mean over its repeats."""
    known = list(individuals)
    default = default_of(known)
    if default is None:
        return None
    repeats = [each for each in known if each.role is Role.REPEAT and each.original == default.number]
    return fmean(each.fitness for each in (default, *repeats) if each.fitness is not None)


def default_of(individuals: Iterable[IndividualRecord]) -> IndividualRecord | None:
    """The default configuration as the search trained it whole: individual 0, or the one that continued it."""
    line = {0}
    for each in individuals:
        if each.continues in line:
            line.add(each.number)
        if each.number in line and each.fitness is not None and each.role is not Role.PARTIAL:
            return each
    return None


def costs(individuals: Iterable[IndividualRecord]) -> dict[int, float]:
    """Seconds that were spent up to the end of each training, with those of the trainings that it continues."""
    spent: dict[int, float] = {}
    for each in individuals:
        before = 0.0 if each.continues is None else spent.get(each.continues, 0.0)
        spent[each.number] = before + each.seconds
    return spent


def searched(individuals: Iterable[IndividualRecord], number: int | None) -> int | None:
    """Number of the individual that the search proper found: of one of the finals, its original."""
    found = next((each for each in individuals if each.number == number), None)
    return number if found is None or found.role is not Role.FINAL else found.original


def failure_counts(individuals: Iterable[IndividualRecord]) -> Counter[str]:
    """Individuals that failed for good, by kind."""
    return Counter(each.failure.value for each in individuals if each.failure is not None)


def ancestors(individuals: Sequence[IndividualRecord], number: int, limit: int = 60) -> list[IndividualRecord]:
    """An individual and those it descends from, nearest first, at most `limit`."""
    by_number = {each.number: each for each in individuals}
    found: dict[int, IndividualRecord] = {}
    queue = [number]
    for current in queue:
        if current in by_number and current not in found:
            if len(found) == limit:
                break
            found[current] = by_number[current]
            queue.extend(by_number[current].parents)
    return list(found.values())


def births(individuals: Iterable[IndividualRecord], number: int) -> dict[str, tuple[int, str]]:
    """Where each gene of an individual came from: the number it first appeared in, and how (e.g. `mutated`)."""
    by_number = {each.number: each for each in individuals}
    found: dict[str, tuple[int, str]] = {}
    for name in by_number[number].origins:
        current = number
        origin = by_number[current].origins[name]
        while origin.startswith("inherited:"):
            parent = by_number.get(int(origin.removeprefix("inherited:")))
            if parent is None or parent.number >= current or name not in parent.origins:
                break
            current, origin = parent.number, parent.origins[name]
        found[name] = (current, origin)
    return found
