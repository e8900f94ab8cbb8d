"""What a comparison says in sentences: verdicts of the tests, warnings, and notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from evolve.comparison.contenders import has_rungs, incomparable, measure
from evolve.comparison.records import Budget, Contender, Entry
from evolve.formatting import count, duration, number

if TYPE_CHECKING:
    from evolve.comparison.statistics import Contrast

_FEWEST = 2
_FEW = 10


def verdicts_on(
    entries: Sequence[Entry], contenders: Sequence[Contender], contrasts: Sequence[Contrast]
) -> list[str]:
    """What the tests say, or why there is none."""
    if contrasts:
        return [contrast_text(each) for each in contrasts]
    if len(contenders) == 1:
        name = contenders[0].label
        return [f"these are runs of one contender ({name}) that differ by their seeds: what differs is luck"]
    alike = Counter(measure(each.record) for each in _first_runs(entries))
    if max(alike.values()) < _FEWEST:
        return ["no test is made: these figures do not mean the same"]
    short = [each.label for each in contenders if len(each.results) < _FEWEST]
    if len(short) == len(contenders):
        return [
            "one run per contender cannot tell luck from skill, so no test is made; run each with several seeds "
            "(search.seed) and compare all of them"
        ]
    return [
        f"no test is made: {' and '.join(short)} must have two runs or more with different seeds to tell luck from "
        "skill"
    ]


def contrast_text(contrast: Contrast) -> str:
    """The verdict of one test in a sentence."""
    if contrast.shown:
        better, worse, low, high = contrast.first, contrast.second, contrast.low, contrast.high
        if contrast.difference < 0:
            better, worse, low, high = worse, better, -high, -low
        gained = f"{abs(contrast.difference):.4f} (95 % {low:.4f} to {high:.4f})"
        return f"{better} reached more than {worse}: {gained}, {p_text(contrast)}"
    against = f"{contrast.first} against {contrast.second}: {contrast.difference:+.4f}"
    if contrast.hopeless:
        runs = " and ".join(map(str, contrast.runs))
        return (
            f"{against}, which shows nothing: with {runs} runs no difference could be shown, however large; "
            f"{contrast.needed} of each can"
        )
    interval = f"95 % {contrast.low:+.4f} to {contrast.high:+.4f}"
    return f"{against} ({interval}), no difference shown, {p_text(contrast)}"


def p_text(contrast: Contrast) -> str:
    """The p value that counts, e.g. `p = 0.031`."""
    return f"p = {contrast.adjusted:.2g}" if contrast.adjusted >= 0.001 else "p < 0.001"  # noqa: PLR2004


def warnings_on(entries: Sequence[Entry]) -> list[str]:
    """Why figures cannot be compared, in one line at most."""
    problem = incomparable([each.record for each in entries])
    return [problem] if problem else []


def notes_on(
    entries: Sequence[Entry], contenders: Sequence[Contender], contrasts: Sequence[Contrast], budget: Budget
) -> list[str]:
    """What a reader should know besides."""
    return [
        *_budget_note(entries, budget),
        *_test_notes(contrasts),
        *_left_out(contenders, contrasts),
        *_noise(entries),
        *_repeated(entries),
        *_states(entries),
    ]


def _budget_note(entries: Sequence[Entry], budget: Budget) -> list[str]:
    if not budget.trainings:
        return ["no search has reached anything yet"]
    what = count(budget.trainings, "training")
    if budget.by == "time":
        what = f"{duration(budget.seconds)} of {'GPU' if budget.clock == 'gpu_seconds' else 'training'}"
    notes = [f"contenders are compared after {what} each, as much as all have spent; failed trainings count"]
    if budget.by == "trainings" and any(has_rungs(each.record) for each in entries):
        notes.append(
            "some searches stop trainings early, which count in full here though they cost less; --by time is fair"
        )
    return notes


def _test_notes(contrasts: Sequence[Contrast]) -> list[str]:
    if not contrasts:
        return []
    kinds = {each.paired for each in contrasts}
    how = {True: "paired by seed", False: "of independent runs"}
    test = f"permutation test of the difference between means, {' or '.join(how[kind] for kind in sorted(kinds))}"
    notes = [f"{test}; a run is one observation, whatever the number of its individuals"]
    if len(contrasts) > 1:
        notes.append(f"p by Holm's correction for {len(contrasts)} comparisons")
    if min(min(each.runs) for each in contrasts) < _FEW:
        notes.append(f"intervals by the bootstrap, which are too narrow for fewer than about {_FEW} runs")
    return notes


def _left_out(contenders: Sequence[Contender], contrasts: Sequence[Contrast]) -> list[str]:
    tested = {name for each in contrasts for name in (each.first, each.second)}
    missing = [each.label for each in contenders if each.label not in tested]
    if not contrasts or not missing:
        return []
    return [f"not tested, for want of a second seed or of comparable figures: {', '.join(missing)}"]


def _noise(entries: Sequence[Entry]) -> list[str]:
    """How far apart one and the same configuration came out: what is no larger than that is noise."""
    if len({measure(each.record) for each in entries}) > 1:
        return []
    found = [each.record.default_fitness for each in entries if each.record.default_fitness is not None]
    if len(set(found)) < _FEWEST:
        return []
    low, high = min(found), max(found)
    return [
        f"the default configuration alone came out between {number(low)} and {number(high)} in "
        f"{len(found)} searches: differences of {high - low:.4f} arise from noise"
    ]


def _repeated(entries: Sequence[Entry]) -> list[str]:
    runs = Counter((each.contender, each.seed) for each in entries)
    twice = [f"{contender} with seed {seed}" for (contender, seed), amount in runs.items() if amount > 1]
    return [f"runs of one seed count once, by their mean: {', '.join(twice)}"] if twice else []


def _states(entries: Sequence[Entry]) -> list[str]:
    notes = []
    unfinished = [f"{each.label} ({each.record.state})" for each in entries if not each.record.state.is_over]
    if unfinished:
        notes.append(f"not over, so figures may change: {', '.join(unfinished)}")
    empty = [each.label for each in entries if not each.course.rises]
    if empty:
        notes.append(f"without any fitness, so left out: {', '.join(empty)}")
    return notes


def _first_runs(entries: Sequence[Entry]) -> list[Entry]:
    return list({each.contender: each for each in reversed(entries)}.values())
