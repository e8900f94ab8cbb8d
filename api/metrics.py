"""What is counted, in Prometheus' text format."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from evolve.exceptions import LedgerError

if TYPE_CHECKING:
    from api.deps import SupervisorLike
    from evolve.ledger import Ledger
    from evolve.ledger.records import LedgerTotals

CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"
_SUMS_SECONDS = 5.0
_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
log = logging.getLogger(__name__)


class Metrics:
    """Counts requests, and asks ledger and supervisor when it is asked itself."""

    def __init__(self, ledger: Ledger, supervisor: SupervisorLike) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        labels = ("method", "route")
        self._requests = Counter(
            "evolve_http_requests", "Requests that were answered.", (*labels, "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "evolve_http_request_seconds",
            "Seconds until an answer began.",
            labels,
            registry=self._registry,
            buckets=_BUCKETS,
        )
        self.streams = Gauge("evolve_event_streams", "Event streams that are open.", registry=self._registry)
        self._registry.register(_Searches(ledger, supervisor))
        ProcessCollector(registry=self._registry)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(known, route).observe(seconds)

    def text(self) -> bytes:
        """All of it; looks into the ledger."""
        return generate_latest(self._registry)


class _Searches(Collector):
    """The searches in the ledger and the pool that they train on."""

    def __init__(self, ledger: Ledger, supervisor: SupervisorLike) -> None:
        self._ledger = ledger
        self._supervisor = supervisor
        self._kept: tuple[float, LedgerTotals | None] = (float("-inf"), None)

    def collect(self) -> Iterator[Metric]:
        """Made at every call."""
        pool = self._supervisor.snapshot()
        yield _gauge("evolve_pool_slots", "Trials that the pool has room for.", pool.slots)
        yield _gauge("evolve_pool_slots_used", "Room that is granted to searches.", pool.used)
        yield _gauge("evolve_pool_gpus", "GPUs of the pool.", pool.gpus)
        yield _gauge("evolve_searches_queued", "Searches that wait for room.", pool.queued)
        totals = self._totals()
        yield _gauge("evolve_ledger_up", "Whether the ledger can be reached.", totals is not None)
        if totals is not None:
            yield from _sums(totals)

    def _totals(self) -> LedgerTotals | None:
        """The sums, not older than some seconds: adding them up is no work for every scrape of several scrapers."""
        until, totals = self._kept
        if until > time.monotonic():
            return totals
        try:
            totals = self._ledger.totals()
        except LedgerError as error:
            log.error("%s", error)
            return None
        self._kept = (time.monotonic() + _SUMS_SECONDS, totals)
        return totals


def _sums(totals: LedgerTotals) -> Iterator[Metric]:
    states = GaugeMetricFamily("evolve_searches", "Searches in the ledger.", labels=("state",))
    for state, amount in totals.searches.items():
        states.add_metric((str(state),), amount)
    yield states
    yield _gauge("evolve_searches_driven", "Searches with a living driver.", totals.driven)
    yield _gauge("evolve_individuals_evaluated", "Individuals with a verdict.", totals.evaluated)
    yield _gauge("evolve_trials_trained", "Trials that trained to their end.", totals.trained)
    yield _gauge("evolve_trials_failed", "Trials that failed.", totals.failed)
    yield _gauge("evolve_trials_running", "Trials that train now.", totals.trials_running)
    yield _gauge("evolve_trials_pending", "Trials that wait for a worker.", totals.trials_pending)
    yield _gauge("evolve_trial_seconds", "Seconds of all trials.", totals.trial_seconds)
    yield _gauge("evolve_gpu_seconds", "GPU seconds of all trials.", totals.gpu_seconds)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    # sums fall when a search is deleted, so they are no counters
    return GaugeMetricFamily(name, text, value=value)
