"""Several objectives: their values, the front, NSGA-II's selection, scalarisation."""

from __future__ import annotations

import itertools
import math
import pickle
import random
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolve.objectives import Objectives, figure
from evolve.pareto import compared, front, front_of, hypervolume
from evolve.search import pareto
from evolve.search.operators import Individual, build_toolbox, select_parents
from evolve.space import SearchSettings
from evolve.trial import FailureKind, Role, TrialFailed
from sample_searches import individual

MAP, LATENCY = "metrics/mAP50-95(B)", "model/latency_ms"
OBJECTIVES = Objectives({MAP: "maximise", LATENCY: "minimise"})


def points(count: int | None = None, most: int = 40):
    """Lists of points; few values, so that equal coordinates are common."""
    value = st.one_of(st.integers(0, 4).map(float), st.floats(-1e6, 1e6))
    counts = st.integers(2, 5) if count is None else st.just(count)
    return counts.flatmap(lambda k: st.lists(st.tuples(*[value] * k), min_size=1, max_size=most))


def dominates(one, other) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True)) and one != other


class TestValues:
    def test_each_is_the_larger_the_better(self):
        assert OBJECTIVES.of({LATENCY: 8.0, MAP: 0.4, "other": math.nan}) == (0.4, -8.0)
        assert OBJECTIVES.unsigned((0.4, -8.0)) == (0.4, 8.0)
        assert OBJECTIVES.metrics((0.4, -8.0)) == {MAP: 0.4, LATENCY: 8.0}
        assert math.copysign(1, OBJECTIVES.unsigned((0.0, -0.0))[1]) == 1

    def test_none_are_asked_for(self):
        assert Objectives({}).of({MAP: 0.4}) == ()
        assert not Objectives.of_document({"objectives": {}})
        assert not Objectives.of_document({})
        assert Objectives.of_document({"objectives": {MAP: "maximise", LATENCY: "minimise"}}) == OBJECTIVES

    def test_a_missing_metric_is_named_with_what_is_there(self):
        with pytest.raises(
            TrialFailed, match=r"need the metric model/latency_ms, which.*it reports metrics/mAP"
        ) as e:
            OBJECTIVES.of({MAP: 0.4})
        assert e.value.failure.kind is FailureKind.CODE

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_what_is_not_finite_has_diverged(self, value):
        with pytest.raises(TrialFailed, match=r"not a finite number: metrics/mAP") as e:
            OBJECTIVES.of({MAP: value, LATENCY: 1.0})
        assert e.value.failure.kind is FailureKind.DIVERGED

    def test_people_read_units(self):
        assert OBJECTIVES.labels() == ["mAP50-95", "latency (ms)"]
        assert OBJECTIVES.texts((0.41236, -12.3456)) == ["0.4124", "12.35"]
        assert OBJECTIVES.texts(()) == ["–", "–"]  # noqa: RUF001 - the dash that stands for nothing
        assert [figure(each) for each in (2_602_288, 26_043, math.nan)] == ["2.60 M", "26,043", "–"]  # noqa: RUF001


class TestFront:
    @given(points())
    def test_is_what_nobody_dominates(self, values):
        found = set(front_of(values))
        for place, value in enumerate(values):
            assert (place not in found) == any(dominates(other, value) for other in values)

    @given(points(), st.randoms())
    def test_does_not_depend_on_the_order(self, values, chance):
        mixed = list(values)
        chance.shuffle(mixed)
        assert sorted(values[place] for place in front_of(values)) == sorted(mixed[at] for at in front_of(mixed))

    def test_of_nothing_is_empty(self):
        assert front_of([]) == []

    @pytest.mark.parametrize("k", [2, 3, 5])
    def test_of_ten_thousand_takes_a_moment(self, k):
        rng = np.random.default_rng(0)
        far = rng.random((10_000, k))
        sphere = np.abs(rng.normal(size=(10_000, k)))
        sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)  # all of them are in the front
        for values, size in ((far, None), (sphere, 10_000)):
            started = time.perf_counter()
            found = front_of(values)
            assert time.perf_counter() - started < 10
            assert size in (None, len(found))

    def test_is_made_of_whole_trainings_of_their_own(self):
        good = individual(3, fitness=0.4, objectives=(0.4, -8.0))
        others = [
            individual(0, fitness=0.3, objectives=(0.3, -9.0)),
            individual(1),
            replace(good, number=4, reused_from=3),
            replace(good, number=5, role=Role.REPEAT, original=3, objectives=(0.5, -8.0)),
            individual(6, role=Role.PARTIAL, original=3, objectives=(0.9, -1.0)),
            individual(7, fitness=0.2, objectives=(0.2, -2.0)),
        ]
        assert [each.number for each in compared([good, *others])] == [0, 3, 7]
        assert [each.number for each in front([*others, good])] == [3, 7]


class TestHypervolume:
    def test_of_known_boxes(self):
        assert hypervolume([(1, 1)], (0, 0)) == 1
        assert hypervolume([(2, 1), (1, 2), (1, 1)], (0, 0)) == 3
        assert hypervolume([(2, 1, 1), (1, 2, 1), (1, 1, 2)], (0, 0, 0)) == 4
        assert hypervolume([(1, -1)], (0, 0)) == 0
        assert hypervolume([], (0, 0)) == 0

    @given(points(most=12))
    def test_agrees_with_the_library_that_deap_uses(self, values):
        moocore = pytest.importorskip("moocore")
        reference = np.min(values, axis=0) - 1
        expected = moocore.hypervolume(-np.asarray(values), ref=-reference)
        assert hypervolume(values, reference) == pytest.approx(expected, rel=1e-9)

    @given(points(most=12))
    def test_is_that_of_the_front(self, values):
        reference = np.min(values, axis=0) - 1
        whole = hypervolume(values, reference)
        assert hypervolume([values[place] for place in front_of(values)], reference) == pytest.approx(whole)
        assert hypervolume(values[:-1], reference) <= whole * (1 + 1e-12)


