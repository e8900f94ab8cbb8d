"""From the metrics of a trial to the one number that the search maximises."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from evolve.trial import FailureKind, Json, TrialFailed

DEFAULT_METRIC = "metrics/mAP50-95(B)"
MINIMISE = "minimise"
"""What a space says of an objective that is better the smaller it is."""


@dataclass(frozen=True)
class Fitness:
    """A weighted sum of metrics; more is better.

    Attributes:
        weights: Metric name, as the validator reports it, to its weight. A negative weight asks for less.
    """

    weights: Mapping[str, float]

    @classmethod
    def parse(cls, value: object) -> Fitness:
        """Read what a search space says: the name of a metric, or a mapping from metrics to weights.

        Raises:
            ValueError: if it is neither, or a weight is no finite number, or all weights are zero.
        """
        if isinstance(value, Fitness):
            return value
        if isinstance(value, str) and value.strip():
            return cls({value: 1.0})
        if not isinstance(value, Mapping) or not value:
            raise ValueError(f"must be a metric's name or a mapping {{metric: weight}}, but got {value!r:.60}")
        for metric, weight in value.items():
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not _is_finite(weight):
                raise ValueError(f"the weight of {metric!r:.60} must be a finite number, but got {weight!r:.60}")
        if not any(value.values()):
            raise ValueError("one of the weights must differ from 0, or every configuration is equally good")
        return cls({metric: float(weight) for metric, weight in value.items()})

    def document(self) -> Json:
        """The inverse of `parse`."""
        if list(self.weights.values()) == [1.0]:
            return next(iter(self.weights))
        return dict(self.weights)

    def of(self, metrics: Mapping[str, float]) -> float:
        """The fitness of a trial that reported `metrics`.

        Raises:
            TrialFailed: of kind `CODE` if a metric is missing, `DIVERGED` if the sum is not finite.
        """
        require_metrics("the fitness needs", self.weights, metrics)
        value = math.fsum(weight * metrics[metric] for metric, weight in self.weights.items())
        if not math.isfinite(value):
            shown = ", ".join(f"{metric}={metrics[metric]}" for metric in self.weights)
            raise TrialFailed(FailureKind.DIVERGED, f"the fitness is not a finite number: {shown}")
        return value

    def __str__(self) -> str:
        return " + ".join(
            metric if weight == 1 else f"{weight:g} * {metric}" for metric, weight in self.weights.items()
        )


def require_metrics(who: str, wanted: Iterable[str], metrics: Mapping[str, float]) -> None:
    """Refuse what a trial reported if something is missing.

    Raises:
        TrialFailed: of kind `CODE`, with the metric's name and those that were reported.
    """
    for metric in wanted:
        if metric not in metrics:
            known = ", ".join(metrics) or "no metrics at all"
            message = f"{who} the metric {metric}, which was not reported; it reports {known}"
            raise TrialFailed(FailureKind.CODE, message)


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an int that no float can hold
        return False
