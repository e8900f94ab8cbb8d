"""Every error that this project raises on purpose.

::

    EvolveError                 exit code 1: something went wrong that the message explains
    ├── InputError              exit code 2: what the user gave cannot be used
    │   ├── SpaceError          a search space document
    │   └── DataError           a data set
    ├── LedgerError             the record of searches
    │   ├── SearchNotFound      (also an InputError) no such search
    │   ├── LeaseHeld           another driver runs this search
    │   └── LeaseLost           another driver took this search over; ours must stop writing
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


class LedgerError(EvolveError):
    """The ledger cannot do what was asked."""


class SearchNotFound(LedgerError, InputError):
    """No search of this id or name."""


class LeaseHeld(LedgerError):
    """Another live driver holds the lease of this search."""


class LeaseLost(LedgerError):
    """The fencing token is no longer the newest: another driver owns the search now."""


class TrialError(EvolveError):
    """Base of the typed failures of a trial; `evolve.trial.TrialFailed` is the one that is raised."""
