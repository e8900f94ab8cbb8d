"""From the ledger to a comparison."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean, stdev
from typing import Literal

from evolve.comparison import contenders
from evolve.comparison.course import Course, course_of, is_candidate
from evolve.comparison.records import Budget, By, Comparison, Contender, Entry
from evolve.comparison.words import notes_on, verdicts_on, warnings_on
from evolve.exceptions import InputError
from evolve.ledger import EventKind, Ledger, SearchRecord

_EVENTS = 100_000
_FEWEST = 2


def gather(ledger: Ledger, refs: Sequence[str], by: By) -> Comparison:
    """Compare searches of a ledger; see `evolve.compare_searches`."""
    records = _records(ledger, refs)
    labels = contenders.entry_labels(records)
    groups = contenders.contender_labels(records)
    entries = [_entry(ledger, *each) for each in zip(records, labels, groups, strict=True)]
    budget = common_budget([each.course for each in entries], by)
    found = contenders_of(entries, budget)
    pairs = testable(entries, found)
    results = {each.label: each.results for each in found}
    contrasts = []
    if pairs:
        from evolve.comparison.statistics import contrasts as compared

        contrasts = compared(results, pairs)
    return Comparison(
        entries=entries,
        contenders=found,
        contrasts=contrasts,
        budget=budget,
        metric=contenders.metric(records[0]),
        verdicts=verdicts_on(entries, found, contrasts),
        warnings=warnings_on(entries),
        notes=notes_on(entries, found, contrasts, budget),
    )


def _records(ledger: Ledger, refs: Sequence[str]) -> list[SearchRecord]:
    if len(refs) < _FEWEST:
        given = f"1 ({refs[0]})" if refs else "none"
        raise InputError(
            f"compare: two searches or more are needed, but got {given}; `evolve list` shows all of them"
        )
    found: dict[str, tuple[str, SearchRecord]] = {}
    for ref in refs:
        record = ledger.search(ref)
        if record.id in found:
            earlier = found[record.id][0]
            raise InputError(
                f"compare: every search must be given once, but {earlier} and {ref} are both {record.id}; "
                "leave one out (a name stands for the newest search of that name, an id for any)"
            )
        found[record.id] = (ref, record)
    return [record for _, record in found.values()]


def _entry(ledger: Ledger, record: SearchRecord, label: str, contender: str) -> Entry:
    history = ledger.history(record.id)
    kinds = (EventKind.SEARCH_STARTED, EventKind.SEARCH_FINISHED)
    events = ledger.events(record.id, limit=_EVENTS, kinds=kinds)
    course = course_of(history, ledger.trial_times(record.id), events)
    best = next((each.params for each in history if each.number == record.best_individual), None)
    scores = tuple(each.fitness for each in history if each.fitness is not None and is_candidate(each))
    algorithm, seed = contenders.algorithm(record), contenders.seed(record)
    return Entry(record, label, contender, algorithm, seed, course, scores, best)


def common_budget(courses: Sequence[Course], by: By) -> Budget:
    """What all searches have spent; one that has not reached anything yet does not count."""
    begun = [each for each in courses if each.rises]
    clock: Literal["gpu_seconds", "seconds"] = "seconds"
    if begun and all(each.gpu_seconds > 0 for each in begun):
        clock = "gpu_seconds"
    trainings = min((each.trainings for each in begun), default=0)
    seconds = min((getattr(each, clock) for each in begun), default=0.0)
    return Budget(trainings, seconds, clock, by)


def contenders_of(entries: Sequence[Entry], budget: Budget) -> list[Contender]:
    """The contenders in the order of their first runs, with what each run had reached after the budget.

    A seed that was run twice is one observation: with equal seeds two runs may be copies of each other.
    """
    axis, amount = budget.axis
    reached: dict[str, defaultdict[int, list[float]]] = {each.contender: defaultdict(list) for each in entries}
    for each in entries:
        value = each.course.reached(axis, amount)
        if value is not None:
            reached[each.contender][each.seed].append(value)
    found = []
    for label, by_seed in reached.items():
        results = {seed: fmean(values) for seed, values in by_seed.items()}
        mean = fmean(results.values()) if results else None
        spread = stdev(results.values()) if len(results) >= _FEWEST else None
        found.append(Contender(label, results, mean, spread))
    return found


def testable(entries: Sequence[Entry], found: Sequence[Contender]) -> list[tuple[str, str]]:
    """Pairs of contenders that have runs enough and whose fitness means the same."""
    measures = {each.contender: contenders.measure(each.record) for each in entries}
    ready = [each.label for each in found if len(each.results) >= _FEWEST]
    return [pair for pair in combinations(ready, 2) if measures[pair[0]] == measures[pair[1]]]
