"""What a search has to say for itself: by hand, by the book, and where nothing can be said."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evolve.answer import answer_of
from evolve.finals import final_seeds, final_settings
from evolve.ledger.records import IndividualRecord
from evolve.space import SearchSpace
from evolve.trial import FailureKind, Role, TrialState
from evolve.verdict import Answer, sentence
from spaces import METRIC, space
from test_finals import member, spaced


def final(
    searched: SearchSpace, number: int, original: int, seed: int, fitness: float | None, **changes: Any
) -> IndividualRecord:
    """A training of the finals with the n-th of their seeds."""
    record = member(
        number, fitness, f"key{original}", role=Role.FINAL, original=original, seed=final_seeds(searched)[seed],
        settings=final_settings(searched),
    )  # fmt: skip
    return replace(record, **changes)


def searched_members(*fitness: float) -> list[IndividualRecord]:
    return [member(number, value) for number, value in enumerate(fitness)]


def with_finals(
    searched: SearchSpace, members: list[IndividualRecord], table: dict[int, list[float | None]]
) -> Any:
    """The answer after finals with these values: by original, one for each seed."""
    found = list(members)
    for seed in range(len(next(iter(table.values())))):
        for original, values in table.items():
            found.append(final(searched, len(found), original, seed, values[seed]))
    return answer_of(searched, found)


def test_an_example_by_hand() -> None:
    searched = spaced(top=1, seeds=3, epochs=30)
    answer = with_finals(searched, searched_members(0.1, 0.2), {0: [0.50, 0.52, 0.51], 1: [0.54, 0.57, 0.54]})
    # means 0.51 and 0.55; differences 0.04, 0.05, 0.03: mean 0.04, standard deviation 0.01, t(0.975, 2) = 4.3027
    gain = answer.best.gain
    assert (answer.source, answer.winner, gain.paired) == ("finals", 1, True)
    assert gain.value == pytest.approx(0.04)
    assert gain.margin == pytest.approx(4.3027 * 0.01 / 3**0.5, rel=1e-4)
    assert not gain.within_noise
    assert (answer.default.validation.mean, answer.default.validation.sd) == (
        pytest.approx(0.51),
        pytest.approx(0.01),
    )
    assert answer.best.validation.n == 3
    assert answer.noise == pytest.approx(((0.0001 + 0.0003) / 2) ** 0.5)
    assert sentence(answer) == (
        "+0.0400 ± 0.0248 (+7.8%) over the default configuration (3 seeds each); noise of a seed 0.0141"
    )


def test_of_two_the_interval_is_that_of_the_paired_t_test() -> None:
    searched = spaced(top=1, seeds=5, epochs=30)
    ours, theirs = [0.61, 0.64, 0.58, 0.66, 0.63], [0.60, 0.59, 0.57, 0.62, 0.61]
    gain = with_finals(searched, searched_members(0.1, 0.2), {0: theirs, 1: ours}).best.gain
    interval = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (gain.value - gain.margin, gain.value + gain.margin) == pytest.approx((interval.low, interval.high))


def test_with_few_seeds_the_interval_is_that_of_the_pooled_t_test() -> None:
    searched = spaced(top=1, seeds=2, epochs=30)
    gain = with_finals(searched, searched_members(0.1, 0.2), {0: [0.5, 0.52], 1: [0.61, 0.64]}).best.gain
    interval = stats.ttest_ind([0.61, 0.64], [0.5, 0.52]).confidence_interval(0.95)
    assert not gain.paired
    assert (gain.value - gain.margin, gain.value + gain.margin) == pytest.approx((interval.low, interval.high))


def test_the_winner_of_several_gets_a_wider_interval() -> None:
    searched = spaced(top=2, seeds=4, epochs=30)
    table = {0: [0.50, 0.52, 0.51, 0.53], 1: [0.54, 0.57, 0.54, 0.55], 2: [0.54, 0.55, 0.53, 0.56]}
    answer = with_finals(searched, searched_members(0.1, 0.2, 0.3), table)
    gain = answer.best.gain
    assert (answer.winner, answer.looks) == (1, 2)
    residuals = []
    for seed in range(4):
        column = sum(row[seed] for row in table.values()) / 3
        whole = sum(map(sum, table.values())) / 12
        residuals += [(row[seed] - sum(row) / 4 - column + whole) ** 2 for row in table.values()]
    spread = (sum(residuals) / 6) ** 0.5
    assert gain.margin == pytest.approx(stats.t.ppf(1 - 0.0125, 6) * spread * (2 / 4) ** 0.5)


def test_the_training_that_a_finalist_was_chosen_by_does_not_count() -> None:
    searched = spaced(top=1, seeds=3)
    members = searched_members(0.50, 0.90)
    finals = [final(searched, 2 + 2 * (seed - 1) + each, each, seed, 0.5 + 0.02 * each + 0.01 * seed)
              for seed in (1, 2) for each in (0, 1)]  # fmt: skip
    answer = answer_of(searched, [*members, *finals])
    assert answer is not None
    best = answer.best
    assert (best.validation.n, best.validation.mean) == (2, pytest.approx(0.535))
    assert (best.selected.n, best.selected.mean) == (1, 0.90)
    # nobody has chosen the default: all its trainings count
    assert (answer.default.validation.n, answer.default.selected) == (3, None)
    assert best.gain.value == pytest.approx(0.535 - (0.50 + 0.51 + 0.52) / 3)
    assert answer.fresh


def test_one_training_each_cannot_tell_gain_from_luck() -> None:
    answer = answer_of(space(), searched_members(0.5, 0.6, 0.4))
    assert answer is not None
    assert (answer.source, answer.winner, answer.best.gain.margin) == ("search", 1, None)
    assert answer.best.gain.within_noise
    assert sentence(answer) == (
        "+0.1000 (+20.0%) over the default configuration; one training each cannot tell gain from luck; "
        "`finals: {top: 3, seeds: 3}` would"
    )


def test_repeats_give_an_answer_without_finals() -> None:
    members = searched_members(0.50, 0.60, 0.40)
    repeats = [
        member(3 + index, value, f"key{original}", role=Role.REPEAT, original=original, seed=seed)
        for index, (original, seed, value) in enumerate([(0, 5, 0.52), (0, 6, 0.51), (1, 5, 0.57), (1, 6, 0.56)])
    ]
    answer = answer_of(space(), [*members, *repeats])
    assert answer is not None
    assert (answer.source, answer.winner, answer.best.validation.n) == ("repeats", 1, 2)
    assert answer.best.selected.mean == 0.60
    assert answer.best.gain.value == pytest.approx(0.565 - 0.51)
    assert "(2 seeds, the default 3)" in sentence(answer)


def test_where_only_the_default_was_repeated_the_choice_among_all_widens_the_interval() -> None:
    members = searched_members(0.50, 0.60, *([0.4] * 48))
    repeats = [member(50 + n, 0.51, "key0", role=Role.REPEAT, original=0, seed=n) for n in range(5, 9)]
    answer = answer_of(space(), [*members, *repeats])
    assert answer is not None
    assert (answer.fresh, answer.looks) == (False, 50)
    assert answer.best.gain.margin == pytest.approx(stats.t.ppf(1 - 0.0005, 4) * answer.noise * (1 + 1 / 5) ** 0.5)
    assert "chosen among 50 by this very training" in sentence(answer)


def test_a_default_that_nobody_beats_is_the_answer() -> None:
    searched = spaced(top=1, seeds=3, epochs=30)
    answer = with_finals(searched, searched_members(0.1, 0.2), {0: [0.5, 0.52, 0.51], 1: [0.49, 0.5, 0.51]})
    assert (answer.winner, answer.best.gain) == (0, None)
    assert sentence(answer).startswith("no configuration beat the default one (the closest: -0.0100 ± ")


def test_failed_finals_are_counted_and_leave_an_answer() -> None:
    searched = spaced(top=2, seeds=2, epochs=30)
    broken = {"failure": FailureKind.DIVERGED, "state": TrialState.FAILED}
    members = searched_members(0.1, 0.2, 0.3)
    finals = [
        final(searched, 3, 0, 0, 0.5), final(searched, 4, 1, 0, 0.6), final(searched, 5, 2, 0, None, **broken),
        final(searched, 6, 0, 1, 0.5), final(searched, 7, 1, 1, 0.7), final(searched, 8, 2, 1, None, **broken),
    ]  # fmt: skip
    answer = answer_of(searched, [*members, *finals])
    assert answer is not None
    assert [(each.original, each.failed) for each in answer.contenders] == [(1, 0), (0, 0), (2, 2)]
    assert answer.contenders[-1].validation is None
    assert answer.looks == 1


def test_without_a_default_there_is_no_gain() -> None:
    members = [member(0, None, failure=FailureKind.OUT_OF_MEMORY, state=TrialState.FAILED), member(1, 0.5)]
    answer = answer_of(space(), members)
    assert answer is not None
    assert (answer.winner, answer.best.gain) == (1, None)
    assert sentence(answer) == "the default configuration has no result, so there is no gain to state"
    assert answer_of(space(), members[:1]) is None
    assert answer_of(space(), []) is None


def test_the_test_split_is_judged_beside_the_validation_split() -> None:
    searched = spaced(top=1, seeds=3, epochs=30)
    members, found = searched_members(0.1, 0.2), []
    for seed, (default, best) in enumerate([(0.40, 0.43), (0.41, 0.44), (0.42, 0.46)]):
        for original, value in ((0, default), (1, best)):
            metrics = {f"test/{METRIC}": value, "test/metrics/mAP50(B)": 0.9}
            found.append(final(searched, 2 + len(found), original, seed, value + 0.1, metrics=metrics))
    answer = answer_of(searched, [*members, *found])
    assert answer is not None
    best = answer.best
    assert (best.test.mean, best.test.n) == (pytest.approx(0.44333, rel=1e-3), 3)
    assert best.test_gain.value == pytest.approx(1 / 30)
    assert answer.test_noise is not None
    assert "on the test split +0.0333 ± " in sentence(answer)


def test_the_best_training_is_one_whose_weights_are_there() -> None:
    searched = spaced(top=1, seeds=3, epochs=30)
    found = searched_members(0.1, 0.2)
    for seed in range(3):
        found += [
            final(searched, len(found), 0, seed, 0.5),
            final(searched, len(found) + 1, 1, seed, 0.6 + seed / 10),
        ]
    for gone, number in ((set[int](), 7), ({7}, 5), ({3, 5, 7}, 7)):
        answer = answer_of(searched, found, lambda each, gone=gone: each not in gone)
        assert answer is not None
        assert answer.best.individual == number


VALUES = st.floats(0, 1).map(lambda value: round(value, 3))


@given(st.integers(2, 6).flatmap(lambda n: st.lists(VALUES, min_size=n, max_size=n)), st.integers(1, 3))
def test_equal_samples_are_within_noise(values: list[float], top: int) -> None:
    searched = spaced(top=top, seeds=len(values), epochs=30)
    members = searched_members(0.1, *([0.2] * top))
    answer = with_finals(searched, members, dict.fromkeys(range(top + 1), values))
    assert answer.winner == 0
    assert all(each.gain.within_noise for each in answer.contenders if each.gain)


@given(st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=6), st.randoms())
def test_the_order_of_the_seeds_does_not_matter(rows: list[tuple[float, float, float]], chance: Any) -> None:
    searched = spaced(top=2, seeds=len(rows), epochs=30)
    members, finals = searched_members(0.1, 0.2, 0.3), []
    for seed, row in enumerate(rows):
        finals += [final(searched, 0, original, seed, value) for original, value in enumerate(row)]
    shuffled = chance.sample(finals, len(finals))
    answers = [
        answer_of(searched, [*members, *(replace(each, number=0) for each in order)])
        for order in (finals, shuffled)
    ]
    assert answers[0] == answers[1]


@given(st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=6), st.floats(0.01, 0.3))
def test_a_shift_of_all_values_changes_no_gain(rows: list[tuple[float, float]], shift: float) -> None:
    searched = spaced(top=1, seeds=len(rows), epochs=30)
    members = searched_members(0.1, 0.2)
    answers = []
    for offset in (0.0, shift):
        table = {each: [row[each] + offset for row in rows] for each in (0, 1)}
        answers.append(with_finals(searched, members, table))
    gains = [next(each.gain for each in answer.contenders if each.original == 1) for answer in answers]
    assert gains[1].value == pytest.approx(gains[0].value, abs=1e-9)
    assert gains[1].margin == pytest.approx(gains[0].margin, abs=1e-9)


@given(st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=4))
def test_an_answer_comes_back_from_its_document(rows: list[tuple[float, float, float]]) -> None:
    searched = spaced(top=2, seeds=len(rows), epochs=30)
    table = {each: [row[each] for row in rows] for each in range(3)}
    answer = with_finals(searched, searched_members(0.1, 0.2, 0.3), table)
    document = json.loads(json.dumps(answer.document()))
    assert Answer.read(document) == answer
    assert document["text"] == sentence(answer)
