"""The ledger is the truth: what happened in every search, committed before anyone is told of it."""

from evolve.ledger.hooks import observer_of
from evolve.ledger.lease import Lease
from evolve.ledger.records import (
    EpochRecord,
    EvaluationRecord,
    EventKind,
    EventRecord,
    GenerationSummary,
    IndividualRecord,
    LedgerTotals,
    Request,
    SearchRecord,
    SearchState,
    Standing,
)
from evolve.ledger.registry import Registry
from evolve.ledger.service_records import DatasetRecord, KeyRecord, WebhookRecord
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