def population(values) -> list[Individual]:
    return [Individual((0.5,), number, *value) for number, value in enumerate(values)]


class TestSelection:
    @given(points(), st.integers(1, 50))
    def test_survivors_are_the_first_layers(self, values, amount):
        members = population(values)
        kept = pareto.survivors(members, amount)
        assert len({each.number for each in kept}) == len(kept) == min(amount, len(members))
        layer = {each.number: rank for rank, front in enumerate(pareto.fronts(members)) for each in front}
        lost = layer.keys() - {each.number for each in kept}
        assert not lost or max(layer[each.number] for each in kept) <= min(layer[number] for number in lost)
        assert all(each.fitness.crowding_dist >= 0 for each in kept)

    @given(points(), st.integers(1, 10), st.randoms())
    def test_survivors_do_not_depend_on_the_order(self, values, amount, chance):
        first = [each.number for each in pareto.survivors(population(values), amount)]
        mixed = population(values)
        chance.shuffle(mixed)
        assert [each.number for each in pareto.survivors(mixed, amount)] == first

    def test_the_first_layer_is_the_front(self):
        values = np.random.default_rng(1).random((300, 2))
        assert sorted(each.number for each in pareto.fronts(population(values))[0]) == front_of(values)

    @given(points(), st.integers(0, 2**32))
    def test_tournaments_depend_on_the_generator_alone(self, values, seed):
        members = pareto.survivors(population(values), len(values))
        random.seed(seed + 1)
        first = pareto.tournament(members, 2, random.Random(seed))
        random.seed(seed + 2)
        again = pareto.tournament(members, 2, random.Random(seed))
        assert [each.number for each in first] == [each.number for each in again]
        assert len(members) == 1 or first[0] is not first[1]

    def test_a_dominated_one_wins_no_tournament(self):
        members = pareto.survivors(population([(1, 1), (0, 0)]), 2)
        assert {each.number for each in pareto.tournament(members, 1, random.Random(0))} == {0}

    def test_the_lonely_win_among_equals(self):
        members = pareto.survivors(population([(0, 10), (4.9, 5.1), (5, 5), (5.1, 4.9), (10, 0)]), 5)
        wins = [pareto.tournament(members, 1, random.Random(seed))[0].number for seed in range(400)]
        assert wins.count(2) < wins.count(0)

    def test_parents_are_the_best_in_any_objective(self):
        members = pareto.survivors(population([(10, 0), (5, 5), (0, 10), *[(1, 1)] * 5]), 8)
        toolbox = build_toolbox(SearchSettings(tournament_size=8))
        pairs = [select_parents(toolbox, members, random.Random(seed)) for seed in range(200)]
        assert all(first is not second for first, second in pairs)
        bred = Counter(each.number for pair in pairs for each in pair)
        assert bred[2] > 0.5 * bred[0]
        assert bred[2] > bred[3]

    def test_an_empty_population(self):
        assert pareto.survivors([], 3) == []
        assert pareto.fronts([]) == []

    def test_survivors_of_a_large_population_in_a_moment(self):
        members = population(np.random.default_rng(2).random((2000, 2)))
        started = time.perf_counter()
        assert len(pareto.survivors(members, 1000)) == 1000
        assert time.perf_counter() - started < 20


class TestScalarisation:
    @given(points())
    def test_the_best_by_any_weights_is_in_the_front(self, values):
        for seed in range(5):
            weights = pareto.draw_weights(np.random.default_rng(seed), len(values[0]))
            assert weights.sum() == pytest.approx(1)
            scores = pareto.scalarise(values, weights)
            assert scores.shape == (len(values),)
            best = values[int(np.argmax(scores))]
            better = [other for other in values if dominates(other, best)]
            # where points differ by less than a double tells apart after scaling
            assert all(pareto.scalarise(values, weights)[values.index(other)] == scores.max() for other in better)

    @given(points(2))
    def test_scale_and_place_of_an_objective_do_not_matter(self, values):
        weights = pareto.draw_weights(np.random.default_rng(0), 2)
        moved = np.asarray(values) * (4.0, 0.25)
        assert pareto.scalarise(moved, weights) == pytest.approx(pareto.scalarise(values, weights), abs=1e-9)

    def test_reaches_what_a_weighted_sum_never_does(self):
        values = [(0.0, 1.0), (0.4, 0.4), (1.0, 0.0)]  # the middle one lies in a hollow of the front
        rng = np.random.default_rng(0)
        draws = [pareto.draw_weights(rng, 2) for _ in range(200)]
        assert {int(np.argmax(pareto.scalarise(values, each))) for each in draws} == {0, 1, 2}
        assert {int(np.argmax(np.asarray(values) @ each)) for each in draws} == {0, 2}

    def test_equal_objectives_decide_nothing(self):
        assert list(pareto.scalarise([(1, 5), (2, 5)], (0.5, 0.5))) == [pytest.approx(-0.525), 0]
        assert pareto.scalarise([], (0.5, 0.5)).shape == (0,)


def test_the_same_seed_draws_the_same_weights():
    drawn = [pareto.draw_weights(np.random.default_rng([3, 7]), 3) for _ in range(2)]
    assert list(itertools.chain(*drawn))[:3] == list(drawn[1])
    assert pickle.loads(pickle.dumps(OBJECTIVES)) == OBJECTIVES
