"""The tests between contenders: what no difference is, and what must not matter."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wilcoxon

from evolve.comparison.statistics import LEVEL, contrast, contrasts, fewest, holm

some_runs = st.lists(st.floats(0, 1).map(lambda value: round(value, 4)), min_size=2, max_size=8)
slow_enough = settings(max_examples=25, deadline=None)


def runs(values, first=0):
    return dict(enumerate(values, first))


@slow_enough
@given(some_runs, some_runs, st.booleans())
def test_p_is_a_probability_and_the_order_of_arguments_does_not_matter(one, other, shared):
    groups = {"a": runs(one), "b": runs(other, 0 if shared else 100)}
    forth, back = contrast(groups, ("a", "b")), contrast(groups, ("b", "a"))
    assert 0 < forth.least <= forth.p + 1e-12
    assert forth.p <= 1
    assert forth.p == back.p
    assert forth.difference == -back.difference
    assert forth.superiority == pytest.approx(1 - back.superiority)
    assert forth.low <= forth.difference + 1e-9
    assert forth.difference <= forth.high + 1e-9
    if forth.difference:
        assert (forth.low, forth.high) == (-back.high, -back.low)


@slow_enough
@given(some_runs, st.booleans(), st.randoms(use_true_random=False))
def test_equal_samples_never_differ(values, shared, chance):
    mixed = list(values)
    chance.shuffle(mixed)
    groups = {"a": runs(values), "b": runs(values) if shared else runs(mixed, 100)}
    found = contrast(groups, ("a", "b"))
    assert found.p == 1
    assert found.difference == pytest.approx(0, abs=1e-12)
    assert found.superiority == 0.5


@slow_enough
@given(some_runs, some_runs, st.randoms(use_true_random=False))
def test_the_order_of_independent_runs_does_not_matter(one, other, chance):
    mixed = list(one)
    chance.shuffle(mixed)
    first = contrast({"a": runs(one), "b": runs(other, 100)}, ("a", "b"))
    second = contrast({"a": runs(mixed), "b": runs(other, 100)}, ("a", "b"))
    assert (first.p, first.low, first.high) == (second.p, second.low, second.high)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_a_correction_never_makes_bolder_and_keeps_the_order(values):
    adjusted = holm(values)
    assert all(value <= after <= 1 for value, after in zip(values, adjusted, strict=True))
    ranked = sorted(range(len(values)), key=values.__getitem__)
    assert [adjusted[index] for index in ranked] == sorted(adjusted)


def test_the_correction_is_holms():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_luck_is_taken_for_skill_no_more_often_than_promised():
    rng = random.Random(5)
    found = 0
    for _ in range(200):
        groups = {name: runs([rng.gauss(0, 1) for _ in range(5)], first) for name, first in (("a", 0), ("b", 100))}
        found += contrast(groups, ("a", "b")).p <= LEVEL
    assert found <= 20


def test_pairs_see_through_what_their_seeds_have_in_common():
    base = [0.3, 0.5, 0.35, 0.6, 0.4, 0.55, 0.45, 0.32]
    groups = {"a": runs([value + 0.01 + n * 1e-4 for n, value in enumerate(base)]), "b": runs(base)}
    paired = contrast(groups, ("a", "b"))
    assert paired.paired
    assert paired.p == pytest.approx(2 / 2**8)
    assert paired.p == pytest.approx(wilcoxon([0.01 + n * 1e-4 for n in range(8)]).pvalue)
    assert paired.superiority == 1
    elsewhere = {"a": groups["a"], "b": runs(base, 100)}
    assert contrast(elsewhere, ("a", "b")).p > 0.5


def test_seeds_are_paired_only_where_pairs_can_show_something():
    assert [fewest(amount, paired=True) for amount in (1, 2, 3)] == [6, 7, 7]
    assert [fewest(amount, paired=False) for amount in (1, 2, 3)] == [4, 5, 5]
    groups = {"a": runs(range(6)), "b": runs(range(1, 7)), "c": runs(range(2, 10), 1)}
    assert contrast(groups, ("a", "b")).paired
    assert not contrast(groups, ("a", "b"), comparisons=3).paired
    assert not contrast(groups, ("a", "c")).paired  # seed 0 has no partner


def test_many_runs_take_no_longer_than_a_person_waits():
    rng = random.Random(1)
    groups = {name: runs([rng.gauss(height, 0.1) for _ in range(40)]) for height, name in enumerate("abcd")}
    found = contrasts(groups, [("a", "b"), ("c", "d"), ("a", "d")])
    assert all(each.shown for each in found)
    assert all(each.p > 0 for each in found)
