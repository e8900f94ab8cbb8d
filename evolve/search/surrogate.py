"""The model that screens offspring: what a genome is worth, judged by the trainings so far.

Gaussian process regression (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006) by
scikit-learn. A Matern-5/2 kernel has a length scale for every column. A linear one is added to it: what gets better
towards the end of a range where it was tried probably does so beyond, and the best is often near an end. With a
dozen trainings and more genes than that, the likelihood alone says nothing about length scales; so they have
log-normal priors, as have the other hyperparameters, and the most probable ones are taken.

One of the columns is how much of a training an observation had (0 for all of it, less for less). So trainings that
were stopped teach, too, and how far to trust them is learnt like everything else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import erfcx
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Kernel, Matern, WhiteKernel

from evolve.search.geometry import Array

LENGTH_SCALE = -0.3
"""Prior mean of the log length scales, in widths of a gene's range.

Longer ones for more genes were tried: they find more where fitness is noisy, and less where it is not."""
OPTIMISM = 2.0
"""Standard deviations above the mean, for the upper bound."""
MAY_VARY = 40
"""Up to so many observations, hyperparameters are learnt anew with each."""

_LENGTH_DEVIATION = 0.7
_SIGNAL_DEVIATION = 0.7
_TREND = math.log(0.03)
_TREND_DEVIATION = 1.0
_MIDDLE = 0.5
_NOISE = math.log(1e-3)
_NOISE_DEVIATION = 1.5
_BOUNDS = (1e-7, 1e4)
_JITTER = 1e-8
_STEPS = 20
_PATIENCE = 1.15
_WORST = -2.0
_SMALLEST = 1e-10
_LENGTHS = slice(1, -2)


class _Regressor(GaussianProcessRegressor):  # type: ignore[misc]  # scikit-learn ships no types
    """Regression by the most probable hyperparameters; scikit-learn's own are the most likely ones.

    Args:
        kernel: As in scikit-learn.
        alpha: Likewise.
        prior: Mean and standard deviation of the kernel's `theta`, shape (2, hyperparameters).
    """

    def __init__(self, kernel: Kernel = None, *, alpha: float = _JITTER, prior: Array | None = None) -> None:
        super().__init__(kernel, alpha=alpha, optimizer=None)
        self.prior = prior

    def log_marginal_likelihood(
        self, theta: Array | None = None, eval_gradient: bool = False, clone_kernel: bool = True
    ) -> Any:
        found = super().log_marginal_likelihood(theta, eval_gradient, clone_kernel)
        if theta is None or self.prior is None:
            return found
        mean, deviation = self.prior
        away = (theta - mean) / deviation
        if not eval_gradient:
            return found - 0.5 * away @ away
        value, gradient = found
        return value - 0.5 * away @ away, gradient - away / deviation


def _most_probable(model: _Regressor) -> Array:
    """The best hyperparameters for what a model has seen, or almost: the last digits decide nothing.

    Scikit-learn would do the same, but warns where one of them is at its bound, which is of no importance.
    """

    def loss(theta: Array) -> tuple[float, Array]:
        value, gradient = model.log_marginal_likelihood(theta, eval_gradient=True, clone_kernel=False)
        return -value, -gradient

    start, bounds = model.kernel_.theta, model.kernel_.bounds
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _STEPS})
    return np.asarray(found.x)


class Surrogate:
    """A Gaussian process whose hyperparameters are learnt less often than it takes in observations.

    Args:
        columns: Number of columns of an observation.
    """

    def __init__(self, columns: int) -> None:
        self._start = np.array([0.0, *[LENGTH_SCALE] * columns, _TREND, _NOISE])
        lengths = [_LENGTH_DEVIATION] * columns
        spread = np.array([_SIGNAL_DEVIATION, *lengths, _TREND_DEVIATION, _NOISE_DEVIATION])
        self._prior = np.array([self._start, spread])
        self._theta = self._start
        self._model = _Regressor()
        self._reference = 0.0

    def learn(self, seen: Array, scores: Array) -> None:
        """Find hyperparameters; `condition` is to follow.

        Args:
            seen: Observations, shape (n, columns).
            scores: Warped, shape (n,).
        """
        model = _Regressor(_kernel(self._start), prior=self._prior)
        self._theta = _most_probable(model.fit(_centred(seen), scores))

    def condition(self, seen: Array, scores: Array, pending: Array, candidates: Array, doubt: float = 1.0) -> None:
        """Take in observations under the hyperparameters that were learnt.

        Args:
            seen: Observations, shape (n, columns).
            scores: Warped, shape (n,).
            pending: Genomes in training, shape (m, columns): they will turn out as expected, which spares other
                workers their neighbourhood (Ginsbourger et al., "Kriging is well-suited to parallelize
                optimization", 2010).
            candidates: What was trained in full, of which the best expected one is to be beaten.
            doubt: By how much the length scales are shortened: what was seen then says less of what lies between.
        """
        theta = self._theta.copy()
        theta[_LENGTHS] -= math.log(doubt)
        self._model = _Regressor(_kernel(theta)).fit(_centred(seen), scores)
        if len(pending):
            believed = np.concatenate([scores, self.mean(pending)])
            self._model = _Regressor(_kernel(theta)).fit(_centred(np.vstack([seen, pending])), believed)
        self._reference = float(np.max(self.mean(candidates)))

    def log_expected_improvement(self, genomes: Array) -> Array:
        """Log of the expected gain over the best so far.

        Args:
            genomes: Shape (n, columns).

        Returns:
            Shape (n,).
        """
        return _log_expected_improvement(*self._noiseless(genomes), self._reference)

    def upper_bound(self, genomes: Array) -> Array:
        """What a genome may be worth if all goes well: `OPTIMISM` deviations above the mean.

        Args:
            genomes: Shape (n, columns).

        Returns:
            Shape (n,).
        """
        mean, deviation = self._noiseless(genomes)
        return np.asarray(mean + OPTIMISM * deviation)

    def mean(self, genomes: Array) -> Array:
        """Expected score, shape (n,)."""
        return np.asarray(self._model.predict(_centred(genomes)))

    def _noiseless(self, genomes: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of what a genome is worth, without the noise of a training."""
        mean, deviation = self._model.predict(_centred(genomes), return_std=True)
        noise = math.exp(self._theta[-1])
        return mean, np.sqrt(np.maximum(deviation**2 - noise, _SMALLEST))


def _kernel(theta: Array) -> Kernel:
    signal, trend, noise = np.exp(theta[[0, -2, -1]])
    covariance = ConstantKernel(signal, _BOUNDS) * Matern(np.exp(theta[_LENGTHS]), _BOUNDS, nu=2.5)
    linear = ConstantKernel(trend, _BOUNDS) * DotProduct(0.0, "fixed")
    return covariance + linear + WhiteKernel(noise, _BOUNDS)


def _centred(seen: Array) -> Array:
    """A line through the middle of the space is as steep to the one side as to the other."""
    return seen - _MIDDLE


def _log_expected_improvement(mean: Array, deviation: Array, reference: float) -> Array:
    """Expected improvement where it would underflow, too (Ament et al., "Unexpected Improvements", 2023)."""
    z = (mean - reference) / deviation
    density = -0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    near, sure = z > -25, z > 10  # noqa: PLR2004  # beyond, the ratio below is its first term, or too large
    inner = np.where(near & ~sure, z, 0.0)
    ratio = 1 + inner * math.sqrt(math.pi / 2) * erfcx(-inner / math.sqrt(2))
    with np.errstate(divide="ignore"):
        tail = np.where(near, np.log(np.maximum(ratio, 1e-300)), -2 * np.log(np.maximum(-z, 1.0)))
    return np.asarray(np.log(deviation) + np.where(sure, np.log(np.maximum(z, 1.0)), density + tail))


def warp(fitness: Sequence[float] | Array) -> Array:
    """Scores with mean 0 and deviation 1, of any fitness: how far from the median, in units of the best's lead.

    Those that failed to learn anything are cut off, or their distances would rule all others. Ranks are no scores:
    they would pull apart what is all but equal, and a model would take that for noise.
    """
    values = np.asarray(fitness, dtype=float)
    median = float(np.median(values))
    lead = max(float(values.max()) - median, _SMALLEST)
    return standard(np.maximum((values - median) / lead, _WORST))


def standard(values: Array) -> Array:
    """With mean 0 and deviation 1, or all 0 where they are equal."""
    return np.asarray((values - values.mean()) / max(float(values.std()), 1e-9))


def checkpoint(count: int) -> int:
    """From how many observations the hyperparameters are learnt when there are `count`.

    They hardly change any more when there are many. As this depends on the count alone, a replay learns the same.
    """
    if count <= MAY_VARY:
        return count
    power = math.floor(math.log(count / MAY_VARY) / math.log(_PATIENCE))
    return max(MAY_VARY, math.floor(MAY_VARY * _PATIENCE**power))
