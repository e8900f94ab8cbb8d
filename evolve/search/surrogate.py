"""The model that screens offspring: what a genome is worth, judged by the trainings so far.

Gaussian process regression (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006) by
scikit-learn, with a Matern-5/2 kernel that has a length scale for every column. With a dozen trainings and more
genes than that, the likelihood alone says nothing about length scales; so they have log-normal priors, and as no
single prior is right for all data sets, a few models with different ones vote while there is little data.

The last column is how much of a training an observation had (1 for all of it). So trainings that were stopped
teach, too, and how far to trust them is learnt like everything else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import erfcx, logsumexp, ndtri
from scipy.stats import rankdata
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Kernel, Matern, WhiteKernel

from evolve.search.geometry import Array

LENGTH_SCALES = (-0.3,)
"""Prior means of the log length scales, in widths of a gene's range, one for each model."""
OPTIMISM = 2.0
"""Standard deviations above the mean, for the upper bound."""
MAY_VARY = 40
"""Up to so many observations all models vote, and they are fitted anew with each."""

_LENGTH_DEVIATION = 0.7
_SIGNAL_DEVIATION = 0.7
_NOISE = math.log(1e-3)
_NOISE_DEVIATION = 1.5
_BOUNDS = (1e-7, 1e4)
_JITTER = 1e-8
_STEPS = 20
_PATIENCE = 1.15
_WORST = -2.0
_SMALLEST = 1e-10


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
    """A few Gaussian processes on the same observations.

    Args:
        columns: Number of columns of an observation.
    """

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._thetas: list[Array] = []
        self._models: list[_Regressor] = []
        self._references: list[float] = []
        self._noises: list[float] = []

    def learn(self, seen: Array, scores: Array) -> None:
        """Find hyperparameters; `condition` is to follow.

        Args:
            seen: Observations, shape (n, columns).
            scores: Warped, shape (n,).
        """
        means = LENGTH_SCALES if len(scores) <= MAY_VARY else LENGTH_SCALES[:1]
        self._thetas = [self._fit(mean, seen, scores) for mean in means]

    def _fit(self, mean: float, seen: Array, scores: Array) -> Array:
        columns = self._columns
        start = np.concatenate([[0.0], np.full(columns, mean), [_NOISE]])
        spread = np.concatenate([[_SIGNAL_DEVIATION], np.full(columns, _LENGTH_DEVIATION), [_NOISE_DEVIATION]])
        model = _Regressor(self._kernel(start), prior=np.array([start, spread]))
        return _most_probable(model.fit(seen, scores))

    def condition(self, seen: Array, scores: Array, pending: Array, candidates: Array) -> None:
        """Take in observations under the hyperparameters that were learnt.

        Args:
            seen: Observations, shape (n, columns).
            scores: Warped, shape (n,).
            pending: Genomes in training, shape (m, columns): they will turn out as expected, which spares other
                workers their neighbourhood (Ginsbourger et al., "Kriging is well-suited to parallelize
                optimization", 2010).
            candidates: What was trained in full, of which the best expected one is to be beaten.
        """
        self._models, self._references = [], []
        self._noises = [math.exp(theta[-1]) for theta in self._thetas]
        for theta in self._thetas:
            model = _Regressor(self._kernel(theta)).fit(seen, scores)
            if len(pending):
                expected = model.predict(pending)
                model = _Regressor(self._kernel(theta)).fit(
                    np.vstack([seen, pending]), np.concatenate([scores, expected])
                )
            self._models.append(model)
            self._references.append(float(np.max(model.predict(candidates))))

    def _kernel(self, theta: Array) -> Kernel:
        signal, lengths, noise = math.exp(theta[0]), np.exp(theta[1:-1]), math.exp(theta[-1])
        covariance = ConstantKernel(signal, _BOUNDS) * Matern(lengths, _BOUNDS, nu=2.5)
        return covariance + WhiteKernel(noise, _BOUNDS)

    def log_expected_improvement(self, genomes: Array) -> Array:
        """Log of the mean over the models of the expected gain over the best so far.

        Args:
            genomes: Shape (n, columns).

        Returns:
            Shape (n,).
        """
        votes = [
            _log_expected_improvement(*_noiseless(model, noise, genomes), reference)
            for model, noise, reference in zip(self._models, self._noises, self._references, strict=True)
        ]
        return np.asarray(logsumexp(votes, axis=0))

    def upper_bound(self, genomes: Array) -> Array:
        """What a genome may be worth if all goes well: the mean over the models of mean and `OPTIMISM` deviations.

        Args:
            genomes: Shape (n, columns).

        Returns:
            Shape (n,).
        """
        bounds = []
        for model, noise in zip(self._models, self._noises, strict=True):
            mean, deviation = _noiseless(model, noise, genomes)
            bounds.append(mean + OPTIMISM * deviation)
        return np.asarray(np.mean(bounds, axis=0))

    def mean(self, genomes: Array) -> Array:
        """Expected score, shape (n,)."""
        return np.asarray(np.mean([model.predict(genomes) for model in self._models], axis=0))


def _noiseless(model: _Regressor, noise: float, genomes: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of what a genome is worth, without the noise of a training."""
    mean, deviation = model.predict(genomes, return_std=True)
    return mean, np.sqrt(np.maximum(deviation**2 - noise, _SMALLEST))


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
    """Scores with mean 0 and deviation 1, of any fitness: half its rank, half how far it is from the median.

    Ranks alone would hide that one individual is far better; distances alone are ruled by those that failed to
    learn anything.
    """
    values = np.asarray(fitness, dtype=float)
    count, median = len(values), np.median(values)
    ranks = ndtri((rankdata(values) - 0.375) / (count + 0.25))
    distances = np.maximum((values - median) / max(float(values.max() - median), 1e-12), _WORST)
    return _standard(0.5 * _standard(ranks) + 0.5 * _standard(distances))


def _standard(values: Array) -> Array:
    return np.asarray((values - values.mean()) / max(float(values.std()), 1e-9))


def checkpoint(count: int) -> int:
    """From how many observations the hyperparameters are learnt when there are `count`.

    They hardly change any more when there are many. As this depends on the count alone, a replay learns the same.
    """
    if count <= MAY_VARY:
        return count
    power = math.floor(math.log(count / MAY_VARY) / math.log(_PATIENCE))
    return max(MAY_VARY, math.floor(MAY_VARY * _PATIENCE**power))
