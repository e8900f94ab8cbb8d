"""Searches, individuals and lives to write into a ledger, and what must hold of it afterwards."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from evolve.ledger import EventKind, IndividualRecord, Ledger, SearchRecord, SearchState, Transaction
from evolve.trial import EpochReport, Json, TrialResult, TrialSpec, TrialState

METRIC = "metrics/mAP50-95(B)"


def create(ledger: Ledger, name: str = "helmets", search_id: str | None = None) -> SearchRecord:
    return ledger.create_search(
        name=name,
        document={"genes": {"lr0": {"low": 1e-5, "high": 0.1}}},
        objective="yolo12",
        options={"workers": 2},
        environment={"python": "3.11"},
        directory="/runs/helmets",
        data_hash="sha256:00",
        search_id=search_id,
    )


def newborn(search_id: str, number: int, generation: int = 0) -> IndividualRecord:
    return IndividualRecord(
        search_id,
        number,
        generation,
        genome=(0.25, 1.0),
        params={"lr0": 0.01, "optimizer": "SGD"},
        key=f"key-{number}",
        parents=(0,) if number else (),
        operators=("gaussian_mutation",),
        origins={"lr0": "mutated", "optimizer": "inherited:0"},
    )


def attempt_of(search_id: str, number: int, attempt: int = 1, **settings: Json) -> TrialSpec:
    fixed: Mapping[str, Json] = {"epochs": 3, "imgsz": 64, **settings}
    return TrialSpec(search_id, number, attempt, {"lr0": 0.01}, fixed, seed=7, directory=f"/runs/{number}")


def report(epoch: int, value: float = 0.5, seconds: float | None = None) -> EpochReport:
    return EpochReport(epoch, 3, {METRIC: value}, float(epoch) if seconds is None else seconds)


def result(fitness: float = 0.5) -> TrialResult:
    return TrialResult(
        {METRIC: fitness},
        effective={"lr0": 0.01, "batch": 8},
        differences={"batch": [16, 8]},
        weights="/runs/best.pt",
        epochs=3,
        seconds=4.0,
        gpu_seconds=2.0,
        notes=("no pretrained weights",),
    )


def begin(writing: Transaction, search_id: str, number: int, attempt: int = 1) -> None:
    """Bring an individual to where its attempt runs."""
    if attempt == 1:
        writing.propose(newborn(search_id, number))
    writing.submit(attempt_of(search_id, number, attempt))
    writing.started(number, attempt, "host/gpu0")


def live(writing: Transaction, search_id: str, number: int, fitness: float = 0.5) -> None:
    """A whole life without trouble."""
    begin(writing, search_id, number)
    writing.reported(number, 1, report(1))
    writing.completed(number, 1, result(fitness))
    writing.evaluated(number, state=TrialState.COMPLETED, fitness=fitness, metrics={METRIC: fitness})


def assert_consistent(ledger: Ledger, search_id: str) -> None:
    """Events without gaps, and running totals equal to a recount of the rows."""
    search = ledger.search(search_id)
    events = ledger.events(search_id, limit=1_000_000)
    individuals = ledger.individuals(search_id)
    evaluations = ledger.evaluations(search_id)
    history = ledger.history(search_id)

    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [individual.told for individual in history] == list(range(search.evaluated))
    kinds = [event.kind for event in events]
    assert kinds.count(EventKind.INDIVIDUAL_EVALUATED) == search.evaluated
    assert kinds.count(EventKind.INDIVIDUAL_PROPOSED) == len(individuals)
    assert kinds.count(EventKind.EPOCH_REPORTED) >= len(ledger.epochs(search_id))

    states = [evaluation.state for evaluation in evaluations]
    assert states.count(TrialState.COMPLETED) == search.trained == kinds.count(EventKind.TRIAL_COMPLETED)
    assert states.count(TrialState.FAILED) == search.failed == kinds.count(EventKind.TRIAL_FAILED)
    assert abs(sum(evaluation.seconds for evaluation in evaluations) - search.trial_seconds) < 1e-6
    assert abs(sum(evaluation.gpu_seconds for evaluation in evaluations) - search.gpu_seconds) < 1e-6

    rivals = [rival for rival in history if rival.state is TrialState.COMPLETED and rival.fitness is not None]
    best = max(rivals, key=lambda rival: rival.fitness or 0.0, default=None)  # the first of equals
    assert search.best_individual == (best and best.number)
    assert search.best_fitness == (best and best.fitness)
    newest = {evaluation.individual: evaluation for evaluation in evaluations}
    for individual in individuals:
        if individual.told is None and individual.number in newest:
            assert individual.state is newest[individual.number].state
            assert individual.attempts == newest[individual.number].attempt


def drive(url: str, search_id: str) -> None:
    """Drive a search until killed; one line of output for every life that was committed."""
    ledger = Ledger(url)
    lease = ledger.acquire(search_id)
    with lease.transaction() as writing:
        writing.start(resumed=ledger.search(search_id).state is not SearchState.CREATED)
    number = len(ledger.individuals(search_id))
    while True:
        with lease.transaction() as writing:
            begin(writing, search_id, number)
        for epoch in (1, 2, 3):
            with lease.transaction() as writing:
                writing.reported(number, 1, report(epoch))
        with lease.transaction() as writing:
            writing.completed(number, 1, result(number % 7 / 7))
            writing.evaluated(number, state=TrialState.COMPLETED, fitness=number % 7 / 7)
        print(number, flush=True)
        number += 1


def hold(url: str, search_id: str) -> None:
    """Acquire a search, say so, and keep it until the input ends."""
    lease = Ledger(url).acquire(search_id)
    print(lease.token, flush=True)
    sys.stdin.read()


def open_and_create(url: str, name: str) -> None:
    """Open a ledger that others are opening too."""
    sys.stdin.readline()
    with Ledger(url) as ledger:
        create(ledger, name)


def submission(**changes: object) -> dict[str, object]:
    """What is submitted to a service."""
    values: dict[str, object] = {
        "name": "helmets",
        "document": {"genes": {"lr0": {"low": 1e-5, "high": 0.1}}},
        "objective": "yolo12",
        "options": {"workers": 2},
        "environment": {},
        "directory": "/runs/helmets",
        "data_hash": "",
    }
    return {**values, **changes}


def submit_many(url: str, first: str, last: str) -> None:
    """Submit with the keys of a range, one after the other; one line of output for every answer."""
    registry = Ledger(url).registry
    sys.stdin.readline()
    for number in range(int(first), int(last)):
        search, created = registry.submit(**submission(), idempotency=(f"key-{number}", "digest"))
        print(number, search.id, int(created), flush=True)


if __name__ == "__main__":
    {"drive": drive, "hold": hold, "open": open_and_create, "submit": submit_many}[sys.argv[1]](*sys.argv[2:])
