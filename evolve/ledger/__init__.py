"""The ledger is the truth: what happened in every search, committed before anyone is told of it."""

from evolve.ledger.hooks import observer_of
from evolve.ledger.lease import Lease
from evolve.ledger.records import (
    DatasetRecord,
    EpochRecord,
    EvaluationRecord,
    EventKind,
    EventRecord,
    GenerationSummary,
    IndividualRecord,
    KeyRecord,
    LedgerTotals,
    Request,
    SearchRecord,
    SearchState,
    Standing,
    WebhookRecord,
)
from evolve.ledger.registry import Registry
from evolve.ledger.store import Ledger
from evolve.ledger.transaction import Transaction

__all__ = [
    "DatasetRecord",
    "EpochRecord",
    "EvaluationRecord",
    "EventKind",
    "EventRecord",
    "GenerationSummary",
    "IndividualRecord",
    "KeyRecord",
    "Lease",
    "Ledger",
    "LedgerTotals",
    "Registry",
    "Request",
    "SearchRecord",
    "SearchState",
    "Standing",
    "Transaction",
    "WebhookRecord",
    "observer_of",
]
