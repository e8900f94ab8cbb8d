"""From the metrics of a trial to the values that a search trades off against each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evolve.fitness import MINIMISE, require_metrics
from evolve.formatting import MISSING, metric_label
from evolve.trial import FailureKind, TrialFailed

if TYPE_CHECKING:
    from evolve.trial import Json

_UNITS: Mapping[str, str] = {"model/latency_ms": "ms", "model/parameters": "", "model/GFLOPs": "GFLOPs"}
_NAMES: Mapping[str, str] = {
    "model/latency_ms": "latency",
    "model/parameters": "parameters",
    "model/GFLOPs": "operations",
}
_MILLION = 1_000_000
_LARGE = 10_000


@dataclass(frozen=True)
class Objectives:
    """The `objectives` of a search space.

    Attributes:
        directions: Metric name, as the trials report it, to `maximise` or `minimise`; empty where the fitness alone
            counts.
    """

    directions: Mapping[str, str]

    @classmethod
    def of_document(cls, document: Mapping[str, Json]) -> Objectives:
        """Those of a search's document, which may be older than objectives are."""
        found = document.get("objectives")
        return cls({name: str(way) for name, way in found.items()} if isinstance(found, dict) else {})

    def __bool__(self) -> bool:
        return bool(self.directions)

    def __len__(self) -> int:
        return len(self.directions)

    def of(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """The values of a trial that reported `metrics`, in the space's order, each the larger the better.

        Raises:
            TrialFailed: of kind `CODE` if a metric is missing, `DIVERGED` if one is not finite.
        """
        require_metrics("the objectives need", self.directions, metrics)
        for metric in self.directions:
            if not math.isfinite(metrics[metric]):
                message = f"an objective is not a finite number: {metric}={metrics[metric]}"
                raise TrialFailed(FailureKind.DIVERGED, message)
        return tuple(self._sign(metric) * metrics[metric] for metric in self.directions)

    def unsigned(self, values: Sequence[float]) -> tuple[float, ...]:
        """What `of` gave, as the metrics were reported: what is minimised has its own sign again."""
        return tuple(
            self._sign(metric) * value + 0.0 for metric, value in zip(self.directions, values, strict=True)
        )

    def metrics(self, values: Sequence[float]) -> dict[str, float]:
        """The same by the names of the metrics."""
        return dict(zip(self.directions, self.unsigned(values), strict=True))

    def labels(self) -> list[str]:
        """What people call them, with the unit: `mAP50-95`, `latency (ms)`."""
        return [_label(metric) for metric in self.directions]

    def texts(self, values: Sequence[float]) -> list[str]:
        """What `of` gave, as a person reads it; dashes where there is nothing."""
        if not values:
            return [MISSING] * len(self.directions)
        return [figure(value) for value in self.unsigned(values)]

    def _sign(self, metric: str) -> float:
        return -1.0 if self.directions[metric] == MINIMISE else 1.0

    def __str__(self) -> str:
        words = ("less" if way == MINIMISE else "more" for way in self.directions.values())
        return ", ".join(f"{word} {label}" for word, label in zip(words, self.labels(), strict=True))


def figure(value: float) -> str:
    """A metric's value: millions as such, whole thousands with commas, anything else to four digits."""
    if not math.isfinite(value):
        return MISSING
    if abs(value) >= _MILLION:
        return f"{value / _MILLION:.2f} M"
    return f"{value:,.0f}" if abs(value) >= _LARGE else f"{value:.4g}"


def _label(metric: str) -> str:
    unit = _UNITS.get(metric, "")
    name = _NAMES.get(metric) or metric_label(metric)
    return f"{name} ({unit})" if unit else name
