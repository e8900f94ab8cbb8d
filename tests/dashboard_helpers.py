"""Searches that tests of the dashboard write into a real ledger, at once or bit by bit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from api.supervisor.status import DriverStatus, PoolStatus
from evolve.ledger import IndividualRecord, Ledger, SearchRecord, SearchState
from evolve.ledger.lease import Lease
from evolve.trial import EpochReport, Failure, FailureKind, Json, TrialResult, TrialSpec, TrialState
from sample_searches import DOCUMENT, METRIC, SampleLedger, sample_ledger

EPOCHS = 12
HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>"


class FakeSupervisor:
    """A pool that stands still, and counts how often it was poked."""

    def __init__(self, *drivers: DriverStatus) -> None:
        self.drivers = drivers
        self.pokes = 0

    def poke(self) -> None:
        self.pokes += 1

    def snapshot(self) -> PoolStatus:
        used = sum(driver.workers for driver in self.drivers)
        return PoolStatus(slots=4, used=used, gpus=2.0, drivers=self.drivers, queued=1)


def enter(
    ledger: Ledger, home: Path, name: str, *, document: dict[str, Json] | None = None, **submission
) -> SearchRecord:
    """A search in the queue of a service."""
    record, _ = ledger.registry.submit(
        name=name,
        document={**DOCUMENT, **(document or {})},
        objective="yolo12",
        options={"workers": 4, "data": "demo", "weights": "none"},
        environment={"python": "3.12.1", "gpus": ["NVIDIA L4"]},
        directory=str(home / "searches" / name),
        data_hash="9b1c" * 16,
        **submission,
    )
    return record


class Driver:
    """Writes the lives of made-up individuals as a real driver would."""

    def __init__(self, ledger: Ledger, search: SearchRecord, sample: SampleLedger, *, epochs: int = EPOCHS) -> None:
        self.search = search
        self.lease: Lease = ledger.acquire(search.id, ttl=3600)
        self.epochs = epochs
        self._members = [replace(each, search_id=search.id) for each in sample.members]
        self._told = {each.individual: each for each in sample.attempts}
        with self.lease.transaction() as writing:
            writing.start(resumed=False)

    def lives(self, first: int = 0) -> Iterator[int]:
        """One individual after another, from the first; each step writes one whole life."""
        for member in self._members[first:]:
            self.begin(member)
            for epoch in range(1, self.epochs + 1):
                self.report(member, epoch)
            self.end(member)
            yield member.number

    def begin(self, member: IndividualRecord, worker: int | None = None) -> None:
        settings: dict[str, Json] = {"epochs": self.epochs, "imgsz": 640}
        spec = TrialSpec(
            self.search.id, member.number, 1, member.params, settings, seed=7, directory=f"/runs/{member.number}"
        )
        place = member.number % 4 if worker is None else worker
        with self.lease.transaction() as writing:
            writing.propose(member)
            writing.submit(spec)
            writing.started(member.number, 1, f"node-{place // 2}/gpu{place % 2}")

    def report(self, member: IndividualRecord, epoch: int) -> None:
        final = member.fitness or 0.2
        value = final * (1 - math.exp(-3 * epoch / self.epochs)) / (1 - math.exp(-3))
        metrics = {METRIC: value, "metrics/mAP50(B)": value * 1.4, "train/box_loss": 2 - value}
        with self.lease.transaction() as writing:
            writing.reported(member.number, 1, EpochReport(epoch, self.epochs, metrics, epoch * 8.0))

    def end(self, member: IndividualRecord, message: str | None = None) -> None:
        with self.lease.transaction() as writing:
            if member.failure is not None:
                told = message or self._told[member.number].failure_message
                failure = Failure(member.failure, told, 1, "Traceback (most recent call last):\n  <b>boom</b>")
                writing.failed(member.number, 1, failure, retry=False, gpus=1.0)
                writing.evaluated(member.number, state=TrialState.FAILED, fitness=None, failure=member.failure)
                return
            effective: dict[str, Json] = {**member.params, "epochs": self.epochs, "imgsz": 640, "batch": 16}
            differences: dict[str, list[Json]] = {}
            if member.number % 9 == 4:
                effective["weight_decay"] = 4.7e-4
                differences = {"weight_decay": [member.params["weight_decay"], 4.7e-4]}
            result = TrialResult(
                dict(member.metrics),
                effective,
                differences,
                None,
                self.epochs,
                96.0,
                96.0,
                ("no pretrained weights",),
            )
            writing.completed(member.number, 1, result)
            writing.evaluated(
                member.number, state=TrialState.COMPLETED, fitness=member.fitness, metrics=member.metrics
            )

    def members(self) -> list[IndividualRecord]:
        return self._members

    def release(self, state: SearchState, reason: str = "") -> None:
        self.lease.release(state, reason)


def fill(
    ledger: Ledger,
    home: Path,
    name: str,
    size: int,
    *,
    seed: int = 0,
    state: SearchState | None = SearchState.COMPLETED,
    document: dict[str, Json] | None = None,
    **submission,
) -> SearchRecord:
    """A search with `size` individuals; it is driven still when `state` is None."""
    search = enter(ledger, home, name, document=document, **submission)
    driver = Driver(ledger, search, sample_ledger(size, seed=seed), epochs=3)
    for _ in driver.lives():
        pass
    if state is not None:
        driver.release(state, "all generations are done" if state is SearchState.COMPLETED else "out of luck")
    return ledger.search(search.id)


def fail_with(driver: Driver, number: int, message: str) -> None:
    """A life that ends with a message of somebody's choice."""
    member = replace(driver.members()[number], failure=FailureKind.CODE, fitness=None)
    driver.begin(member)
    driver.end(member, message)
