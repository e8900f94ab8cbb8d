"""The ledger is the truth: what happened in every search, committed before anyone is told of it."""

from evolve.ledger.lease import Lease
from evolve.ledger.records import (
    EpochRecord,
    EvaluationRecord,
    EventKind,
    EventRecord,
    IndividualRecord,
    Request,
    SearchRecord,
    SearchState,
)
from evolve.ledger.store import Ledger
from evolve.ledger.transaction import Transaction

__all__ = [
    "EpochRecord",
    "EvaluationRecord",
    "EventKind",
    "EventRecord",
    "IndividualRecord",
    "Lease",
    "Ledger",
    "Request",
    "SearchRecord",
    "SearchState",
    "Transaction",
]
