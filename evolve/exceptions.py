"""Every error that this project raises on purpose.

::

    EvolveError                 exit code 1: something went wrong that the message explains
    ├── InputError              exit code 2: what the user gave cannot be used
    │   ├── SpaceError          a search space document
    │   ├── DataError           a data set
    │   ├── StateConflict       a search is not in a state in which this could be done
    │   └── IdempotencyConflict a key of a submission that was used for another one
    ├── Forbidden               whoever asks may not do this
    ├── LedgerError             the record of searches
    │   ├── LedgerAway          the database cannot be reached now, or lets nobody in
    │   ├── NotFound            (also an InputError) no such key, data set, webhook
    │   │   └── SearchNotFound  no such search
    │   ├── LeaseHeld           another driver runs this search
    │   └── LeaseLost           another driver took this search over; ours must stop writing
    ├── PoolUnavailable         exit code 69: the workers that searches share cannot be reached now
    ├── ServiceError            a server (see evolve.client) does not do what it was asked
    │   └── ServiceAway         it cannot be reached
    └── TrialError              raised inside a trial: a failure whose kind is known (see evolve.trial)
"""

from __future__ import annotations


class EvolveError(Exception):
    """Base of the tree. The command line prints it as one line and exits with `exit_code`."""

    exit_code = 1


class InputError(EvolveError):
    """What the user gave cannot be used; raised before any training starts."""

    exit_code = 2


class SpaceError(InputError):
    """A search space that breaks a rule.

    The message reads `file: key: rule, but got value; what to do`.
    """


class DataError(InputError):
    """A data set that cannot be trained on; the message names the file, the line and the remedy."""


class StateConflict(InputError):
    """What is asked of a search cannot be done in the state that it is in."""


class Forbidden(EvolveError):
    """Whoever asks for this is known, but may not do it."""


class IdempotencyConflict(InputError):
    """The idempotency key of a submission came with another document before."""


class LedgerError(EvolveError):
    """The ledger cannot do what was asked."""


class LedgerAway(LedgerError):
    """The database does not answer, or has no connection or no turn to write for us; it may soon."""


class NotFound(LedgerError, InputError):
    """The ledger has nothing of this id."""


class SearchNotFound(NotFound):
    """No search of this id or name."""


class LeaseHeld(LedgerError):
    """Another live driver holds the lease of this search."""


class LeaseLost(LedgerError):
    """The fencing token is no longer the newest: another driver owns the search now."""


class ServiceError(EvolveError):
    """A server refused or failed.

    Attributes:
        status: The HTTP status it answered, or None if it did not.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ServiceAway(ServiceError):
    """A server that does not answer, or hung up in the middle of it."""


class PoolUnavailable(EvolveError):
    """The workers that searches share cannot be reached now; it is no fault of the search that wants them."""

    exit_code = 69


class TrialError(EvolveError):
    """Base of the typed failures of a trial; `evolve.trial.TrialFailed` is the one that is raised."""
