"""Ledgers with many searches, written in bulk: what a year of use leaves behind, in a second."""

from __future__ import annotations

import random

from sqlalchemy import insert

from evolve.ledger import EventKind, Ledger, SearchState
from evolve.ledger.models import evaluations, event_row, events, individuals, searches
from evolve.trial import FailureKind, TrialState

POPULATION = 10
NAMES = ("helmets", "Helmets & <b>vests</b>", "50%_off", "déjà vu", "boxes")
_VERDICTS = (TrialState.COMPLETED, TrialState.COMPLETED, TrialState.FAILED, TrialState.STOPPED, None)


def fill(ledger: Ledger, amount: int, members: int, seed: int = 1) -> list[str]:
    """Write `amount` searches of `members` individuals each, and return their ids, the oldest first."""
    chance = random.Random(seed)
    ids = [f"{chance.getrandbits(32):08x}" for _ in range(amount)]
    people = [_individual(chance, search_id, number) for search_id in ids for number in range(members)]
    with ledger._database.writing() as connection:
        for number, search_id in enumerate(ids):
            connection.execute(insert(searches), _search(chance, search_id, number))
        connection.execute(
            insert(events),
            [event_row(search_id, 1, EventKind.SEARCH_CREATED, 1e9, data={}) for search_id in ids],
        )
        if people:
            connection.execute(insert(individuals), people)
            connection.execute(insert(evaluations), [_evaluation(each) for each in people])
    return ids


def _search(chance: random.Random, search_id: str, number: int) -> dict[str, object]:
    state = chance.choice(list(SearchState))
    return {
        "id": search_id,
        "name": chance.choice(NAMES),
        "state": state,
        "last_event": 1 + number % 3,
        "created_at": 1e9 + number,
        "evaluated": chance.randrange(50),
        "trained": chance.randrange(50),
        "failed": chance.randrange(5),
        "gpu_seconds": chance.random() * 1000,
        "trial_seconds": chance.random() * 1000,
        "best_fitness": chance.choice([None, chance.random(), 0.5]),
        "objective": "synthetic",
        "directory": f"/runs/{search_id}",
        "data_hash": "",
        "document": {"genes": {f"gene{n}": {"low": 0.0, "high": 1.0} for n in range(40)}},
        "options": {"workers": 2},
        "environment": {"python": "3.11"},
        "managed": chance.random() < 0.5,
        "priority": chance.randrange(-2, 3),
        "submitted_by": chance.choice([None, "alice", "bob"]),
    }


def _individual(chance: random.Random, search_id: str, number: int) -> dict[str, object]:
    verdict = chance.choice(_VERDICTS)
    under_way = chance.choice([TrialState.PENDING, TrialState.RUNNING])
    fitness = (
        chance.choice([chance.random(), 0.5]) if verdict in (TrialState.COMPLETED, TrialState.STOPPED) else None
    )
    return {
        "search_id": search_id,
        "number": number,
        "generation": number // POPULATION,
        "told": None if verdict is None else number,
        "state": verdict or under_way,
        "fitness": fitness,
        "failure": chance.choice(list(FailureKind)) if verdict is TrialState.FAILED else None,
        "attempts": 1,
        "key": f"key-{number}",
        "metrics": {"metrics/mAP50-95(B)": fitness or 0.0},
        "genome": [chance.random() for _ in range(20)],
        "params": {f"gene{n}": chance.random() for n in range(20)},
        "parents": [],
        "operators": ["gaussian_mutation"],
        "origins": {f"gene{n}": "mutated" for n in range(20)},
    }


def _evaluation(individual: dict[str, object]) -> dict[str, object]:
    return {
        "search_id": individual["search_id"],
        "individual": individual["number"],
        "attempt": 1,
        "state": individual["state"],
        "seed": 7,
        "epochs": 3,
        "created_at": 1e9,
        "requested": individual["params"],
        "effective": {},
        "differences": {},
        "metrics": individual["metrics"],
        "notes": [],
    }
