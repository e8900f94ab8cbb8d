"""The model that screens offspring, and the scores that it learns."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm, rankdata

from evolve.search.surrogate import (
    LENGTH_SCALE,
    MAY_VARY,
    Surrogate,
    _log_expected_improvement,
    checkpoint,
    warp,
)

Array = np.ndarray
NOBODY = np.empty(0)
few = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
lists_of_fitness = st.lists(st.integers(-1000, 1000), min_size=1, max_size=40)


def wave(genomes: Array) -> Array:
    return np.sin(3 * genomes[:, 0]) + (genomes[:, 1] - 0.4) ** 2


def whole(genomes: Array) -> Array:
    """As a model sees whole trainings."""
    return np.column_stack([genomes, np.zeros(len(genomes))])


def informed(seen: Array, scores: Array, pending: Array = NOBODY) -> Surrogate:
    surrogate = Surrogate(seen.shape[1])
    surrogate.learn(seen, scores)
    surrogate.condition(seen, scores, pending, seen[seen[:, -1] == 0])
    return surrogate


@pytest.mark.parametrize("count", [30, MAY_VARY + 20])
def test_it_interpolates_a_smooth_function(count: int) -> None:
    rng = np.random.default_rng(0)
    train, held_out = rng.random((count, 2)), rng.random((200, 2))
    scores = wave(train)
    middle, spread = scores.mean(), scores.std()
    surrogate = informed(whole(train), (scores - middle) / spread)
    error = surrogate.mean(whole(held_out)) * spread + middle - wave(held_out)
    assert np.sqrt(np.mean(error**2)) < 0.05 * spread
    at_home = surrogate.mean(whole(train)) * spread + middle - scores
    assert np.sqrt(np.mean(at_home**2)) < 0.02 * spread


def test_noise_is_not_learnt_by_heart() -> None:
    rng = np.random.default_rng(1)
    train = rng.random((60, 2))
    scores = wave(train) / wave(train).std()
    noisy = scores + rng.normal(0, 0.5, 60)
    surrogate = informed(whole(train), (noisy - noisy.mean()) / noisy.std())
    found = surrogate.mean(whole(train)) * noisy.std() + noisy.mean()
    assert np.mean((found - scores) ** 2) < 0.5 * np.mean((noisy - scores) ** 2)


def test_improvement_is_expected_where_the_optimum_is() -> None:
    def peak(genomes: Array) -> Array:
        return np.exp(-8 * ((genomes - 0.7) ** 2).sum(axis=1))

    rng = np.random.default_rng(2)
    train = rng.random((25, 2))
    surrogate = informed(whole(train), warp(peak(train)))
    candidates = rng.random((500, 2))
    best = candidates[np.argmax(surrogate.log_expected_improvement(whole(candidates)))]
    assert np.abs(best - 0.7).max() < 0.15


# log expected improvement


def improvement(z: Array, deviation: float = 1.0) -> Array:
    return _log_expected_improvement(np.asarray(z) * deviation, np.full(np.shape(z), deviation), 0.0)


@pytest.mark.parametrize("z", [-8.0, -5.0, -2.0, -0.5, 0.0, 0.5, 2.0, 6.0, 9.9, 10.1, 38.0])
@pytest.mark.parametrize("deviation", [0.01, 1.0, 30.0])
def test_log_expected_improvement_is_that_of_an_integral(z: float, deviation: float) -> None:
    low = max(0.0, -z)  # gains come from here on
    integral, _ = quad(lambda x: (z + x) * norm.pdf(x), -z, low + 40, epsabs=0, epsrel=1e-10, limit=200)
    assert improvement(np.array([z]), deviation)[0] == pytest.approx(math.log(deviation * integral), abs=1e-6)


def test_log_expected_improvement_has_a_slope_far_from_the_optimum() -> None:
    z = -np.geomspace(1e4, 1e-2, 20_000)
    found = improvement(z)
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()
    around = improvement(np.linspace(-25.01, -24.99, 101))  # where another formula takes over
    assert (np.diff(around) > 0).all()
    assert np.abs(np.diff(around, 2)).max() < 0.01 * np.abs(np.diff(around)).max() + 0.02


@few
@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=20), st.floats(1e-5, 1e3))
def test_more_is_expected_of_what_promises_more(zs: list[float], deviation: float) -> None:
    found = improvement(np.sort(zs), deviation)
    assert np.isfinite(found).all()
    assert (np.diff(found) >= -1e-9 * np.abs(found[1:])).all()


@pytest.mark.parametrize("seed", range(3))
def test_what_gets_better_towards_an_end_is_expected_to_go_on_so(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    train = 0.3 * np.random.default_rng(seed).random((15, 6))
    corners = np.full((2, 6), 0.15)
    corners[:, :2] = (1.0, 0.0), (0.0, 1.0)

    def lead() -> float:
        better, worse = informed(whole(train), warp(train[:, 0] - train[:, 1])).mean(whole(corners))
        return float(better - worse)

    found = lead()
    monkeypatch.setattr("evolve.search.surrogate._TREND", -20.0)
    assert found > 1.02 * lead() > 0


# little data


@pytest.mark.parametrize("seed", range(3))
def test_three_points_in_twenty_dimensions_do_not_make_length_scales_absurd(seed: int) -> None:
    rng = np.random.default_rng(seed)
    train = rng.random((3, 20))
    surrogate = informed(whole(train), warp(rng.random(3)))
    theta = surrogate._theta
    assert np.abs(theta[1:-2] - LENGTH_SCALE).max() < 1.5
    assert -1.5 < theta[0] < 1.5
    assert theta[-1] < math.log(0.05)
    elsewhere = whole(rng.random((50, 20)))
    found = surrogate.log_expected_improvement(elsewhere)
    assert np.isfinite(found).all()
    assert found.std() > 0


@pytest.mark.parametrize("scores", [np.zeros(4), np.ones(4), np.array([1.0, 1.0, 1.0, -3.0])])
def test_equals_are_no_trouble(scores: Array) -> None:
    train = np.repeat(np.array([[0.2, 0.3, 0.0]]), 4, axis=0)
    surrogate = informed(train, warp(scores))
    assert np.isfinite(surrogate.log_expected_improvement(whole(np.random.default_rng(0).random((9, 2))))).all()


# what is in training


def test_less_is_expected_near_what_is_in_training() -> None:
    rng = np.random.default_rng(4)
    train, place = rng.random((12, 2)), np.array([[0.9, 0.1]])
    scores = warp(wave(train))
    nearby = whole(np.clip(place + rng.normal(0, 0.02, (20, 2)), 0, 1))
    before = informed(whole(train), scores).log_expected_improvement(nearby)
    after = informed(whole(train), scores, whole(place)).log_expected_improvement(nearby)
    assert (after < before - 1).all()


def test_what_is_in_training_changes_nothing_far_away() -> None:
    rng = np.random.default_rng(5)
    train = 0.2 * rng.random((12, 2))
    scores = warp(wave(train))
    far = whole(0.1 * rng.random((20, 2)))
    before = informed(whole(train), scores).mean(far)
    after = informed(whole(train), scores, whole(np.array([[1.0, 1.0]]))).mean(far)
    np.testing.assert_allclose(after, before, atol=0.02)


# trainings that were not whole


@pytest.mark.parametrize("agree", [True, False])
def test_short_trainings_move_what_is_expected_of_whole_ones_as_far_as_they_deserve(agree: bool) -> None:
    def peak(x: Array) -> Array:
        return np.exp(-20 * (x - 0.7) ** 2)

    rng = np.random.default_rng(6)
    short, both = np.linspace(0, 1, 15), np.array([0.0, 0.1, 0.2, 0.3, 0.4])
    told = peak(short) if agree else rng.permutation(peak(short))
    seen = np.vstack([np.column_stack([short, np.full(15, -0.3)]), np.column_stack([both, np.zeros(len(both))])])
    surrogate = informed(seen, warp(np.concatenate([told, peak(both)])))
    alone = informed(whole(both[:, None]), warp(peak(both)))
    grid = np.linspace(0, 1, 101)[:, None]
    found, without = surrogate.mean(whole(grid)), alone.mean(whole(grid))
    if agree:
        assert abs(grid[np.argmax(found), 0] - 0.7) < 0.1
        assert abs(grid[np.argmax(without), 0] - 0.7) > 0.1
    else:
        assert np.corrcoef(found, peak(grid[:, 0]))[0, 1] < 0.9


# scores


@few
@given(lists_of_fitness, st.sampled_from([0.25, 2.0, 1024.0]), st.integers(-100, 100))
def test_scores_do_not_depend_on_the_unit_of_fitness(fitness: list[int], scale: float, shift: int) -> None:
    scores = warp(fitness)
    np.testing.assert_allclose(warp([scale * value + shift for value in fitness]), scores, atol=1e-9)


@few
@given(lists_of_fitness)
def test_scores_keep_the_order(fitness: list[int]) -> None:
    scores = warp(fitness)
    assert np.isfinite(scores).all()
    order = np.argsort(fitness, kind="stable")
    assert (np.diff(scores[order]) >= -1e-9).all(), "the worst are cut off, but nothing changes places"
    above = np.array(fitness) >= np.median(fitness)
    np.testing.assert_array_equal(rankdata(scores[above].round(9)), rankdata(np.array(fitness)[above]))
    if len(set(fitness)) > 1:
        assert (scores.mean(), scores.std()) == (pytest.approx(0, abs=1e-9), pytest.approx(1))


@pytest.mark.parametrize("fitness", [[0.5], [0.5] * 7, [0.0, 0.0], [-1e300, 1e300, 0.0], [1e-300, 2e-300]])
def test_scores_of_the_unusual_are_numbers(fitness: list[float]) -> None:
    assert np.isfinite(warp(fitness)).all()


def test_one_that_learnt_nothing_does_not_hide_the_differences_of_the_others() -> None:
    good = np.linspace(0.4, 0.5, 10)
    scores = warp([*good, -1e6])
    assert scores[9] - scores[0] > 1.5


# when hyperparameters are learnt


def test_a_checkpoint_is_never_ahead_and_never_far_behind() -> None:
    found = [checkpoint(count) for count in range(20_000)]
    assert all(before <= after for before, after in itertools.pairwise(found))
    assert all(learnt <= count for count, learnt in enumerate(found))
    assert all(count / learnt < 1.2 for count, learnt in enumerate(found) if learnt)
    assert found[: MAY_VARY + 1] == list(range(MAY_VARY + 1))
    assert len(set(found)) < MAY_VARY + 60


def test_equal_observations_give_equal_models() -> None:
    def found(judge: Callable[[Array], Array]) -> Array:
        train = np.random.default_rng(7).random((20, 3))
        surrogate = informed(whole(train), warp(judge(train)))
        return surrogate.log_expected_improvement(whole(np.random.default_rng(8).random((40, 3))))

    np.testing.assert_array_equal(found(wave), found(wave))


def test_hyperparameters_at_their_bounds_are_nothing_to_warn_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evolve.search.surrogate._NOISE_DEVIATION", 1e3)
    train = np.linspace(0, 1, 30)[:, None]
    surrogate = informed(whole(train), warp(train[:, 0] ** 2))
    assert surrogate._theta[-1] < math.log(1.1e-7)
